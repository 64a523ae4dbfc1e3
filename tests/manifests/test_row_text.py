"""Rows as text by columns are what their records are; what columns cannot say is left to the records."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from made_corpus import example_of
from rows import arrow_values, corpus_rows, knowledge_of

from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.run.configuration import check
from stemwright.manifests import row_text, table
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair
from stemwright.manifests.id_numbers import numbers_of
from stemwright.manifests.pair_records import Change, Example, Pair
from stemwright.manifests.records import EffectEstimate, Estimate, Member, Normalisation, Rejected, Shard, Stem, Track, TrackEstimate, seal
from stemwright.manifests.table_rows import TableRows, arrow_schema

AWKWARD = ('"', "\\", "a\nb\t\x00\x1f\x7f", "é ü 鼓 \U0001f941 \u2028", "", " ", "null", "</script>", "{}", "a,b")
NUMBERS = (0.0, -0.0, 1.0, -2.5, 1e-7, 1e16, 123456789012345680.0, 5e-324, 1.7976931348623157e308, 1 / 3, 100.0)
KINDS = {kind: {"per_track": 4} for kind in ("mix", "remix", "limit", "removal", "edit")}


@pytest.fixture(scope="module")
def rows():
    """Rows of every type that a corpus has many of, with awkward texts and numbers."""
    tracks, stems, estimates = corpus_rows(len(AWKWARD))
    tracks = [
        track.model_copy(
            update={
                "title": text,
                "album": text or None,
                "artist": None,
                "metadata": dict(sorted({text: text, "a": "1"}.items())),
                "notes": (text,),
            }
        )
        for track, text in zip(tracks, AWKWARD, strict=True)
    ]
    known = knowledge_of(tracks, stems)
    config = check({"seed": 3, "pairs": {"duration_s": 4.0, **KINDS}}, where="test")
    pairs = plan_pairs(config, tracks, stems, estimates, optional_rows=known).pairs
    facts = SourceRows.of(tracks, stems, known.track_estimates)
    examples = [example_of(pair) for pair in pairs]
    changed = [
        {**row.__dict__, "gain_db": value, "changes": (Change(signal="mix", branch=None, position=0, effect=text, change_db=value),)}
        for row, value, text in zip(examples, NUMBERS, (*AWKWARD, "eq"), strict=False)
    ]
    odd = [seal(Example, **{name: value for name, value in row.items() if name != "id"}) for row in changed]
    members = [Member(path=row.signals[0].audio.path, start_byte=number, num_bytes=9) for number, row in enumerate(examples)]
    shard = {"num_bytes": 9, "sha256": "0" * 64, "labels": "0" * 16}
    awkward = itertools.product(NUMBERS, AWKWARD)
    effects = [EffectEstimate(effect="eq", settings={"a": value, "b": text, "c": True}, confidence=0.5) for value, text in awkward]
    stated = {"quantity": "mean response", "unit": "dB", "derived": ("a", "b")}
    effects += [effects[0].model_copy(update={**stated, "value": value, "low": None, "high": value}) for value in NUMBERS]
    guessed = [estimate.model_copy(update={"effects": tuple(effects)}) for estimate in estimates]
    used = [stem.model_copy(update={"engine": "torch", "closure_db": value}) for stem, value in zip(stems, NUMBERS, strict=False)]
    return {
        Track: tracks,
        Stem: [*stems, *used],
        Estimate: [*estimates, *guessed],
        TrackEstimate: known.track_estimates,
        Normalisation: known.normalisations,
        Pair: pairs,
        Example: [*examples, *odd],
        WrittenPair: [written_pair(pair, -1.5, facts) for pair in pairs],
        Shard: [seal(Shard, path=f"mix/train-{number:06d}.tar", members=tuple(members[number:]), **shard) for number in range(3)],
        Rejected: [seal(Rejected, stage="render", row_id=text, subject=text, reason=text) for text in AWKWARD],
    }


TYPES = (Track, Stem, Estimate, TrackEstimate, Normalisation, Pair, Example, WrittenPair, Shard, Rejected)


def batch_of(record_type, records):
    return pa.RecordBatch.from_pylist(arrow_values(record_type, records), schema=arrow_schema(record_type))


@pytest.mark.parametrize("record_type", TYPES, ids=lambda kind: kind.__name__)
def test_the_text_of_rows_is_that_of_their_records(record_type, rows):
    records = rows[record_type]
    batch = batch_of(record_type, records)
    found = row_text.texts(record_type, batch)
    assert row_text.are_records(record_type, batch)
    assert found.to_pylist() == [row.model_dump_json(by_alias=True) for row in records]
    part = batch.slice(1, 5)
    assert row_text.texts(record_type, part).to_pylist() == found.to_pylist()[1:6]
    assert row_text.texts(record_type, batch[:0]).to_pylist() == []
    assert row_text.seals(record_type, part, row_text.texts(record_type, part)).tolist() == [int(row.seal_id(), 16) for row in records[1:6]]


@pytest.mark.parametrize("record_type", TYPES, ids=lambda kind: kind.__name__)
def test_the_digest_of_a_table_is_the_same_by_columns(record_type, rows, tmp_path, monkeypatch):
    table.write(tmp_path / "one.parquet", rows[record_type], record_type)
    written = TableRows(tmp_path / "one.parquet", record_type)
    table.write(tmp_path / "two.parquet", written, record_type)
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    monkeypatch.setattr(record_type, "AT_ONCE", 7)
    assert table.is_as_written(tmp_path / "two.parquet", record_type)


def changed(batch, path, value):
    """The batch with one value of its first row changed, which may be within records and lists: the first of each."""
    whole = batch.to_pylist()
    at, (*parents, last) = whole[0], path
    for name in parents:
        at = at[name]
    at[last] = value
    return pa.RecordBatch.from_pylist(whole, schema=batch.schema)


CHAIN = ("inputs", 0, "branches", 0, "chain", 0)
AUDIO = ("signals", 0, "audio")
WRONG = [
    (Pair, ("id",), "0123456789ABCDEF"),
    (Pair, ("id",), "0123456789abcdef0"),
    (Pair, ("split",), "training"),
    (Pair, ("kind",), "../mix"),
    (Pair, ("kind",), "m" * 65),
    (Pair, ("number",), -1),
    (Pair, ("start_frame",), 2**38 + 1),
    (Pair, ("num_frames",), 0),
    (Pair, ("num_frames",), 600 * 44_100 + 1),
    (Pair, ("sample_rate",), 100),
    (Pair, ("redraw_of",), "x"),
    (Pair, ("min_change_db",), float("inf")),
    (Pair, ("min_change_db",), float("nan")),
    (Pair, ("redraw_below",), -0.5),
    (Pair, ("inputs", 0, "name"), "Drums"),
    (Pair, ("inputs", 0, "view"), "video"),
    (Pair, ("inputs", 0, "sends"), [{"name": "room", "gains_db": [-6.0], "chain": []}]),
    (Pair, ("inputs", 0, "branches", 0, "channels"), "both"),
    (Pair, (*CHAIN, "role"), "gone"),
    (Pair, (*CHAIN, "settings"), '{"gain_db":1.50}'),
    (Pair, (*CHAIN, "settings"), '{"pan":0.5,"gain_db":1.5}'),
    (Pair, (*CHAIN, "settings"), '{"gain_db":1}'),
    (Pair, (*CHAIN, "settings"), '{"gain_db":null}'),
    (Pair, (*CHAIN, "settings"), '{"gain_db":{}}'),
    (Pair, (*CHAIN, "settings"), '{"gain_db":NaN}'),
    (Pair, (*CHAIN, "settings"), '{"gain_db":1.5},{"pan":0.5}'),
    (Pair, (*CHAIN, "settings"), "[]"),
    (Pair, (*CHAIN, "settings"), "{"),
    (Pair, (*CHAIN, "settings"), ""),
    (Example, (*AUDIO, "path"), "../../etc/passwd"),
    (Example, (*AUDIO, "path"), "/etc/passwd"),
    (Example, (*AUDIO, "path"), "dataset//a.flac"),
    (Example, (*AUDIO, "path"), "C:/a.flac"),
    (Example, (*AUDIO, "path"), "a" * 256),
    (Example, (*AUDIO, "path"), ""),
    (Example, (*AUDIO, "num_channels"), 65),
    (Example, (*AUDIO, "sha256"), "0" * 63),
    (Example, ("signals", 0, "role"), "output"),
    (Example, ("signals", 0, "levelled_db"), [float("-inf")]),
    (Track, ("metadata",), '{"a":1}'),
    (Track, ("mixture",), "files"),
    (Shard, ("path",), "mix/train-1.tar"),
    (Shard, ("members", 0, "num_bytes"), 0),
]


NAMES = [f"{number} {path[-1]}" for number, (_, path, _) in enumerate(WRONG)]


@pytest.mark.parametrize(("record_type", "path", "value"), WRONG, ids=NAMES)
def test_what_is_no_record_as_it_is_written_is_left_to_the_records(record_type, path, value, rows):
    chosen = [row for row in rows[record_type] if record_type is not Pair or (row.inputs[0].branches and row.inputs[0].branches[0].chain)]
    batch = batch_of(record_type, chosen[:5])
    assert row_text.are_records(record_type, batch)
    other = changed(batch, path, value)
    assert not row_text.are_records(record_type, other)
    assert row_text.texts(record_type, other) is None


def test_columns_of_another_version_are_left_to_the_records(rows):
    batch = batch_of(Stem, rows[Stem][:5])
    assert row_text.texts(Stem, batch.drop_columns(["engine"])) is None
    assert row_text.texts(Stem, batch.rename_columns({"cache_key": "task_id"})) is None
    narrow = batch.set_column(batch.schema.get_field_index("gain_db"), "gain_db", batch.column("gain_db").cast(pa.float32()))
    assert row_text.texts(Stem, narrow) is None


def test_text_that_is_not_utf_8_is_left_to_the_records(rows):
    batch = batch_of(Rejected, rows[Rejected])
    damaged = pa.array([b"\xff"] * batch.num_rows).view(pa.string())
    assert row_text.texts(Rejected, batch.set_column(batch.schema.get_field_index("reason"), batch.schema.field("reason"), damaged)) is None


def test_an_edited_row_has_another_seal(rows):
    batch = batch_of(Pair, rows[Pair][:20])
    edited = changed(batch, ("start_frame",), 1)
    found = row_text.seals(Pair, edited, row_text.texts(Pair, edited))
    assert np.flatnonzero(found != numbers_of(batch.column("id"))).tolist() == [0]


def test_settings_are_read_as_json(rows):
    texts = row_text.texts(Pair, batch_of(Pair, rows[Pair])).to_pylist()
    for text, row in itertools.islice(zip(texts, rows[Pair], strict=True), 50):
        assert json.loads(text) == row.model_dump(mode="json", by_alias=True)
