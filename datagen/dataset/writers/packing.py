"""Packing the sound files of examples into shards, so that a kill at any moment loses nothing.

Conventions
    Shards are in ``dataset/<kind>/<split>-000000.tar`` (or another format's suffix). Examples are in the order of their pairs' ids, which
    are hashes: neighbours in a shard come from all over the corpus, and the order is the same however the work was done.
    A shard is full when the next example would take its sound files beyond ``shard_mb`` (10^6 bytes), or at ``shard_examples``.
    At any moment every sound file is a file of its own or in a shard that the journal names: a shard is written and journalled before its
    files are removed; one that is no longer as planned is first unpacked, then struck out, then removed with the folders that this empties.
    The journal, which still names what was struck out, goes after that: a kill in between leaves nothing that the next start does not know.
    With ``[storage] bulk`` a shard goes to the store before it is journalled, and stays there when it is struck out: ``clean`` sweeps it.
    Memory holds one example at a time (a tar), or one group of rows (Parquet).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import TypeAdapter

from stemwright.datagen.dataset.writers import card
from stemwright.datagen.dataset.writers.as_written import labels_text
from stemwright.datagen.dataset.writers.base import (
    DATASET,
    DatasetWriter,
    FormatBase,
    complete,
    loose_cache_key,
    loose_paths,
    paths_of,
    write_loose,
)
from stemwright.datagen.dataset.writers.stale_files import claim, remove_stale
from stemwright.manifests import table
from stemwright.manifests.dataset_rows import SourceRows
from stemwright.manifests.disk import deletion, mirror
from stemwright.manifests.disk.bulk import STORAGE, bulk_of, dataset_follows, name_store
from stemwright.manifests.disk.durable import begin, make_folder, naming, put, remove, write_bytes
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import ShardPath
from stemwright.manifests.pair_records import Example, Pair, SignalFile
from stemwright.manifests.records import Member, Shard, Track, content_id, seal
from stemwright.manifests.shards import JOURNAL, TABLE, Place, Places, in_dataset
from stemwright.manifests.sound.formats import Audio, Encoding

_SHARD_PATH: TypeAdapter[str] = TypeAdapter(ShardPath)


class Assembler(Protocol):
    """The part of a format with shards that differs: how one shard is written."""

    suffix: str

    def assemble(self, file: Path, content: ShardContent) -> list[Member]:
        """Writes a shard and returns where in it each sound file is."""
        ...

    def suits(self, file: Path, content: ShardContent) -> bool:
        """Whether a shard that holds these examples is also otherwise as it would be written now."""
        ...


class RenderedFiles:
    """The sound files that are to be packed: those that are files of their own before those in earlier shards, which may be older."""

    def __init__(self, corpus: Path) -> None:
        self.dataset = corpus / DATASET
        self.places = Places(self.dataset)

    def place(self, path: str) -> Place:
        """Where the sound file is now."""
        alone = self.dataset / path
        return Place(alone) if alone.exists() else self.places.find(path)

    def num_bytes(self, path: str) -> int:
        """The size of the sound file."""
        place = self.place(path)
        return place.file.stat().st_size if place.num_bytes is None else place.num_bytes

    def read(self, file: SignalFile) -> bytes:
        """The bytes of a signal's sound file. Raises ValueError if they are not those that were rendered."""
        place = self.place(in_dataset(file.audio.path))
        data = place.read()
        if hashlib.sha256(data).hexdigest() != file.audio.sha256:
            raise ValueError(f"{file.audio.path} has changed since it was rendered; delete {place.file} and run the same command again")
        return data


@dataclass(frozen=True)
class ShardContent:
    """What goes into one shard: its path in the dataset, its examples, the signals (role, name) that any example of its kind has, and what
    is known of the sources.
    """

    path: str
    examples: tuple[tuple[Pair, Example], ...]
    signals: tuple[tuple[str, str], ...]
    loose: RenderedFiles
    facts: SourceRows

    def labels(self, pair: Pair, example: Example) -> str:
        """All that is known about an example, as one JSON text."""
        return labels_text(pair, example, self.facts)

    @cached_property
    def labels_id(self) -> str:
        """The id of all labels."""
        return content_id([self.labels(pair, example) for pair, example in self.examples])

    def members(self) -> list[str]:
        """What the dataset's rows call the sound files in it, in the order of the examples."""
        return [in_dataset(file.audio.path) for _, example in self.examples for file in example.signals]


@dataclass(frozen=True)
class ShardLimits:
    """When a shard is full: in 10^6 bytes of sound files, and in examples."""

    shard_mb: float
    shard_examples: int | None = None


@dataclass(frozen=True)
class LooseWriter(FormatBase):
    """A format whose sound files stay single files: a subclass states its name, and overrides ``paths`` for a layout of its own."""

    encoding: Encoding = "flac24"

    @classmethod
    def from_section(cls, section: Any, encoding: Encoding, tracks: Callable[[], Iterable[Track]]) -> Self:
        """The writer for an encoding."""
        del section, tracks
        return cls(encoding)

    def cache_key(self, pair: Pair) -> str:
        """The id of the work: of the pair, the encoding and this version."""
        return loose_cache_key(pair, self.encoding)

    def paths(self, pair: Pair) -> dict[tuple[str, str], str]:
        """One file for each signal."""
        return loose_paths(pair, self.encoding)

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Encodes and writes the signals. The same pair gives the same bytes."""
        return write_loose(corpus, pair, signals, self.encoding)

    def finish(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "") -> int:
        """Copies the tables into the dataset and removes the files of examples that are no longer planned."""
        return finish_loose(corpus, pairs, examples, type(self), made_from=made_from)


@dataclass(frozen=True)
class ShardWriter(FormatBase):
    """A format with shards, for each kind and split: a subclass says its name and what assembles one shard."""

    assembler: ClassVar[Assembler]

    encoding: Encoding = "flac24"
    shard_mb: float = 256.0
    shard_examples: int | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.shard_suffix = cls.assembler.suffix

    @classmethod
    def from_section(cls, section: Any, encoding: Encoding, tracks: Callable[[], Iterable[Track]]) -> Self:
        """The writer for an encoding, with the sizes of shards that the section says."""
        del tracks
        return cls(encoding, section.shard_mb, section.shard_examples)

    @classmethod
    def card_head(cls, dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example]) -> dict[str, Any]:
        """Which files hold which kind and split."""
        del dataset, examples
        return {"configs": card.data_files(pairs, cls.shard_suffix)}

    def cache_key(self, pair: Pair) -> str:
        """The id of the work: of the pair, the encoding and this version."""
        return loose_cache_key(pair, self.encoding)

    def paths(self, pair: Pair) -> dict[tuple[str, str], str]:
        """The files that ``finish`` packs."""
        return loose_paths(pair, self.encoding)

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Writes the signals as files, which ``finish`` packs."""
        return write_loose(corpus, pair, signals, self.encoding)

    def finish(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "") -> int:
        """Packs the examples into shards and completes the dataset."""
        contents = plan(corpus, pairs, examples, ShardLimits(self.shard_mb, self.shard_examples), self.shard_suffix)
        removed = pack(corpus, contents, self.assembler) + remove_stale(corpus, {content.path for content in contents}, self.shard_suffix)
        complete(corpus, pairs, examples, type(self), made_from=made_from)
        return removed


def plan(corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], limits: ShardLimits, suffix: str) -> list[ShardContent]:
    """Says which examples go into which shard."""
    loose, by_id, facts = RenderedFiles(corpus), {pair.id: pair for pair in pairs}, SourceRows.read(corpus)
    grouped: dict[tuple[str, str], list[tuple[Pair, Example]]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: example.pair_id):
        pair = by_id[example.pair_id]
        grouped[pair.kind, pair.split].append((pair, example))
    signals: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for (kind, _), found in sorted(grouped.items()):
        for _, example in found:
            signals[kind].update(dict.fromkeys((file.role, file.name) for file in example.signals))
    return [
        ShardContent(f"{kind}/{split}-{number:06d}{suffix}", tuple(part), tuple(sorted(signals[kind])), loose, facts)
        for (kind, split), found in sorted(grouped.items())
        for number, part in enumerate(_parts(found, limits, loose))
    ]


def _parts(found: Sequence[tuple[Pair, Example]], limits: ShardLimits, loose: RenderedFiles) -> Iterator[list[tuple[Pair, Example]]]:
    part: list[tuple[Pair, Example]] = []
    filled = 0
    for pair, example in found:
        size = sum(loose.num_bytes(in_dataset(file.audio.path)) for file in example.signals)
        if part and (filled + size > limits.shard_mb * 1e6 or len(part) == limits.shard_examples):
            yield part
            part, filled = [], 0
        part.append((pair, example))
        filled += size
    if part:
        yield part


def pack(corpus: Path, contents: Sequence[ShardContent], assembler: Assembler) -> int:
    """Brings the shards on disk to what is planned and removes the files that they now hold.

    Returns how many sound files of earlier shards are no longer planned. A shard that already is as planned is left as it is.
    """
    dataset = corpus / DATASET
    make_folder(dataset)
    planned = {content.path: content for content in contents}
    wanted = {path for content in contents for path in content.members()}
    removed = unpack(corpus, wanted, keep={path for path, content in planned.items() if _is_current(corpus, content, assembler)})
    name_store(corpus, dataset)
    standing = {shard.path: shard for shard in Places(dataset).shards}
    claim(corpus, [path for path in planned if path not in standing])
    with table.Journal(dataset / JOURNAL, Shard) as journal:
        for path, content in planned.items():
            if path not in standing:
                standing[path] = _assembled(corpus, content, assembler)
                journal.append(path, [standing[path]], at_once=True)
            _remove_loose(corpus, content.members())
    table.replace(dataset / TABLE, [standing[path] for path in sorted(standing)], Shard)
    (dataset / JOURNAL).unlink()
    return removed


def unpack(corpus: Path, wanted: set[str], keep: set[str] | None = None) -> int:
    """Takes the wanted sound files, as the dataset's rows call them, out of all shards but those to keep, and removes these shards.

    Returns how many sound files in them are no longer wanted. Without ``keep`` the table of shards goes as well.
    """
    dataset = corpus / DATASET
    places, unwanted = Places(dataset), 0
    if not places.shards and not (dataset / TABLE).exists() and not (dataset / JOURNAL).exists():
        return 0
    with table.Journal(dataset / JOURNAL, Shard) as journal:
        _remove_struck_out(dataset, journal)
        for shard in places.shards:
            if shard.path in (keep or ()):
                continue
            for member in shard.members:
                unwanted += member.path not in wanted
                if member.path in wanted and places.inside(member.path) and not (dataset / member.path).exists():
                    write_bytes(dataset / member.path, places.find(member.path).read())
            journal.append(shard.path, ())
            deletion.remove_all(dataset, [dataset / shard.path])
    if keep is None:
        (dataset / TABLE).unlink(missing_ok=True)
        (dataset / STORAGE).unlink(missing_ok=True)
        (dataset / JOURNAL).unlink()
    return unwanted


def _remove_struck_out(dataset: Path, journal: table.Journal) -> None:
    """Removes shards, and the folders that this empties, that a process struck out and was killed before it had removed them."""
    for path in (path for path, shards in journal.tasks.items() if not shards):
        with suppress(ValueError):  # no path of a shard: a line that is not ours
            deletion.remove_all(dataset, [dataset / _SHARD_PATH.validate_python(path)])


def finish_loose(corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], format_: type[DatasetWriter], *, made_from: str) -> int:
    """Completes a dataset whose sound files stay by themselves; returns how many files of examples no longer planned were removed."""
    make_folder(corpus / DATASET)
    wanted = set(map(in_dataset, paths_of(examples)))
    removed = unpack(corpus, wanted) + remove_stale(corpus, wanted)
    complete(corpus, pairs, examples, format_, made_from=made_from)
    return removed


def _is_current(corpus: Path, content: ShardContent, assembler: Assembler) -> bool:
    """Whether the planned shard is there, whole, and holds what was rendered last."""
    places = content.loose.places
    found = next((shard for shard in places.shards if shard.path == content.path), None)
    if found is None or found.path in places.damaged or {member.path for member in found.members} != set(content.members()):
        return False
    stored = mirror.is_mirrored(places.file_of(content.path))
    if stored and not dataset_follows(corpus, corpus / DATASET):
        return False
    if found.labels != content.labels_id or any((corpus / DATASET / path).exists() for path in content.members()):
        return False
    return assembler.suits(places.file_of(content.path), content)


def _assembled(corpus: Path, content: ShardContent, assembler: Assembler) -> Shard:
    file = corpus / DATASET / content.path
    temporary = begin(file)
    try:
        with naming(file):
            members = assembler.assemble(temporary, content)
        facts = {"num_bytes": temporary.stat().st_size, "sha256": file_sha256(temporary)}
        shard = seal(Shard, path=content.path, labels=content.labels_id, members=tuple(members), **facts)
        if (bulk := bulk_of(corpus / DATASET)) is not None:
            bulk.put(temporary, shard)
        else:
            put(temporary, file)
    finally:
        remove([temporary])
    return shard


def _remove_loose(corpus: Path, paths: Sequence[str]) -> None:
    deletion.remove_all(corpus / DATASET, [corpus / DATASET / path for path in paths])
