"""A first mix of dry stems: faders and pans, by published rules with high-passes and simple equalisers, by a corpus, or by a trained mixer.

mix_rules          the published rules that are used, with their sources
instrument_roles   what a stem is, by its name; and its level, place, high-pass and equaliser by the rules
stem_sound         what is heard of a stem: its centre in frequency, its lows, its share of strokes, whether it is mono
stem_plans         from stems to plans: role, chain, place and level of each, with reasons
settling           from plans to settings: faders whose measured levels in the mix are the planned ones
profile_levels     plans from the levels and pans that a corpus's estimates have for stems of these names
mixer_network      a small network that hears stems and sets the strip of each; torch
mixing_console     the strips as the project's effects, and a room that all share; differentiable
mixer_weights      its weights as a file, with what they were trained on
trained_levels     plans from what the network says
"""
