"""What ``train_removal.py`` trained, as one callable: removes the effects that its detector hears, of distortion, compression and reverb.

    STEMWRIGHT_REMOVER=WORK/remover.pt stemwright evaluate removal --model trained_remover:remove

Conventions
    Each channel is treated by itself at 48 kHz, and brought back to the loudness that it had, as the pairs are that RemFX trains on.
    Effects are taken off last to first in ORDER, a guess, since nothing says in which order they were applied. Silence stays silence.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from effect_detector import EFFECTS, EffectDetector, heard
from removal_networks import RATE, REMOVERS
from torch import Tensor, nn

from stemwright.manifests.sound.resampling import resample
from stemwright.separation.loudness.meter import integrated_loudness

ORDER = ("reverb", "compressor", "distortion")  # in which they are taken off
WEIGHTS = "STEMWRIGHT_REMOVER"


class Remover:
    """The networks of a file of weights."""

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self.removers: dict[str, nn.Module] = {name: kind() for name, kind in REMOVERS.items()}
        for name, network in self.removers.items():
            network.load_state_dict(weights[name])
            network.eval()
        self.detector = EffectDetector(len(weights["detector"]["mean"]))
        self.detector.load_state_dict(weights["detector"])
        self.detector.eval()

    @torch.inference_mode()
    def odds(self, wet: Tensor) -> dict[str, float]:
        """Of wet [1, T] at RATE, for each effect the logarithm of the odds that it is on."""
        return dict(zip(EFFECTS, self.detector(heard(wet))[0].tolist(), strict=True))

    def present(self, wet: Tensor) -> list[str]:
        """The effects that the detector hears, of those that can be removed."""
        odds = self.odds(wet)
        return [name for name in ORDER if odds[name] > 0.0]

    @torch.inference_mode()
    def without(self, wet: Tensor, effects: Sequence[str]) -> Tensor:
        """Wet [1, T] at RATE without some effects, at the loudness that it had."""
        answer = wet
        for name in effects:
            answer = torch.nan_to_num(self.removers[name](answer))
        loudness = [integrated_loudness(each.numpy(), RATE) for each in (wet, answer)]
        return answer * 10.0 ** ((loudness[0] - loudness[1]) / 20.0) if np.isfinite(loudness).all() and effects else answer


@functools.cache
def remover_of(path: str) -> Remover:
    """The remover of a file of weights. Raises SystemExit where there is none."""
    if not path or not Path(path).is_file():
        raise SystemExit(f"{WEIGHTS} is {path!r}; expected the file remover.pt that train_removal.py writes")
    return Remover(torch.load(path, weights_only=True))


def remove(wet: np.ndarray, sample_rate: int) -> np.ndarray:
    """Audio [C, T] without the effects that are heard in it, of the same shape."""
    remover = remover_of(os.environ.get(WEIGHTS, ""))
    at_rate = torch.from_numpy(np.ascontiguousarray(resample(wet.astype(np.float32), sample_rate, RATE)))
    channels = []
    for channel in at_rate:
        effects = remover.present(channel[None]) if channel.abs().max() > 0.0 else []
        channels.append(remover.without(channel[None], effects)[0])
    answer = resample(torch.stack(channels).numpy(), RATE, sample_rate)
    answer = np.pad(answer, ((0, 0), (0, max(0, wet.shape[-1] - answer.shape[-1]))))[:, : wet.shape[-1]]
    return answer.astype(wet.dtype)
