"""Many tracks at once: the next is decoded and the last is encoded while the networks work on this one.

Conventions
    Four kinds of thread: one decodes, this one runs the networks, one measures the finished frames and stores them as raw audio in their
    order, and some encode whole tracks.
    A mixture is decoded once, into a raw file at the networks' rate: its length, mean and deviation are known before the first segment,
    and every segment can be read from there. Audio is float32 [C, T], stems are [S, C, T].
    An error of one track, a Refused or one from a library, is that track's outcome, and the others continue. Where the networks
    fail, each unfinished track is separated again on its own, so that no track fails because of another.
    A model that cannot be loaded and a full disk end the run. Whatever happens, no unfinished track leaves a file.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.disk.durable import is_full
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.demucs import schedule
from stemwright.separation.jobs import BLOCK_FRAMES, Job, JobOutcome, OnFileProgress, checked_blocks
from stemwright.separation.loudness.kweighting import CHUNK_S, HOPS_PER_S, hop_edges
from stemwright.separation.loudness.meter import BLOCK_STEP_HOPS, MOMENTARY_HOPS, gated_loudness, hop_energies, window_means
from stemwright.separation.stem_files import SeparatedFile, StemFolder

STORING = 8  # blocks of stems that wait to be stored; beyond them the networks wait, since each holds seconds of every stem
WAITING = 1  # tracks whose stems wait for an encoder; beyond it the networks wait


class Frames(Protocol):
    """Audio frames in memory or on disk."""

    num_channels: int
    num_frames: int

    def read(self, start_frame: int, stop_frame: int) -> Audio:
        """Frames as [C, t]."""


class MixtureInMemory:
    """Frames in memory."""

    def __init__(self, audio: Audio) -> None:
        self._audio = audio
        self.num_channels, self.num_frames = audio.shape

    def read(self, start_frame: int, stop_frame: int) -> Audio:
        """Frames as [C, t]."""
        return self._audio[:, start_frame:stop_frame]


class Mixture:
    """A mixture in the networks' format, with its mean and deviation as Demucs takes them: of the mean over channels, unbiased."""

    def __init__(self, frames: Frames, wanted_channels: int) -> None:
        if frames.num_channels > wanted_channels:
            raise Refused(f"{frames.num_channels} channels; the model expects {wanted_channels}")
        self._frames, self._wanted_channels = frames, wanted_channels
        self._sum, self._squares = 0.0, 0.0
        self._low, self._high = np.full(frames.num_channels, np.inf), np.full(frames.num_channels, -np.inf)

    def take(self, block: Audio) -> None:
        """Counts a block [C, t] into mean and deviation."""
        middle = block.mean(axis=0, dtype=np.float64)
        self._sum += float(middle.sum())
        self._squares += float(np.square(middle).sum())
        self._low = np.minimum(self._low, block.min(axis=1, initial=np.inf))
        self._high = np.maximum(self._high, block.max(axis=1, initial=-np.inf))

    @property
    def num_frames(self) -> int:
        """Length at the networks' rate."""
        return self._frames.num_frames

    @property
    def constant(self) -> bool:
        """Whether nothing in it varies: silence, or a single sample."""
        return bool(np.all(self._low >= self._high))

    def level(self) -> schedule.Standardisation:
        """The mean and deviation by which Demucs normalises a track."""
        count = self.num_frames
        mean = self._sum / count
        variance = max(0.0, self._squares - count * mean * mean) / max(1, count - 1)
        return schedule.Standardisation(mean, math.sqrt(variance) + schedule.EPSILON)

    def level_at(self, input_lufs: float, sample_rate: int) -> schedule.Standardisation:
        """The normalisation that brings the mixture to a loudness; Demucs's own level where it has none (silence, or below -70 LUFS)."""
        loudness, usual = integrated_loudness_of(self._frames, sample_rate), self.level()
        offset = usual.mean if not usual.restored else 0.0
        return schedule.Standardisation(offset, db_to_gain(loudness - input_lufs)) if math.isfinite(loudness) else usual

    def read(self, start_frame: int, stop_frame: int) -> Audio:
        """Frames with the networks' number of channels."""
        audio = self._frames.read(start_frame, stop_frame)
        return np.broadcast_to(audio, (self._wanted_channels, audio.shape[1])) if audio.shape[0] < self._wanted_channels else audio

    def narrow(self, stems: Audio) -> Audio:
        """Stems with the mixture's own channels."""
        if stems.shape[1] == self._frames.num_channels:
            return stems
        return stems.mean(axis=1, keepdims=True, dtype=np.float32)


def integrated_loudness_of(frames: Frames, sample_rate: int) -> float:
    """Integrated loudness in LUFS of frames that are read minute by minute, each with a second of lead-in for the filters."""
    energies = []
    for start in range(0, frames.num_frames, CHUNK_S * sample_rate):
        lead = min(start, sample_rate)
        stop = min(frames.num_frames, start + CHUNK_S * sample_rate)
        found, _ = hop_energies(frames.read(start - lead, stop), sample_rate)
        energies.append(found[lead * HOPS_PER_S // sample_rate :])
    means, _ = window_means(np.concatenate(energies), hop_edges(frames.num_frames, sample_rate), MOMENTARY_HOPS, BLOCK_STEP_HOPS)
    return gated_loudness(means)


class Networks(Protocol):
    """The networks that the pipeline runs on a mixture segment by segment."""

    @property
    def stem_names(self) -> Sequence[str]:
        """The stems that all networks together output."""

    @property
    def sample_rate(self) -> int:
        """Their sample rate in Hz."""

    @property
    def num_channels(self) -> int:
        """Their number of channels."""

    @property
    def batch_size(self) -> int:
        """Segments per call of a network."""

    def load(self) -> None:
        """Loads them now; raises an error if that fails."""

    def session(self, source: Mixture) -> schedule.Session:
        """A session that runs them over a mixture."""

    @property
    def encoders(self) -> int:
        """Tracks whose stems are written at the same time."""

    def forward(self, network: int, batch: Any) -> Any:
        """Runs one of them on [B, C, T] -> [B, S, C, T] with the stems for which it counts."""


@dataclass
class _MixtureInFlight:
    """One unfinished track. ``session`` is None where the mixture is constant and the networks are not run.

    ``failure`` is set if its stems are unusable; the rest of them is then dropped.
    """

    job: Job
    folder: StemFolder
    mixture: Mixture
    session: schedule.Session | None
    failure: Exception | None = None
    done_frames: int = 0


class _NetworksFailedError(Exception):
    """The networks failed on a batch; the cause says how."""


def run_jobs(separator: Networks, jobs: Iterable[Job], on_share: OnFileProgress | None = None) -> Iterator[tuple[Job, JobOutcome]]:
    """Separates files in a pipeline and yields each when it is finished."""
    separator.load()  # before a job is taken: a model that fails to load must leave existing files
    with ThreadPoolExecutor(1) as decoder, ThreadPoolExecutor(1) as storer, ThreadPoolExecutor(separator.encoders) as encoder:
        pipeline = _Pipeline(separator, decoder, storer, encoder)
        pipeline.on_share = on_share
        try:
            yield from pipeline.run(jobs)
        finally:
            pipeline.close()


class _Pipeline:
    def __init__(self, separator: Networks, decoder: ThreadPoolExecutor, storer: ThreadPoolExecutor, encoder: ThreadPoolExecutor) -> None:
        self._separator, self._decoder, self._storer, self._encoder = separator, decoder, storer, encoder
        self.on_share: OnFileProgress | None = None
        self._jobs: Iterator[Job] = iter(())
        self._open: list[_MixtureInFlight] = []
        self._decoding: Future[_MixtureInFlight | tuple[Job, Exception]] | None = None
        self._storing: deque[Future[None]] = deque()
        self._finishing: list[tuple[_MixtureInFlight, Future[SeparatedFile]]] = []
        self._failed: list[tuple[Job, Exception]] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, JobOutcome]]:
        """Runs all jobs to completion."""
        self._jobs = iter(jobs)
        again: list[Job] = []
        self._decode_next()
        while self._decoding is not None:
            try:
                yield from self._stream()
            except _NetworksFailedError:
                again += self._give_up_open()
        for job in again:
            self._jobs = iter([job])
            self._decode_next()
            try:
                yield from self._stream()
            except _NetworksFailedError as error:
                self._give_up_open()
                cause = error.__cause__
                yield job, cause if isinstance(cause, Exception) else error
        yield from self._ended(0)

    def _give_up_open(self) -> list[Job]:
        """Drops the unfinished tracks; returns their jobs."""
        wait(self._storing)
        self._storing.clear()
        jobs = [passage.job for passage in self._open]
        for passage in self._open:
            passage.folder.close()
        self._open.clear()
        return jobs

    def _stream(self) -> Iterator[tuple[Job, JobOutcome]]:
        batch_size = self._separator.batch_size
        for session, stems in schedule.run(self._sessions(), self._forward, batch_size=batch_size):
            passage = next(passage for passage in self._open if passage.session is session)
            self._add(passage, passage.mixture.narrow(stems))
            passage.done_frames += stems.shape[-1]
            if self.on_share:
                self.on_share(passage.job, passage.done_frames / passage.mixture.num_frames)
            if session.finished:
                self._finish(passage)
            yield from self._ended(self._separator.encoders + WAITING)
        yield from self._ended(0)

    def _forward(self, network: int, batch: Any) -> Any:
        try:
            return self._separator.forward(network, batch)
        except Exception as error:
            raise _NetworksFailedError from error

    def _add(self, passage: _MixtureInFlight, stems: Audio) -> None:
        self._storing.append(self._storer.submit(self._store, passage, stems))
        self._stored(STORING)

    def _stored(self, allowed: int) -> None:
        """Waits until at most ``allowed`` blocks are still to be stored. Raises OSError if the disk is full."""
        while len(self._storing) > allowed:
            self._storing.popleft().result()

    @staticmethod
    def _store(passage: _MixtureInFlight, stems: Audio) -> None:
        if passage.failure is not None:
            return
        try:
            passage.folder.add(stems)
        except Exception as error:
            if is_full(error):
                raise
            passage.failure = error

    def close(self) -> None:
        """Aborts unfinished tracks and removes their files."""
        if self._decoding is not None and not self._decoding.cancel() and self._decoding.exception() is None:
            outcome = self._decoding.result()
            if isinstance(outcome, _MixtureInFlight):
                outcome.folder.close()
        for passage, future in self._finishing:
            if not future.cancel():
                future.exception()
            passage.folder.close()
        self._give_up_open()

    def _sessions(self) -> Iterator[schedule.Session]:
        while self._decoding is not None:
            outcome = self._decoding.result()
            self._decode_next()
            if not isinstance(outcome, _MixtureInFlight):
                self._failed.append(outcome)
                continue
            self._open.append(outcome)
            if outcome.session is None:
                self._write_silence(outcome)
            else:
                yield outcome.session

    def _decode_next(self) -> None:
        job = next(self._jobs, None)
        self._decoding = None if job is None else self._decoder.submit(self._decode, Job(*job))

    def _decode(self, job: Job) -> _MixtureInFlight | tuple[Job, Exception]:
        separator = self._separator
        folder: StemFolder | None = None
        try:
            folder = StemFolder(
                job.out_folder, separator.stem_names, separator.sample_rate, probe(job.path, stream=job.stream).num_channels
            )
            mixture = Mixture(folder.mixture, separator.num_channels)
            for block in checked_blocks(job.path, separator.sample_rate, job.stream, separator.num_channels):
                folder.mixture.append(block)
                mixture.take(block)
            return _MixtureInFlight(job, folder, mixture, None if mixture.constant else separator.session(mixture))
        except BaseException as error:
            if folder is not None:
                folder.close()
            if isinstance(error, Exception):
                return job, error
            raise

    def _write_silence(self, passage: _MixtureInFlight) -> None:
        for start in range(0, passage.mixture.num_frames, BLOCK_FRAMES):
            count = min(BLOCK_FRAMES, passage.mixture.num_frames - start)
            self._add(passage, np.zeros((len(self._separator.stem_names), passage.folder.num_channels, count), np.float32))
        self._finish(passage)

    def _finish(self, passage: _MixtureInFlight) -> None:
        self._stored(0)
        self._open.remove(passage)
        if passage.failure is not None:
            passage.folder.close()
            self._failed.append((passage.job, passage.failure))
            return
        self._finishing.append((passage, self._encoder.submit(passage.folder.finish)))

    def _ended(self, allowed: int) -> Iterator[tuple[Job, JobOutcome]]:
        """Yields finished tracks; waits until at most ``allowed`` tracks are still being encoded."""
        yield from self._failed
        self._failed.clear()
        while self._finishing and (len(self._finishing) > allowed or self._finishing[0][1].done()):
            passage, future = self._finishing[0]
            error = future.exception()
            self._finishing.pop(0)
            passage.folder.close()
            yield passage.job, error if isinstance(error, Exception) else future.result()
