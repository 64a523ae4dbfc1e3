"""Recipes: one file for each kind of pair, from what is known about a track and a random generator to a draft of the pair.

A recipe is a module with

    Config                                  a ``RecipeConfig``: the keys of its section ``[pairs.NAME]``
    draft(material, config, rng) -> Draft   draws everything that is random about one pair; touches no audio

A ``Config`` whose ``needs_tempo`` or ``needs_normalisations`` is true has the estimate stage make those tables, and finds them in the
material; ``material.others`` holds the other tracks of the split.

and one line in ``RECIPES``. Below ``plan`` nothing knows the kinds.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from stemwright.datagen.pairs.recipes import edit, limit, mix, remix, removal
from stemwright.datagen.pairs.recipes.base import Draft, RecipeConfig, TrackMaterial


class Recipe(Protocol):
    """What a recipe module offers."""

    Config: type[RecipeConfig]

    def draft(self, material: TrackMaterial, config: RecipeConfig, rng: np.random.Generator) -> Draft:
        """Plans one pair. Raises Refused when the track has not what the recipe needs."""
        ...


RECIPES: dict[str, Recipe] = {"mix": mix, "remix": remix, "removal": removal, "limit": limit, "edit": edit}  # type: ignore[dict-item]  # modules stand for the protocol


def wants(pairs: object, need: Literal["tempo", "normalisations"]) -> bool:
    """Whether any recipe of a configuration's ``[pairs]`` that is to give pairs needs a table that is only made on demand."""
    sections = [getattr(pairs, kind) for kind in RECIPES]
    return any(section.per_track > 0 and getattr(section, f"needs_{need}") for section in sections)
