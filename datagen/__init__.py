"""Training data: stems and estimates become pairs, and pairs become a dataset."""
