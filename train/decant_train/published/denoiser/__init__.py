"""Denoiser behind a set autoencoder."""
