"""Traits of effects: what is true of the sound of each, so that nothing has to ask for an effect by its name.

An effect states its traits as ``TRAITS``, a frozenset of the names below; a contract test measures each of them on every effect. A new
effect takes part in drawing, measuring, reports and fits by what it states. What holds of a single setting is declared with it
(``stemwright.datagen.effects.settings``): that it moves the audio in steps, is a threshold, a gain after all else, needs two channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Trait = Literal[
    "linear",
    "time-invariant",
    "level-dependent",
    "commutes",
    "filter",
    "dynamic",
    "flattening",
    "level",
    "normalising",
    "late",
    "stochastic",
    "stereo",
]

MEANINGS: Mapping[Trait, str] = {
    "linear": "of a sum of sounds it makes the sum of what it makes of each",
    "time-invariant": "of a later sound it makes the same, later",
    "level-dependent": "a gain before it is no gain after it",
    "commutes": "it can change places with every other effect that commutes: each channel goes through a linear, time-invariant system",
    "filter": "it commutes, and is a filter that adds no echo: a response over frequency is all there is to know",
    "dynamic": "it multiplies by a gain that follows the level of the audio, which ``gain_curve`` gives, settings that are gains aside",
    "flattening": "it lowers peaks against the mean: the crest factor falls",
    "level": "it multiplies each channel by a number that is one for the whole signal",
    "normalising": "it is a level, and the number is measured: a gain before it changes nothing",
    "late": "it adds later copies of the sound",
    "stochastic": "it makes noise that a setting ``seed`` names and that no sound tells",
    "stereo": "it takes two channels, and does nothing where they are equal",
}
