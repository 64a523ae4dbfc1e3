"""The effects of pedalboard (GPL-3), which are mostly those of JUCE.

Definitions are those of pedalboard's documentation; where it gives a name and a unit alone, as of attack and release, that of JUCE's
source, as far as it is known: a time t gives the coefficient e^(-2π / (t sample_rate)), so 99.8 % of a step are done after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.label_audit import AuditedEffect, Probe, of_library
from stemwright.datagen.evaluate.label_measures import echoes, freeverb, level_steps, modulation, responses, signal_levels

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.01, "relative": True}
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}
Q: dict[str, Any] = {"tolerance": 0.02, "relative": True, "definition": "on the frequency axis of the analogue prototype"}
MS: dict[str, Any] = {"unit": "ms", "tolerance": 0.03, "relative": True}
BY_SOURCE: dict[str, Any] = {**MS, "definition": "99.8 % of a step of the level (JUCE's source; the documentation does not say)"}
FULL = 1.0 - math.exp(-2.0 * math.pi)


def _effect(name: str, *probes: Probe) -> AuditedEffect:
    def apply(audio: np.ndarray, sample_rate: int, settings: Any) -> np.ndarray:
        import pedalboard

        return np.asarray(getattr(pedalboard, name)(**settings)(audio, sample_rate))

    return AuditedEffect(name, apply, probes)


def _filters() -> Iterable[AuditedEffect]:
    for name, high in (("LowpassFilter", False), ("HighpassFilter", True)):
        cutoff = responses.cutoff(high=high)
        yield _effect(name, Probe("cutoff_frequency_hz", (60.0, 300.0, 3000.0, 16_000.0), cutoff, **HZ, definition="-3 dB"))
    gains, qs = (-18.0, -6.0, 3.0, 12.0), (0.3, 0.71, 1.5, 4.0)
    for name, near in (("PeakFilter", 1000.0), ("LowShelfFilter", 300.0), ("HighShelfFilter", 6000.0)):
        high = name.startswith("High")
        peak = name == "PeakFilter"
        yield _effect(
            name,
            Probe("gain_db", gains, responses.peak_db() if peak else responses.shelf_db(high=high), {"cutoff_frequency_hz": near}, **DB),
            Probe(
                "cutoff_frequency_hz",
                (near / 2.0, near, near * 2.0),
                responses.peak_hz if peak else responses.shelf_hz,
                {"gain_db": 9.0},
                **HZ,
            ),
            Probe("q", qs, (responses.peak_q if peak else responses.shelf_q)(near), {"cutoff_frequency_hz": near, "gain_db": 9.0}, **Q),
        )
    yield _effect(
        "LadderFilter", Probe("cutoff_hz", (200.0, 1000.0, 4000.0)), Probe("resonance", (0.0, 0.4, 0.8)), Probe("drive", (1.0, 3.0, 9.0))
    )


def _dynamics() -> Iterable[AuditedEffect]:
    fixed = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 1.0, "release_ms": 20.0}
    ratio = level_steps.ratio_inverse(-30.0)
    up, down = (level_steps.LevelStep(pair, FULL, domain="level", ratio=4.0, hold_s=1.0) for pair in ((-25.0, -5.0), (-5.0, -25.0)))
    yield _effect(
        "Compressor",
        Probe("threshold_db", (-55.0, -40.0, -25.0, -10.0), level_steps.threshold(), fixed, **DB),
        Probe("ratio", (1.5, 3.0, 8.0, 20.0), ratio, fixed, "1/ratio", lambda value: 1.0 / value, tolerance=0.005),
        Probe("attack_ms", (1.0, 10.0, 100.0), level_steps.step_time(up), fixed, **BY_SOURCE),
        Probe("release_ms", (5.0, 50.0, 500.0), level_steps.step_time(down), fixed, **BY_SOURCE),
    )
    gate = {"threshold_db": -30.0, "ratio": 3.0, "attack_ms": 1.0, "release_ms": 20.0}
    yield _effect(
        "NoiseGate",
        Probe("threshold_db", (-50.0, -40.0, -25.0, -10.0), level_steps.gate_threshold(0.3), gate, **DB),
        Probe("ratio", (1.5, 3.0, 6.0), level_steps.expansion(-30.0, 0.3), gate, ":1", tolerance=0.03, relative=True),
        Probe("attack_ms", (1.0, 10.0, 100.0), None, gate),
        Probe("release_ms", (5.0, 50.0, 500.0), None, gate),
    )
    engages = "where limiting begins; the documentation adds that make-up gain follows"
    yield _effect(
        "Limiter",
        Probe("threshold_db", (-30.0, -20.0, -12.0, -6.0), level_steps.engagement(), {"release_ms": 50.0}, **DB, definition=engages),
        Probe("release_ms", (20.0, 100.0, 500.0), None, {"threshold_db": -10.0}),
    )
    release = level_steps.step_time(level_steps.LevelStep((0.0, -40.0), 1.0 - math.exp(-1.0), hold_s=0.3))
    yield _effect(
        "BrickwallLimiter",
        Probe("ceiling_db", (-40.0, -20.0, -6.0, -1.0), level_steps.ceiling(), **DB),
        Probe("release_ms", (20.0, 100.0, 500.0), release, {"ceiling_db": -20.0, "lookahead_ms": 0.1}, **MS,
              definition="63 % (exponential by the documentation, share not said)"),
        Probe("lookahead_ms", (1.0, 5.0, 10.0), None, {"ceiling_db": -20.0}),
    )  # fmt: skip
    yield _effect("Clipping", Probe("threshold_db", (-40.0, -20.0, -6.0, -1.0), level_steps.ceiling(), **DB))
    yield _effect("Gain", Probe("gain_db", (-40.0, -12.0, -3.0, 6.0, 20.0), signal_levels.gain_db, **DB))
    yield _effect("Distortion", Probe("drive_db", (-10.0, 0.0, 15.0, 35.0), signal_levels.drive_db, **DB))
    yield _effect("Bitcrush", Probe("bit_depth", (4.0, 6.0, 8.0, 10.0), signal_levels.bits, unit="bit", tolerance=0.05))


def _spaces() -> Iterable[AuditedEffect]:
    factor = {"tolerance": 0.005}
    yield _effect(
        "Delay",
        Probe("delay_seconds", (0.01, 0.1203, 0.7), _delay_s, {"mix": 0.6}, unit="s", tolerance=2.3e-5),
        Probe("feedback", (0.1, 0.5, 0.9), echoes.feedback(200.0), {"delay_seconds": 0.2, "mix": 0.5}, **factor),
        Probe("mix", (0.1, 0.5, 0.9), echoes.echo_factor(200.0), {"delay_seconds": 0.2}, **factor),
    )
    said = "by Freeverb, which the documentation names"
    tail = {"wet_level": 0.5, "dry_level": 0.0, "room_size": 0.6, "damping": 0.5}
    quick = {"wet_level": 0.3, "damping": 0.0}
    yield _effect(
        "Reverb",
        Probe("room_size", (0.1, 0.4, 0.8), freeverb.room_size, {**tail, "damping": 0.0}, tolerance=0.03, definition=said),
        Probe("damping", (0.1, 0.4, 0.8), freeverb.damping(3.0), tail, tolerance=0.05, definition=said),
        Probe("wet_level", (0.1, 0.33, 0.9), freeverb.wet, {**tail, "damping": 0.0}, **factor, definition=said),
        Probe("dry_level", (0.1, 0.5, 0.8), echoes.direct, quick, **factor, definition="a factor of the direct sound"),
        Probe("width", (0.0, 0.3, 0.7), freeverb.width, quick, **factor, channels=(2,), definition=said),
    )
    copy = {"mix": 1.0, "centre_delay_ms": 10.0, "rate_hz": 2.0, "depth": 0.2}
    still = {"depth": 0.0, "centre_delay_ms": 20.0, "mix": 0.5}
    yield _effect(
        "Chorus",
        Probe("rate_hz", (0.2, 1.5, 8.0), modulation.rate, copy, **HZ),
        Probe("depth", (0.1, 0.4, 0.8), None, copy),
        Probe("centre_delay_ms", (5.0, 10.0, 40.0), modulation.centre_ms(2.0), copy, unit="ms", tolerance=0.02, relative=True),
        Probe("feedback", (-0.7, 0.2, 0.8), echoes.feedback(20.0), still, **factor),
        Probe("mix", (0.1, 0.5, 0.9), echoes.echo_factor(20.0), still, **factor),
    )
    yield _effect(
        "Phaser",
        Probe("rate_hz", (0.3, 1.0, 4.0)),
        Probe("depth", (0.1, 0.4, 0.8)),
        Probe("centre_frequency_hz", (500.0, 1300.0, 4000.0)),
        Probe("feedback", (0.0, 0.3, 0.6)),
        Probe("mix", (0.1, 0.5, 0.9)),
    )
    yield _effect("PitchShift", Probe("semitones", (-7.0, -1.0, 2.0, 5.0), signal_levels.semitones(), unit="semitones", tolerance=0.05))
    yield _effect("Resample", Probe("target_sample_rate", (4000.0, 8000.0, 16_000.0)))
    yield _effect("MP3Compressor", Probe("vbr_quality", (0.5, 3.0, 9.0)))


def _delay_s(system: Any, expected: float) -> float:
    return echoes.delay_ms(system, 1000.0 * expected) / 1000.0


def effects() -> dict[str, AuditedEffect]:
    """The effects of pedalboard by name. Raises ImportError where it is not installed."""
    return of_library([*_filters(), *_dynamics(), *_spaces()], "pedalboard", version("pedalboard"))
