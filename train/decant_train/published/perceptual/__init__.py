"""Quantized autoencoder with perceptual loss."""
