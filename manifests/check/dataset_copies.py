"""A dataset's own tables against those of its corpus: the same pairs and examples, batch by batch, by their columns.

Conventions
    What may differ is what ``stemwright.manifests.dataset_rows`` says. Where the columns of two batches differ, their records are compared,
    and these decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from stemwright.manifests import dataset_rows, row_text
from stemwright.manifests.arrow_arrays import joined_texts
from stemwright.manifests.check.problems import CheckProblem
from stemwright.manifests.check.source_columns import SourceColumns
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair
from stemwright.manifests.id_numbers import Ids, among, flags_of, numbers_of, plain
from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.pair_columns import SIDES, Numbers, sends_of
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.shards import DATASET
from stemwright.manifests.table_rows import RowBatch, TableRows

if TYPE_CHECKING:
    import pyarrow

Gains = npt.NDArray[np.float64]


def copies(corpus: Path, rows: dict[str, JoinedRows[Any]]) -> Iterator[CheckProblem]:
    """Rows of the dataset's own tables that differ from those of the corpus (its pairs are those that were rendered)."""
    examples = rows["examples"]
    if not examples:
        return
    rendered = among(rows["pairs"].ids(), np.unique(examples.ids("pair_id")))
    tables = (rows["tracks"], rows["stems"], rows["track_estimates"])
    as_planned = partial(_as_planned, _GainsOfPairs(examples), tables, SourceColumns(*tables))
    for name, wanted, same in (("pairs", SelectedRows(rows["pairs"], rendered), as_planned), ("examples", examples, _as_rendered)):
        file = f"{DATASET}/{name}.parquet"
        try:
            found = TableRows(corpus / file, dataset_rows.ROW_TYPES[name])
            equal = len(found) == len(wanted) and all(same(one, other) for one, other in _side_by_side(wanted, found))
        except (ValueError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            yield CheckProblem(table=name, file=file, what="is missing; run render again" if missing else str(error))
            continue
        if not equal:
            yield CheckProblem(table=name, file=file, what=f"differs from the corpus's {name}.parquet; run render again")


def _side_by_side(one: Any, other: Any) -> Iterator[tuple[RowBatch[Any], RowBatch[Any]]]:
    """The rows of two sequences of equal length, in batches of equal lengths."""
    left: list[RowBatch[Any] | None] = [None, None]
    batches = (one.row_batches(), other.row_batches())
    while True:
        for side in (0, 1):
            if (waiting := left[side]) is None or not waiting.columns.num_rows:
                left[side] = next(batches[side], None)
        first, second = left
        if first is None or second is None:
            return
        count = min(first.columns.num_rows, second.columns.num_rows)
        yield first.slice(0, count), second.slice(0, count)
        left = [first.slice(count), second.slice(count)]


class _GainsOfPairs:
    """The joint gains of examples, dB, by their pairs."""

    def __init__(self, examples: JoinedRows[Example]) -> None:
        ids = examples.ids("pair_id")
        order = np.argsort(ids, kind="stable")
        gains = [np.zeros(0), *(plain(batch.column("gain_db")) for batch in examples.columns("gain_db"))]
        self._ids, self._gains_db = ids[order], np.concatenate(gains)[order]

    def of(self, pair_ids: Ids) -> Gains:
        """Those of pairs that have an example [N]."""
        return self._gains_db[np.searchsorted(self._ids, pair_ids, side="right") - 1]


def _as_planned(
    gains: _GainsOfPairs, tables: tuple[Any, Any, Any], sources: SourceColumns, planned: RowBatch[Pair], found: RowBatch[WrittenPair]
) -> bool:
    """Whether rows of the dataset are those of planned pairs."""
    gains_db = gains.of(numbers_of(planned.columns.column("id")))
    if row_text.are_records(WrittenPair, found.columns) and same_pairs(planned.columns, found.columns, gains_db, sources):
        return True
    written = found.records()
    facts = SourceRows(ById(tables[0]), ById(tables[1]), ById(tables[2], "track_id"))
    every = zip(planned.records(), gains_db.tolist(), written, strict=True)
    return not any(any(dataset_rows.differences(pair, gain_db, other, facts)) for pair, gain_db, other in every)


def same_pairs(planned: pyarrow.RecordBatch, written: pyarrow.RecordBatch, gains_db: Gains, sources: SourceColumns) -> bool:
    """Whether no row differs, by ``dataset_rows.differences``; False may also mean that columns do not say it."""
    return (
        all(planned.column(name).equals(written.column(name)) for name in Pair.model_fields if name not in SIDES)
        and all(_same_signals(planned.column(side), written.column(side), gains_db) for side in SIDES)
        and sources.same_sources(planned, written.column("sources"))
        and sources.same_beats(planned, written.column("beats_s"))
    )


def _same_lengths(one: Any, other: Any) -> bool:
    import pyarrow.compute as pc

    return bool(pc.list_value_length(one).equals(pc.list_value_length(other)))


def _same_fields(one: Any, other: Any, *names: str) -> bool:
    import pyarrow.compute as pc

    return all(pc.struct_field(one, name).equals(pc.struct_field(other, name)) for name in names)


def _items(lists: Any) -> tuple[Numbers, Any]:
    """(number of the list that each item is in, the items)."""
    import pyarrow.compute as pc

    lengths = plain(pc.list_value_length(lists))
    return np.repeat(np.arange(len(lists)), lengths), pc.list_flatten(lists)


def _same_signals(planned: Any, written: Any, gains_db: Gains) -> bool:
    """Of lists of signals, one for each pair."""
    import pyarrow.compute as pc

    if not _same_lengths(planned, written):
        return False
    (rows, one), (_, other) = _items(planned), _items(written)
    branches, written_branches = (pc.struct_field(signals, "branches") for signals in (one, other))
    if not _same_fields(one, other, "name", "view") or not _same_lengths(branches, written_branches):
        return False
    if any((sends := sends_of(each)) is not None and len(pc.list_flatten(sends)) for each in (one, other)):
        return False
    (signals, of_one), (_, of_other) = _items(branches), _items(written_branches)
    return (
        _same_fields(of_one, of_other, "source_id", "offset_frames", "channels")
        and _same_chains(pc.struct_field(one, "bus"), pc.struct_field(other, "bus"), gains_db[rows])
        and _same_chains(pc.struct_field(of_one, "chain"), pc.struct_field(of_other, "chain"), gains_db[rows][signals])
    )


def _same_chains(planned: Any, written: Any, gains_db: Gains) -> bool:
    """Of lists of effects, each with the joint gain of its example: whether each has the settings that were planned."""
    import pyarrow.compute as pc

    if not _same_lengths(planned, written):
        return False
    (chains, one), (_, other) = _items(planned), _items(written)
    if not _same_fields(one, other, "effect", "role"):
        return False
    settings, used = (pc.struct_field(uses, "settings") for uses in (one, other))
    differ = pc.invert(pc.equal(settings, used))
    moved = (gains_db[chains] != 0)[flags_of(differ)].tolist()
    both = (from_json(f"[{','.join(each.filter(differ).to_pylist())}]") for each in (settings, used))
    return all(
        few.keys() <= every.keys() if is_moved else few.items() <= every.items() for few, every, is_moved in zip(*both, moved, strict=True)
    )


def _as_rendered(planned: RowBatch[Example], found: RowBatch[Example]) -> bool:
    """Whether rows of the dataset are those of the corpus's examples."""
    written = row_text.texts(Example, found.columns)
    if written is not None and same_examples(planned.columns, found.columns, row_text.seals(Example, found.columns, written)):
        return True
    other = found.records()
    return all(dataset_rows.of_dataset(example) == row for example, row in zip(planned.records(), other, strict=True))


def same_examples(rendered: pyarrow.RecordBatch, written: pyarrow.RecordBatch, seals: Ids) -> bool:
    """Whether rows are those of ``dataset_rows.of_dataset``; False may also mean that columns do not say it.

    ``seals`` are the ids that the written rows have by their content.
    """
    import pyarrow.compute as pc

    own = [name for name in Example.model_fields if name not in ("id", "signals")]
    if not all(rendered.column(name).equals(written.column(name)) for name in own):
        return False
    one, other = rendered.column("signals"), written.column("signals")
    if not _same_lengths(one, other) or (seals != numbers_of(written.column("id"))).any():
        return False
    files, moved = pc.list_flatten(one), pc.list_flatten(other)
    audio, moved_audio = pc.struct_field(files, "audio"), pc.struct_field(moved, "audio")
    paths = joined_texts(f"{DATASET}/", pc.struct_field(moved_audio, "path"))
    return (
        _same_fields(files, moved, *(field.name for field in files.type if field.name != "audio"))
        and _same_fields(audio, moved_audio, *(field.name for field in audio.type if field.name != "path"))
        and bool(paths.equals(pc.struct_field(audio, "path")))
    )
