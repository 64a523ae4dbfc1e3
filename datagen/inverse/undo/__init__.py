"""Undoing effects of a recording: those whose settings are known, those that a dry reference determines, and clipping, which is found.

requests        which effects are to be undone, and what is known of them
known           settings from JSON, from the row of a dataset's file, from a gain curve
dry_placement   the delay and the polarity of a dry reference in the recording
reversal        one recording [C, T] undone
figures         peak, crest factor, loudness and gain before and after

Conventions
    A chain is listed as it was applied, first to last, and undone last to first. What cannot be undone is refused by name, or, where it is
    only looked for, left as it is with the reason. The settings of an effect never follow from the wet sound alone, but for clipping,
    and for estimates against a profile of typical stems, which are used above a stated confidence only.
"""
