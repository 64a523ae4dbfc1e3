"""Demucs: weights, networks, engines, and the schedule of segments."""
