"""Dynamic range compression after Gorlow and Reiss: feed-forward, hard knee, ballistics in the detector and in the gain.

    detector   v[n] = (b |x[n]|^p + (1-b) v[n-1]^p)^(1/p)       p = 1 (peak) or 2 (RMS); b attack while |x[n]| > v[n-1], else release
    curve      f[n] = (v[n] / L)^-S  where v > L, else 1        S = 1 - 1/ratio
    gain       g[n] = c f[n] + (1-c) g[n-1]                     c attack while f[n] < g[n-1], else release
    output     y[n] = makeup g[n] x[n]

Conventions
    A time tau gives the coefficient 1 - exp(-2.2 / (sample_rate tau)): 89 % of a step within tau. A time of 0 follows at once.
    linked: all channels of an item share one gain, driven by the loudest channel at each sample. Otherwise each has its own.
    There is no look-ahead; an excerpt starts with an empty detector and a gain of 1.
    ``apply`` runs on the device of the audio, in float64; ``invert`` on the CPU: a signal on a GPU is brought there and back.

References
    Gorlow and Reiss 2013, "Model-based inversion of dynamic range compression", IEEE TASLP 21(7): the model and its symbols.
    ``TYPICAL``: threshold, ratio, attack and release of RemFX 2023; detector times around the 5 ms of Gorlow and Reiss's presets.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE, TIME_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import checked, column
from stemwright.datagen.effects.traits import Trait

NAME = "compressor"
TRAITS: frozenset[Trait] = frozenset({"time-invariant", "level-dependent", "dynamic", "flattening"})

TYPICAL = {
    "threshold_db": (-42.0, -20.0),
    "ratio": (1.5, 6.0),
    "detector_attack_ms": (1.0, 20.0),
    "detector_release_ms": (1.0, 20.0),
    "attack_ms": (1.0, 50.0),
    "release_ms": (10.0, 250.0),
    "makeup_db": (0.0, 9.0),
}


class Settings(EffectSettings):
    """Threshold, ratio, detector and ballistics. A ratio of 1 compresses nothing."""

    threshold_db: float = setting(
        0.0,
        low=-80.0,
        high=0.0,
        unit="dBFS",
        level="absolute",
        bound="threshold",
        tolerance=1.0,
        description="detector level above which the gain falls",
    )
    ratio: float = setting(
        1.0, low=1.0, high=math.inf, unit=":1", scale="reciprocal", tolerance=0.03, description="input dB for one output dB"
    )
    detector: Literal["peak", "rms"] = choice("peak", ("peak", "rms"), description="what the detector averages: |x| or x squared")
    detector_attack_ms: float = setting(
        5.0, low=0.01, high=500.0, unit="ms", scale="log", off=0.0, tolerance=TIME_TOLERANCE, description="detector, rising"
    )
    detector_release_ms: float = setting(
        5.0, low=0.01, high=5000.0, unit="ms", scale="log", off=0.0, tolerance=TIME_TOLERANCE, description="detector, falling"
    )
    attack_ms: float = setting(
        10.0, low=0.01, high=500.0, unit="ms", scale="log", off=0.0, tolerance=TIME_TOLERANCE, description="gain, falling"
    )
    release_ms: float = setting(
        100.0, low=0.01, high=5000.0, unit="ms", scale="log", off=0.0, tolerance=TIME_TOLERANCE, description="gain, rising"
    )
    makeup_db: float = setting(
        0.0, low=-24.0, high=36.0, unit="dB", gain=True, tolerance=DB_TOLERANCE, description="gain after compression"
    )
    linked: bool = choice(True, (True, False), needs="difference", description="one gain for all channels")


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the compressed audio."""
    from stemwright.datagen.effects.dsp.dynamics import compress

    checked(audio, sample_rate)
    compressed = compress(_grouped(audio, settings), _coefficients(audio, sample_rate, settings), _power(settings))
    makeup = 10.0 ** (column(settings.makeup_db, audio) / 20.0)
    if compressed.requires_grad or makeup.requires_grad:
        return compressed.reshape(audio.shape) * makeup
    return compressed.reshape(audio.shape).mul_(makeup)  # in place: no second array


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``, exactly up to rounding, if the audio was compressed from its first sample with these settings.

    For an excerpt from the middle, start five times the longest of the four times earlier, and cut that off afterwards: the unknown state
    at the start is then e^-11 of what it was. Raises ValueError for an infinite ratio that acts at once, which maps many inputs to one
    output.
    """
    from stemwright.datagen.effects.dsp.dynamics import expand

    checked(audio, sample_rate)
    coefficients = _coefficients(audio, sample_rate, settings)
    if bool(((coefficients[:, 1] == 1.0) & (coefficients[:, 2] == 1.0) & (coefficients[:, 4] == 1.0)).any()):
        raise ValueError(
            "an infinite ratio without attack times maps many inputs to one output and cannot be undone; give it an attack time"
        )
    unmade = audio.detach() / 10.0 ** (column(settings.makeup_db, audio.double()) / 20.0)
    return expand(_grouped(unmade, settings), coefficients, _power(settings)).reshape(audio.shape).to(audio.dtype)


def gain_curve(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain that ``apply`` gives every sample, make-up aside: float64 [..., 1, T] linked, [..., C, T] not."""
    from stemwright.datagen.effects.dsp import dynamics

    checked(audio, sample_rate)
    gain = dynamics.gain_curve(_grouped(audio, settings), _coefficients(audio, sample_rate, settings), _power(settings))
    return gain.reshape(*audio.shape[:-2], 1 if settings.linked else audio.shape[-2], audio.shape[-1])


def followed(audio: torch.Tensor, sample_rate: int, settings: Settings) -> tuple[Any, Any, int, Any]:
    """What derivatives need, as arrays: audio by groups [G, C, T], coefficients [G, 6], the detector's power, states [2, G, 1 + T].

    See ``stemwright.datagen.effects.dsp.dynamics`` for the states, which begin before the first sample.
    """
    from stemwright.datagen.effects.dsp import dynamics

    grouped, coefficients, power = _grouped(audio, settings), _coefficients(audio, sample_rate, settings), _power(settings)
    return grouped.numpy(), coefficients.numpy(), power, dynamics.states_of(grouped, coefficients, power)


def _power(settings: Settings) -> int:
    return 2 if settings.detector == "rms" else 1


def _grouped(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Audio [..., C, T] as groups of channels that share a gain: [G, C, T] linked, [G C, 1, T] not."""
    return audio.reshape(-1, audio.shape[-2], audio.shape[-1]) if settings.linked else audio.reshape(-1, 1, audio.shape[-1])


def _coefficients(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """What the recursion needs, float64 [G, 6]; see ``stemwright.datagen.effects.dsp.dynamics``."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=audio.device)

    def smoothing(time_ms: Any) -> torch.Tensor:
        return -torch.expm1(-2200.0 / (sample_rate * number(time_ms)))

    rows = torch.broadcast_tensors(
        10.0 ** (number(settings.threshold_db) * (_power(settings) / 20.0)),
        1.0 - 1.0 / number(settings.ratio),
        smoothing(settings.detector_attack_ms),
        smoothing(settings.detector_release_ms),
        smoothing(settings.attack_ms),
        smoothing(settings.release_ms),
        audio.new_zeros(audio.shape[:-2], dtype=torch.float64),
    )
    items = torch.stack(rows[:6], dim=-1).reshape(-1, 6)
    return items if settings.linked else items.repeat_interleave(audio.shape[-2], dim=0)
