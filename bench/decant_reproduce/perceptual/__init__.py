"""Perceptual autoencoder, reproduced."""
