"""The steps of fitting a chain of effects, which ``stemwright.datagen.inverse.chain`` puts together.

start             a first idea of each effect, by its own fit
refine            all settings together, by least squares on the waveform
level             the level that an equaliser shares with what stands beside it
free_equaliser    an equaliser that needs no bands, for that
fitted            what comes out
"""
