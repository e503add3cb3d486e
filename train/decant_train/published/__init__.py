"""The published systems: set autoencoder, denoiser, colour quantization, digits, perceptual."""
