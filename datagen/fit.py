"""Settings of a whole chain from dry and wet audio.

Each effect of a chain gets a start: what lies before it is applied to dry, what lies after it is undone on wet, and its own ``fit``
does the rest. Then all settings of the chain are refined together on the waveform. For a whole console see ``datagen.console``.

Conventions
    Audio is [C, T], numpy or torch, float. The residual is whitened by the spectrum of wet, so that treble counts like bass.
    A gain that two effects share (make-up and fader) is left to the fader. Whole numbers, delays and other steps keep their start.
    Wet that is late or early by up to a second is aligned first. An effect that does not help is pruned.

References
    Lee et al. 2024 for pruning; ``datagen.effects.refine`` for the search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter

from datagen.chain_start import Use, again
from datagen.chain_start import start as _start
from datagen.effects import EFFECTS, apply_chain
from datagen.effects.setting import Range, fields

if TYPE_CHECKING:
    import torch

    from datagen.console import Console
    from datagen.effects.refine import Vector

EXCERPT_S = 3.0
LATEST_S = 1.0
TURNS = 4
SETTLED_DB = -80.0
LOST_DB = -30.0  # a residual above which a compressor may stand in a wrong valley
HELPS_DB = 0.2  # an effect whose removal costs less is pruned
# Settings that move the audio in steps, so that a small change of them says nothing.
STEPPED = {("delay", "delay_ms"), ("room", "pre_delay_ms"), ("limiter", "lookahead_ms")}


@dataclass(frozen=True)
class FittedChain(Sequence[Use]):
    """A chain ready for ``apply_chain``, with how well it does and what could not be known."""

    uses: tuple[Use, ...]
    error_db: float
    undetermined: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()

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


def fit_chain(wet: Any, dry: Any, sample_rate: int, chain: Sequence[str | Use]) -> FittedChain:
    """The settings with which the named effects, in their order, turn dry into wet.

    Raises ValueError where the signals differ in shape or are silent, and for an unknown effect.
    """
    wet, dry = _aligned(_tensor(wet), _tensor(dry), sample_rate)
    names = [use if isinstance(use, str) else use[0] for use in chain]
    for name in names:
        EFFECTS[name]
    limit = round(EXCERPT_S * sample_rate)
    wet, dry = wet[:, :limit], dry[:, :limit]
    uses, undetermined = _searched(wet, dry, sample_rate, names)
    kept, pruned = _pruned(wet, dry, sample_rate, uses)
    return FittedChain(tuple(kept), _error_db(wet, dry, sample_rate, kept), undetermined, tuple(pruned))


def fit_console(mixture: Any, stems: Mapping[str, Any], sample_rate: int, console: Sequence[str] | Mapping[str, Sequence[str]]) -> Console:
    """A chain for each stem such that the sum of the processed stems is nearest to the mixture: see ``datagen.console``."""
    from datagen import console as consoles  # it imports this module

    return consoles.fit_console(mixture, stems, sample_rate, console)


def _searched(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: Sequence[str]) -> tuple[list[Use], tuple[str, ...]]:
    """Effect by effect and all together, in turns, until the waveform is explained or nothing helps any more."""
    best = _start(wet, dry, sample_rate, names)
    best_db, undetermined = _error_db(wet, dry, sample_rate, best), tuple[str, ...]()
    for turn in range(TURNS):
        uses = again(wet, dry, sample_rate, best, starts=1 + turn if best_db > LOST_DB else 0)
        uses = min((uses, best), key=lambda found: _error_db(wet, dry, sample_rate, found))
        uses, unsure = _refined(wet, dry, sample_rate, uses, 8)
        error_db = _error_db(wet, dry, sample_rate, uses)
        gained = best_db - error_db
        if error_db < best_db:
            best, best_db, undetermined = uses, error_db, unsure
        if best_db < SETTLED_DB or (turn > 0 and gained < 1.0):
            break
    return best, undetermined


def _refined(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], iterations: int) -> tuple[list[Use], tuple[str, ...]]:
    """All settings of a chain together, by least squares on the whitened waveform; and the names of those left undetermined."""
    from datagen.effects.refine import refine
    from datagen.effects.waveform import UNDETERMINED

    unknown = _unknowns(uses, dry.shape[0])
    if not unknown:
        return uses, ()
    whitener = _whitener(wet)
    goal = lfilter(whitener, [1.0], wet.numpy())

    def settled(unit: Vector) -> list[Use]:
        changes: dict[int, dict[str, float]] = {}
        for (index, field), value in zip(unknown, unit, strict=True):
            changes.setdefault(index, {})[field.name] = field.from_unit(float(value))
        return [(name, settings.model_copy(update=changes.get(index, {}))) for index, (name, settings) in enumerate(uses)]

    def residual(unit: Vector) -> Vector:
        return np.asarray(lfilter(whitener, [1.0], apply_chain(dry, sample_rate, settled(unit)).numpy()) - goal).ravel()

    first = np.array([min(max(field.to_unit(getattr(uses[index][1], field.name)), 0.0), 1.0) for index, field in unknown])
    found = refine(residual, first, iterations=iterations)
    names = [f"{uses[index][0]}.{field.name}" for index, field in unknown]
    return settled(found.unit), tuple(name for name, error in zip(names, found.error, strict=True) if error > UNDETERMINED)


def _unknowns(uses: Sequence[Use], channels: int) -> list[tuple[int, Range]]:
    has_fader = any(name == "fader" for name, _ in uses)
    unknown = []
    for index, (name, settings) in enumerate(uses):
        for field in fields(type(settings)).values():
            if not isinstance(field, Range) or field.scale == "integer" or (name, field.name) in STEPPED:
                continue
            shared = (name, field.name) == ("compressor", "makeup_db") and has_fader
            flat = (name, field.name) == ("fader", "pan") and channels != 2
            if not (shared or flat) and getattr(settings, field.name) != field.off:
                unknown.append((index, field))
    return unknown


def _pruned(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use]) -> tuple[list[Use], list[str]]:
    """The chain without the effects whose removal hardly changes the error, the least useful first."""
    kept, pruned = list(uses), list[str]()
    while len(kept) > 1:
        now = _error_db(wet, dry, sample_rate, kept)
        without = [_error_db(wet, dry, sample_rate, kept[:index] + kept[index + 1 :]) for index in range(len(kept))]
        least = int(np.argmin(without))
        if without[least] > now + HELPS_DB:
            break
        pruned.append(kept.pop(least)[0])
    return kept, pruned


def _error_db(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: Sequence[Use]) -> float:
    return _level_db(apply_chain(dry, sample_rate, uses) - wet, wet)


def _level_db(error: torch.Tensor, reference: torch.Tensor) -> float:
    return 10.0 * math.log10(float(error.square().sum()) / max(float(reference.square().sum()), 1e-30) + 1e-40)


def _aligned(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Both signals without a delay between them. Raises ValueError where they differ in shape, or no delay within a second fits."""
    if wet.shape != dry.shape:
        raise ValueError(f"wet and dry must have one shape [channels, time]; got {list(wet.shape)} and {list(dry.shape)}")
    if not float(dry.abs().max()) > 0.0 or not float(wet.abs().max()) > 0.0:
        raise ValueError("a silent signal says nothing about any effect")
    size = next_fast_len(2 * dry.shape[-1], real=True)
    cross = rfft(wet.sum(0).numpy(), size) * np.conj(rfft(dry.sum(0).numpy(), size))
    # Only the phase counts: the delay stands out whatever filter lies between the signals.
    correlation = np.abs(irfft(cross / np.maximum(np.abs(cross), 1e-6 * np.abs(cross).max()), size))
    latest = min(round(LATEST_S * sample_rate), dry.shape[-1] - 1)
    near = np.concatenate([correlation[-latest:], correlation[: latest + 1]])
    lag = int(np.argmax(near)) - latest
    if lag == 0 or near.max() < 2.0 * near[latest]:
        return wet, dry
    if lag > 0:
        return wet[:, lag:], dry[:, :-lag]
    return wet[:, :lag], dry[:, -lag:]


def _whitener(signal: torch.Tensor) -> np.ndarray:
    """A short linear predictor of the signal: its residual has a flat spectrum."""
    from datagen.effects.response import predictor

    return predictor(signal, order=12, floor_db=-60.0)


def _tensor(audio: Any) -> torch.Tensor:
    import torch

    return torch.as_tensor(np.array(audio) if isinstance(audio, np.ndarray) else audio).detach().cpu().double()
