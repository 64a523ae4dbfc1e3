"""Sharing a corpus without sharing a second of somebody else's music: written as tables (``export``), made again from one's own songs
(``rebuild``), which are found by content or by sound (``known_songs``).
"""
