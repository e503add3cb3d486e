"""What every family's export shares: graph builders, quantization, variants, gates, writing a bundle."""
