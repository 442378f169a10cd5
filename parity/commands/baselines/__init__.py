"""Scripts that `parity bench` times our work against; run by path, never imported, as they import frameworks."""
