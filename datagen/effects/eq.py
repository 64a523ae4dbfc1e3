"""A parametric equaliser: low shelf, four peaks, high shelf.

Conventions
    A band with a gain of 0 dB is skipped. A peak has its full gain at its frequency; a shelf has half of its gain, in dB, there.
    q of a peak is its centre frequency over its bandwidth between the points of half the gain; 0.71 gives the steepest shelf without
    a bump. Both hold on the frequency axis of the analogue prototype, tan(π f / sample_rate): near half the sample rate a peak is narrower
    in Hz (at 44.1 kHz a peak of q 1 has 0.75 of the width at 8 kHz, 0.43 at 14 kHz). All bands are
    minimum-phase: the inverse is the same equaliser with its gains negated, exactly.

References
    The filters of ``stemwright.datagen.effects.dsp.biquads``. ``TYPICAL``: Steinmetz et al. 2024, Diff-MST, the ranges of its equaliser.
"""

from __future__ import annotations

from typing import Any

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "eq"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "commutes", "filter"})
BANDS = ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")

TYPICAL = {
    "low_shelf_gain_db": (-12.0, 12.0),
    "low_shelf_hz": (20.0, 2000.0),
    "low_shelf_q": (0.1, 5.0),
    "peak1_gain_db": (-12.0, 12.0),
    "peak1_hz": (80.0, 2000.0),
    "peak1_q": (0.1, 5.0),
    "peak2_gain_db": (-12.0, 12.0),
    "peak2_hz": (2000.0, 8000.0),
    "peak2_q": (0.1, 5.0),
    "peak3_gain_db": (-12.0, 12.0),
    "peak3_hz": (8000.0, 12_000.0),
    "peak3_q": (0.1, 5.0),
    "peak4_gain_db": (-12.0, 12.0),
    "peak4_hz": (12_000.0, 20_000.0),
    "peak4_q": (0.1, 5.0),
    "high_shelf_gain_db": (-12.0, 12.0),
    "high_shelf_hz": (6000.0, 20_000.0),
    "high_shelf_q": (0.1, 5.0),
}


def _gain(band: str) -> Any:
    return setting(0.0, low=-24.0, high=24.0, unit="dB", tolerance=1.0, description=f"gain of the {band}")


def _hz(neutral: float, band: str) -> Any:
    return setting(neutral, low=20.0, high=20_000.0, unit="Hz", scale="log", tolerance=0.1, description=f"frequency of the {band}")


def _q(neutral: float, band: str) -> Any:
    return setting(neutral, low=0.1, high=10.0, scale="log", tolerance=0.25, description=f"steepness of the {band}")


class Settings(EffectSettings):
    """Gain, frequency and q of six bands."""

    low_shelf_gain_db: float = _gain("low shelf")
    low_shelf_hz: float = _hz(100.0, "low shelf")
    low_shelf_q: float = _q(0.71, "low shelf")
    peak1_gain_db: float = _gain("first peak")
    peak1_hz: float = _hz(250.0, "first peak")
    peak1_q: float = _q(1.0, "first peak")
    peak2_gain_db: float = _gain("second peak")
    peak2_hz: float = _hz(1000.0, "second peak")
    peak2_q: float = _q(1.0, "second peak")
    peak3_gain_db: float = _gain("third peak")
    peak3_hz: float = _hz(3000.0, "third peak")
    peak3_q: float = _q(1.0, "third peak")
    peak4_gain_db: float = _gain("fourth peak")
    peak4_hz: float = _hz(6000.0, "fourth peak")
    peak4_q: float = _q(1.0, "fourth peak")
    high_shelf_gain_db: float = _gain("high shelf")
    high_shelf_hz: float = _hz(8000.0, "high shelf")
    high_shelf_q: float = _q(0.71, "high shelf")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the equalised audio. Raises ValueError for an active band above half the sample rate."""
    from stemwright.datagen.effects.dsp.biquads import cascade

    return cascade(check_form(audio, sample_rate), sections(settings, sample_rate))


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``."""
    from stemwright.datagen.effects.dsp.biquads import cascade

    return cascade(check_form(audio, sample_rate), sections(settings, sample_rate, sign=-1.0))


def sections(settings: Settings, sample_rate: int, *, sign: float = 1.0) -> list[torch.Tensor]:
    """The second-order sections of the active bands, each [..., 5]; ``sign`` -1 gives those of the inverse."""
    from stemwright.datagen.effects.dsp.biquads import peak, shelf
    from stemwright.datagen.effects.dsp.nyquist import below_nyquist

    active = []
    for band in BANDS:
        gain_db, hz, q = (getattr(settings, f"{band}_{name}") for name in ("gain_db", "hz", "q"))
        if is_off(gain_db, 0.0):
            continue
        hz = below_nyquist(f"{band}_hz", hz, sample_rate)
        if band.startswith("peak"):
            active.append(peak(sign * gain_db, hz, q, sample_rate))
        else:
            active.append(shelf(sign * gain_db, hz, q, sample_rate, high=band == "high_shelf"))
    return active
