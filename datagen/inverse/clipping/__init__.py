"""Clipping of a recording whose unclipped form is unknown: where it is, and what was there before.

detect      the ceilings of each channel and polarity, in lossless, rescaled, resampled and lossy copies
declipping  the clipped samples replaced by what is expected from the sound around them

Conventions
    A ceiling has the sign of the samples that it limits: ``ceiling_low <= 0 <= ceiling_high``, and 0 says that no clipping was found there.
"""
