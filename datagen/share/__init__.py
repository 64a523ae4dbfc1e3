"""Sharing a corpus without publishing the recordings: it is written as tables (``export``) and made again from one's own copies of the
songs (``rebuild``), which are found by checksum or by fingerprint (``known_songs``).
"""
