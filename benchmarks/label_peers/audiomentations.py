"""The effects of audiomentations (MIT): each augmentation with one value instead of a range, and a probability of 1.

Definitions are those of its docstrings. Its limiter defines a time as that of all but a thousandth (-60 dB) of the way to a constant gain.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.label_audit import AuditedEffect, Probe, of_library
from stemwright.datagen.evaluate.label_measures import level_steps, responses, signal_levels
from stemwright.datagen.evaluate.label_measures.systems import System

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.01, "relative": True}
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}
Q: dict[str, Any] = {"tolerance": 0.02, "relative": True, "definition": "on the frequency axis of the analogue prototype"}


def _effect(name: str, *probes: Probe, **whole: Any) -> AuditedEffect:
    """An augmentation whose settings are ranges; those in ``whole`` are given as they are."""

    def apply(audio: np.ndarray, sample_rate: int, settings: Any) -> np.ndarray:
        import audiomentations

        random.seed(0)
        np.random.seed(0)  # noqa: NPY002  what it draws from
        ends = {f"{end}_{key}": value for key, value in settings.items() for end in ("min", "max") if key not in whole}
        given = {key: settings.get(key, value) for key, value in whole.items()}
        return np.asarray(getattr(audiomentations, name)(**ends, **given, p=1.0)(samples=audio, sample_rate=sample_rate))

    return AuditedEffect(name, apply, probes)


def _filters() -> Iterable[AuditedEffect]:
    for name, high in (("LowPassFilter", False), ("HighPassFilter", True)):
        yield _effect(
            name,
            Probe("cutoff_freq", (60.0, 300.0, 3000.0, 7500.0), responses.cutoff(high=high), {"rolloff": 12}, **HZ, definition="-3 dB"),
            Probe("rolloff", (6, 12, 24, 48), responses.slope_db(1000.0, high=high), {"cutoff_freq": 1000.0}, "dB/octave", tolerance=0.5),
        )
    for name in ("BandPassFilter", "BandStopFilter"):
        notch = name == "BandStopFilter"
        fixed = {"center_freq": 1000.0, "bandwidth_fraction": 0.5, "rolloff": 12}
        centre, share = responses.band_centre(notch=notch), responses.band_share(notch=notch)
        yield _effect(
            name,
            Probe("center_freq", (300.0, 1000.0, 4000.0), centre, fixed, **HZ, definition="middle of both cutoffs"),
            Probe("bandwidth_fraction", (0.3, 0.8, 1.5), share, fixed, tolerance=0.02, relative=True),
            Probe("rolloff", (12, 24, 36), None, fixed),
        )
    gains = (-18.0, -6.0, 3.0, 12.0)
    for name, near in (("PeakingFilter", 1000.0), ("LowShelfFilter", 300.0), ("HighShelfFilter", 6000.0)):
        peak, high = name.startswith("Peak"), name.startswith("High")
        fixed = {"center_freq": near, "gain_db": 9.0, "q": 0.7}
        yield _effect(
            name,
            Probe("gain_db", gains, responses.peak_db() if peak else responses.shelf_db(high=high), fixed, **DB),
            Probe("center_freq", (near / 2.0, near, near * 1.2), responses.peak_hz if peak else responses.shelf_hz, fixed, **HZ),
            Probe("q", (0.5, 1.5, 4.0) if peak else (0.3, 0.5, 0.9), (responses.peak_q if peak else responses.shelf_q)(near), fixed, **Q),
        )
    yield _effect("SevenBandParametricEQ", Probe("gain_db", (-12.0, 3.0, 12.0)))
    yield _effect("AirAbsorption", Probe("humidity", (35.0, 60.0, 85.0)), Probe("distance", (10.0, 50.0, 100.0)))


def _dynamics() -> Iterable[AuditedEffect]:
    yield _effect("Gain", Probe("gain_db", (-24.0, -6.0, 6.0, 12.0), signal_levels.gain_db, **DB))
    yield _effect("GainTransition", Probe("gain_db", (-24.0, -6.0, 6.0)), Probe("duration", (0.2, 0.5, 1.0)))
    fixed = {"threshold_db": -20.0, "attack": 0.002, "release": 0.05}
    said = {
        "unit": "s",
        "tolerance": 0.05,
        "relative": True,
        "definition": "99.9 % of the way to a constant gain (its source; not documented)",
    }
    up, down = (level_steps.LevelStep(pair, 0.999, 0.001, hold_s=1.5, lead_s=0.05) for pair in ((-40.0, 0.0), (0.0, -40.0)))
    yield _effect(
        "Limiter",
        Probe("threshold_db", (-24.0, -12.0, -6.0, -2.0), level_steps.threshold(0.3), fixed, **DB, definition="against full scale"),
        Probe("attack", (0.002, 0.01, 0.025), _seconds(level_steps.step_time(up)), fixed, **said),
        Probe("release", (0.05, 0.2, 0.7), _seconds(level_steps.step_time(down)), fixed, **said),
        threshold_mode="absolute",
    )
    yield _effect("Clip", Probe("a_max", (0.01, 0.1, 0.5), _highest, {}, tolerance=0.001), a_min=-1.0, a_max=1.0)
    yield _effect("ClippingDistortion", Probe("percentile_threshold", (5, 20, 40), _clipped_share, unit="%", tolerance=0.5))
    yield _effect("TanhDistortion", Probe("distortion", (0.1, 0.4, 0.7)))
    yield _effect("LoudnessNormalization", Probe("lufs", (-31.0, -23.0, -14.0), signal_levels.sine_loudness(), unit="LUFS", tolerance=0.1))
    yield _effect("BitCrush", Probe("bit_depth", (4, 6, 8, 10), signal_levels.bits, unit="bit", tolerance=0.05))
    yield _effect("Aliasing", Probe("sample_rate", (4000, 8000, 16_000)))


def _others() -> Iterable[AuditedEffect]:
    yield _effect("AddGaussianNoise", Probe("amplitude", (0.001, 0.005, 0.015), signal_levels.added_rms, tolerance=0.01, relative=True))
    yield _effect("AddGaussianSNR", Probe("snr_db", (5.0, 20.0, 40.0), signal_levels.snr_db, **DB))
    slope = signal_levels.noise_slope_db
    yield _effect(
        "AddColorNoise",
        Probe("snr_db", (5.0, 20.0, 40.0), signal_levels.snr_db, {"f_decay": 0.0}, **DB),
        Probe(
            "f_decay",
            (-6.02, -3.01, 3.01),
            slope,
            {"snr_db": 5.0},
            "dB/octave",
            tolerance=0.3,
            definition="slope of the spectrum in dB an octave",
        ),
    )
    yield _effect("PitchShift", Probe("semitones", (-4.0, -1.0, 2.0, 4.0), signal_levels.semitones(), unit="semitones", tolerance=0.05))
    yield _effect("TimeStretch", Probe("rate", (0.8, 0.9, 1.25)))
    yield _effect("Mp3Compression", Probe("bitrate", (32, 96, 192)))


def _seconds(measure: Any) -> Any:
    return lambda system, expected: measure(system, 1000.0 * expected) / 1000.0


def _highest(system: System, _: float) -> float:
    return float(system.heard(np.linspace(-0.9, 0.9, system.frames(0.2))).max())


def _clipped_share(system: System, _: float) -> float:
    """The share in % of a ramp's samples that are at its ends."""
    out = system.heard(np.linspace(-0.9, 0.9, system.frames(0.5)))
    return 100.0 * float(np.mean((out >= out.max() - 1e-7) | (out <= out.min() + 1e-7)))


def effects() -> dict[str, AuditedEffect]:
    """The effects of audiomentations by name. Raises ImportError where it is not installed."""
    import audiomentations  # noqa: F401

    return of_library([*_filters(), *_dynamics(), *_others()], "audiomentations", version("audiomentations"))
