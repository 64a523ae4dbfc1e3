"""Running: the configuration, the corpus, the stages, and where they run."""
