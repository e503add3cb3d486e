"""Entropy coding of the codec: rANS, scale network, context network, checkerboard context; the same in C."""
