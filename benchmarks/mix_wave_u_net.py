"""The Mix-Wave-U-Net: drum microphones to a stereo mix, in the published shape or a narrower one.

Conventions
    tracks [B, N, T], N microphones in the order of the preset ``drums``; mix [B, 2, T'] of ``mixed`` or [B, 2, T] of ``forward``.
    Convolutions take what is there and pad nothing, so that ``mixed`` answers for the centre of its input: T is ``input_frames(T')``, which
    rounds T' up to a length that fits (``output_frames``). ``forward`` surrounds the tracks with silence and answers for all frames.
    Outside training the mix is limited to full scale, as published.

Shape
    LEVELS times: convolution of 15, leaky rectifier 0.2, every second frame; a convolution of 15; LEVELS times: linear interpolation to
    2 T - 1 frames, the centre of what the level had on the way down beside it, convolution of 5, rectifier. Level i has (i + 1) WIDTH
    channels. Last, the tracks beside it, a weighted sum to two channels. The published width is 24, of 10 levels.
    ``begin_as`` sets that sum to gains of the tracks and nothing else, so that training starts at a mix; the publication starts at random.

References
    Martinez Ramirez, Stoller, Moffat 2021, "A deep learning approach to intelligent drum mixing with the Wave-U-Net", JAES 69(3), and its
    repository f90/Mix-Wave-U-Net (Models/MixWaveUNet.py, Config.py, Training.py): shape, 88,200 output frames, mean absolute error.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTH, LEVELS, KERNEL, MERGE, SLOPE = 24, 10, 15, 5, 0.2  # as published
OUTPUT_FRAMES = 88_200


class MixWaveUNet(nn.Module):
    """The network; ``width`` and ``levels`` make it smaller than published."""

    def __init__(self, num_tracks: int = 8, width: int = WIDTH, levels: int = LEVELS) -> None:
        super().__init__()
        self.num_tracks, self.width, self.levels = num_tracks, width, levels
        sizes = [num_tracks, *(width * (level + 1) for level in range(levels + 1))]
        self.down = nn.ModuleList(nn.Conv1d(before, after, KERNEL) for before, after in pairwise(sizes))
        self.up = nn.ModuleList(nn.Conv1d(sizes[level] + sizes[level + 1], sizes[level], MERGE) for level in range(levels, 0, -1))
        self.leave = nn.Conv1d(width + num_tracks, 2, 1)

    def _lowest(self, output_frames: int) -> int:
        """Frames of the lowest level for so many frames of the mix, rounded up."""
        frames = float(output_frames)
        for _ in range(self.levels):
            frames = (frames + MERGE) / 2.0
        return max(2, int(-(-frames // 1)))

    def output_frames(self, wanted: int) -> int:
        """The least number of frames of a mix that is ``wanted`` or more."""
        frames = self._lowest(wanted)
        for _ in range(self.levels):
            frames = 2 * frames - 1 - (MERGE - 1)
        return frames

    def input_frames(self, wanted: int) -> int:
        """Frames of the tracks that ``output_frames(wanted)`` frames of the mix are made of."""
        frames = self._lowest(wanted) + KERNEL - 1
        for _ in range(self.levels):
            frames = 2 * frames - 1 + KERNEL - 1
        return frames

    @property
    def receptive_field(self) -> int:
        """Frames of the tracks that one frame of the mix may depend on, at most, wherever it is between those of the levels."""
        most = 0
        for frame in range(2**self.levels):
            low = high = frame
            for _ in range(self.levels):  # the way up, from the mix: interpolation reads the frames on both sides
                low, high = (low - MERGE // 2) // 2, -(-(high + MERGE // 2) // 2)
            low, high = low - KERNEL // 2, high + KERNEL // 2
            for _ in range(self.levels):
                low, high = 2 * low - KERNEL // 2, 2 * high + KERNEL // 2
            most = max(most, high - low + 1)
        return most

    def begin_as(self, gains: Tensor) -> None:
        """Starts at a mix by gains [2, N] of the tracks."""
        with torch.no_grad():
            self.leave.weight.zero_()
            self.leave.bias.zero_()  # type: ignore[union-attr]
            self.leave.weight[:, self.width :, 0] = gains

    def mixed(self, tracks: Tensor) -> Tensor:
        """The mix of the centre of the tracks, without context beyond them."""
        hidden, kept = tracks, []
        for layer in list(self.down)[:-1]:
            hidden = nn.functional.leaky_relu(layer(hidden), SLOPE)
            kept.append(hidden)
            hidden = hidden[..., ::2]
        hidden = nn.functional.leaky_relu(self.down[-1](hidden), SLOPE)
        for layer, before in zip(self.up, reversed(kept), strict=True):
            hidden = _interpolated(hidden)
            hidden = nn.functional.leaky_relu(layer(torch.cat([centre(before, hidden.shape[-1]), hidden], 1)), SLOPE)
        mix = self.leave(torch.cat([hidden, centre(tracks, hidden.shape[-1])], 1))
        return mix if self.training else mix.clamp(-1.0, 1.0)

    def forward(self, tracks: Tensor) -> Tensor:
        """The mix of all frames of the tracks, in silence."""
        frames = tracks.shape[-1]
        whole, given = self.input_frames(frames), self.output_frames(frames)
        before = (whole - given) // 2
        mix: Tensor = self.mixed(nn.functional.pad(tracks, (before, whole - frames - before)))
        return mix[..., :frames]


def centre(audio: Tensor, frames: int) -> Tensor:
    """So many frames from the centre of [..., T]."""
    start = (audio.shape[-1] - frames) // 2
    return audio[..., start : start + frames]


def _interpolated(audio: Tensor) -> Tensor:
    """[B, C, T] -> [B, C, 2 T - 1]: between each two frames their mean."""
    between = 0.5 * (audio[..., 1:] + audio[..., :-1])
    return torch.cat([torch.stack([audio[..., :-1], between], -1).flatten(-2), audio[..., -1:]], -1)
