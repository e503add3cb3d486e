"""The codec: configuration, transforms, entropy model, rate, initialisation, training, fine-tuning."""
