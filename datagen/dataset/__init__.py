"""A dataset on disk: writers, loader, labels."""
