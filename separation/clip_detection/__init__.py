"""Whether, and where, a recording was clipped, from its samples alone.

scale       the logarithmic scale of levels
flat_tops   how flat tops begin and end
levels      how long and how often a signal is above each level, and the shape of its tops: counted in one pass, in any blocks
limiters    whether samples at one level were left by a clipper or by a limiter without look-ahead
evidence    what a ceiling does to these counts, and how likely it is that clipping did it
ceilings    the ceilings of each channel
"""
