"""The effects of MultiAFx (MIT): 85 functions over seven libraries, each with the ranges that its registry gives.

Those of sox call a program of that name and catch the exception where it is missing; those of torchaudio are left out where that is not
installed (an empty module of that name is used while MultiAFx is imported). Settings without a probe of their own are tried at the ends and
in the middle of their range, for whether the output moves.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.label_peers.stand_in import has_torchaudio, without_torchaudio
from stemwright.datagen.evaluate.label_audit import AuditedEffect, Plain, Probe, of_library
from stemwright.datagen.evaluate.label_measures import responses, signal_levels

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.02, "relative": True}
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}
Q: dict[str, Any] = {"tolerance": 0.03, "relative": True, "definition": "on the frequency axis of the analogue prototype"}
BAND_Q: dict[str, Any] = {"tolerance": 0.03, "relative": True, "definition": "centre over width in Hz at -3 dB (scipy)"}


def _measured(name: str, setting: str) -> dict[str, Any] | None:
    """The measure and the tolerance of a setting whose meaning its name and the effect's leave no doubt about."""
    high = "high" in name or "treble" in name
    if "lowpass" in name or "highpass" in name:
        if setting in ("cutoff", "cutoff_freq", "frequency") and "cheby" not in name:
            return {"measure": responses.cutoff(high=high), **HZ}
        if setting == "order" and "butter" in name:
            return {"measure": responses.order(1000.0, high=high), "tolerance": 0.05}
        if setting == "rolloff":
            return {"measure": responses.slope_db(1000.0, high=high), "unit": "dB/octave", "tolerance": 0.5}
    if "shelf" in name or "bass" in name or "treble" in name:
        of = {
            "gain_db": (responses.shelf_db(high=high), DB),
            "center_freq": (responses.shelf_hz, HZ),
            "frequency": (responses.shelf_hz, HZ),
        }
        of |= {"q": (responses.shelf_q(1000.0), Q)}
        return {"measure": of[setting][0], **of[setting][1]} if setting in of else None
    if name in ("am_peaking_filter", "sox_equalizer", "ta_equalizer_biquad"):
        of = {"gain_db": (responses.peak_db(), DB), "center_freq": (responses.peak_hz, HZ), "frequency": (responses.peak_hz, HZ)}
        of |= dict.fromkeys(("q", "Q", "width_q"), (responses.peak_q(1000.0), Q))
        return {"measure": of[setting][0], **of[setting][1]} if setting in of else None
    if name in ("sci_notch_iir", "sci_peak_iir"):
        notch = "notch" in name
        measure, how = (responses.band_middle(notch=notch), HZ) if setting == "freq" else (responses.band_q(1000.0, notch=notch), BAND_Q)
        return {"measure": measure, **how}
    return _level(name, setting)


def _level(name: str, setting: str) -> dict[str, Any] | None:
    """As ``_measured``, of effects of level, pitch, place and noise."""
    return {
        ("am_gain", "gain_db"): {"measure": signal_levels.gain_db, **DB},
        ("sox_gain", "gain_db"): {"measure": signal_levels.gain_db, **DB},
        ("ta_gain", "gain_db"): {"measure": signal_levels.gain_db, **DB},
        ("sox_vol", "gain"): {"measure": signal_levels.gain_factor, "tolerance": 0.01},
        ("sox_dcshift", "shift"): {"measure": signal_levels.added_constant, "tolerance": 0.001},
        ("am_bit_crush", "bit_depth"): {"measure": signal_levels.bits, "unit": "bit", "tolerance": 0.05},
        ("am_add_gaussian_noise", "amplitude"): {"measure": signal_levels.added_rms, "tolerance": 0.01, "relative": True},
        ("am_add_color_noise", "snr_db"): {"measure": signal_levels.snr_db, **DB},
        ("am_add_color_noise", "f_decay"): {"measure": signal_levels.noise_slope_db, "unit": "dB/octave", "tolerance": 0.3},
        ("am_loudness_normalization", "lufs"): {"measure": signal_levels.sine_loudness(), "unit": "LUFS", "tolerance": 0.1},
        ("pln_loudness_normalize", "target_lufs"): {"measure": signal_levels.sine_loudness(), "unit": "LUFS", "tolerance": 0.1},
        ("am_pitch_shift", "semitones"): {"measure": signal_levels.semitones(), "unit": "semitones", "tolerance": 0.05},
        ("sox_pitch", "n_semitones"): {"measure": signal_levels.semitones(), "unit": "semitones", "tolerance": 0.05},
        ("lib_pitch_shift", "n_steps"): {"measure": signal_levels.semitones(), "unit": "semitones", "tolerance": 0.05},
        ("npy_lr_pan", "pan"): {"measure": signal_levels.pan, "tolerance": 0.005, "channels": (2,)},
        ("npy_stereo_widener", "width"): {"measure": signal_levels.width, "tolerance": 0.01, "channels": (2,)},
    }.get((name, setting))


def _spread(ends: Any) -> tuple[float, ...]:
    """Both ends of a range and its middle, on its scale."""
    along = np.geomspace if ends.log_scale else np.linspace
    return tuple(float(value) for value in along(ends.min_val, ends.max_val, 3))


def _held(effect: Any, setting: str) -> dict[str, Plain]:
    """The other settings at the middle of their ranges; frequencies at 1 kHz and gains at 6 dB where those are within."""
    wished = {
        "cutoff": 1000.0,
        "cutoff_freq": 1000.0,
        "center_freq": 1000.0,
        "frequency": 1000.0,
        "freq": 1000.0,
        "gain_db": 6.0,
        "rolloff": 12.0,
    }
    wished |= {"f_decay": 0.0, "order": 2.0}
    held: dict[str, Plain] = {}
    for name, ends in effect.param_ranges.items():
        wish = wished.get(name)
        if name != setting:
            held[name] = wish if wish is not None and ends.min_val <= wish <= ends.max_val else _spread(ends)[1]
    return held


def _audited(effect: Any, whole: Iterable[str]) -> AuditedEffect:
    """An effect of the registry; one without settings has a probe of none, for whether it does anything."""

    def apply(audio: np.ndarray, sample_rate: int, settings: Mapping[str, Plain]) -> np.ndarray:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002  what its libraries draw from
        given = {key: round(float(value)) if key in whole else value for key, value in settings.items() if key != "-"}
        return np.asarray(effect.callable(audio, sample_rate, **given))

    probes = []
    for setting, ends in effect.param_ranges.items():
        values = tuple(float(round(value)) for value in _spread(ends)) if setting in (*whole, "bit_depth") else _spread(ends)
        if setting == "rolloff":
            values = (6.0, 12.0, 24.0)
        probes.append(Probe(setting, values, fixed=_held(effect, setting), **(_measured(effect.name, setting) or {})))
    return AuditedEffect(effect.name, apply, tuple(probes) or (Probe("-", (1.0,)),))


def effects() -> dict[str, AuditedEffect]:
    """The effects of MultiAFx by name. Raises ImportError where it, or a library that it imports, is not installed."""
    with without_torchaudio():
        from multiafx.registry import INTEGER_PARAMS, registry
    chosen = [effect for effect in registry if effect.library != "torchaudio" or has_torchaudio()]
    return of_library((_audited(effect, INTEGER_PARAMS) for effect in chosen), "multiafx", version("multiafx"))
