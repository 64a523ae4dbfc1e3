"""``mix``: the stems of an excerpt -> its mix. The pair that mixing consoles and drum-mixing networks train on.

Conventions
    Inputs are the stems as separated, or levelled: brought to one loudness by a fader, whose gain, written in the row, is the label
    (minus that gain is what a mixing model has to give back).
    The target is the released mixture, rebuilt from the stems and their residual, which sum to it, or the sum of the stems alone.

References
    Steinmetz et al. 2021 (differentiable mixing console) and Martinez Ramirez et al. 2021 (Mix-Wave-U-Net) for the shape of the pair.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from datagen.recipes.base import Draft, Material, RecipeConfig
from manifests.records import Branch, EffectUse, Signal


class Config(RecipeConfig):
    """The section ``[pairs.mix]``."""

    stems: tuple[str, ...] = Field((), description="inputs, in this order; none: all stems of the track")
    inputs: Literal["separated", "levelled"] = "separated"
    target: Literal["released", "sum"] = "released"
    loudness_lufs: float = Field(-23.0, ge=-70.0, le=0.0, description="of each input when levelled")


def draft(material: Material, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one stem/mix pair, in an excerpt where a stem drawn at random sounds."""
    names = material.choose(config.stems)
    sounding = [name for name in names if name in material.sounding] or list(names[:1])
    start_frame = material.excerpt(sounding[rng.integers(len(sounding))], rng)
    if not material.held:
        summed = material.stems if config.target == "released" else [material.named[name] for name in names]
        material.held["inputs"] = tuple(_input(material, name, config) for name in names)
        material.held["targets"] = (material.sum_of("mixture" if config.target == "released" else "mix", summed),)
    return Draft(start_frame, material.held["inputs"], material.held["targets"])


def _input(material: Material, name: str, config: Config) -> Signal:
    return Signal(name=name, branches=(Branch(source_id=material.named[name].id, chain=_chain(material, name, config)),))


def _chain(material: Material, name: str, config: Config) -> tuple[EffectUse, ...]:
    if config.inputs == "separated" or material.estimates[name].loudness_lufs is None:
        return ()
    return (material.fader_to(name, config.loudness_lufs),)
