"""A track's stems on disk: one joint gain, a residual that completes the sum, all files or none.

The stems arrive as a stream whose peak is known only at its end, so they wait as raw float32 in a hidden folder beside their final place;
then the gain is known and they are written as FLAC. The residual is taken after rounding: integer by integer, the files of a track sum to
the given mixture (times the joint gain), whatever the separator. Stems that are on the disk already, a multitrack's own, are written as
they are read, without raw copies, and read again only if their peak needs a joint gain.

Conventions
    Audio is float32 [C, T], full scale 1.0; stems are [S, C, T]. ``gain_db`` is at most 0 and is a multiple of 0.01 dB, so that the row
    is exact.
    Raw files hold interleaved frames. The hidden folder is removed whatever happens; one left by a killed process is removed by the next
    start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stemwright.manifests.decibels import db_to_gain, joint_gain_db
from stemwright.manifests.disk.attempts import ATTEMPT, PROCESS, attempt_name
from stemwright.manifests.disk.durable import make_folder, naming, put_all, remove
from stemwright.manifests.names import checked_name
from stemwright.manifests.records import RESIDUAL, AudioFile, Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.writing import FULL_SCALE, Writer
from stemwright.separation.quality import Tally

WORK_FOLDER = ".separating"
ATTEMPT_FOLDER = re.compile(rf"\.separating-[^.]+\.{ATTEMPT}")  # what ``attempt_folder`` gives
MADE_IN_WORK = re.compile(rf"(mixture|\d+)\.raw|[a-z0-9_-]+\.flac|\.[a-z0-9_-]+\.flac\.(?:\d+|{PROCESS})\.part", re.IGNORECASE)
BLOCK_FRAMES = 1 << 15  # at a time: in the processor's cache, and in memory that is used again
MARGIN = 2.0**-19  # below full scale: rounding of up to a dozen stems moves the residual by less


@dataclass(frozen=True)
class StemFile:
    """One written stem, with what a row says about it."""

    path: Path
    sample_rate: int
    num_channels: int
    num_frames: int
    num_bytes: int
    sha256: str

    def record(self, corpus: Path) -> AudioFile:
        """The row's columns, with the path relative to the corpus folder."""
        return AudioFile(
            path=_below(self.path, corpus),
            sample_rate=self.sample_rate,
            num_channels=self.num_channels,
            num_frames=self.num_frames,
            num_bytes=self.num_bytes,
            sha256=self.sha256,
            stream=0,
        )


def _below(path: Path, corpus: Path) -> str:
    """The path as written in a row. A folder of the corpus may be a link to another disk, so links are followed only if needed."""
    places = ((path.absolute(), corpus.absolute()), (path.resolve(), corpus.resolve()))
    return next(place.relative_to(root).as_posix() for place, root in places if place.is_relative_to(root) or root == corpus.resolve())


class SeparatedFile(dict[str, Path]):
    """{stem name: path}, the residual among them, and facts common to all stems of the track.

    ``gain_db`` was applied to all of them before writing. ``closure_db`` is the energy of mixture - sum(stems, without the residual) over
    the energy of the mixture; None if they sum exactly. ``parts`` are those of its drums, if they were taken apart; their ``gain_db``
    comes on top of that of the stems. ``tally`` holds peaks, energies and correlations for
    `stemwright.separation.quality.assess`.
    """

    def __init__(self, files: Mapping[str, StemFile], gain_db: float, tally: Tally) -> None:
        super().__init__({name: file.path for name, file in files.items()})
        self.files = dict(files)
        self.gain_db = gain_db
        self.closure_db = tally.closure_db
        self.tally = tally
        self.parts: SeparatedFile | None = None


class RawAudio:
    """Frames on disk as raw float32: appended, read at random, and kept in memory only block by block."""

    def __init__(self, path: Path, num_channels: int) -> None:
        self.path, self.num_channels, self.num_frames = path, num_channels, 0
        self._file = path.open("w+b")

    def append(self, audio: Audio) -> None:
        """Adds [C, t] at the end."""
        with naming(self.path):
            self._file.seek(0, 2)
            for start in range(0, audio.shape[1], BLOCK_FRAMES):
                self._file.write(np.ascontiguousarray(audio[:, start : start + BLOCK_FRAMES].T, dtype="<f4").data)
        self.num_frames += audio.shape[1]

    def read(self, start_frame: int, stop_frame: int) -> Audio:
        """Frames as [C, t]."""
        self._file.flush()
        with self.path.open("rb") as file:
            file.seek(start_frame * self.num_channels * 4)
            data = file.read((stop_frame - start_frame) * self.num_channels * 4)
        return np.frombuffer(data, "<f4").reshape(-1, self.num_channels).T

    def blocks(self) -> Iterator[Audio]:
        """All frames as [C, t]."""
        for start in range(0, self.num_frames, BLOCK_FRAMES):
            yield self.read(start, min(start + BLOCK_FRAMES, self.num_frames))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class StemFolder:
    """Writes the stems of one track into a folder: a context manager (or ``close`` at the end) that leaves all files or none.

    ``mixture`` takes the mixture's frames first; then ``add`` takes the stems in order, and ``finish`` writes the files.
    """

    def __init__(self, out_folder: Path | str, stem_names: Sequence[str], sample_rate: int, num_channels: int) -> None:
        self.out_folder = Path(out_folder)
        self.stem_names, self.sample_rate, self.num_channels = tuple(stem_names), sample_rate, num_channels
        for name in self.stem_names:  # each becomes a file name
            checked_name(name)
        if RESIDUAL in self.stem_names or len(set(self.stem_names)) < len(self.stem_names):
            raise ValueError(f"stem names must differ and none may be {RESIDUAL!r}, which is reserved; got {', '.join(self.stem_names)}")
        self._work = self.out_folder / WORK_FOLDER
        self._tally = Tally(self.stem_names)
        if self._work.is_symlink():
            raise Refused(f"{self._work} is a link: nothing is written or deleted through it. Remove it and run the same command again")
        self._created = not self.out_folder.exists()
        clear_work(self.out_folder)
        make_folder(self._work)
        self.mixture = RawAudio(self._work / "mixture.raw", self.num_channels)
        self._stems = [RawAudio(self._work / f"{number}.raw", self.num_channels) for number in range(len(self.stem_names))]

    def __enter__(self) -> StemFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes everything that is not under a final name, and the folder itself if it stayed empty."""
        for raw in (self.mixture, *self._stems):
            with suppress(OSError):  # a full disk cannot take the buffered data; the file is removed anyway
                raw.close()
        clear_work(self.out_folder)
        if self._created:
            with suppress(OSError):  # stems are in it
                self.out_folder.rmdir()

    def add(self, stems: Audio) -> None:
        """Takes the next frames of all stems, [S, C, t]."""
        start = self._stems[0].num_frames
        self._tally.add(self.mixture.read(start, start + stems.shape[-1]), stems)
        for raw, stem in zip(self._stems, stems, strict=True):
            raw.append(stem)

    def finish(self) -> SeparatedFile:
        """Writes the stems and the residual with their joint gain. Raises ValueError if the stems are not as long as the mixture."""
        if any(raw.num_frames != self.mixture.num_frames for raw in self._stems):
            raise ValueError(f"stems end at frame {self._stems[0].num_frames}, the mixture at frame {self.mixture.num_frames}")
        gain_db = joint_gain_db(self._tally.peak, 1.0 - MARGIN)
        names = (*self.stem_names, RESIDUAL)
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            written = list(pool.map(lambda number: self._encode(number, db_to_gain(gain_db)), range(len(names))))
        return SeparatedFile(dict(zip(names, self._place(written), strict=True)), gain_db, self._tally)

    def encode(self, blocks: Callable[[], Iterator[tuple[Audio, Audio]]]) -> SeparatedFile:
        """Writes stems that can be read again. ``blocks`` gives the mixture [C, t] and the stems [S, C, t], from their start each time."""
        source, gain_db = self._counted(blocks()), 0.0
        try:
            written = self._encoded(source, 0.0)
        except _TooLoudError:
            for _ in source:  # to know the peak of all
                pass
            gain_db = joint_gain_db(self._tally.peak, 1.0 - MARGIN)
            written = self._encoded(blocks(), gain_db)
        return SeparatedFile(dict(zip((*self.stem_names, RESIDUAL), self._place(written), strict=True)), gain_db, self._tally)

    def _counted(self, source: Iterator[tuple[Audio, Audio]]) -> Iterator[tuple[Audio, Audio]]:
        for mixture, stems in source:
            self._tally.add(mixture, stems)
            yield mixture, stems

    def _encoded(self, source: Iterator[tuple[Audio, Audio]], gain_db: float) -> list[StemFile]:
        """Writes all stems and the residual into the work folder. Raises _TooLoudError at a peak that needs another gain."""
        names, gain = (*self.stem_names, RESIDUAL), db_to_gain(gain_db)
        with ExitStack() as files:
            writers = [files.enter_context(Writer(self._work / f"{name}.flac", self.sample_rate, self.num_channels)) for name in names]
            pool = files.enter_context(ThreadPoolExecutor(max_workers=len(names)))
            for mixture, stems in source:
                if gain_db > joint_gain_db(self._tally.peak, 1.0 - MARGIN):
                    raise _TooLoudError
                rest = _rounded(mixture, gain)
                for stem in stems:
                    rest -= _rounded(stem, gain)
                signals = [*(_scaled(stem, gain) for stem in stems), (rest / FULL_SCALE).astype(np.float32)]
                list(pool.map(Writer.write, writers, signals))
        return [_written(writer) for writer in writers]

    def _encode(self, number: int, gain: float) -> StemFile:
        """Writes stem ``number``, or the residual when it is one more than there are stems, into the work folder."""
        name = (*self.stem_names, RESIDUAL)[number]
        with Writer(self._work / f"{name}.flac", self.sample_rate, self.num_channels) as writer:
            for start in range(0, self.mixture.num_frames, BLOCK_FRAMES):
                stop = min(start + BLOCK_FRAMES, self.mixture.num_frames)
                if number < len(self._stems):
                    writer.write(_scaled(self._stems[number].read(start, stop), gain))
                    continue
                rest = _rounded(self.mixture.read(start, stop), gain)
                for raw in self._stems:
                    rest -= _rounded(raw.read(start, stop), gain)
                writer.write((rest / FULL_SCALE).astype(np.float32))
        return _written(writer)

    def _place(self, written: Sequence[StemFile]) -> list[StemFile]:
        placed = [replace(file, path=self.out_folder / file.path.name) for file in written]
        put_all([(file.path, final.path) for file, final in zip(written, placed, strict=True)])
        return placed


def attempt_folder(place: Path) -> Path:
    """A hidden folder beside the one of a track's stems, in which one attempt of one process makes them: no other writes there."""
    return place.with_name(f"{WORK_FOLDER}-{place.name}.{attempt_name()}")


def clear_attempt(folder: Path, row_file: str) -> None:
    """Removes the folder of an attempt, as far as it holds what only an attempt writes: stems, and the row file beside them."""
    if folder.is_symlink() or not folder.is_dir():
        return
    clear_work(folder)
    hidden = re.compile(rf"\.{re.escape(row_file)}\.{PROCESS}\.part")
    remove(path for path in folder.iterdir() if path.name == row_file or MADE_IN_WORK.fullmatch(path.name) or hidden.fullmatch(path.name))
    with suppress(OSError):  # something else is in it
        folder.rmdir()


class _TooLoudError(Exception):
    """The stems of a track need a joint gain."""


def _written(writer: Writer) -> StemFile:
    return StemFile(writer.path, writer.sample_rate, writer.num_channels, writer.num_frames, writer.num_bytes, writer.sha256)


def clear_work(out_folder: Path) -> None:
    """Removes the files that an interrupted separation left in the hidden folder of a track's stems, and no others."""
    work = out_folder / WORK_FOLDER
    if work.is_symlink() or not work.is_dir():
        return
    remove(path for path in work.iterdir() if MADE_IN_WORK.fullmatch(path.name))
    with suppress(OSError):  # something else is in it
        work.rmdir()


def clear_all_work(stems: Path, row_file: str) -> None:
    """Removes what killed processes left below the folder of all stems; links below it are not followed
    (``stemwright.manifests.disk.deletion``). ``row_file`` is the name of the file that a finished attempt writes beside its stems."""
    for place, folders, _ in os.walk(stems):
        if ATTEMPT_FOLDER.fullmatch(Path(place).name):
            clear_attempt(Path(place), row_file)
            folders.clear()
            continue
        if WORK_FOLDER in folders:
            clear_work(Path(place))
            folders.remove(WORK_FOLDER)
            with suppress(OSError):  # stems are in it
                Path(place).rmdir()


def _scaled(audio: Audio, gain: float) -> Audio:
    return audio if gain == 1.0 else audio * np.float32(gain)


def _rounded(audio: Audio, gain: float) -> np.ndarray:
    """The samples of the 24-bit file, in float64 steps of 2^-23."""
    return np.rint(_scaled(audio, gain) * np.float32(FULL_SCALE)).astype(np.float64)
