"""Adaptive colour quantization autoencoder."""
