"""A fitted chain: the result of a search for settings, for a chain with known dry sound and for each chain of a console."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

from stemwright.datagen.effects.settings import EffectSettings
from stemwright.datagen.inverse.confidence import DETERMINED

Use: TypeAlias = tuple[str, EffectSettings]


@dataclass(frozen=True)
class FittedChain(Sequence[Use]):
    """A chain ready for ``apply_chain``, with its error and what could not be determined.

    ``confidence`` has a number for each setting that was searched, as "compressor.ratio", of a second compressor "compressor#2.ratio": the
    probability that it is within its tolerance (``stemwright.datagen.inverse.confidence``). Settings of pruned effects are among them.
    ``unclear`` names those of the pruned effects that may have been used all the same: the residual is too large to tell.
    ``effect_share`` has, for each effect of a console's chain, the part that its removal would have of the residual's energy then, 0 to 1:
    no probability. None where removal was not tried: a fader is never removed.
    """

    uses: tuple[Use, ...]
    error_db: float
    confidence: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pruned: tuple[str, ...] = ()
    effect_share: tuple[float | None, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def undetermined(self) -> tuple[str, ...]:
        """The settings that the audio does not determine: confidence below DETERMINED."""
        return tuple(name for name, confidence in self.confidence.items() if confidence < DETERMINED)

    @overload
    def __getitem__(self, index: int) -> Use: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Use]: ...
    def __getitem__(self, index: int | slice) -> Use | Sequence[Use]:
        return self.uses[index]

    def __len__(self) -> int:
        return len(self.uses)

    def __iter__(self) -> Iterator[Use]:
        return iter(self.uses)

    def plain(self) -> list[dict[str, Any]]:
        """The chain as JSON can hold it."""
        return [{"effect": name, "settings": settings.plain()} for name, settings in self.uses]
