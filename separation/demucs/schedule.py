"""Segments of a track: cut, overlapped and cross-faded as in Demucs, in memory that does not grow with the track's length.

Demucs gives a network segments that overlap by a quarter and adds the results under a triangle. Its own scheduler holds the whole track
and every stem of every network of a bag; this one holds the segments that still overlap, reads the mixture where needed and yields
finished frames.

Conventions
    Audio is float32 [C, T]; stems are [S, C, T]; a batch of network inputs is [B, C, T]. Positions are frames at the networks' sample rate.
    The networks see (mixture - mean) / scale with zeros outside the track; stems are scaled back by scale and mean, as Demucs does.
    A mean of ``OFFSET`` or more is a constant offset of the recording and added to no stem: the residual contains it, once.
    Results do not depend on how windows are gathered into batches, unless the networks' own results do.

References
    Defossez, Hybrid spectrogram and waveform source separation (2021); equality with demucs.apply.apply_model(shifts=0) is tested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stemwright.manifests.sound.formats import Audio

OVERLAP = 0.25  # Demucs's default; its published scores are taken with it
EPSILON = 1e-8  # what Demucs adds to the standard deviation
OFFSET = 0.004  # -48 dBFS: the mean of a few thousand frames of loud noise is smaller, what converters leave as an offset may be larger
MAX_ACTIVE = 4  # tracks processed at once, when their last segments are gathered into common batches
CACHED_FRAMES = 1 << 14  # of all stems: what is computed of them stays in the processor's cache, and in memory that is used again
VERSION = 1  # changes when the same networks would give different stems

# (network, [B, C, T]) -> [B, S, C, T] with the network's kept stems: arrays, or on a GPU tensors.
Forward = Callable[[int, Any], Any]


class MixtureReader(Protocol):
    """A mixture with random access, in the networks' channels."""

    @property
    def num_frames(self) -> int:
        """Length of the mixture."""

    def read(self, start_frame: int, stop_frame: int) -> Audio:
        """Frames of the mixture as [C, T]."""


@dataclass(frozen=True)
class Standardisation:
    """The shift and scale applied to a mixture before the networks."""

    mean: float
    scale: float

    @property
    def restored(self) -> float:
        """The mean that is added to every stem: none if it is a constant offset of the recording."""
        return self.mean if abs(self.mean) < OFFSET else 0.0


@dataclass(frozen=True)
class Network:
    """One network of a bag, as the schedule needs it.

    ``input_frames`` gives how many input frames the network needs for a segment; ``weights`` has one weight per stem of the bag.
    """

    segment_frames: int
    input_frames: Callable[[int], int]
    weights: tuple[float, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The stems for which the network counts."""
        return tuple(number for number, weight in enumerate(self.weights) if weight != 0)


@dataclass(frozen=True)
class Window:
    """One segment for one network: frames ``offset`` to ``offset + length`` of the track, with context up to ``input_frames``."""

    network: int
    offset: int
    length: int
    input_frames: int

    @property
    def start(self) -> int:
        """Position of the first input frame; negative before the track's start."""
        return self.offset - (self.input_frames - self.length) // 2


def windows_of(network: Network, number: int, num_frames: int) -> Iterator[Window]:
    """The windows of one network over a track, in order."""
    stride = int((1 - OVERLAP) * network.segment_frames)
    for offset in range(0, num_frames, stride):
        length = min(num_frames - offset, network.segment_frames)
        yield Window(number, offset, length, network.input_frames(length))


def triangle(segment_frames: int) -> Audio:
    """The cross-fade [T]: rises to 1 in the middle of the segment and falls again, always above 0."""
    rise = np.arange(1, segment_frames // 2 + 1, dtype=np.float32)
    fall = np.arange(segment_frames - segment_frames // 2, 0, -1, dtype=np.float32)
    both = np.concatenate([rise, fall])
    return (both / both.max()).astype(np.float32)


class _Fade:
    """Adds one network's segments under the triangle and returns the frames that no later segment overlaps."""

    def __init__(self, network: Network, num_channels: int) -> None:
        self._triangle = triangle(network.segment_frames)
        self._shape = (len(network.kept), num_channels)
        self._start = 0
        self._sum = np.zeros((*self._shape, 0), np.float32)
        self._weight = np.zeros(0, np.float32)

    def add(self, window: Window, output: Audio) -> None:
        excess = output.shape[-1] - window.length
        output = output[..., excess // 2 : excess // 2 + window.length]
        begin = window.offset - self._start
        missing = begin + window.length - self._weight.size
        if missing > 0:
            self._sum = np.concatenate([self._sum, np.zeros((*self._shape, missing), np.float32)], axis=-1)
            self._weight = np.concatenate([self._weight, np.zeros(missing, np.float32)])
        weight = self._triangle[: window.length]
        for start in range(0, window.length, CACHED_FRAMES):
            stop = min(start + CACHED_FRAMES, window.length)
            self._sum[..., begin + start : begin + stop] += weight[start:stop] * output[..., start:stop]
        self._weight[begin : begin + window.length] += weight

    def take(self, stop_frame: int) -> Audio:
        count = stop_frame - self._start
        done = self._sum[..., :count]
        done /= self._weight[:count]
        self._sum, self._weight = self._sum[..., count:].copy(), self._weight[count:].copy()
        self._start = stop_frame
        return done


class Session:
    """One track in a bag: gives out windows, takes in the networks' results, returns finished stems."""

    def __init__(self, source: MixtureReader, level: Standardisation, networks: Sequence[Network], num_channels: int) -> None:
        self._source, self._level, self._networks = source, level, networks
        used = [number for number, network in enumerate(networks) if network.kept]
        self._waiting = {number: deque(windows_of(networks[number], number, source.num_frames)) for number in used}
        self._out: list[Window] = []
        self._num_channels = num_channels
        self._fades = {number: self.make_fade(networks[number]) for number in used}
        self._done = 0
        self._totals = np.asarray(np.sum([networks[number].weights for number in used], axis=0), np.float32)

    def make_fade(self, network: Network) -> Any:
        """What adds one network's segments."""
        return _Fade(network, self._num_channels)

    @property
    def finished(self) -> bool:
        """Whether every frame has been returned."""
        return self._done >= self._source.num_frames

    def next_window(self, like: Window | None = None) -> Window | None:
        """Takes the next window to compute: of the network that is furthest behind, or of the network and size of ``like``; None if none
        is left.
        """
        heads = [windows[0] for windows in self._waiting.values() if windows]
        if like is not None:
            heads = [head for head in heads if (head.network, head.input_frames) == (like.network, like.input_frames)]
        if not heads:
            return None
        first = min(heads, key=lambda window: (window.offset, window.network))
        self._out.append(self._waiting[first.network].popleft())
        return first

    @staticmethod
    def stack(inputs: Sequence[Any]) -> Any:
        """A batch of the networks' inputs [B, C, T]."""
        return np.stack(inputs)

    def read(self, window: Window) -> Any:
        """The network's input [C, T] for a window."""
        begin, end = max(0, window.start), min(self._source.num_frames, window.start + window.input_frames)
        audio = np.zeros((self._num_channels, window.input_frames), np.float32)
        inside = audio[:, begin - window.start : end - window.start]
        np.subtract(self._source.read(begin, end), np.float32(self._level.mean), out=inside)
        inside /= np.float32(self._level.scale)
        return audio

    def accept(self, window: Window, output: Any) -> None:
        """Takes a network's result [S, C, T] for a window that was given out."""
        self._out.remove(window)
        self._fades[window.network].add(window, output)

    def _final_frame(self) -> int:
        """Up to where no later segment adds anything."""
        pending = [window.offset for window in self._out] + [windows[0].offset for windows in self._waiting.values() if windows]
        return min(pending, default=self._source.num_frames)

    def ready(self) -> Audio | None:
        """The frames that have become final since the last call, as stems [S, C, T] on the mixture's scale; None if there are none."""
        stop = self._final_frame()
        if stop <= self._done:
            return None
        stems = np.zeros((len(self._totals), self._num_channels, stop - self._done), np.float32)
        for number, fade in self._fades.items():
            network = self._networks[number]
            for stem, audio in zip(network.kept, fade.take(stop), strict=True):
                audio *= np.float32(network.weights[stem])
                stems[stem] += audio
        stems /= self._totals[:, None, None]
        stems *= np.float32(self._level.scale)
        stems += np.float32(self._level.restored)
        self._done = stop
        return stems


def run(sessions: Iterable[Session], forward: Forward, *, batch_size: int) -> Iterator[tuple[Session, Audio]]:
    """Runs sessions to completion and yields their finished stems [S, C, T], in order within a session.

    A batch is filled from the first session and, when that has no more windows of the same kind to give, from the next ones
    """
    coming = iter(sessions)
    active: deque[Session] = deque()
    while True:
        batch = _gather(active, coming, batch_size)
        if not batch and not active:
            return
        if batch:
            first, window = batch[0]
            outputs = forward(window.network, first.stack([session.read(window) for session, window in batch]))
            for (session, window), output in zip(batch, outputs, strict=True):
                session.accept(window, output)
        for session in list(active):
            if (stems := session.ready()) is not None:
                yield session, stems
            if session.finished:
                active.remove(session)


def _gather(active: deque[Session], coming: Iterator[Session], batch_size: int) -> list[tuple[Session, Window]]:
    """Windows for one call of one network: all of one length, from as few sessions as fill the batch."""
    batch: list[tuple[Session, Window]] = []
    visited = 0
    while len(batch) < batch_size:
        if visited == len(active):
            session = next(coming, None) if len(active) < MAX_ACTIVE else None
            if session is None:
                break
            active.append(session)
        session = active[visited]
        window = session.next_window(batch[0][1] if batch else None)
        if window is None:
            visited += 1
            continue
        batch.append((session, window))
    return batch
