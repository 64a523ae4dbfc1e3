"""Rendering: a pair -> its signals. Deterministic; draws nothing, opens nothing but what ``read`` opens.

Conventions
    A signal is its branches, each a source through its chain, summed, then through the bus chain. Audio is float32 [C, T].
    A signal's view shows what its bus did: "gain" is the gain of the bus's limiter for every sample, [1, T] or [C, T]; "unlimited" is the
    audio with every gain of the bus but that one, those that bring to a loudness included, so that audio = unlimited x gain.
    An effect with a memory starts each excerpt from silence: the label is what was done to the excerpt.
    A source at another rate than the pair's is read at a position that is a whole frame in both rates, with a margin, and resampled,
    so an excerpt does not depend on where it was cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from manifests.audio import Audio, load, resample
from manifests.records import AudioFile, Branch, Change, EffectUse, Pair, Refused, Signal

Read = Callable[[str, int, int, int], Audio]  # (source id, start frame, number of frames, sample rate) -> [C, T]

RESAMPLING_MARGIN_S = 0.1  # read on both sides of an excerpt before resampling; soxr's filter is far shorter at any rate we take


class Rendered(dict[str, Audio]):
    """{signal name: audio}, inputs first, and what only rendering can know.

    ``levelled_db`` holds for each signal the gains in dB that its effects ``loudness`` gave, branch by branch, then those of its bus;
    ``changes`` what each removed or added effect does by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levelled_db: dict[str, tuple[float, ...]] = {}
        self.changes: tuple[Change, ...] = ()


def render(pair: Pair, read: Read) -> Rendered:
    """The signals of a pair by name, inputs first. Raises Refused when a source cannot be read."""
    held = lru_cache(maxsize=None)(read)  # the same stem often stands in several signals of a pair
    rendered = Rendered()
    for signal in (*pair.inputs, *pair.targets):
        gains_db: list[float] = []
        rendered[signal.name] = _signal(signal, pair, held, gains_db)
        rendered.levelled_db[signal.name] = tuple(round(gain_db, 7) for gain_db in gains_db)  # -150 dB when made again
    return rendered


def _signal(signal: Signal, pair: Pair, read: Read, gains_db: list[float]) -> Audio:
    """One signal; adds to ``gains_db`` what its effects ``loudness`` gave."""
    parts = [_branch(branch, pair, read, gains_db) for branch in signal.branches]
    num_channels = max((part.shape[0] for part in parts), default=1)
    total = np.zeros((num_channels, pair.num_frames), np.float32)
    for part in parts:
        total += part
    if signal.view == "audio":
        return _through(total, pair.sample_rate, signal.bus, gains_db)
    unlimited, gain = _opened(total, pair.sample_rate, signal.bus, gains_db)
    return gain if signal.view == "gain" else unlimited


def _opened(audio: Audio, sample_rate: int, bus: tuple[EffectUse, ...], gains_db: list[float]) -> tuple[Audio, Audio]:
    """What a bus makes of audio [C, T], taken apart: the audio with all its gains but the limiter's, and the limiter's, [1 or C, T]."""
    import torch

    from datagen.effects import EFFECTS, fader, limiter, loudness, resolve_chain

    limited, unlimited = torch.from_numpy(audio), torch.from_numpy(audio)
    gain = torch.ones_like(limited[:1])
    with torch.inference_mode(), one_thread():
        for use, (effect, settings) in zip(bus, resolve_chain(bus), strict=True):
            if use.effect == "limiter":
                gain = gain * limiter.gain_curve(limited, sample_rate, cast("limiter.Settings", settings))
                limited = effect.apply(limited, sample_rate, settings)
                continue
            if use.effect == "loudness":  # the gain that the limited audio needs is given to both
                gains_db.append(float(loudness.gain_db(limited, sample_rate, cast("loudness.Settings", settings))))
                settings = fader.Settings.model_construct(gain_db=gains_db[-1], pan=0.0)
                effect = EFFECTS["fader"]
            elif use.effect != "fader":
                raise Refused(f"a bus with {use.effect} has no gain curve; expected limiter, loudness and fader only")
            limited, unlimited = (effect.apply(each, sample_rate, settings) for each in (limited, unlimited))
    return unlimited.numpy(), gain.numpy()


def _branch(branch: Branch, pair: Pair, read: Read, gains_db: list[float]) -> Audio:
    start_frame = pair.start_frame + branch.offset_frames
    source = read(branch.source_id, start_frame, pair.num_frames, pair.sample_rate)
    return _through(_taken(source, branch.channels), pair.sample_rate, branch.chain, gains_db)


def _taken(audio: Audio, channels: str) -> Audio:
    """The channels of a source [C, T] that a branch takes."""
    if channels == "mono":
        return audio.mean(axis=0, keepdims=True, dtype=np.float32)
    return {"all": audio, "left": audio[:1], "right": audio[-1:]}[channels]


def _through(audio: Audio, sample_rate: int, chain: tuple[EffectUse, ...], gains_db: list[float]) -> Audio:
    if not chain:
        return audio
    import torch

    from datagen.effects import apply_chain, loudness

    out = torch.from_numpy(audio)
    with torch.inference_mode(), one_thread():
        for use in chain:
            if use.effect == loudness.NAME:
                out, gain_db = loudness.levelled(out, sample_rate, loudness.Settings(**cast("dict[str, Any]", use.settings)))
                gains_db.append(float(gain_db))
            else:
                out = apply_chain(out, sample_rate, (use,))
    if not np.isfinite(out.numpy()).all():
        raise Refused(f"the chain {' > '.join(use.effect for use in chain)} gave samples that are not finite")
    return np.asarray(out.numpy(), np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread: how a sum is shared out must not show in the bytes, and processes are how we use more cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Sources:
    """The sound files of a corpus by the ids that pairs name them with: callable as ``Read``."""

    def __init__(self, folder: Path, files: Mapping[str, AudioFile]) -> None:
        self.folder = folder
        self.files = files

    def __call__(self, source_id: str, start_frame: int, num_frames: int, sample_rate: int) -> Audio:
        """Reads an excerpt of a source at the rate asked for, [C, T]."""
        if source_id not in self.files:
            raise Refused(f"no stem has the id {source_id}; was the table of stems replaced since the pairs were planned?")
        file = self.files[source_id]
        path = self.folder / file.path
        if file.sample_rate == sample_rate:
            return load(path, start_frame, num_frames, stream=file.stream)[0]
        return self._resampled(path, file, start_frame, num_frames, sample_rate)

    def _resampled(self, path: Path, file: AudioFile, start_frame: int, num_frames: int, sample_rate: int) -> Audio:
        common = math.gcd(sample_rate, file.sample_rate)
        step, source_step = sample_rate // common, file.sample_rate // common  # so many frames in one rate are so many in the other
        margin = math.ceil(RESAMPLING_MARGIN_S * sample_rate / step)
        first = max(0, start_frame // step - margin)
        last = math.ceil((start_frame + num_frames) / step) + margin
        wanted = min(last * source_step, file.num_frames) - first * source_step
        audio, _ = load(path, first * source_step, wanted, stream=file.stream)
        out = resample(audio, file.sample_rate, sample_rate)[:, start_frame - first * step :][:, :num_frames]
        missing = num_frames - out.shape[1]
        if missing > 1:
            raise Refused(f"{file.path} ends {missing} frames before the excerpt does")
        return np.pad(out, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(out)
