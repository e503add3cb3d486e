"""Digit autoencoder and its denoiser."""
