"""One folder per model family: its float graphs, its int8 graphs, its tables."""
