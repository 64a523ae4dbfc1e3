"""Whether, and where, a recording was clipped, from its samples alone.

levels      how long and how often a signal is above each level, and the shape of its tops: counted in one pass, in any blocks
evidence    what a ceiling does to these counts, and how likely it is that clipping did it
ceilings    the ceilings of each channel
"""
