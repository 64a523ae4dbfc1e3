"""A fitted chain: what a search for settings gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from stemwright.datagen.inverse.known_dry.chain_start import Use


@dataclass(frozen=True)
class FittedChain(Sequence[Use]):
    """A chain ready for ``apply_chain``, with how well it does and what could not be known.

    ``confidence`` has a number for each setting that was sought, as "compressor.ratio": 1 where the audio pins it down, 0 where its
    standard error exceeds a twentieth of its range; those stand in ``undetermined``, too.
    """

    uses: tuple[Use, ...]
    error_db: float
    undetermined: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    confidence: Mapping[str, float] = dataclasses.field(default_factory=dict)

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
