"""Rendering: a pair -> its signals. Deterministic; draws nothing, opens nothing but what ``read`` opens.

Conventions
    The same pair gives the same bytes on one kind of processor, with the same versions; others add up in another order and differ in
    the last bits.
    A signal is its branches, each a source through its chain, summed, then through the bus chain. Audio is float32 [C, T].
    A send gets the sum of the branches' outputs, each times its gain of that send; what its chain makes of it is added to their sum, less
    what it got where the send ``returns`` the difference.
    A signal's view shows what its bus did: "gain" is the gain of the bus's limiter for every sample, [1, T] or [C, T]; "unlimited" is the
    audio with every gain of the bus but that one, those that set a loudness included, so that audio = unlimited x gain.
    An effect with a memory starts each excerpt from silence: the label is what was done to the excerpt.
    Of every removed or added effect it is measured what it does by itself (``stemwright.datagen.pairs.chain_runs``).
    A source at another rate than the pair's is read at a position that is a whole frame in both rates, with a margin, and resampled,
    so an excerpt does not depend on where it was cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from stemwright.datagen.pairs.chain_runs import MEASURED, ChainRuns, MeasuredChange
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.pair_records import Branch, Change, Pair, SendBus, Signal
from stemwright.manifests.records import AudioFile, EffectUse, Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.wording import unreadable_stem

Read = Callable[[str, int, int, int], Audio]  # (source id, start frame, number of frames, sample rate) -> [C, T]

RESAMPLING_MARGIN_S = 0.1  # read on both sides of an excerpt before resampling; soxr's filter is far shorter at any rate we take


class Rendered(dict[str, Audio]):
    """{signal name: audio}, inputs first, and what only rendering can know.

    ``inaudible`` says what cannot be heard of that which the pair is about, None if all of it can.

    ``levelled_db`` holds for each signal the gains in dB that its effects ``loudness`` gave, branch by branch, then those of its sends and
    its bus; ``changes`` what each removed or added effect does by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levelled_db: dict[str, tuple[float, ...]] = {}
        self.changes: tuple[Change, ...] = ()
        self.inaudible: str | None = None


def render(pair: Pair, read: Read) -> Rendered:
    """The signals of a pair by name, inputs first. Raises Refused when a source cannot be read."""
    cached = lru_cache(maxsize=None)(read)  # several signals of a pair often use the same stem
    rendering, rendered = _Rendering(pair, cached), Rendered()
    for signal in (*pair.inputs, *pair.targets):
        gains_db: list[float] = []
        rendered[signal.name] = rendering.signal(signal, gains_db)
        rendered.levelled_db[signal.name] = tuple(round(gain_db, 7) for gain_db in gains_db)  # -150 dB when made again
    rendered.changes = tuple(measured.change for measured in rendering.measured)
    if pair.min_change_db is not None:
        rendered.inaudible = rendering.inaudible(pair.min_change_db)
    return rendered


class _Rendering:
    """The signals of one pair, and what their effects do."""

    def __init__(self, pair: Pair, read: Read) -> None:
        self.pair, self.read = pair, read
        self.measured: list[MeasuredChange] = []
        self._runs = ChainRuns(pair.sample_rate)

    def signal(self, signal: Signal, gains_db: list[float]) -> Audio:
        """One signal; adds to ``gains_db`` what its effects ``loudness`` gave."""
        parts = []
        for number, branch in enumerate(signal.branches):
            source, root = self._source(branch), _root(branch)
            parts.append(self._run(root, source, branch.chain, gains_db))
            self._measure(root, source, branch.chain, signal.name, number)
        parts += self._returns(signal, parts, gains_db, measured=True)
        total = _sum(parts, self.pair.num_frames)
        mixed: object = (signal.branches, signal.sends) if signal.sends else signal.branches
        if signal.view != "audio":
            unlimited, gain = _opened(total, self.pair.sample_rate, signal.bus, gains_db)
            return gain if signal.view == "gain" else unlimited
        out = self._run(mixed, total, signal.bus, gains_db)
        self._measure(mixed, total, signal.bus, signal.name, None)
        return out

    def _returns(self, signal: Signal, parts: list[Audio], gains_db: list[float], *, measured: bool) -> list[Audio]:
        """What each send makes of the branches' outputs."""
        returns = []
        for number, send in enumerate(signal.sends, len(parts)):
            fed = [
                np.float32(db_to_gain(gain_db)) * part for gain_db, part in zip(send.gains_db, parts, strict=True) if gain_db is not None
            ]
            entering, root = _fed(_sum(fed, self.pair.num_frames), send), (signal.branches, send.gains_db, send.feed)
            made = self._run(root, entering, send.chain, gains_db)
            returns.append(made - entering if send.returns else made)
            if measured:
                self._measure(root, entering, send.chain, signal.name, number)
        return returns

    def _source(self, branch: Branch) -> Audio:
        start_frame = self.pair.start_frame + branch.offset_frames
        return _taken(self.read(branch.source_id, start_frame, self.pair.num_frames, self.pair.sample_rate), branch.channels)

    def _run(self, root: object, audio: Audio, chain: tuple[EffectUse, ...], gains_db: list[float]) -> Audio:
        if not chain:
            return audio
        with one_thread():
            run = self._runs.run(repr(root), audio, chain)
        gains_db += run.gains_db
        return np.asarray(run.audio.numpy(), np.float32)

    def _measure(self, root: object, audio: Audio, chain: tuple[EffectUse, ...], signal: str, branch: int | None) -> None:
        if any(use.role in MEASURED for use in chain):
            with one_thread():
                self.measured += self._runs.measure(repr(root), audio, chain, signal=signal, branch=branch)

    def inaudible(self, min_change_db: float) -> str | None:
        """The reason to refuse the pair: the first of its effects or sources that makes no audible difference; None if all do."""
        if self._runs.too_soft:
            return "a signal is too quiet to be brought to its loudness"
        for measured in self.measured:
            if measured.least_db < min_change_db:
                return f"the {measured.role} {measured.change.effect} {_changes_by(measured.least_db, min_change_db)}"
        one, other = self.pair.inputs[:1], self.pair.targets[:1]
        sums = len(self.pair.inputs) == len(self.pair.targets) == 1 and max(len(side.branches) for side in (*one, *other)) > 1
        return self._unheard_source(one[0], other[0], min_change_db) if sums else None

    def _unheard_source(self, one: Signal, other: Signal, min_change_db: float) -> str | None:
        """The reason to refuse a pair of sums: a source that they treat differently without changing the louder of them audibly.

        A source that one side lacks, as a muted one, counts where no effect is what the pair is about.
        """
        loudest = max(_energy(self._contribution(side)) for side in (one, other))
        for source_id in dict.fromkeys(branch.source_id for side in (one, other) for branch in side.branches):
            before, after = (side.of_source(source_id) for side in (one, other))
            alike = (before.branches, before.sends) == (after.branches, after.sends)
            if alike or (self.measured and not (before.branches and after.branches)):
                continue  # alike, or left out of what else is done: the stems that are no target of a restoration
            change = _energy(self._contribution(before) - self._contribution(after))
            change_db = 10.0 * math.log10(change / loudest) if change > 0.0 and loudest > 0.0 else -math.inf
            if change_db < min_change_db:
                return f"what is done to the stem {source_id} {_changes_by(change_db, min_change_db)}"
        return None

    def _contribution(self, signal: Signal) -> Audio:
        """What its branches, by themselves, add up to before the bus."""
        parts = [self._run(_root(branch), self._source(branch), branch.chain, []) for branch in signal.branches]
        return _sum([*parts, *self._returns(signal, parts, [], measured=False)], self.pair.num_frames)


def _fed(audio: Audio, send: SendBus) -> Audio:
    """What enters the chain of a send, of the sum [C, T] of what is sent to it."""
    return np.broadcast_to(audio.mean(axis=0, keepdims=True), audio.shape).copy() if send.feed else audio


def _root(branch: Branch) -> tuple[str, int, str]:
    return branch.source_id, branch.offset_frames, branch.channels


def _sum(parts: list[Audio], num_frames: int) -> Audio:
    total = np.zeros((max((part.shape[0] for part in parts), default=1), num_frames), np.float32)
    for part in parts:
        total += part
    return total


def _energy(audio: Audio) -> float:
    return float(audio.ravel() @ audio.ravel())


def _changes_by(change_db: float, expected_db: float) -> str:
    by = f"changes it by {change_db:.0f} dB" if math.isfinite(change_db) else "changes nothing"
    return f"{by}, expected at least {expected_db:g} dB"


def _opened(audio: Audio, sample_rate: int, bus: tuple[EffectUse, ...], gains_db: list[float]) -> tuple[Audio, Audio]:
    """What a bus makes of audio [C, T], taken apart: the audio with all its gains but the limiter's, and the limiter's, [1 or C, T]."""
    import torch

    from stemwright.datagen.effects import EFFECTS, fader, resolve_chain

    limited, unlimited = torch.from_numpy(audio), torch.from_numpy(audio)
    gain = torch.ones_like(limited[:1])
    with one_thread():
        for use, (effect, settings) in zip(bus, resolve_chain(bus), strict=True):
            if "dynamic" in effect.TRAITS and not settings.final_gain_db():
                gain = gain * effect.gain_curve(limited, sample_rate, settings)
                limited = effect.apply(limited, sample_rate, settings)
                continue
            if "normalising" in effect.TRAITS:  # the gain that the limited audio needs is given to both
                gains_db.append(float(effect.gain_db(limited, sample_rate, settings)))
                settings = fader.Settings.model_construct(gain_db=gains_db[-1], pan=0.0)
                effect = EFFECTS["fader"]
            elif "level" not in effect.TRAITS:
                raise Refused(f"a bus with {use.effect} has no gain curve; expected only limiter, loudness and fader")
            limited, unlimited = (effect.apply(each, sample_rate, settings) for each in (limited, unlimited))
    return unlimited.numpy(), gain.numpy()


def _taken(audio: Audio, channels: str) -> Audio:
    """The channels of a source [C, T] that a branch takes."""
    if channels == "mono":
        return audio.mean(axis=0, keepdims=True, dtype=np.float32)
    return {"all": audio, "left": audio[:1], "right": audio[-1:]}[channels]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread, without gradients.

    How a sum is shared out must not show in the bytes, and processes are how we use more cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


class Sources:
    """The sound files of a corpus by the ids that pairs name them with: callable as ``Read``."""

    def __init__(self, folder: Path, files: Mapping[str, AudioFile]) -> None:
        self.folder = folder
        self.files = files

    def __call__(self, source_id: str, start_frame: int, num_frames: int, sample_rate: int) -> Audio:
        """Reads an excerpt of a source at the requested sample rate, [C, T]."""
        if source_id not in self.files:
            raise Refused(f"no stem has the id {source_id}; was stems.parquet replaced after the pairs were planned?")
        file = self.files[source_id]
        path = located(self.folder, file)
        try:
            if file.sample_rate == sample_rate:
                return load(path, start_frame, num_frames, stream=file.stream)[0]
            return self._resampled(path, file, start_frame, num_frames, sample_rate)
        except Refused as reason:
            raise Refused(unreadable_stem(self.folder, file.path, str(reason), "render")) from reason

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
