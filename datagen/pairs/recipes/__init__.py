"""Recipes: one file for each kind of pair, from what is known about a track and a random generator to a draft of the pair.

A recipe is a module with

    Config                                  a ``RecipeConfig``: the keys of its section ``[pairs.NAME]``
    draft(material, config, rng) -> Draft   draws everything that is random about one pair; touches no audio

A ``Config`` whose ``needs_tempo`` or ``needs_normalisations`` is true has the estimate stage make those tables, and finds them in the
material; ``material.others`` holds the other tracks of the split. Its ``num_signals`` says how many sound files a pair takes.

and one line in ``RECIPES``, or an entry point of the group ``stemwright.recipes`` in another package; such a kind gives pairs where the
configuration has its section, and none otherwise. Below ``plan`` nothing knows the kinds.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np

from stemwright.datagen.pairs.recipes.base import Draft, RecipeConfig, TrackMaterial
from stemwright.manifests.registry import Registry, requires

SHARED_KEYS = ("sample_rate", "duration_s")  # of [pairs] itself


class Recipe(Protocol):
    """What a recipe module offers."""

    Config: type[RecipeConfig]

    def draft(self, material: TrackMaterial, config: RecipeConfig, rng: np.random.Generator) -> Draft:
        """Plans one pair. Raises Refused when the track has not what the recipe needs."""
        ...


def _check(name: str, found: Any) -> None:
    requires(Config=lambda config: isinstance(config, type) and issubclass(config, RecipeConfig), draft=callable)(name, found)
    if name in SHARED_KEYS or hasattr(RecipeConfig, name):
        raise ValueError(f"{name!r} is a key of the section [pairs] or of its recipes; take another name")
    found.Config(per_track=0)  # every key needs a default


RECIPES: Registry[Recipe] = Registry(
    "kind of pair",
    "stemwright.recipes",
    {
        "mix": "stemwright.datagen.pairs.recipes.mix",
        "remix": "stemwright.datagen.pairs.recipes.remix",
        "removal": "stemwright.datagen.pairs.recipes.removal",
        "limit": "stemwright.datagen.pairs.recipes.limit",
        "edit": "stemwright.datagen.pairs.recipes.edit",
        "restore": "stemwright.datagen.pairs.recipes.restore",
    },
    plural="kinds of pair",
    check=_check,
)


def any_needs(pairs: object, need: Literal["tempo", "normalisations", "parts"]) -> bool:
    """Whether any recipe of a configuration's ``[pairs]`` that is to give pairs needs a table that is only made on demand."""
    sections = [getattr(pairs, kind) for kind in RECIPES]
    return any(section.per_track > 0 and getattr(section, f"needs_{need}") for section in sections)
