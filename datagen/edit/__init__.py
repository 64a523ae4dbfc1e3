"""Edits in words: the grammar, and what it does to a recording."""
