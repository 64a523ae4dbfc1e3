"""Listening: a mixture becomes stems, and stems become levels."""
