"""The data of RemFX as presets of the recipe ``removal``: its effects, ranges, counts and configurations.

Conventions
    A configuration keeps none of the effects and removes some, or removes exactly one and keeps up to four of the others (``-aug``). They
    are named as published; ``remfx-N-0``, N removed and none kept, is ``remfx-N-N`` by another name, ``remfx`` is ``remfx-5-5-full``, and
    ``remfx-aug`` draws which of the five is removed.
    Counts are drawn as published: a uniform number is rounded, so the fewest and the most are half as likely as those between. Where none
    would be removed, wet and dry were the same: such a draw is made again.
    Values are uniform, but for the delay's time (logarithmic). In other settings than ours, ours say the same: the compressor is JUCE's,
    whose times, times JUCE_TIME, are those of our detector; the chorus swings by 10 ms times its depth and feeds back with the other sign;
    the dry level of the reverberation is 2 - 2 wet; in mono its width is a factor of the tail.
    Two values are moved to where the published implementation is exact, since its label would otherwise not say what it did: a time of
    the delay, which it cuts to a whole sample where ours rounds, to a quarter of a sample beyond one, and a rate of the chorus, whose
    phase it sums in single precision, to a step that is a multiple of PHASE_STEP. Neither moves by more than 21 microseconds or 2 mHz.

Differences
    The excerpt is brought to -20 LUFS before the first effect as well, so that a threshold means the same on every song. The mean of the
    channels is taken, not their sum, which is the same after that. Every removed effect has to be heard by itself (``min_change_db``),
    besides the published distance of wet and dry. An excerpt starts anywhere where its stem sounds.

References
    Rice, Steinmetz, Fazekas, Reiss 2023, "General Purpose Audio Effect Removal", and its repository at 85d5030: facts only.
"""

from __future__ import annotations

import math
from typing import Any

from stemwright.datagen.pairs.recipes.base import Shape

JUCE_TIME = 2.2 / (2.0 * math.pi)  # JUCE reaches 1 - exp(-2π) of a step within a time, our detector 1 - exp(-2.2)
PHASE_STEP = 2.0**-21  # radians: the spacing of single-precision numbers between 4 and 8
SHAPE = Shape(48_000, 262_144)
RANGES: dict[str, dict[str, Any]] = {
    "distortion": {"drive_db": (8.0, 25.0), "asymmetry": 0.0},
    "compressor": {
        "threshold_db": (-42.0, -20.0),
        "ratio": (1.5, 6.0, "linear"),
        "detector": "peak",
        "detector_attack_ms": (JUCE_TIME * 1.0, JUCE_TIME * 50.0, "linear"),
        "detector_release_ms": (JUCE_TIME * 10.0, JUCE_TIME * 250.0, "linear"),
        "attack_ms": 0.0,
        "release_ms": 0.0,
        "makeup_db": 0.0,
        "linked": False,
    },
    "reverb": {"room_size": (0.3, 1.0), "damping": (0.2, 1.0), "wet": (0.2, 0.6), "dry": "2 - 2 wet", "width": (0.2, 1.0)},
    "chorus": {
        "rate_hz": (0.25, 1.5, "linear"),
        "depth": 0.0,
        "depth_ms": (2.0, 6.0),
        "centre_ms": (5.0, 10.0, "linear"),
        "feedback": (-0.4, -0.1),
        "mix": (0.15, 0.4),
        "phase": 0.5,
    },
    "delay": {"delay_ms": (100.0, 1000.0), "feedback": (0.05, 0.3), "mix": (0.1, 0.35)},
}
NAMED_AS = {"compressor": "compression"}  # where a published configuration calls an effect otherwise
_ALL: dict[str, Any] = {
    "effects": tuple(RANGES),
    "kept": (0, 0),
    "counts": "rounded",
    "kept_first": True,
    "loudness_lufs": -20.0,
    "level_after_each": True,
    "mono": True,
    "redraw_below": 1e-3,
    "ranges": RANGES,
}


def _presets() -> dict[str, dict[str, Any]]:
    found = {"remfx": {**_ALL, "removed": (0, 5)}, "remfx-5-5-full": {**_ALL, "removed": (0, 5)}, "remfx-5-1": {**_ALL, "removed": (1, 1)}}
    for count in range(1, len(RANGES) + 1):
        for name in (f"remfx-{count}-{count}", f"remfx-{count}-0"):
            found[name] = {**_ALL, "removed": (count, count)}
    augmented = {**_ALL, "removed": (1, 1), "kept": (0, 4)}
    found["remfx-aug"] = augmented
    for effect in RANGES:
        name = f"remfx-{NAMED_AS.get(effect, effect)}"
        found[name] = {**_ALL, "effects": (effect,), "removed": (1, 1)}
        others = tuple(other for other in RANGES if other != effect)
        found[f"{name}-aug"] = {**augmented, "effects": (effect,), "kept_effects": others}
    return found


PRESETS = _presets()


def as_published(effect: str, settings: dict[str, Any], sample_rate: int) -> dict[str, Any]:
    """Drawn settings with what the published implementation cannot hold exactly moved to the nearest value that it can."""
    held = AS_PUBLISHED.get(effect)
    return {**settings, **held(settings, sample_rate)} if held else settings


def _quarter_sample(settings: dict[str, Any], sample_rate: int) -> dict[str, float]:
    samples = math.floor(settings["delay_ms"] * sample_rate / 1000.0) + 0.25
    return {"delay_ms": samples * 1000.0 / sample_rate}


def _whole_phase_steps(settings: dict[str, Any], sample_rate: int) -> dict[str, float]:
    hz = PHASE_STEP * sample_rate / (2.0 * math.pi)
    return {"rate_hz": round(settings["rate_hz"] / hz) * hz}


AS_PUBLISHED = {"delay": _quarter_sample, "chorus": _whole_phase_steps}  # effect -> the settings that are moved
