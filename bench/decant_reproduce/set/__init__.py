"""Set autoencoder, reproduced."""
