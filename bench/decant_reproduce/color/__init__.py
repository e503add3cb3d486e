"""Adaptive colour quantization, reproduced."""
