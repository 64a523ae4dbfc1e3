"""Recordings known by their sound: an index of fingerprints, what sounds alike, and which of several copies is kept."""
