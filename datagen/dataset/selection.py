"""Which examples of a dataset folder a loader reads: of a kind, a split and a rank, of one length. They are numbers of rows: what is in the
rows is read when an example is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from stemwright.datagen.dataset.labels import Labelled
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.disk import mirror
from stemwright.manifests.disk.stores import address_of, is_address
from stemwright.manifests.id_numbers import Ids, numbers_of, plain
from stemwright.manifests.names import split_name
from stemwright.manifests.pair_columns import sends_of
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Split
from stemwright.manifests.shards import Places
from stemwright.manifests.table_rows import TableRows

if TYPE_CHECKING:
    import pyarrow

SIDES = ("inputs", "targets")
COLUMN_ROWS = 1 << 16  # rows of a column that are read at a time


def opened_folder(place: Path | str) -> Path:
    """The folder of a dataset: as it is named, or of an address the mirror of what the store lists now."""
    return mirror.show(address_of(place))[0] if is_address(place) else Path(place)


def check_folder(folder: Path) -> None:
    """Raises FileNotFoundError, with what was expected, for a folder that is no dataset."""
    if not (folder / "examples.parquet").exists():
        raise FileNotFoundError(
            f"{mirror.as_named(folder)} is not a dataset: it has no examples.parquet; "
            "expected CORPUS/dataset as `stemwright build` writes it"
        )
    if (folder / "config.toml").exists():
        raise FileNotFoundError(f"{folder} is a corpus; the dataset is the folder inside it: {folder / 'dataset'}")


def checked_split(split: str | None) -> str:
    """The requested split. Raises ValueError for one that cannot exist."""
    if split is None:
        warnings.warn('PairDataset(split=None) reads all splits; write split="all" for that', DeprecationWarning, stacklevel=3)
        return "all"
    if split_name(split) not in (*get_args(Split), "all"):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))} or all; got {split!r}")
    return split_name(split)


@dataclass(frozen=True)
class Selection:
    """Examples of a dataset, in the order of their table: the numbers [N] of their rows, and of their pairs' rows."""

    pairs: TableRows[WrittenPair]
    examples: TableRows[Example]
    of_kind: npt.NDArray[np.bool_]  # for each row of pairs, whether an example of it is of the kind, in whatever split
    pair_numbers: npt.NDArray[np.int64]
    example_numbers: npt.NDArray[np.int64]

    @cached_property
    def chosen(self) -> npt.NDArray[np.bool_]:
        """For each row of pairs, whether it is selected."""
        chosen = np.zeros(len(self.pairs), np.bool_)
        chosen[self.pair_numbers] = True
        return chosen

    def batches(self, rows: npt.NDArray[np.bool_], *columns: str) -> Iterator[pyarrow.RecordBatch]:
        """Columns of those pairs for which an array says True."""
        start = 0
        for batch in self.pairs.columns(*columns):
            yield batch.filter(rows[start : start + batch.num_rows])
            start += batch.num_rows

    def parts(self, *columns: str) -> Iterator[tuple[pyarrow.RecordBatch, npt.NDArray[np.bool_]]]:
        """Batches of columns of all pairs, each with a mask of its pairs that are selected."""
        start = 0
        for batch in self.pairs.columns(*columns, num_rows=COLUMN_ROWS // 4):
            yield batch, self.chosen[start : start + batch.num_rows]
            start += batch.num_rows


def select(folder: Path, kind: str | None, split: str) -> Selection:
    """The examples of a kind and a split. Raises ValueError, naming what there is, if there are none."""
    pairs, examples = TableRows(folder / "pairs.parquet", WrittenPair), TableRows(folder / "examples.parquet", Example)
    pair_numbers = _numbers_in(folder, _ids(pairs, "id"), _ids(examples, "pair_id"))
    of_kind, of_split = _equal(pairs, "kind", kind), _equal(pairs, "split", None if split == "all" else split)
    (example_numbers,) = (of_kind & of_split)[pair_numbers].nonzero()
    rendered = np.zeros(len(pairs), np.bool_)
    rendered[pair_numbers] = True
    if not len(example_numbers):
        both = zip(*(pairs.column(name).filter(rendered).to_pylist() for name in ("kind", "split")), strict=True)
        there = ", ".join(sorted(f"{one}/{other}" for one, other in {*both})) or "none"
        raise ValueError(f'{folder} has no examples of kind {kind!r} and split {split!r}; it has {there}. split="all" takes every split')
    return Selection(pairs, examples, rendered & of_kind, pair_numbers[example_numbers], example_numbers)


def _ids(rows: TableRows[Any], name: str) -> Ids:
    return np.concatenate([np.zeros(0, np.uint64), *(numbers_of(batch.column(0)) for batch in rows.columns(name, num_rows=COLUMN_ROWS))])


def _numbers_in(folder: Path, known: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Where in an array of ids each of some ids is."""
    if np.array_equal(known, wanted):  # as they are written
        return np.arange(len(known))
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known, wanted, side="right", sorter=order) - 1
    found = order[at] if len(order) else np.zeros(len(wanted), np.int64)
    if len(wanted) and (not len(order) or (missing := known[found] != wanted).any()):
        first = int(wanted[missing.argmax()]) if len(order) else int(wanted[0])
        raise ValueError(f"{folder}: an example is of the pair {first:016x}, which is not in pairs.parquet; run `stemwright check` on it")
    return found


def _equal(rows: TableRows[Any], name: str, value: str | None) -> npt.NDArray[np.bool_]:
    """For each row whether a text column has a value; True everywhere if the value is None."""
    if value is None:
        return np.ones(len(rows), np.bool_)
    found = [np.zeros(0, np.bool_)]
    for batch in rows.columns(name, num_rows=COLUMN_ROWS):
        texts = batch.column(0).dictionary_encode()
        names = texts.dictionary.to_pylist()
        found.append(plain(texts.indices) == (names.index(value) if value in names else -1))
    return np.concatenate(found)


def length_of(selection: Selection) -> tuple[int, int]:
    """The length in frames and the sample rate of all excerpts. Raises ValueError if they differ."""
    lengths: set[tuple[int, int]] = set()
    for batch, chosen in selection.parts("num_frames", "sample_rate"):
        both = np.stack([plain(batch.column(name))[chosen] for name in ("num_frames", "sample_rate")])
        lengths.update((num_frames, sample_rate) for num_frames, sample_rate in np.unique(both, axis=1).T.tolist())
    if len(lengths) > 1:
        raise ValueError(f"the examples differ in length or sample rate, {sorted(lengths)}; select one kind or split")
    return lengths.pop()


@dataclass(frozen=True)
class Most:
    """The largest number of inputs and of targets of an example, and of branches and of sends of a signal."""

    inputs: int
    targets: int
    branches: int
    sends: int


def most_of(selection: Selection) -> Most:
    """How large an item of the selection is."""
    import pyarrow.compute as pc

    most = dict.fromkeys((*SIDES, "branches", "sends"), 0)
    # The smallest columns of a branch and of a send, since only lengths of lists are read.
    columns = (f"{side}.{part}" for side in SIDES for part in ("branches.offset_frames", "sends.name"))
    for batch, chosen in selection.parts(*columns):
        for side in SIDES:
            signals = batch.column(side)
            of_chosen = chosen[plain(pc.list_parent_indices(signals))]
            most[side] = max(most[side], int(plain(pc.list_value_length(signals))[chosen].max(initial=0)))
            flat = pc.list_flatten(signals)
            for name, lists in (("branches", pc.struct_field(flat, "branches")), ("sends", sends_of(flat))):
                if lists is not None:
                    most[name] = max(most[name], int(plain(pc.list_value_length(lists))[of_chosen].max(initial=0)))
    return Most(**most)


def padded_to(most: int, num_inputs: int | None) -> int:
    """How many inputs an item has: the requested number, else as the example with most. Raises ValueError if that is too few."""
    if num_inputs is not None and num_inputs < most:
        raise ValueError(f"num_inputs={num_inputs} is too small for the {most} inputs of some examples")
    return num_inputs or most


def labelled_in(selection: Selection) -> Labelled:
    """What all pairs of the kind carry."""
    import pyarrow.compute as pc

    uses: dict[str, int] = {}
    roles: dict[str, set[str]] = {}
    names: set[str] = set()
    for batch in selection.batches(selection.of_kind, *SIDES):
        for chains in _chains(batch):
            _count(chains, uses, roles)
        for side in SIDES:
            if (sends := sends_of(pc.list_flatten(batch.column(side)))) is not None:
                names.update(pc.struct_field(pc.list_flatten(sends), "name").unique().to_pylist())
    return Labelled(uses, roles, sorted(names))


def _chains(batch: pyarrow.RecordBatch) -> Iterator[Any]:
    """Lists of uses of effects: of all branches, of all sends, and of all buses."""
    import pyarrow.compute as pc

    for side in SIDES:
        signals = pc.list_flatten(batch.column(side))
        yield pc.struct_field(signals, "bus")
        yield pc.struct_field(pc.list_flatten(pc.struct_field(signals, "branches")), "chain")
        if (sends := sends_of(signals)) is not None:
            yield pc.struct_field(pc.list_flatten(sends), "chain")


def _count(chains: Any, uses: dict[str, int], roles: dict[str, set[str]]) -> None:
    import pyarrow.compute as pc

    flat = pc.list_flatten(chains)
    if not len(flat):
        return
    effects = pc.struct_field(flat, "effect").dictionary_encode()
    codes, names = effects.indices.to_numpy().astype(np.int64), effects.dictionary.to_pylist()
    both, counts = np.unique(pc.list_parent_indices(chains).to_numpy() * len(names) + codes, return_counts=True)
    for code, name in enumerate(names):
        uses[name] = max(uses.get(name, 0), int(counts[both % len(names) == code].max()))
    for entry in pc.unique(pc.binary_join_element_wise(pc.struct_field(flat, "role"), pc.struct_field(flat, "effect"), "\n")).to_pylist():
        if entry is not None:
            role, _, effect = entry.partition("\n")
            roles.setdefault(role, set()).add(effect)


def share_of(selection: Selection, rank: int | None, world_size: int | None, *, even: bool) -> slice:
    """The examples of one rank; where none is given, of the rank that torch.distributed has, if it is initialised."""
    count = len(selection.example_numbers)
    if (rank is None) != (world_size is None):
        raise ValueError(f"give rank and world_size together; got rank={rank}, world_size={world_size}")
    if rank is None or world_size is None:
        import torch

        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world_size = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be between 0 and world_size - 1; got rank={rank}, world_size={world_size}")
    if count < world_size:
        raise ValueError(f"{count} examples cannot be divided over {world_size} ranks")
    return slice(rank, count - count % world_size if even else count, world_size)


def places_of(folder: Path, examples: TableRows[Example], numbers: npt.NDArray[np.int64]) -> Places:
    """Where the sound files are. Raises ValueError naming a damaged shard that some of them are lost with."""
    places = Places(folder)
    for example in examples.take(numbers.tolist()) if places.damaged else ():
        for file in example.signals:
            if shard := places.lost_with(file.audio.path):
                raise ValueError(f"{folder / shard} {places.damaged[shard]}; delete it and run `stemwright render` again")
    return places
