"""The effects of torch-audiomentations (MIT), without those that need torchaudio.

It imports torchaudio when it is imported, for reading files and shifting pitch. torchaudio has no build for the torch that is used here, so
where it is missing an empty module of that name is used while the library is imported; what needs it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.label_peers.stand_in import without_torchaudio
from stemwright.datagen.evaluate.label_audit import AuditedEffect, Probe, of_library
from stemwright.datagen.evaluate.label_measures import responses, signal_levels

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.02, "relative": True}
HALF_DB = -20.0 * math.log10(0.5)
HALF = "-6.02 dB at a cutoff (the windowed sinc of julius; not documented)"
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}


def _effect(name: str, *probes: Probe) -> AuditedEffect:
    def apply(audio: np.ndarray, sample_rate: int, settings: Any) -> np.ndarray:
        import torch

        with without_torchaudio():
            import torch_audiomentations

        torch.manual_seed(0)
        ends = {f"min_{key}": value for key, value in settings.items()}  # some refuse a range of one value
        ends |= {f"max_{key}": value + 1e-4 * abs(value) + 1e-6 for key, value in settings.items()}
        effect = getattr(torch_audiomentations, name)(**ends, p=1.0, output_type="dict")
        return np.asarray(effect(samples=torch.from_numpy(audio)[None], sample_rate=sample_rate)["samples"][0].numpy())

    return AuditedEffect(name, apply, probes)


def _all() -> Iterable[AuditedEffect]:
    yield _effect("Gain", Probe("gain_in_db", (-18.0, -6.0, 3.0, 6.0), signal_levels.gain_db, **DB))
    for name, high in (("LowPassFilter", False), ("HighPassFilter", True)):
        yield _effect(
            name, Probe("cutoff_freq", (150.0, 1000.0, 7500.0), responses.cutoff(high=high, drop_db=HALF_DB), **HZ, definition=HALF)
        )
    fixed = {"center_frequency": 1000.0, "bandwidth_fraction": 0.5}
    for name in ("BandPassFilter", "BandStopFilter"):
        notch = name == "BandStopFilter"
        yield _effect(
            name,
            Probe(
                "center_frequency",
                (300.0, 1000.0, 4000.0),
                responses.band_centre(notch=notch, drop_db=HALF_DB),
                fixed,
                **HZ,
                definition=HALF,
            ),
            Probe(
                "bandwidth_fraction",
                (0.5, 1.0, 1.5),
                responses.band_share(notch=notch, drop_db=HALF_DB),
                fixed,
                tolerance=0.02,
                relative=True,
            ),
        )
    said = "power falls by 1/f^f_decay: dB an octave over -3.01"
    yield _effect(
        "AddColoredNoise",
        Probe("snr_in_db", (3.0, 15.0, 30.0), signal_levels.snr_db, {"f_decay": 0.0}, **DB),
        Probe("f_decay", (-2.0, 1.0, 2.0), _decay_of_power, {"snr_in_db": 3.0}, tolerance=0.1, definition=said),
    )


def _decay_of_power(system: Any, expected: float) -> float:
    return signal_levels.noise_slope_db(system, expected) / -3.0103


def effects() -> dict[str, AuditedEffect]:
    """The effects of torch-audiomentations by name. Raises ImportError where it is not installed."""
    with without_torchaudio():
        import torch_audiomentations  # noqa: F401
    return of_library(_all(), "torch-audiomentations", version("torch-audiomentations"))
