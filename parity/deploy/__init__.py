"""Export to ONNX and prove it, lower its precision, classify pictures, time it."""
