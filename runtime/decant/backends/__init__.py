"""Inference runtimes behind one protocol: ONNX Runtime, OpenVINO, and decant's own integer kernels."""
