"""Edits by text: the grammar of sentences, and how a recording is edited."""
