"""Packing: each shard is a task that any process may do, and rows are made when they are used."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_render import pair, signal

from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.dataset.writers.card import median_of
from stemwright.datagen.run.runner import spread
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import shards, table
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Refused, Shard
from stemwright.manifests.spooled_rows import SpooledRows
from stemwright.manifests.table_rows import TableRows

COUNT, IN_SHARD = 26, 3
ONE = "0" * 16
each_format = pytest.mark.parametrize("name", ["webdataset", "huggingface"])


def written(folder: Path, name: str):
    """A writer, and pairs with their examples, whose files are there."""
    writer = WRITERS[name](shard_examples=IN_SHARD)
    rng = np.random.default_rng(0)
    pairs = [pair([signal("drums", ONE)], [signal("mixture", ONE)], start_frame=number) for number in range(COUNT)]
    audio = rng.uniform(-0.5, 0.5, (COUNT, 1, 400)).astype(np.float32)
    return writer, pairs, [writer.write(folder, one, {"drums": sound, "mixture": sound}) for one, sound in zip(pairs, audio, strict=True)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((folder / "dataset").rglob("*")) if path.is_file()}


@each_format
def test_shards_that_other_processes_assemble_in_another_order_have_the_same_bytes(name, tmp_path):
    writer, pairs, examples = written(tmp_path / "one", name)
    writer.finish(tmp_path / "one", pairs, examples)
    writer, pairs, examples = written(tmp_path / "other", name)
    handed_out = []

    def backwards(work, items):
        sent = [pickle.dumps((work, item)) for item in items]
        handed_out.append(len(sent))
        for one in reversed(sent):
            copy, item = pickle.loads(one)
            yield copy(item)

    writer.finish(tmp_path / "other", pairs, examples, spread=backwards)
    assert handed_out == [-(-COUNT // IN_SHARD)]
    assert contents(tmp_path / "other") == contents(tmp_path / "one")


@each_format
def test_a_kill_between_two_shards_assembles_the_rest_only(name, tmp_path):
    writer, pairs, examples = written(tmp_path / "one", name)
    writer.finish(tmp_path / "one", pairs, examples)
    writer, pairs, examples = written(tmp_path / "other", name)
    assembled = []

    def stopping(work, items):
        for number, item in enumerate(items):
            if number == 4 and len(assembled) < 5:
                raise KeyboardInterrupt
            assembled.append(item.path)
            yield work(item)

    with pytest.raises(KeyboardInterrupt):
        writer.finish(tmp_path / "other", pairs, examples, spread=stopping)
    assert (tmp_path / "other" / "dataset" / shards.JOURNAL).exists()
    writer.finish(tmp_path / "other", pairs, examples, spread=stopping)
    assert len(assembled) == len(set(assembled)) == -(-COUNT // IN_SHARD)
    assert contents(tmp_path / "other") == contents(tmp_path / "one")


def living(kind: type) -> int:
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


def test_only_the_rows_of_the_shard_in_work_are_records(tmp_path, monkeypatch, only_new_objects):
    writer, pairs, examples = written(tmp_path / "one", "webdataset")
    writer.finish(tmp_path / "one", pairs, examples)
    writer, pairs, examples = written(tmp_path / "flat", "webdataset")
    table.write(tmp_path / "flat" / "pairs.parquet", pairs, Pair)
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", IN_SHARD)
    monkeypatch.setattr("stemwright.manifests.joined_rows.KEPT", IN_SHARD)
    found = JoinedRows(TableRows(tmp_path / "flat" / "pairs.parquet", Pair))
    spooled = SpooledRows(tmp_path / "flat", Example, examples)
    del pairs, examples
    before, most = {kind: living(kind) for kind in (Example, Pair, Shard)}, dict.fromkeys((Example, Pair, Shard), 0)

    def counting(work, items):
        for item in items:
            yield work(item)
            most.update({kind: max(most[kind], living(kind) - before[kind]) for kind in most})

    with spooled:
        writer.finish(tmp_path / "flat", found, spooled, spread=counting)
    assert most[Example] <= 2 * IN_SHARD
    assert most[Pair] <= 4 * IN_SHARD
    assert most[Shard] <= 2
    (tmp_path / "flat" / "pairs.parquet").unlink()
    assert contents(tmp_path / "flat") == contents(tmp_path / "one")


def doubled(number: int) -> Shard:
    if number == 5:
        raise Refused("no five")
    facts = {"num_bytes": 2 * number, "sha256": "0" * 64, "labels": ONE}
    return Shard(id=f"{number:016x}", path=f"mix/train-{number:06d}.tar", members=(), **facts)


@pytest.mark.parametrize("jobs", [1, 2])
def test_parts_are_spread_over_processes_and_a_refused_one_is_an_error(jobs):
    found = spread(Workers(jobs))(doubled, iter(range(5)))
    assert sorted(row.num_bytes for row in found) == [0, 2, 4, 6, 8]
    with pytest.raises(Refused, match="no five"):
        list(spread(Workers(jobs))(doubled, iter(range(9))))


@given(st.lists(st.floats(-100, 100).map(lambda value: round(value, 1)) | st.just(float("inf")), min_size=1))
def test_the_median_of_counted_values_is_that_of_all(values):
    from collections import Counter
    from statistics import median

    assert median_of(Counter(values)) == median(values)
