"""Digit autoencoder, reproduced."""
