"""Plain numpy: distances, pooling, float64 kernels, fixed random numbers, arrays as bytes."""
