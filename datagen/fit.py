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
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter

from datagen.effects import EFFECTS, apply_chain
from datagen.effects.setting import EffectSettings, Range, fields

if TYPE_CHECKING:
    import torch

    from datagen.console import Console
    from datagen.effects.refine import Vector
    from datagen.effects.response import Response

Use: TypeAlias = tuple[str, EffectSettings]

EXCERPT_S = 4.0
LATEST_S = 1.0
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
    uses = _start(wet, dry, sample_rate, names)
    uses, undetermined = _refined(wet, dry, sample_rate, uses, 20)
    kept, pruned = _pruned(wet, dry, sample_rate, uses)
    return FittedChain(tuple(kept), _error_db(wet, dry, sample_rate, kept), undetermined, tuple(pruned))


def fit_console(mixture: Any, stems: Mapping[str, Any], sample_rate: int, console: Sequence[str] | Mapping[str, Sequence[str]]) -> Console:
    """A chain for each stem such that the sum of the processed stems is nearest to the mixture: see ``datagen.console``."""
    from datagen import console as consoles  # it imports this module

    return consoles.fit_console(mixture, stems, sample_rate, console)


def _start(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: Sequence[str], fader: Any = None) -> list[Use]:
    """A start for each effect: filters first, from the mean response, then level, then what changes with level or time."""
    settings: dict[int, EffectSettings] = {index: EFFECTS[name].Settings() for index, name in enumerate(names)}
    order = sorted(range(len(names)), key=lambda index: {"eq": 0, "lowpass": 0, "highpass": 0, "fader": 1, "width": 1}.get(names[index], 2))
    for index in order:
        before = [(names[k], settings[k]) for k in range(index)]
        after = [(names[k], settings[k]) for k in range(index + 1, len(names))]
        source = apply_chain(dry, sample_rate, before)
        target = _undone(wet, sample_rate, after)
        if names[index] == "fader" and fader is not None:
            settings[index] = fader
            continue
        try:
            settings[index] = _fit_one(names[index], target, source, sample_rate)
        except ValueError:  # NotIdentifiableError among them: the joint search may still find it
            continue
    return _with_one_gain([(name, settings[index]) for index, name in enumerate(names)])


def _with_one_gain(uses: list[Use]) -> list[Use]:
    """The same chain with the make-up of its compressors moved into its fader, if it has one."""
    faders = [index for index, (name, _) in enumerate(uses) if name == "fader"]
    if not faders:
        return uses
    makeup_db = sum(float(settings.makeup_db) for name, settings in uses if name == "compressor")  # type: ignore[attr-defined, misc]
    moved = [(name, settings.model_copy(update={"makeup_db": 0.0}) if name == "compressor" else settings) for name, settings in uses]
    name, fader = moved[faders[0]]
    gain_db = min(max(float(fader.gain_db) + makeup_db, -48.0), 24.0)  # type: ignore[attr-defined]
    moved[faders[0]] = (name, fader.model_copy(update={"gain_db": gain_db}))
    return moved


def _fit_one(name: str, wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> EffectSettings:
    from datagen.effects.compression import fit_compression
    from datagen.effects.equalisation import fit_response
    from datagen.effects.response import measure_response, whiten

    if name == "eq":
        measured = measure_response(*whiten(wet, dry), sample_rate)
        return fit_response(_levelled(measured), sample_rate, rounds=2)
    if name == "compressor":
        return fit_compression(wet, dry, sample_rate, starts=1, iterations=8).settings
    effect: Any = EFFECTS[name]
    return cast("EffectSettings", effect.fit(wet, dry, sample_rate) if hasattr(effect, "fit") else effect.Settings())


def _levelled(measured: Response) -> Response:
    """The response with its mean level, in dB, taken out: that is the fader's."""
    from datagen.effects.response import Response

    level_db = float(np.average(20.0 * np.log10(np.abs(measured.gain) + 1e-9), weights=measured.weight))
    return Response(measured.hz, measured.gain * 10.0 ** (-level_db / 20.0), measured.weight, measured.error_db)


def _undone(wet: torch.Tensor, sample_rate: int, after: Sequence[Use]) -> torch.Tensor:
    """Wet without the effects after the one in question, as far as they can be undone."""
    for name, settings in reversed(after):
        effect: Any = EFFECTS[name]
        if not settings.is_neutral() and hasattr(effect, "invert"):
            try:
                wet = effect.invert(wet, sample_rate, settings)
            except ValueError:
                continue
    return wet


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
