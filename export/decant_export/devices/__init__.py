"""Decoders for NPUs and phones: static tile graphs, their int8 form, operator checks, other formats"""
