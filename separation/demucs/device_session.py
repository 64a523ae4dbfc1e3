"""A track's way through the networks with its audio on a GPU: cut, normalised, cross-faded and scaled back there.

On the processor these steps take longer than a GPU takes for the networks. Here the processor only reads the mixture and takes finished
frames, one call behind: while it does, the GPU works on the next batch.

Conventions
    As in `stemwright.separation.demucs.schedule`, with tensors on the device in place of arrays. ``ready`` gives arrays in pinned memory.
    Sums are taken in the order and precision of the processor's, so only the networks' own results differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.manifests.sound.formats import Audio
from stemwright.separation.demucs.schedule import MixtureReader, Network, Session, Standardisation, Window, triangle

if TYPE_CHECKING:
    import torch

BEHIND = 1  # finished parts that may still be on their way from the device while the next batch is launched


class _DeviceFade:
    """As the schedule's ``_Fade``, on a device."""

    def __init__(self, network: Network, num_channels: int, device: str) -> None:
        import torch

        self._triangle = torch.from_numpy(triangle(network.segment_frames)).to(device)
        self._start = 0
        self._sum = torch.zeros(len(network.kept), num_channels, 0, device=device)
        self._weight = torch.zeros(0, device=device)

    def add(self, window: Window, output: torch.Tensor) -> None:
        from torch.nn.functional import pad

        excess = output.shape[-1] - window.length
        output = output[..., excess // 2 : excess // 2 + window.length]
        begin = window.offset - self._start
        missing = begin + window.length - self._weight.shape[0]
        if missing > 0:
            self._sum, self._weight = pad(self._sum, (0, missing)), pad(self._weight, (0, missing))
        weight = self._triangle[: window.length]
        self._sum[..., begin : begin + window.length] += weight * output
        self._weight[begin : begin + window.length] += weight

    def take(self, stop_frame: int) -> torch.Tensor:
        count = stop_frame - self._start
        done = self._sum[..., :count] / self._weight[:count]
        self._sum, self._weight = self._sum[..., count:].clone(), self._weight[count:].clone()
        self._start = stop_frame
        return done


class DeviceSession(Session):
    """One track in a bag, on a device."""

    def __init__(self, source: MixtureReader, level: Standardisation, networks: Sequence[Network], num_channels: int, device: str) -> None:
        self._device = device
        self._coming: deque[tuple[torch.Tensor, Any]] = deque()  # finished frames on their way, and what says that they have arrived
        super().__init__(source, level, networks, num_channels)

    def make_fade(self, network: Network) -> Any:
        """A cross-fade on the device."""
        return _DeviceFade(network, self._num_channels, self._device)

    @property
    def finished(self) -> bool:
        """Whether every frame has been returned."""
        return super().finished and not self._coming

    @staticmethod
    def stack(inputs: Sequence[Any]) -> Any:
        """A batch of the networks' inputs."""
        import torch

        return torch.stack(list(inputs))

    def read(self, window: Window) -> Any:
        """The network's input [C, T] for a window."""
        import torch

        begin, end = max(0, window.start), min(self._source.num_frames, window.start + window.input_frames)
        frames = torch.from_numpy(np.ascontiguousarray(self._source.read(begin, end), dtype=np.float32))
        frames = _pinned(frames, self._device).to(self._device, non_blocking=True)
        audio = torch.zeros(self._num_channels, window.input_frames, device=self._device)
        level = self._level
        audio[:, begin - window.start : end - window.start] = (frames - float(np.float32(level.mean))) / float(np.float32(level.scale))
        return audio

    def ready(self) -> Audio | None:
        """Frames that became final before the last batch, or at the end the last ones: stems [S, C, T] in the processor's memory."""
        stop = self._final_frame()
        started = stop > self._done
        if started:
            self._coming.append(self._sent(self._stems(stop)))
        if len(self._coming) > BEHIND or (self._coming and not started):
            frames, arrived = self._coming.popleft()
            if arrived is not None:
                arrived.synchronize()
            return frames.numpy()
        return None

    def _stems(self, stop: int) -> torch.Tensor:
        import torch

        stems = torch.zeros(len(self._totals), self._num_channels, stop - self._done, device=self._device)
        for number, fade in self._fades.items():
            network = self._networks[number]
            for stem, audio in zip(network.kept, fade.take(stop), strict=True):
                stems[stem] += audio * float(np.float32(network.weights[stem]))
        self._done = stop
        stems /= torch.from_numpy(self._totals).to(self._device)[:, None, None]
        return stems * float(np.float32(self._level.scale)) + float(np.float32(self._level.restored))

    def _sent(self, stems: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Starts the way of stems into the processor's memory."""
        import torch

        if not self._device.startswith("cuda"):
            return stems.cpu(), None
        frames = torch.empty(stems.shape, pin_memory=True)
        frames.copy_(stems, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(stems.device))
        return frames, arrived


def _pinned(frames: torch.Tensor, device: str) -> torch.Tensor:
    """Frames from which a GPU fetches by itself."""
    return frames.pin_memory() if device.startswith("cuda") else frames
