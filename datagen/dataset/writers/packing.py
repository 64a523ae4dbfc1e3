"""Packing the sound files of examples into shards, so that a kill at any moment loses nothing.

Workers do not render into the shards themselves, since what goes into a shard depends on what was rendered before it: a pair that cannot be
heard is replaced by one with another id, and a shard is full at a size in bytes. They append to the spool, a few larger files
(``stemwright.manifests.spooled_sounds``), and packing copies from there: no sound file is ever a file of its own, and the shards are those
that the finished examples alone determine.

Conventions
    Shards are in ``dataset/<kind>/<split>-000000.tar`` (or another format's suffix). Examples are in the order of their pairs' ids, which
    are hashes: neighbours in a shard come from all over the corpus, and the order is the same however the work was done.
    A shard is full when the next example would take its sound files beyond ``shard_mb`` (10^6 bytes), or at ``shard_examples``.
    At any moment every sound file is in the spool, in a shard that the journal names, or, after a format without shards, a file of its own:
    a shard is written and journalled before its sound files are removed from there; of one that is no longer as planned those that are
    still wanted go to the spool, then it is struck out, then removed with the folders that this empties.
    The journal, which still names what was struck out, goes after that: a kill in between leaves nothing that the next start does not know.
    With ``[storage] bulk`` a shard goes to the store before it is journalled, and stays there when it is struck out: ``clean`` sweeps it.
    A shard is a task: workers assemble shards from the rows of their examples, and one process plans and journals. Rows stay on disk until
    their shard is assembled. Memory holds one example at a time (a tar), or one group of rows (Parquet).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import TypeAdapter

from stemwright.datagen.dataset.writers import card
from stemwright.datagen.dataset.writers.base import (
    DATASET,
    DatasetWriter,
    FormatBase,
    Spread,
    complete,
    in_turn,
    loose_cache_key,
    loose_paths,
    write_loose,
)
from stemwright.datagen.dataset.writers.shard_plan import ShardContent, ShardLimits, ShardPlan
from stemwright.datagen.dataset.writers.stale_files import claim, remove_stale
from stemwright.manifests import table
from stemwright.manifests.disk import deletion, mirror
from stemwright.manifests.disk.bulk import STORAGE, bulk_of, dataset_follows, name_store
from stemwright.manifests.disk.durable import begin, make_folder, naming, put, remove, write_bytes
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import ShardPath
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Member, Shard, Track, seal
from stemwright.manifests.shards import JOURNAL, TABLE, Places, in_dataset
from stemwright.manifests.sound.formats import Audio, Encoding
from stemwright.manifests.spooled_sounds import SoundSpool, Spooled, SpooledSounds, SpoolGroup, remove_spool, spooled_rows
from stemwright.manifests.table_rows import TableRows

BATCH_BYTES = 16e6  # of sound files that are copied together
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

    def finish(
        self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "", spread: Spread = in_turn
    ) -> int:
        """Copies the tables into the dataset and removes the files of examples that are no longer planned."""
        del spread
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

    def spool(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio], spool: SoundSpool) -> tuple[Example, Spooled]:
        """Appends the signals to the spool, from which ``finish`` packs them; the second row says where they are."""
        group = SpoolGroup(spool, f"{pair.kind}-{pair.split}-{pair.id[0]}")
        example = write_loose(corpus, pair, signals, self.encoding, group)
        return example, group.row

    def finish(
        self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "", spread: Spread = in_turn
    ) -> int:
        """Packs the examples into shards, each a task of its own, and completes the dataset."""
        plan = ShardPlan(corpus, pairs, examples, ShardLimits(self.shard_mb, self.shard_examples), self.shard_suffix)
        removed = pack(corpus, plan, self.assembler, spread) + remove_stale(corpus, set(plan.paths), self.shard_suffix)
        complete(corpus, pairs, examples, type(self), made_from=made_from)
        return removed


def pack(corpus: Path, plan: ShardPlan, assembler: Assembler, spread: Spread = in_turn) -> int:
    """Brings the shards on disk to what is planned and removes the files that they now hold.

    Returns how many sound files of earlier shards are no longer planned. A shard that already is as planned is left as it is; all others
    are assembled by workers, and journalled here.
    """
    dataset = corpus / DATASET
    make_folder(dataset)
    planned, places = set(plan.paths), Places(dataset)
    there = (shard for shard in places.shards if shard.path in planned)
    current = {shard.path for shard in there if _is_current(corpus, plan.content(shard.path), shard, places, assembler)}
    removed = unpack_to_spool(corpus, plan.wanted, keep=current)
    name_store(corpus, dataset)
    standing = set(Places(dataset).shard_paths)
    missing = [path for path in plan.paths if path not in standing]
    claim(corpus, missing)
    plan.spooled = spooled = SpooledSounds(dataset, plan.wanted)
    with table.Journal(dataset / JOURNAL, Shard) as journal:
        for path in plan.paths:
            if path in standing:
                members = plan.content(path).members()
                _remove_loose(corpus, members)
                spooled.release(members)
        deletion.remove_all(dataset, spooled.unused())
        for shard in spread(partial(_assembled, corpus, assembler), map(plan.content, missing)):
            journal.append(shard.path, [shard], at_once=True)
            members = [member.path for member in shard.members]
            _remove_loose(corpus, members)
            deletion.remove_all(dataset, spooled.release(members))
        table.replace(dataset / TABLE, _StandingShards(dataset, journal), Shard)
    (dataset / JOURNAL).unlink()
    remove_spool(dataset)
    return removed


class _StandingShards(Iterable[Shard]):
    """The rows of all shards in the order of their paths: those of the journal, and those of the table that are not in the journal."""

    def __init__(self, dataset: Path, journal: table.Journal) -> None:
        self._table: Iterable[Shard] = TableRows(dataset / TABLE, Shard) if (dataset / TABLE).exists() else ()
        self._journal: Mapping[str, tuple[Any, ...]] = journal.tasks
        self._paths = sorted(self._journal)

    def __iter__(self) -> Iterator[Shard]:
        kept = (shard for shard in self._table if shard.path not in self._journal)
        return heapq.merge(kept, (row for path in self._paths for row in self._journal[path]), key=lambda shard: shard.path)


def unpack(corpus: Path, wanted: Container[str]) -> int:
    """Makes the wanted sound files, as the dataset's rows call them, files of their own, and removes the spool and all shards.

    Returns how many sound files in shards are no longer wanted.
    """
    dataset = corpus / DATASET
    spooled = SpooledSounds(dataset, wanted)
    for path in (member.path for row in spooled_rows(dataset) for member in row.members if member.path in wanted):
        if not (dataset / path).exists() and (places := spooled.places(path)):
            write_bytes(dataset / path, places[0].read())
    remove_spool(dataset)

    def write(shard: Shard, places: Places) -> None:
        for path in _to_be_taken(dataset, shard, wanted, places):
            write_bytes(dataset / path, places.find(path).read())

    unwanted = _strike_out(dataset, wanted, frozenset(), write)
    for name in (TABLE, STORAGE, JOURNAL):
        (dataset / name).unlink(missing_ok=True)
    return unwanted


def unpack_to_spool(corpus: Path, wanted: Container[str], keep: Container[str]) -> int:
    """Puts the wanted sound files of all shards but those to keep into the spool, and removes these shards.

    Returns how many sound files in them are no longer wanted.
    """
    dataset = corpus / DATASET
    spool, spooled = SoundSpool(dataset), SpooledSounds(dataset, wanted)
    with ExitStack() as opened:
        journals: list[table.Journal] = []

        def write(shard: Shard, places: Places) -> None:
            paths = (path for path in _to_be_taken(dataset, shard, wanted, places) if not spooled.places(path))
            for sounds in _in_batches((path, places.find(path).read()) for path in paths):
                if not journals:
                    journals.append(opened.enter_context(spool.journal()))
                row = spool.append(shard.path.partition(".")[0].replace("/", "-"), sounds)
                journals[0].append(row.members[0].path, [row], at_once=True)

        return _strike_out(dataset, wanted, keep, write)


def _to_be_taken(dataset: Path, shard: Shard, wanted: Container[str], places: Places) -> Iterator[str]:
    """The wanted sound files of a shard that are undamaged and not files of their own already, which are newer."""
    paths = (member.path for member in shard.members if member.path in wanted)
    return (path for path in paths if places.inside(path) and not (dataset / path).exists())


def _in_batches(sounds: Iterable[tuple[str, bytes]]) -> Iterator[dict[str, bytes]]:
    """Sound files by path, as many at a time as have BATCH_BYTES together."""
    batch: dict[str, bytes] = {}
    for path, data in sounds:
        batch[path] = data
        if sum(map(len, batch.values())) >= BATCH_BYTES:
            yield batch
            batch = {}
    if batch:
        yield batch


def _strike_out(dataset: Path, wanted: Container[str], keep: Container[str], write: Callable[[Shard, Places], None]) -> int:
    """Removes all shards but those to keep, each when ``write`` has written what is wanted of it elsewhere; counts what is not wanted."""
    places, unwanted = Places(dataset), 0
    if not places.shards and not (dataset / TABLE).exists() and not (dataset / JOURNAL).exists():
        return 0
    with table.Journal(dataset / JOURNAL, Shard) as journal:
        _remove_struck_out(dataset, journal)
        for shard in places.shards:
            if shard.path in keep:
                continue
            unwanted += sum(member.path not in wanted for member in shard.members)
            write(shard, places)
            journal.append(shard.path, ())
            deletion.remove_all(dataset, [dataset / shard.path])
    return unwanted


def _remove_struck_out(dataset: Path, journal: table.Journal) -> None:
    """Removes shards, and the folders that this empties, that a process struck out and was killed before it had removed them."""
    for path in (path for path, shards in journal.tasks.items() if not shards):
        with suppress(ValueError):  # no path of a shard: a line that is not ours
            deletion.remove_all(dataset, [dataset / _SHARD_PATH.validate_python(path)])


def finish_loose(corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], format_: type[DatasetWriter], *, made_from: str) -> int:
    """Completes a dataset whose sound files stay by themselves; returns how many files of examples no longer planned were removed."""
    make_folder(corpus / DATASET)
    wanted = NameSet(in_dataset(file.audio.path) for example in examples for file in example.signals)
    removed = unpack(corpus, wanted) + remove_stale(corpus, wanted)
    complete(corpus, pairs, examples, format_, made_from=made_from)
    return removed


def _is_current(corpus: Path, content: ShardContent, found: Shard, places: Places, assembler: Assembler) -> bool:
    """Whether a shard is whole, and holds what was rendered last."""
    if found.path in places.damaged or {member.path for member in found.members} != set(content.members()):
        return False
    stored = mirror.is_mirrored(places.file_of(content.path))
    if stored and not dataset_follows(corpus, corpus / DATASET):
        return False
    if found.labels != content.labels_id or any((corpus / DATASET / path).exists() for path in content.members()):
        return False
    return assembler.suits(places.file_of(content.path), content)


def _assembled(corpus: Path, assembler: Assembler, content: ShardContent) -> Shard:
    """Writes one shard."""
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
