"""The language of edits: labels, the words and patterns that say them, reading, writing, suggestions, and what is done to the sound."""
