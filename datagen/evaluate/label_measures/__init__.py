"""Measuring a setting of an effect back from audio, by methods that know nothing of any implementation: one file a kind of setting."""
