"""What all formats share: the protocol, the files of one example, the tables and the card that make a dataset complete by itself."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from stemwright.datagen.dataset.writers import card
from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import LEVEL_ROOM_DB
from stemwright.datagen.pairs.render import Rendered
from stemwright.datagen.pairs.section import Section
from stemwright.manifests import __version__, shards, table
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair, of_dataset
from stemwright.manifests.decibels import db_to_gain, gain_to_db, joint_gain_db
from stemwright.manifests.disk.deletion import check_way
from stemwright.manifests.disk.durable import FileGroup, OvertakenError, State, state_of
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Example, Pair, Signal, SignalFile
from stemwright.manifests.records import AudioFile, Record, Refused, Track, content_id, seal
from stemwright.manifests.shards import DATASET
from stemwright.manifests.sound.formats import SUFFIXES, Audio, Encoding
from stemwright.manifests.sound.writing import as_stored, encode
from stemwright.manifests.spooled_sounds import SpooledSounds
from stemwright.manifests.table_rows import TableRows


class Spread(Protocol):
    """Applies a function to each item, in any order and in any process; an error in one is raised."""

    def __call__(self, work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """The results, in the order in which they are finished."""
        ...


def in_turn(work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
    """The results of the work, done in this process for one item after another."""
    return map(work, items)


_FOUND: ContextVar[Mapping[Path, State] | None] = ContextVar("found", default=None)  # state of the files of a pair before its work began


class DatasetWriter(Protocol):
    """What a format of dataset offers. The two bases in ``packing`` have all of it but the name, and what assembles a shard.

    ``encodings`` are those that it can hold, the first of them by default. ``loading`` is the Python on the card that opens the dataset: a
    template with the fields kind, split, column (of the first signal) and last (number of the split's last shard). ``shard_suffix`` is
    that of its packed files, empty if there are none. ``Options``, a ``Section``, has the keys of ``[dataset.NAME]``, if there are any.
    """

    format_name: ClassVar[str]
    encodings: ClassVar[tuple[Encoding, ...]]
    loading: ClassVar[str]
    shard_suffix: ClassVar[str]
    Options: ClassVar[type[Section] | None]

    @classmethod
    def from_section(cls, section: Any, encoding: Encoding, tracks: Callable[[], Iterable[Track]]) -> Self:
        """The writer that ``[dataset]`` selects; ``tracks`` gives the rows of all tracks."""
        ...

    @classmethod
    def check(cls, dataset: Any, pairs: Any) -> None:
        """Raises ValueError, saying what to change, if the sections ``[dataset]`` and ``[pairs]`` plan what the format cannot hold."""
        ...

    @classmethod
    def card_head(cls, dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example]) -> dict[str, Any]:
        """Further entries for the head of the card, as the Hugging Face Hub reads it."""
        ...

    def cache_key(self, pair: Pair) -> str:
        """The id of the work of writing one pair in this format."""
        ...

    def paths(self, pair: Pair) -> dict[tuple[str, str], str]:
        """Under which paths ``write`` writes the signals of a pair, keyed by role and name."""
        ...

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Writes the signals of one pair and returns its row."""
        ...

    def finish(
        self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "", spread: Spread = in_turn
    ) -> int:
        """Completes the dataset; returns how many files of examples that are no longer planned were removed.

        Rows are made when they are used, and there may be millions. ``spread`` distributes work on independent parts.

        The dataset's table of examples is written last and carries ``made_from``: once it exists, the dataset is complete.
        """
        ...


class FormatBase:
    """Defaults that suit most formats: every encoding, no options, every kind of pair, opened with ``PairDataset``."""

    format_name: ClassVar[str]
    encodings: ClassVar[tuple[Encoding, ...]] = ("flac24", "wav32f")
    loading: ClassVar[str] = card.LOADING
    shard_suffix: ClassVar[str] = ""
    Options: ClassVar[type[Section] | None] = None

    @classmethod
    def check(cls, dataset: Any, pairs: Any) -> None:
        """Every plan suits."""
        del dataset, pairs

    @classmethod
    def card_head(cls, dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example]) -> dict[str, Any]:
        """Nothing besides."""
        del dataset, pairs, examples
        return {}


class PresentFiles:
    """Checks whether the sound files of rows are there and complete, by themselves, in whole shards, or in the spool: what a start may
    skip.
    """

    def __init__(self, corpus: Path) -> None:
        self._places, self._spooled = shards.Places(corpus / DATASET), SpooledSounds(corpus / DATASET)

    def __call__(self, rows: Sequence[Record]) -> bool:
        """Whether every sound file of these examples is there, with as many bytes as its row says."""
        files = (file.audio for row in rows if isinstance(row, Example) for file in row.signals)
        return all(self._is_there(shards.in_dataset(file.path), file.num_bytes) for file in files)

    def _is_there(self, path: str, num_bytes: int) -> bool:
        return self._places.exists(path, num_bytes) or self._spooled.exists(path, num_bytes)


def loose_cache_key(pair: Pair, encoding: Encoding) -> str:
    """The id of the work of writing a pair's signals as files: the same for all formats that begin with these files."""
    others = EFFECTS.packages(use.effect for signal in (*pair.inputs, *pair.targets) for chain in signal.chains for use in chain)
    packages = {"packages": others} if others else {}
    return content_id({"pair": pair.id, "format": "folder", "encoding": encoding, "version": __version__, **packages})


def write_loose(corpus: Path, pair: Pair, signals: Mapping[str, Audio], encoding: Encoding, group: Writes | None = None) -> Example:
    """Encodes the signals and writes one file for each, or gives them to ``group``. The same pair gives the same bytes."""
    storage = Storage(encoding, loose_cache_key(pair, encoding), full_scale=encoding == "flac24")
    return write_signals(corpus, pair, signals, loose_paths(pair, encoding), storage, group)


def loose_paths(pair: Pair, encoding: Encoding) -> dict[tuple[str, str], str]:
    """The paths of a pair's signals as files of their own, keyed by role and name."""
    folder = f"{DATASET}/{pair.split}/{pair.kind}/{pair.id}"
    return {
        (role, signal.name): f"{folder}/{role}_{signal.name}{SUFFIXES[encoding_of(signal, encoding)]}"
        for role, planned in (("input", pair.inputs), ("target", pair.targets))
        for signal in planned
    }


@dataclass(frozen=True)
class Storage:
    """How the signals of a pair are stored: in which encoding, by which task, and whether a peak may be no higher than full scale."""

    encoding: Encoding
    cache_key: str
    full_scale: bool


class Writes(Protocol):
    """What takes the sound files of one pair: a context manager that writes all or, after an error, none of them."""

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        """Writes what it was given."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Takes the bytes of a file."""
        ...


def write_signals(
    corpus: Path,
    pair: Pair,
    signals: Mapping[str, Audio],
    paths: Mapping[tuple[str, str], str],
    storage: Storage,
    group: Writes | None = None,
) -> Example:
    """Writes each signal under its path, keyed by role and name, and makes the example's row. Raises Refused for an absurd peak, and if a
    link leads there. Where ``group`` is given it takes the bytes instead.
    """
    for path in paths.values() if group is None else ():
        check_way(corpus / DATASET, corpus / path)
    loud = [signals[signal.name] for signal in (*pair.inputs, *pair.targets) if signal.view != "gain"]
    gain_db = joint_gain_db(max((float(np.abs(audio).max(initial=0.0)) for audio in loud), default=0.0))
    if gain_db < -LEVEL_ROOM_DB:
        raise Refused(f"a signal peaks at {-gain_db:+.1f} dBFS; expected at most {LEVEL_ROOM_DB:+.0f} dBFS")
    gain_db = gain_db if storage.full_scale else 0.0
    gain = np.float32(db_to_gain(gain_db))
    files: list[SignalFile] = []
    with _unless_there(corpus, files), group or FileGroup(_FOUND.get()) as written:
        for role, planned in (("input", pair.inputs), ("target", pair.targets)):
            for signal in planned:
                audio = signals[signal.name] * gain if gain_db and signal.view != "gain" else signals[signal.name]
                stored = encoding_of(signal, storage.encoding)
                data = encode(audio, pair.sample_rate, stored)
                written.write(corpus / paths[role, signal.name], data)
                file = AudioFile(
                    path=paths[role, signal.name],
                    sample_rate=pair.sample_rate,
                    num_channels=audio.shape[0],
                    num_frames=audio.shape[1],
                    num_bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                )
                levelled_db = signals.levelled_db[signal.name] if isinstance(signals, Rendered) else ()
                files.append(_signal_file(role, signal, file, as_stored(audio, stored), levelled_db))
    changes = signals.changes if isinstance(signals, Rendered) else ()
    return seal(Example, cache_key=storage.cache_key, pair_id=pair.id, gain_db=gain_db, signals=tuple(files), changes=changes)


@contextmanager
def noting_places(corpus: Path, paths: Iterable[str]) -> Iterator[None]:
    """Records the state of files before the work on them begins, for ``write_signals``.

    If another process believed this one dead and took its work over, this one finds the other's files and leaves them: a row describes
    the bytes that are there.
    """
    before = _FOUND.set({corpus / path: state_of(corpus / path) for path in paths})
    try:
        yield
    finally:
        _FOUND.reset(before)


@contextmanager
def _unless_there(corpus: Path, files: Sequence[SignalFile]) -> Iterator[None]:
    """Accepts that another process was first, if it wrote the same bytes: the row is right then. Raises Refused if it wrote others."""
    try:
        yield
    except OvertakenError as error:
        places = {corpus / file.audio.path: file.audio.sha256 for file in files}
        if not all(place.is_file() and file_sha256(place) == sha256 for place, sha256 in places.items()):
            raise Refused(
                f"another process wrote {Path(error.filename).name} at the same time, with other contents; the next run tries it again"
            ) from error


def encoding_of(signal: Signal, encoding: Encoding) -> Encoding:
    """How a signal is stored: a gain curve always as 32-bit float, since it is no sound and may rise above 1."""
    return "wav32f" if signal.view == "gain" else encoding


def _signal_file(role: str, signal: Signal, file: AudioFile, audio: Audio, levelled_db: tuple[float, ...]) -> SignalFile:
    from stemwright.separation.loudness.meter import integrated_loudness

    peak = float(np.abs(audio).max(initial=0.0))
    loudness = integrated_loudness(audio, file.sample_rate) if signal.view != "gain" else -math.inf
    return SignalFile(
        role="input" if role == "input" else "target",
        name=signal.name,
        audio=file,
        loudness_lufs=round(loudness, 3) if math.isfinite(loudness) else None,
        peak_dbfs=round(gain_to_db(peak), 3) if peak else None,
        levelled_db=levelled_db,
    )


def complete(corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], format_: type[DatasetWriter], *, made_from: str) -> None:
    """Writes what makes the dataset self-contained: the pairs that were rendered, its card and, last, the examples."""
    written = corpus / DATASET / "pairs.parquet"
    table.replace(written, _WrittenPairs(corpus, pairs, examples), WrittenPair, made_from=made_from)
    card.write(corpus, TableRows(written, WrittenPair), examples, format_)
    kept = file_sha256(corpus / DATASET / table.CARD_FILE)
    table.replace(corpus / DATASET / "examples.parquet", _OfDataset(examples), Example, made_from=made_from, card=kept)


class _WrittenPairs(Iterable[WrittenPair]):
    """The dataset's rows of the pairs that were rendered, made when they are iterated over; 16 bytes each are in memory."""

    def __init__(self, corpus: Path, pairs: Iterable[Pair], examples: Iterable[Example]) -> None:
        self._pairs, self._facts = pairs, SourceRows.read(corpus)
        ids, gains_db = array("Q"), array("d")
        for example in examples:
            ids.append(int(example.pair_id, 16))
            gains_db.append(example.gain_db)
        order = np.argsort(np.array(ids, np.uint64), kind="stable")
        self._ids, self._gains_db = np.array(ids, np.uint64)[order], np.array(gains_db)[order]

    def __iter__(self) -> Iterator[WrittenPair]:
        for pair in self._pairs:
            at = int(np.searchsorted(self._ids, np.uint64(int(pair.id, 16)), side="right")) - 1
            if at >= 0 and self._ids[at] == np.uint64(int(pair.id, 16)):
                yield written_pair(pair, float(self._gains_db[at]), self._facts)


class _OfDataset(Iterable[Example]):
    """The dataset's rows of examples."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = examples

    def __iter__(self) -> Iterator[Example]:
        return map(of_dataset, self._examples)
