"""Set autoencoder: a decoder overfitted to a set of images."""
