"""Training data: sources, splits, contamination checks, held-out pairs and the data card."""
