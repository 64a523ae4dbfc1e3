"""The settings of effects as vectors: what a network is trained to give back.

Conventions
    A vocabulary is a fixed list of slots. A number has the slot ``effect.setting`` and stands there along the setting's own scale, 0 at
    the low end of its range and 1 at the high end. One that may be switched off besides has a slot ``effect.setting=off``, 0 or 1. A choice
    has a slot ``effect.setting=option`` for each option, one of them 1.
    A vector has a mask: False where the chain has not this effect, or where a number is switched off. A setting that a row does not name
    has its neutral value and is there.
    Where an effect stands twice in a chain, the later one counts. The order of the effects is not in the vector; the pair has it.
    The whole vocabulary is the same for every dataset of one version of this package; part of it is chosen by effect or by setting.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datagen.effects import EFFECTS
from datagen.effects.setting import Plain, Range, fields
from manifests.records import EffectUse

OFF = "off"


class Vocabulary:
    """The slots of some effects or settings, of all if none is named; encodes chains and decodes vectors.

    ``wanted`` are names of effects ("fader") and settings ("eq.low_gain_db"). Raises ValueError naming the nearest for one there is not.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        every = {f"{effect}.{name}": field for effect in EFFECTS for name, field in fields(EFFECTS[effect].Settings).items()}
        for name in wanted:
            if name not in EFFECTS and name not in every:
                (near,) = difflib.get_close_matches(name, [*EFFECTS, *every], n=1, cutoff=0.0)
                raise ValueError(f"there is no effect or setting {name!r} to label; did you mean {near!r}?")
        self.settings = {key: field for key, field in every.items() if not wanted or key in wanted or key.partition(".")[0] in wanted}
        self.names: tuple[str, ...] = tuple(slot for key, field in self.settings.items() for slot in _slots(key, field))
        self._at = {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, chain: Sequence[EffectUse]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """(values [K] in [0, 1], mask [K]) of a chain. Raises ValueError for settings that the effect does not take."""
        values, mask = np.zeros(len(self), np.float32), np.zeros(len(self), np.bool_)
        for use in chain:
            settings = EFFECTS[use.effect].Settings(**use.settings)
            for name in fields(type(settings)):
                key = f"{use.effect}.{name}"
                if key in self.settings:
                    self._put(key, getattr(settings, name), values, mask)
        return values, mask

    def _put(self, key: str, value: Any, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> None:
        field = self.settings[key]
        slots = [self._at[slot] for slot in _slots(key, field)]
        mask[slots] = True
        if not isinstance(field, Range):
            values[slots] = [option == value for option in field.options]
            return
        off = _has_off(field) and value == field.off
        values[slots] = [0.0 if off else min(max(field.to_unit(value), 0.0), 1.0), *((float(off),) if _has_off(field) else ())]
        mask[slots[0]] = not off

    def decode(self, values: npt.ArrayLike, mask: npt.ArrayLike) -> dict[str, dict[str, Plain]]:
        """Effect -> its settings, of a vector: the inverse of ``encode``, but for the order of the effects. Takes predictions as well."""
        values, mask = np.asarray(values, np.float64), np.asarray(mask, np.bool_)
        found: dict[str, dict[str, Plain]] = {}
        for key, field in self.settings.items():
            slots = [self._at[slot] for slot in _slots(key, field)]
            effect, _, name = key.partition(".")
            if not mask[slots].any():
                continue
            settings = found.setdefault(effect, {})
            if not isinstance(field, Range):
                settings[name] = field.options[int(values[slots].argmax())]
            elif _has_off(field) and values[slots[1]] >= 0.5 and field.off is not None:
                settings[name] = field.off
            else:
                settings[name] = field.from_unit(min(max(float(values[slots[0]]), 0.0), 1.0))
        return found


def _has_off(field: Range) -> bool:
    """Whether a setting can be switched off by a value outside its range."""
    return field.off is not None and not field.low <= field.off <= field.high


def _slots(key: str, field: Any) -> list[str]:
    if isinstance(field, Range):
        return [key, f"{key}={OFF}"] if _has_off(field) else [key]
    return [f"{key}={str(option).lower() if isinstance(option, bool) else option}" for option in field.options]
