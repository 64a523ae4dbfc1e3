"""Traits of effects: the properties of each effect's sound, so that no code needs to check for an effect by its name.

An effect states its traits as ``TRAITS``, a frozenset of the names below; a contract test measures each of them on every effect. A new
effect takes part in drawing, measuring, reports and fits by what it states. Properties of a single setting are declared with it
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
    "coded",
]

MEANINGS: Mapping[Trait, str] = {
    "linear": "the output for a sum of sounds is the sum of the outputs for each",
    "time-invariant": "a delayed input gives the same output, delayed",
    "level-dependent": "a gain before it is not equivalent to a gain after it",
    "commutes": "it can be swapped with every other effect that commutes: each channel goes through a linear, time-invariant system",
    "filter": "it commutes and adds no echo: its frequency response describes it completely",
    "dynamic": "it multiplies by a gain that follows the level of the audio; ``gain_curve`` gives it, without settings that are gains",
    "flattening": "it lowers peaks relative to the mean: the crest factor falls",
    "level": "it multiplies each channel by one constant for the whole signal",
    "normalising": "it is a level whose constant is measured: a gain before it changes nothing; ``levelled``, ``gain_db`` and "
    "``is_too_soft`` say what was measured",
    "late": "it adds delayed copies of the sound",
    "stochastic": "it uses noise drawn from its setting ``seed``, which cannot be recovered from audio",
    "stereo": "it takes two channels, and does nothing where they are equal",
    "coded": "it goes through a lossy coder: it has no gradient of its own and no inverse, and input that differs by a rounding gives "
    "output that differs by up to the coder's noise",
}
