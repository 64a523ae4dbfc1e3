"""Which effects are on a recording? A small network on statistics of the sound, and what it is scored by.

Conventions
    sound [B, T], mono, at 48 kHz, at any level: what is measured does not depend on it. An effect is on where the network's answer, a
    logarithm of odds, is above 0. Measured are the sorted magnitudes against the peak, which a curve bends; the levels of frames, their
    spread, falls and modulations, which a compressor, a reverb and a chorus change; the spectrum in bands; and the cepstrum, in which an
    echo is a line at its delay.
    ``average_precision`` is the area under precision by recall with steps, as scikit-learn has it; by chance it is the share of examples
    with the effect. The majority is what is most often so in the training songs, for every example.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from removal_networks import cepstrum, levels, magnitudes
from torch import Tensor, nn

EFFECTS = ("distortion", "compressor", "reverb", "chorus", "delay")
CENTRES, EACH, ECHO_FRAMES = 40, 4, 131_072  # every fourth sample is enough for quantiles, and 2.7 s for lines of a cepstrum
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


def heard(sound: Tensor) -> Tensor:
    """[B, T] -> [B, P]: the statistics."""
    level = levels(sound)
    parts = [magnitudes(sound[..., ::EACH]), _dynamics(level), _spectrum(sound), _echoes(sound[..., :ECHO_FRAMES])]
    return torch.cat(parts, -1)


def _quantiles(values: Tensor) -> Tensor:
    return torch.quantile(values, torch.tensor(QUANTILES, dtype=values.dtype, device=values.device), dim=-1).movedim(0, -1)


def _dynamics(level: Tensor) -> Tensor:
    """Of levels [B, 3, F]: their quantiles, those of their changes over 3 to 85 ms, and the spectrum of the level's modulations."""
    parts = [_quantiles(level).flatten(1), (level[:, 0] - level[:, 1]).mean(-1, keepdim=True)]
    parts += [_quantiles(level[:, 1, step:] - level[:, 1, :-step]) for step in (1, 4, 12, 32)]
    swing = torch.fft.rfft((level[:, 1] - level[:, 1].mean(-1, keepdim=True)) * torch.hann_window(level.shape[-1], device=level.device))
    return torch.cat([*parts, _banded(swing.abs().square(), 2, 24)], -1)


def _banded(power: Tensor, first: int, count: int) -> Tensor:
    """[B, K] -> [B, count]: the logarithm of the mean power in bands of equal ratio from bin ``first`` on."""
    edges = np.unique(np.round(np.geomspace(first, power.shape[-1], count + 1)).astype(int))
    edges = edges if len(edges) == count + 1 else np.linspace(first, power.shape[-1], count + 1).astype(int)
    bands = [power[:, low:high].mean(-1) for low, high in pairwise(edges)]
    return torch.stack(bands, -1).clamp_min(1e-12).log()


def _spectrum(sound: Tensor) -> Tensor:
    """Levels of 32 bands against their mean."""
    power = torch.stft(sound, 4096, 4096, window=torch.hann_window(4096, device=sound.device), return_complex=True).abs().square().mean(-1)
    bands = _banded(power, 3, 32)
    return bands - bands.mean(-1, keepdim=True)


def _echoes(sound: Tensor) -> Tensor:
    """Largest and mean magnitude of the cepstrum in bands from 1 ms to half a second, against its median there: a line stands out."""
    lines = cepstrum(sound).abs()
    edges = np.geomspace(48, lines.shape[-1], CENTRES + 1).astype(int)
    parts = []
    for low, high in pairwise(edges):
        band = lines[:, low:high]
        parts += [(band.amax(-1) / band.median(-1).values.clamp_min(1e-9)).log(), band.mean(-1).clamp_min(1e-9).log()]
    return torch.stack(parts, -1)


class EffectDetector(nn.Module):
    """The statistics [B, P] to one number for each effect [B, E]."""

    def __init__(self, num_features: int, width: int = 96) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("spread", torch.ones(num_features))
        self.layers = nn.Sequential(
            nn.Linear(num_features, width), nn.GELU(), nn.Dropout(0.4), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.4),
            nn.Linear(width, len(EFFECTS)),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Logarithms of odds that each effect is on."""
        answer: Tensor = self.layers(((features - self.mean) / self.spread).clamp(-6.0, 6.0))
        return answer

    def fitted(self, features: Tensor, on: Tensor, steps: int = 1500) -> EffectDetector:
        """Trains on examples with their labels [B, E]."""
        with torch.no_grad():
            self.mean.copy_(features.mean(0))
            self.spread.copy_(features.std(0).clamp_min(1e-3))
        optimiser = torch.optim.AdamW(self.parameters(), 2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        self.train()
        for _ in range(steps):
            chosen = torch.randint(len(features), (64,))
            disturbed = features[chosen] + 0.1 * self.spread * torch.randn(64, features.shape[1])
            loss = nn.functional.binary_cross_entropy_with_logits(self(disturbed), on[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return self.eval()


def average_precision(answers: np.ndarray, on: np.ndarray) -> float:
    """The area under the steps of precision by recall of answers [N] for labels [N]; NaN where nothing is on."""
    order = np.argsort(-answers, kind="stable")
    hits = np.asarray(on, bool)[order]
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
