"""The effects of dasp-pytorch (Apache-2.0).

Times of its compressor follow the paper that it names, Giannoulis, Massberg, Reiss 2012: from 10 to 90 % of the change of the gain in dB
(the constant log 9 of its source). Of its reverberation gain and decay are numbers from 0 to 1 without a unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.label_audit import AuditedEffect, Probe, of_library
from stemwright.datagen.evaluate.label_measures import echoes, level_steps, responses, signal_levels

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.01, "relative": True}
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}
Q: dict[str, Any] = {"tolerance": 0.02, "relative": True, "definition": "on the frequency axis of the analogue prototype"}
RISE: dict[str, Any] = {
    "unit": "ms",
    "tolerance": 0.03,
    "relative": True,
    "definition": "10 to 90 % of the gain in dB (its source and the paper it names)",
}


def _effect(name: str, *probes: Probe, neutral: dict[str, float] | None = None, **plain: int) -> AuditedEffect:
    def apply(audio: np.ndarray, sample_rate: int, settings: Any) -> np.ndarray:
        import dasp_pytorch
        import torch

        torch.manual_seed(0)  # of the noise of the reverberation
        values = {key: torch.tensor([float(value)]) for key, value in {**(neutral or {}), **settings}.items()}
        return np.asarray(getattr(dasp_pytorch, name)(torch.from_numpy(audio)[None], sample_rate, **values, **plain)[0].numpy())

    return AuditedEffect(name, apply, probes)


BANDS = {"low_shelf": 300.0, "band0": 250.0, "band1": 1000.0, "band2": 2500.0, "band3": 9000.0, "high_shelf": 6000.0}


def _equaliser() -> AuditedEffect:
    probes = []
    for band, near in BANDS.items():
        shelf, high = band.endswith("shelf"), band.startswith("high")
        at, gain = f"{band}_cutoff_freq", f"{band}_gain_db"
        measure = responses.shelf_db(high=high) if shelf else responses.peak_db()
        probes.append(Probe(gain, (-18.0, 3.0, 12.0), measure, {at: near}, **DB))
        probes.append(Probe(at, (near / 2.0, near * 1.5), responses.shelf_hz if shelf else responses.peak_hz, {gain: 9.0}, **HZ))
        steep = (responses.shelf_q if shelf else responses.peak_q)(near)
        probes.append(Probe(f"{band}_q_factor", (0.3, 4.0), steep, {gain: 9.0, at: near}, **Q))
    neutral = {
        f"{band}_{key}": value
        for band, near in BANDS.items()
        for key, value in (("gain_db", 0.0), ("cutoff_freq", near), ("q_factor", 0.71))
    }
    return _effect("parametric_eq", *probes, neutral=neutral)


def _compressor() -> AuditedEffect:
    neutral = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 2.0, "release_ms": 20.0, "knee_db": 0.01, "makeup_gain_db": 0.0}
    up, down = (level_steps.LevelStep(pair, 0.9, 0.1, "db") for pair in ((-50.0, -5.0), (-5.0, -50.0)))
    return _effect(
        "compressor",
        Probe("threshold_db", (-50.0, -40.0, -25.0, -10.0), level_steps.threshold(), **DB),
        Probe("ratio", (1.5, 3.0, 8.0, 20.0), level_steps.ratio_inverse(-30.0), {}, "1/ratio", lambda value: 1.0 / value, tolerance=0.005),
        Probe("attack_ms", (2.0, 10.0, 100.0), level_steps.step_time(up), {"release_ms": 50.0}, **RISE),
        Probe("release_ms", (10.0, 50.0, 500.0), level_steps.step_time(down), {"attack_ms": 5.0}, **RISE),
        Probe("knee_db", (3.0, 6.0, 12.0), level_steps.knee(-30.0), unit="dB", tolerance=0.1, relative=True),
        Probe("makeup_gain_db", (-12.0, 3.0, 20.0), level_steps.soft_gain(-70.0), **DB),
        neutral=neutral,
    )


def _others() -> Iterable[AuditedEffect]:
    yield _effect("gain", Probe("gain_db", (-40.0, -12.0, 6.0, 20.0), signal_levels.gain_db, **DB))
    yield _effect("distortion", Probe("drive_db", (-10.0, 0.0, 15.0, 35.0), signal_levels.drive_db, **DB))
    yield _effect("stereo_widener", Probe("width", (0.2, 0.5, 0.8), channels=(2,)))
    bands = {f"band{number}_{key}": 0.5 for number in range(12) for key in ("gain", "decay")}
    tail = {**bands, "mix": 0.5}
    yield _effect(
        "noise_shaped_reverberation",
        Probe("mix", (0.1, 0.5, 0.9), echoes.dry_share, tolerance=0.05),
        Probe("band5_gain", (0.1, 0.5, 0.9)),
        Probe("band5_decay", (0.1, 0.5, 0.9)),
        neutral=tail,
        num_samples=4096,  # 65,536 by default, by a convolution in time
    )


def effects() -> dict[str, AuditedEffect]:
    """The effects of dasp-pytorch by name. Raises ImportError where it is not installed."""
    import dasp_pytorch  # noqa: F401

    return of_library([_equaliser(), _compressor(), *_others()], "dasp-pytorch", version("dasp-pytorch"))
