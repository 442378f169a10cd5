"""The backends torch, Paddle and ONNX: the only files that import a framework."""
