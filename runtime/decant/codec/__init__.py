"""The codec's layout ``grid``: any picture size, 100 qualities. Layout, decoder, encoder, quantization."""
