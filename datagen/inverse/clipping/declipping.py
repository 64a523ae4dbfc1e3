"""Samples lost to clipping, estimated from what is around them: the samples that were not clipped stay as they are, bit by bit.

    gaussian    conditional means of clipped samples in frames of several lengths (``...clipping.conditional_mean``), averaged
    expansion   the inverse of a fast compressor (``...clipping.expansion``): much faster and much worse

Conventions
    ``audio`` is [C, T]; every channel is restored by itself. Clipping at the same ceilings again gives the input. Samples beyond a ceiling
    are not clipped by it, and stay. Where sound was coded after it was clipped (MP3, AAC, OGG), clipped samples scatter around the ceiling:
    those within the scatter are estimated, and the others stay.
    Where runs of clipped samples are long (basses, sustained drums), an estimate can be far too high; how far it is trusted is tried on the
    samples just below the ceiling (``...clipping.long_runs``). Where sound is smooth or hardly clipped, curves through the flanks of a run
    are nearer than any spectrum: which is, is tried on samples that are known (``...clipping.held_out``).
    Blocks of 1.5 s without a clipped sample are skipped; what is needed besides the result does not grow with the length.

References
    The estimate is described where it is computed. It was chosen over A-SPADE (Kitic, Bertin, Gribonval 2015; Zaviska and others 2019),
    social sparsity (Siedenburg, Kowalski, Doerfler 2014; Gaultier and others 2021) and autoregression (Janssen and others 1986) by
    measuring: ``benchmarks/declipping.py``. Comparisons by others: Zaviska, Rajmic, Ozerov, Rencker 2021, "A survey and an extensive
    evaluation of popular audio declipping methods", IEEE JSTSP 15(1). All as recalled.
    Declipping by undoing a model of dynamic range compression (``expansion``) has a granted patent, US 10,924,078; the estimate is another
    method. This is information, not advice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.detect import detect_clipping
from stemwright.datagen.inverse.clipping.expansion import expand
from stemwright.datagen.inverse.clipping.frame_estimates import MOST_WORK, direct_estimate, long_frames, mean_run, within
from stemwright.datagen.inverse.clipping.held_out import refined
from stemwright.datagen.inverse.clipping.long_runs import CROWDED_WORK, LONG_S, restore_long_runs
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.usage import UsageError

Array = NDArray[np.float64]
Method: TypeAlias = Literal["gaussian", "expansion"]
Ceiling: TypeAlias = float | Sequence[float] | NDArray[Any] | None

EXACT = 1e-6  # of the ceiling: samples so near to it were set to it
NEAR = 2e-3  # of a ceiling: where the level that most samples share is looked for, since a ceiling may be rounded or measured
SCATTER = 0.1  # of the ceiling: what coding moves a clipped sample by at most
BLOCK_S = 1.5
READ = 2**20  # samples that are looked at together
FRAME_S = 0.0232  # 1024 samples at 44.1 kHz, the best single length for most signals


def declip(
    audio: NDArray[Any],
    sample_rate: int,
    *,
    ceiling_low: Ceiling = None,
    ceiling_high: Ceiling = None,
    method: Method = "gaussian",
    on_progress: OnProgress | None = None,
) -> NDArray[Any]:
    """Restores the samples of audio [C, T] that were clipped; all others are returned as they are, bit by bit.

    ``ceiling_low`` <= 0 <= ``ceiling_high`` are where it was clipped, in units of the samples: a number, or one for each channel, and 0
    where it was not. Those that are None are detected (``detect_clipping``); audio in which no clipping is found is returned as it is.
    ``method`` is ``"gaussian"``, an estimate from the sound around, or ``"expansion"``, faster and worse. The result is of the type of the
    audio (integers are not taken), and may exceed full scale: it is at least the ceiling, where that was exact, so that clipping it again
    gives the input. ``on_progress`` is called as blocks are done, from the calling thread. Raises ``UsageError`` (a ValueError) for audio
    that is not finite floating point [C, T], for ceilings of the wrong sign or number, and for an unknown method.

    >>> import numpy, stemwright as sw
    >>> tone = numpy.sin(0.05 * numpy.arange(4410))[None]
    >>> clipped = tone.clip(-0.8, 0.8)
    >>> restored = sw.declip(clipped, 44_100, ceiling_low=-0.8, ceiling_high=0.8)
    >>> bool(((restored - tone) ** 2).sum() < 0.1 * ((clipped - tone) ** 2).sum())
    True
    """
    _check(audio, sample_rate, method)
    if audio.size == 0:
        return audio.copy()
    edges = _edges(audio, sample_rate, ceiling_low, ceiling_high)
    restored = audio.copy()
    size = max(1, round(BLOCK_S * sample_rate))
    tasks = [
        _Task(channel, start, min(start + size, audio.shape[1]))
        for channel, both in enumerate(edges)
        for start in range(0, audio.shape[1], size)
        if both.signs(audio[channel, start : start + size]).any()
    ]
    restore = {"gaussian": _gaussian, "expansion": _expansion}[method]

    def run(task: _Task) -> int:
        found = restore(audio[task.channel], sample_rate, edges[task.channel], task)
        restored[task.channel, task.start : task.stop] = found
        return task.stop - task.start

    seconds, total_s = 0.0, sum(task.stop - task.start for task in tasks) / sample_rate
    for done, frames in enumerate(_in_threads(run, tasks), start=1):
        seconds += frames / sample_rate
        if on_progress is not None:
            on_progress(done, len(tasks), "", AudioDone(seconds, total_s))
    return restored


@dataclass(frozen=True)
class _Task:
    """The part of a channel that one block restores."""

    channel: int
    start: int
    stop: int


@dataclass(frozen=True)
class Edges:
    """Which samples of a channel were clipped: those at the ceiling of their sign, or within the scatter that coding gave them."""

    ceiling_low: float
    ceiling_high: float
    scatter_low: float = 0.0
    scatter_high: float = 0.0

    def signs(self, samples: NDArray[Any]) -> NDArray[np.int8]:
        """+1 and -1 where samples [T] were clipped at the upper and the lower ceiling, else 0."""
        signs = np.zeros(samples.shape, np.int8)
        for sign, ceiling, scatter in ((1, self.ceiling_high, self.scatter_high), (-1, -self.ceiling_low, self.scatter_low)):
            if ceiling > 0.0:
                exact = EXACT * ceiling
                height = sign * samples.astype(np.float64)
                signs[(height >= ceiling - max(exact, 2.0 * scatter)) & (height <= ceiling + max(exact, 6.0 * scatter))] = sign
        return signs

    def bounds(self, samples: Array) -> Array:
        """What the magnitude of clipped samples [T] is at least."""
        return np.minimum(np.abs(samples), np.where(samples > 0.0, self.ceiling_high, -self.ceiling_low))

    def scaled(self, factor: float) -> Edges:
        """Those of samples that were clipped at so many times the ceilings."""
        return Edges(factor * self.ceiling_low, factor * self.ceiling_high)


def _gaussian(samples: NDArray[Any], sample_rate: int, edges: Edges, task: _Task) -> Array:
    """The part of a channel [T] that a task names, its clipped samples estimated in frames of several lengths."""
    lengths = frame_lengths(sample_rate)
    margin = 2 * lengths[-1]
    start = max(0, task.start - margin)
    around = samples[start : task.stop + margin].astype(np.float64)
    inside = slice(task.start - start, task.stop - start)
    signs, bounds = edges.signs(around), edges.bounds(around)
    if not (signs == 0).any():
        return around[inside]  # no sample is known: nothing to estimate from
    block = Clipped(around, signs, bounds)
    if mean_run(signs) >= LONG_S * sample_rate:
        found = restore_long_runs(block, sample_rate, lengths, lambda part, scale: expanded(part, sample_rate, edges.scaled(scale)))
        return refined(block, found, sample_rate, lambda other: long_frames(other, lengths[-1], CROWDED_WORK[1]))[inside]
    found = direct_estimate(block, lengths, MOST_WORK)
    return refined(block, found, sample_rate, lambda other: direct_estimate(other, lengths, MOST_WORK))[inside]


def _expansion(samples: NDArray[Any], sample_rate: int, edges: Edges, task: _Task) -> Array:
    """The part of a channel [T] that a task names, expanded above each ceiling."""
    margin = sample_rate // 100
    start = max(0, task.start - margin)
    around = samples[start : task.stop].astype(np.float64)
    block = Clipped(around, edges.signs(around), edges.bounds(around))
    return within(block, expanded(block, sample_rate, edges))[task.start - start :]


def expanded(block: Clipped, sample_rate: int, edges: Edges) -> Array:
    """The clipped samples of a block, expanded above each ceiling."""
    estimate = block.samples.copy()
    for sign, ceiling in ((1, edges.ceiling_high), (-1, -edges.ceiling_low)):
        if ceiling > 0.0 and (block.signs == sign).any():
            estimate[block.signs == sign] = expand(block.samples, sample_rate, ceiling)[block.signs == sign]
    return estimate


def frame_lengths(sample_rate: int) -> list[int]:
    """The lengths of frames to choose from, in samples: powers of two, increasing."""
    middle = 2 ** max(6, round(math.log2(FRAME_S * sample_rate)))
    return [middle // 2, middle, 2 * middle, 4 * middle]


def _check(audio: NDArray[Any], sample_rate: int, method: str) -> None:
    if not isinstance(audio, np.ndarray) or audio.ndim != 2 or not np.issubdtype(audio.dtype, np.floating):
        got = f"{audio.dtype} of shape {list(audio.shape)}" if isinstance(audio, np.ndarray) else type(audio).__name__
        raise UsageError(f"expected float audio [channels, time]; got {got}. One channel is audio[None]")
    parts = (audio[:, start : start + READ] for start in range(0, audio.shape[1], READ))
    if not all(np.isfinite(part).all() for part in parts):
        raise UsageError("the audio contains NaN or infinite samples; repair or reject it first")
    if not sample_rate > 0:
        raise UsageError(f"a sample rate must be a positive number in Hz; got {sample_rate!r}")
    if method not in get_args(Method):
        raise UsageError(f"expected a method of {', '.join(get_args(Method))}; got {method!r}")


def _edges(audio: NDArray[Any], sample_rate: int, ceiling_low: Ceiling, ceiling_high: Ceiling) -> list[Edges]:
    """What was clipped in each channel, by given ceilings or by those that are detected."""
    if ceiling_low is None or ceiling_high is None:
        detected = detect_clipping(audio, sample_rate)
        ceiling_low = [one.ceiling_low for one in detected] if ceiling_low is None else ceiling_low
        ceiling_high = [one.ceiling_high for one in detected] if ceiling_high is None else ceiling_high
    lows, highs = (_for_channels(name, value, len(audio)) for name, value in (("ceiling_low", ceiling_low), ("ceiling_high", ceiling_high)))
    if (lows > 0.0).any() or (highs < 0.0).any():
        raise UsageError(f"expected ceiling_low <= 0 <= ceiling_high; got {lows.tolist()} and {highs.tolist()}")
    edges = []
    for channel, low, high in zip(audio, lows.tolist(), highs.tolist(), strict=True):
        (below, scatter_low), (above, scatter_high) = level_and_scatter(channel, low), level_and_scatter(channel, high)
        edges.append(Edges(below, above, scatter_low, scatter_high))
    return edges


def _for_channels(name: str, value: Ceiling, channels: int) -> Array:
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (channels,)) or not np.isfinite(values).all():
        raise UsageError(f"expected {name} as one finite number, or one for each of {channels} channels; got {value!r}")
    return np.broadcast_to(values, (channels,))


def level_and_scatter(samples: NDArray[Any], ceiling: float) -> tuple[float, float]:
    """The level at which clipped samples [T] are, near a ceiling and of its sign, and their standard deviation: 0 where they are equal.

    The deviation follows from the samples beyond, which only clipping and coding put there; those before are mixed with unclipped ones.
    """
    if ceiling == 0.0:
        return 0.0, 0.0
    parts = (samples[start : start + READ] for start in range(0, len(samples), READ))
    near = np.concatenate([_between(part, (1.0 - NEAR) * ceiling, (1.0 + SCATTER) * ceiling) for part in parts]) / ceiling
    close = _between(near, 0.0, 1.0 + NEAR)
    if len(close):
        flat = float(np.median(close))
        if np.mean(np.abs(near - flat) <= EXACT) >= 0.5:  # of all: where coding spread them, some are equal by chance
            return flat * ceiling, 0.0
    beyond = _between(near, 1.0 - EXACT, math.inf)
    excess = float(np.median(beyond)) - 1.0 if len(beyond) else 0.0
    return ceiling, 1.4826 * excess * abs(ceiling) if excess > EXACT else 0.0  # a normal distribution's upper half has its median there


def _between(samples: NDArray[Any], one: float, other: float) -> Array:
    return samples[(samples >= min(one, other)) & (samples <= max(one, other))].astype(np.float64)


def _in_threads(run: Callable[[_Task], int], tasks: Sequence[_Task]) -> Iterator[int]:
    """The results of tasks as they are done, in order, by a thread for each processor; within each, torch uses one thread."""
    before = torch.get_num_threads()
    try:
        # Even for one task: factorisations of small matrices are slower in several threads, and hundreds of times on a busy machine.
        with ThreadPoolExecutor(max(1, min(before, len(tasks))), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(run, tasks)
    finally:
        torch.set_num_threads(before)  # MKL has one number for all threads
