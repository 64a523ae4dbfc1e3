import errno
import os
import pickle
import shutil
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import corpus_rows

from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.run.configuration import check
from stemwright.manifests import table, table_rows
from stemwright.manifests.disk import durable
from stemwright.manifests.id_numbers import numbers_of, plain
from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Stem
from stemwright.manifests.table_rows import TableRows

COPY = ".pairs-*.arrow"


@pytest.fixture(scope="module")
def pairs():
    config = check({"seed": 3, "pairs": {"duration_s": 4.0, "mix": {"per_track": 40}, "removal": {"per_track": 40}}}, where="test")
    return plan_pairs(config, *corpus_rows(12)).pairs


@pytest.fixture
def path(tmp_path, pairs, monkeypatch):
    """A table whose records are read from a mapped copy."""
    monkeypatch.setattr(table_rows, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(table_rows, "BATCH_ROWS", 100)
    table.write(tmp_path / "pairs.parquet", pairs, Pair)
    return tmp_path / "pairs.parquet"


@pytest.fixture
def made(monkeypatch):
    """How many records each conversion made."""
    counts = []
    records = TableRows.records
    monkeypatch.setattr(TableRows, "records", lambda self, batch, start: counts.append(batch.num_rows) or records(self, batch, start))
    return counts


def test_rows_are_those_of_the_table_however_they_are_reached(path, pairs):
    found = TableRows(path, Pair)
    assert len(found) == len(pairs) > 900
    assert list(found) == [row for batch in found.batches(7) for row in batch] == pairs
    order = np.random.default_rng(0).permutation(len(pairs))[:50].tolist()
    assert list(found.take(order)) == [pairs[number] for number in order]
    assert (found[-1], found[250], found[99:103]) == (pairs[-1], pairs[250], pairs[99:103])
    assert [row for row in TableRows(path, Pair) if row.kind == "mix"] == [row for row in pairs if row.kind == "mix"]
    with pytest.raises(IndexError, match=f"row {len(pairs)} of .*pairs.parquet, with {len(pairs)} rows"):
        found[len(pairs)]


def test_a_record_is_made_only_of_a_row_that_is_used(path, made):
    found = TableRows(path, Pair)
    assert found.column("kind").to_pylist().count("mix") > 400
    assert sum(batch.num_rows for batch in found.columns("inputs.name", "targets.name")) == len(found)
    assert made == []
    found[400]
    list(found.take([3, 800]))
    assert made == [1, 1, 1]
    made.clear()
    next(iter(found))
    assert made == [100]


def test_a_column_within_records_is_named_by_dots(path, pairs):
    sources = [
        [branch["source_id"] for signal in signals for branch in signal["branches"]]
        for batch in TableRows(path, Pair).columns("inputs.branches.source_id")
        for signals in batch["inputs"].to_pylist()
    ]
    assert sources == [[branch.source_id for signal in pair.inputs for branch in signal.branches] for pair in pairs]
    with pytest.raises(ValueError, match=r"pairs.parquet has no column 'sound'; it has id, kind"):
        TableRows(path, Pair).column("sound")


def test_a_large_table_is_mapped_and_a_small_one_is_in_memory(path, monkeypatch):
    TableRows(path, Pair)[5]
    (copy,) = path.parent.glob(COPY)
    before = copy.stat().st_mtime_ns
    mapped = TableRows(path, Pair)
    mapped[5]
    assert copy.stat().st_mtime_ns == before
    assert pa.total_allocated_bytes() == (held := pa.total_allocated_bytes())
    mapped[700]
    assert pa.total_allocated_bytes() - held < 100_000
    copy.unlink()
    monkeypatch.setattr(table_rows, "IN_MEMORY_BYTES", 2**30)
    TableRows(path, Pair)[5]
    assert not list(path.parent.glob(COPY))


def test_a_table_that_was_replaced_has_another_copy_and_what_was_open_goes_on(path, pairs):
    open_before = TableRows(path, Pair)
    open_before[5]
    (first,) = path.parent.glob(COPY)
    table.write(path, pairs[::-1], Pair)
    assert TableRows(path, Pair)[5] == pairs[-6]
    (second,) = path.parent.glob(COPY)
    assert first != second
    assert (open_before[5], list(open_before)[-1]) == (pairs[5], pairs[-1])


@pytest.mark.parametrize("what", [b"", b"ARROW1", "another table", "cut off"])
def test_a_copy_that_is_none_is_made_again(what, path, pairs, tmp_path):
    TableRows(path, Pair)[5]
    (copy,) = path.parent.glob(COPY)
    if what == "another table":
        with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("a", pa.int64())])):
            pass
    else:
        copy.write_bytes(copy.read_bytes()[:-100] if what == "cut off" else what)
    assert TableRows(path, Pair)[5] == pairs[5]
    assert list(path.parent.glob(COPY)) == [copy]


def test_a_copy_with_impossible_offsets_is_an_error_and_no_crash(path):
    TableRows(path, Pair)[5]
    (copy,) = path.parent.glob(COPY)
    data = bytearray(copy.read_bytes())
    batch = pa.ipc.open_file(pa.BufferReader(bytes(data))).get_batch(0)
    offsets = batch.column("id").buffers()[1]
    at = bytes(data).index(offsets.to_pybytes())
    data[at + 4 * 6 : at + 4 * 7] = (2**31 - 1).to_bytes(4, "little")
    copy.write_bytes(data)
    with pytest.raises(ValueError, match=r"pairs.parquet|[Oo]ffset"):
        TableRows(path, Pair)[5]


def test_where_the_folder_is_not_writable_the_copy_is_in_the_users_cache(path, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    begin = durable.begin

    def only_elsewhere(place):
        if place.parent == path.parent:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return begin(place)

    monkeypatch.setattr(durable, "begin", only_elsewhere)
    assert TableRows(path, Pair)[5] == pairs[5]
    assert not list(path.parent.glob(COPY))
    assert len(list((tmp_path / "cache" / "tables").glob(COPY))) == 1


def test_pickled_rows_are_the_path_of_their_file(path, pairs, tmp_path):
    found = TableRows(path, Pair)
    found[0]
    data = pickle.dumps(found)
    assert len(data) < 1_000
    assert pickle.loads(data)[7] == pairs[7]
    table.write(path, pairs[:10], Pair)
    with pytest.raises(ValueError, match=r"pairs.parquet was replaced after it was opened; open it again"):
        pickle.loads(data)


@pytest.fixture
def frequent_switches():
    """Threads that take turns so often that they meet everywhere."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_threads_read_one_table(in_memory, path, pairs, monkeypatch, frequent_switches):
    monkeypatch.setattr(table_rows, "IN_MEMORY_BYTES", 2**30 if in_memory else 0)

    def use(rows, number, start):
        start.wait()
        found.append(rows[number] == pairs[number] and sum(batch.num_rows for batch in rows.columns("id", "kind")) == len(pairs))

    for _ in range(3):
        rows, found, start = TableRows(path, Pair), [], threading.Barrier(6)
        threads = [threading.Thread(target=use, args=(rows, 150 * number, start)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 6


def test_a_row_that_is_none_is_named_by_its_number_in_the_table(path, tmp_path):
    columns = pq.read_table(path).to_pylist()
    columns[321]["start_frame"] = -4
    pq.write_table(pa.Table.from_pylist(columns, schema=pq.read_schema(path)), path)
    with pytest.raises(ValueError, match=r"pairs.parquet: row 321.start_frame: Input should be greater .*; got -4. Was the table edited"):
        table.read(path, Pair)
    found = TableRows(path, Pair)
    assert found[320].start_frame >= 0
    with pytest.raises(ValueError, match=r"row 321.start_frame"):
        found[321]


def test_what_is_no_table_is_refused_when_it_is_opened(tmp_path, path):
    (tmp_path / "stems.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"stems.parquet is not a readable Parquet table"):
        TableRows(tmp_path / "stems.parquet", Stem)
    with pytest.raises(FileNotFoundError):
        TableRows(tmp_path / "tracks.parquet", Stem)
    shutil.copy(path, tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"row 0.cache_key: Field required.*build the corpus again, into a new folder"):
        list(TableRows(tmp_path / "other.parquet", Stem))


def test_ids_as_numbers_are_the_hex_numbers(path, pairs):
    found = numbers_of(TableRows(path, Pair).column("id"))
    assert found.tolist() == [int(pair.id, 16) for pair in pairs]
    assert numbers_of(pa.array(["0" * 16, "ffffffffffffffff", "0123456789abcdef"])[1:]).tolist() == [2**64 - 1, 0x0123456789ABCDEF]
    for wrong in (["0123456789abcdeg"], ["ab"], [None], [7]):
        with pytest.raises(ValueError, match=r"an id .*[Ww]as the table edited"):
            numbers_of(pa.array(wrong))


@pytest.mark.parametrize("kind", ["int32", "uint32", "int64"])
def test_columns_of_numbers_are_those_that_pyarrow_gives(kind):
    numbers = pa.array([3, 1, 2**31 - 1, 0], getattr(pa, kind)())
    for column in (numbers, numbers[1:3], numbers[:0]):
        assert plain(column).tolist() == column.to_pylist()
        assert plain(column).dtype == kind
    with pytest.raises(ValueError, match="a number is missing"):
        plain(pa.array([1, None]))


def test_rows_are_found_by_id_and_the_last_of_several_counts(path, pairs, tmp_path):
    again = pairs[3].model_copy(update={"text": "again"})
    table.write(tmp_path / "more.parquet", [again], Pair)
    joined = JoinedRows(TableRows(path, Pair), TableRows(tmp_path / "more.parquet", Pair))
    by_id = ById(joined)
    assert (len(joined), len(by_id), joined[-1], joined[4]) == (len(pairs) + 1, len(pairs), again, pairs[4])
    assert (by_id[pairs[9].id], by_id[again.id]) == (pairs[9], again)
    assert set(by_id) == {pair.id for pair in pairs}
    for missing in ("0" * 16, "", "no id", "-000000000000001"):
        assert missing not in by_id
        assert by_id.get(missing) is None
    assert list(JoinedRows()) == [] == JoinedRows().ids().tolist()


def test_a_few_rows_are_read_from_their_groups_without_a_copy(path, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(Pair, "AT_ONCE", 250)  # rows of a group
    table.write(path, pairs, Pair)
    table.write(tmp_path / "more.parquet", pairs[:10], Pair)
    joined = JoinedRows(TableRows(path, Pair), TableRows(tmp_path / "more.parquet", Pair))
    numbers = [len(pairs) + 2, 400, 0, 400, 249, 250, len(pairs) - 1]
    assert joined.few(numbers) == [pairs[2], *(pairs[number] for number in numbers[1:])]
    assert joined.few([]) == []
    by_id = ById(joined, mapped=False)
    assert (by_id[pairs[2].id], by_id[pairs[321].id]) == (pairs[2], pairs[321])
    assert not list(tmp_path.glob(".*.arrow"))


def test_selected_rows_are_those_of_the_condition_however_they_are_reached(path, pairs, tmp_path):
    table.write(tmp_path / "more.parquet", pairs[:10], Pair)
    joined = JoinedRows(TableRows(path, Pair), TableRows(tmp_path / "more.parquet", Pair))
    every = [*pairs, *pairs[:10]]
    chosen = np.array([pair.kind == "mix" for pair in every])
    chosen[150:350] = False  # whole batches
    expected = [pair for pair, is_in in zip(every, chosen, strict=True) if is_in]
    found = SelectedRows(joined, chosen)
    assert (len(found), list(found), found[-1], found[3:5]) == (len(expected), expected, expected[-1], expected[3:5])
    assert found.few([7, 2]) == [expected[7], expected[2]]
    assert found.ids().tolist() == [int(pair.id, 16) for pair in expected]
    starts = [number for batch in found.columns("start_frame") for number in batch.column(0).to_pylist()]
    assert starts == [pair.start_frame for pair in expected]


@pytest.mark.parametrize("kind", ["large_string", "string_view", "dictionary"])
def test_ids_are_read_whatever_other_programs_store_text_as(kind):
    types = {"large_string": pa.large_string(), "string_view": pa.string_view(), "dictionary": pa.dictionary(pa.int32(), pa.string())}
    ids = ["00000000000000ff", "ffffffffffffffff", "00000000000000ff"]
    assert numbers_of(pa.array(ids).cast(types[kind])[1:]).tolist() == [2**64 - 1, 255]
