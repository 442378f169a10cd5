"""ONNX files: read, check, evaluate in float64, bring into canonical form."""
