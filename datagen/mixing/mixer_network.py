"""A small network that mixes: the settings of every track's strip from its sound and from that of the others.

Conventions
    tracks are float32 [B, N, 2, T], each at LISTENING_LUFS over the excerpt, silent ones zeros; T is at least LEAST_FRAMES. ``mask`` [B, N]
    is False for tracks that take no part, without it those that are zeros. ``kinds`` [N] says for each track which of the names that the
    network was trained on it is; without it they are those names in their order.
    What is decided is one number a control, 0 where it stays as it starts (``stemwright.datagen.mixing.mixing_console``). The order of the
    tracks changes nothing, nor does a masked one: what is decided about a track depends on its own features and on the mean of the others'.
    Added to what is published is a linear path from features of a track beside the sum of the others (``pooled``): a few dozen songs teach
    it what takes an encoder thousands. Its features are standardised by the material that is trained on (``standardise``).

References
    Steinmetz et al. 2021, differentiable mixing console: one encoder for all tracks, context over the tracks, post-processor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LISTENING_LUFS = -23.0
SIZE, HOP, BANDS, WIDTH = 2048, 1024, 48, 64
LEAST_FRAMES = 28 * HOP  # what three convolutions of five, two of them with a stride of two, need
FARTHEST_DB = 24.0  # from the mean gain of a name
FADER = 2  # controls of the plain strip: gain and pan
FLOOR = 1e-6  # of the power in a band: silence
POOLED = 3 * BANDS + 4  # features of a track: spectrum, that of the others, its spread over time, and four numbers


class MixerNetwork(nn.Module):
    """Controls of tracks. ``mean_db`` [K] is the mean gain of each name, from which the network starts; ``bands`` [BANDS, F].

    ``num_controls`` are those of a strip, gain and pan first; ``num_shared`` those of what all tracks share.
    """

    mean_db: Tensor
    window: Tensor
    bands: Tensor
    usual: Tensor
    spread: Tensor

    def __init__(self, mean_db: Tensor, bands: Tensor, num_controls: int = FADER, num_shared: int = 0) -> None:
        super().__init__()
        self.num_shared = num_shared
        self.register_buffer("mean_db", mean_db)
        self.register_buffer("window", torch.hann_window(SIZE))
        self.register_buffer("bands", bands)
        self.register_buffer("usual", torch.zeros(POOLED))
        self.register_buffer("spread", torch.ones(POOLED))
        self.encoder = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 5),
            nn.GELU(),
        )
        self.line = nn.Sequential(nn.Dropout(0.5), _still(POOLED, num_controls))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4 * WIDTH, WIDTH), nn.GELU(), _still(WIDTH, num_controls))
        self.shared = _still(2 * WIDTH, num_shared) if num_shared else None

    def banded(self, tracks: Tensor) -> Tensor:
        """The spectrogram of each track in bands: [B, N, 2, T] -> [B, N, BANDS, frames]."""
        batch, number = tracks.shape[:2]
        mono = tracks.mean(2).reshape(batch * number, -1)
        power = torch.stft(mono, SIZE, HOP, window=self.window, return_complex=True).abs().square()
        return torch.log10(self.bands @ power + FLOOR).reshape(batch, number, len(self.bands), -1)

    def standardise(self, heard: Tensor) -> None:
        """Takes the usual features, and how far they spread, from what is trained on [B, N, BANDS, frames]."""
        mask = sounding(heard)
        features = pooled(heard, mask)[mask]
        self.usual.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 0.05)

    def controls(self, heard: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Controls [B, N, num_controls] of the strips and [B, num_shared] of what is shared, from spectrograms."""
        mask = sounding(heard) if mask is None else mask
        features = self.encoder(heard.flatten(0, 1))
        each = torch.cat([features.mean(-1), features.amax(-1)], -1).reshape(*heard.shape[:2], -1)
        each = each * mask[..., None]
        total, count = each.sum(1, keepdim=True), mask.sum(1)[:, None, None]
        others = (total - each) / (count - mask[..., None].to(count.dtype)).clamp_min(1)
        strips = self.head(torch.cat([each, others], -1)) + self.line((pooled(heard, mask) - self.usual) / self.spread)
        whole = total[:, 0] / count[:, 0].clamp_min(1)
        return strips, whole.new_zeros(len(whole), 0) if self.shared is None else self.shared(whole)

    def gains_and_pans(self, strips: Tensor, kinds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gains in dB, relative to one another, and pans from -1 to 1, those of the effect ``fader``: both [B, N], from controls."""
        mean_db = self.mean_db if kinds is None else self.mean_db[kinds]
        return mean_db + FARTHEST_DB * torch.tanh(strips[..., 0]), torch.tanh(strips[..., 1])

    def decide(self, heard: Tensor, kinds: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gains [B, N] and pans [B, N] from spectrograms: looks at each track alone, then decides knowing the others."""
        return self.gains_and_pans(self.controls(heard, mask)[0], kinds)

    def forward(self, tracks: Tensor, kinds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gains [B, N] and pans [B, N] for the tracks."""
        return self.decide(self.banded(tracks), kinds)


def sounding(heard: Tensor) -> Tensor:
    """[B, N]: which tracks are not zeros."""
    return heard.amax((2, 3)) > math.log10(FLOOR) + 1e-3


def pooled(heard: Tensor, mask: Tensor) -> Tensor:
    """[B, N, POOLED]: features of tracks beside the sum of the others, from spectrograms [B, N, BANDS, frames].

    The mean spectra of both, the track's spread over time in each band; then the share of time that it plays, how much of its power the
    others leave uncovered, how many others play when it does, and how its power bunches in time.
    """
    power = (10.0**heard - FLOOR).clamp_min(0.0) * mask[..., None, None]
    others = power.sum(1, keepdim=True) - power
    now = power.sum(2)
    plays = torch.sigmoid(4.0 * torch.log10((now + 1e-9) / (0.01 * now.amax(-1, keepdim=True) + 1e-9))) * mask[..., None]
    uncovered = ((power.square() / (power + others + 1e-9)).sum((2, 3)) / (now.sum(-1) + 1e-9)).clamp_min(1e-3)
    company = ((plays.sum(1, keepdim=True) - plays) * plays).sum(-1) / (plays.sum(-1) + 1e-3)
    bunched = (now.square().mean(-1) + 1e-9) / (now.mean(-1).square() + 1e-9)
    numbers = torch.stack([plays.mean(-1), torch.log10(uncovered), company, torch.log10(bunched)], -1)
    spectra = [torch.log10(each.clamp_min(0.0).mean(-1) + 1e-4) for each in (power, others)]
    return torch.cat([*spectra, heard.clamp_min(-4.0).std(-1), numbers], -1)


def _still(inputs: int, outputs: int) -> nn.Linear:
    """A last layer that begins with zeros: every control as it starts."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def untrained(mean_db: Tensor, sample_rate: int, num_controls: int = FADER, num_shared: int = 0) -> MixerNetwork:
    """A network that gives each name its mean gain, whatever it hears."""
    import librosa

    bands = torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=SIZE, n_mels=BANDS))
    return MixerNetwork(mean_db, bands, num_controls, num_shared)
