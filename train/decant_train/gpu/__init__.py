"""A training of the codec prepared for two short GPU jobs without network."""
