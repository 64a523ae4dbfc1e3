"""The effects by name, and chains of them.

Each effect is one file of this folder and the only implementation of that effect: it renders datasets, is fitted by gradient descent,
and is inverted where the mathematics allows. To add one: write the file, add its line to ``MODULES``; the contract test finds it.

Conventions
    audio is a torch tensor, float32 or float64, [..., C, T], full scale 1.0. Output has its shape, type and device, no latency, and no
    tail beyond its end. A setting is a float, or a tensor with the shape of the leading dimensions (or none), one value an item.
    Looking at the names loads no effect; loading an effect loads torch.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from stemwright.datagen.effects.settings import EffectSettings
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    import torch

    from stemwright.manifests.records import EffectUse

    Chain: TypeAlias = Sequence[EffectUse | tuple[str, EffectSettings]]

MODULES = {
    "fader": "stemwright.datagen.effects.fader",
    "width": "stemwright.datagen.effects.width",
    "eq": "stemwright.datagen.effects.eq",
    "lowpass": "stemwright.datagen.effects.lowpass",
    "highpass": "stemwright.datagen.effects.highpass",
    "compressor": "stemwright.datagen.effects.compressor",
    "limiter": "stemwright.datagen.effects.limiter",
    "clip": "stemwright.datagen.effects.clip",
    "distortion": "stemwright.datagen.effects.distortion",
    "reverb": "stemwright.datagen.effects.reverb",
    "room": "stemwright.datagen.effects.room",
    "delay": "stemwright.datagen.effects.delay",
    "chorus": "stemwright.datagen.effects.chorus",
    "loudness": "stemwright.datagen.effects.loudness",
}


class Effect(Protocol):
    """What every effect module has. ``TYPICAL`` narrows the settings to the ranges that are drawn unless somebody says otherwise.

    Effects that can be undone also have ``invert(audio, sample_rate, settings)``, those that can be recovered from a dry and a wet
    signal ``fit(wet, dry, sample_rate)``.

    Effects that leave a trace in a signal alone have ``estimate(stem, sample_rate, profile)``: a stem [C, T] and what is typical of its
    name (``stemwright.datagen.inverse.blind.profile.StemProfile``) -> ``stemwright.datagen.inverse.blind.estimators.Blind``, settings
    relative to the profile with a confidence, or none and the reason. An effect whose trace could as well be the music has no ``estimate``.
    """

    NAME: str
    TYPICAL: Mapping[str, Any]
    Settings: type[EffectSettings]

    @staticmethod
    def apply(audio: torch.Tensor, sample_rate: int, settings: Any) -> torch.Tensor:
        """Returns the audio with the effect."""


class _Effects(Mapping[str, Effect]):
    """Name -> module; a module is imported when it is first looked up."""

    def __getitem__(self, name: str) -> Effect:
        if name not in MODULES:
            near = difflib.get_close_matches(name, MODULES, n=1, cutoff=0.0)[0] if isinstance(name, str) else "fader"
            raise UnknownEffectError(f"there is no effect {name!r}; did you mean {near!r}? The effects are {', '.join(MODULES)}")
        return cast("Effect", importlib.import_module(MODULES[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES


class UnknownEffectError(KeyError, UsageError):
    """An effect's name that is not in ``EFFECTS``; the message names the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


EFFECTS: Mapping[str, Effect] = _Effects()


def resolve_chain(chain: Chain) -> list[tuple[Effect, EffectSettings]]:
    """Looks up each effect of a chain and checks its settings. Raises ValueError for an unknown effect or a setting out of its range."""
    resolved = []
    for use in chain:
        name, values = use if isinstance(use, tuple) else (use.effect, use.settings)
        effect = EFFECTS[name]
        resolved.append((effect, values if isinstance(values, effect.Settings) else effect.Settings(**cast("dict[str, Any]", values))))
    return resolved


def apply_chain(audio: torch.Tensor, sample_rate: int, chain: Chain) -> torch.Tensor:
    """Sends audio [..., C, T] through the effects of a chain, first to last. Neutral effects are passed over."""
    for effect, settings in resolve_chain(chain):
        if not settings.is_neutral():
            audio = effect.apply(audio, sample_rate, settings)
    return audio
