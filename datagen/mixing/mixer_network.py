"""A small network that mixes: gain and pan of each stem from its sound and from that of the others.

Conventions
    tracks are float32 [B, N, 2, T], each at LISTENING_LUFS over the excerpt, silent ones zeros; T is at least LEAST_FRAMES. ``kinds``
    [N] says for each track which of the names that the network was trained on it is; without it they are those names in their order.
    Gains are in dB, relative to one another; pans, from -1 to 1, are those of the effect ``fader``. The order of the tracks changes
    nothing: what is decided about one depends on its own features and on the mean of all.

References
    Steinmetz et al. 2021, differentiable mixing console: shared encoder, context over all tracks, gain and pan.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LISTENING_LUFS = -23.0
SIZE, HOP, BANDS, WIDTH = 2048, 1024, 48, 64
LEAST_FRAMES = 28 * HOP  # what three convolutions of five, two of them with a stride of two, need
FARTHEST_DB = 24.0  # from the mean gain of a name


class MixerNetwork(nn.Module):
    """Gains and pans of tracks. ``mean_db`` [K] is the mean gain of each name, from which the network starts; ``bands`` [BANDS, F]."""

    mean_db: Tensor
    window: Tensor
    bands: Tensor

    def __init__(self, mean_db: Tensor, bands: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_db", mean_db)
        self.register_buffer("window", torch.hann_window(SIZE))
        self.register_buffer("bands", bands)
        self.encoder = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(WIDTH, WIDTH, 5),
            nn.GELU(),
        )
        last = nn.Linear(WIDTH, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * WIDTH, WIDTH), nn.GELU(), last)

    def banded(self, tracks: Tensor) -> Tensor:
        """The spectrogram of each track in bands: [B, N, 2, T] -> [B, N, BANDS, frames]."""
        batch, number = tracks.shape[:2]
        mono = tracks.mean(2).reshape(batch * number, -1)
        power = torch.stft(mono, SIZE, HOP, window=self.window, return_complex=True).abs().square()
        return torch.log10(self.bands @ power + 1e-6).reshape(batch, number, len(self.bands), -1)

    def decide(self, heard: Tensor, kinds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gains [B, N] and pans [B, N] from spectrograms: looks at each track alone, then decides knowing the mean of all."""
        features = self.encoder(heard.flatten(0, 1))
        each = torch.cat([features.mean(-1), features.amax(-1)], -1).reshape(*heard.shape[:2], -1)
        context = each.mean(1, keepdim=True).expand_as(each)
        gain, pan = self.head(torch.cat([each, context], -1)).unbind(-1)
        mean_db = self.mean_db if kinds is None else self.mean_db[kinds]
        return mean_db + FARTHEST_DB * torch.tanh(gain), torch.tanh(pan)

    def forward(self, tracks: Tensor, kinds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gains [B, N] and pans [B, N] for the tracks."""
        return self.decide(self.banded(tracks), kinds)


def untrained(mean_db: Tensor, sample_rate: int) -> MixerNetwork:
    """A network that gives each name its mean gain, whatever it hears."""
    import librosa

    return MixerNetwork(mean_db, torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=SIZE, n_mels=BANDS)))
