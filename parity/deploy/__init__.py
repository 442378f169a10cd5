"""Export a network to ONNX and prove the file; lower its precision, classify pictures with it, time it."""
