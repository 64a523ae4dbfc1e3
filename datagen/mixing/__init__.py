"""A first mix of dry stems: faders, pans, high-passes and simple equalisers by published rules, or by the levels of a corpus.

mix_rules          the published rules that are used, with their sources
instrument_roles   what a stem is, by its name; and its level, place, high-pass and equaliser by the rules
stem_sound         what is heard of a stem: its centre in frequency, its lows, its share of strokes, whether it is mono
stem_plans         from stems to plans: role, chain, place and level of each, with reasons
settling           from plans to settings: faders whose measured levels in the mix are the planned ones
profile_levels     plans from the levels and pans that a corpus's estimates have for stems of these names
"""
