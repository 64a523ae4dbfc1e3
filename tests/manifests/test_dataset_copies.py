"""A dataset's own tables against those of its corpus: equal ones are known by their columns, and each difference is found."""

import pytest
from made_corpus import example_of
from rows import corpus_rows, knowledge_of

from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.run.configuration import check
from stemwright.manifests import table, table_rows
from stemwright.manifests.check.dataset_copies import copies
from stemwright.manifests.dataset_rows import ROW_TYPES, SourceRows, WrittenPair, of_dataset
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Stem, Track, TrackEstimate, seal
from stemwright.manifests.table_rows import TableRows

KINDS = {kind: {"per_track": 4} for kind in ("mix", "remix", "limit", "removal", "edit")}
TABLES = {"tracks": Track, "stems": Stem, "track_estimates": TrackEstimate, "pairs": Pair, "examples": Example}


@pytest.fixture(scope="module")
def rows():
    """Rows of a corpus of which some examples have a joint gain, one track has no tempo and one stem is in no table."""
    tracks, stems, estimates = corpus_rows(6)
    tracks = [track.model_copy(update={"album": "B", "metadata": {"year": "1999"}}) for track in tracks]
    known = knowledge_of(tracks, stems)
    config = check({"seed": 3, "pairs": {"duration_s": 4.0, **KINDS}}, where="test")
    pairs = [pair for number, pair in enumerate(plan_pairs(config, tracks, stems, estimates, optional_rows=known).pairs) if number % 5]
    examples = [example_of(pair) for pair in pairs[3:]]
    examples = [with_columns(row, gain_db=-1.5 * (number % 2)) for number, row in enumerate(examples)]
    return {"tracks": tracks, "stems": stems[:-1], "track_estimates": list(known.track_estimates[1:]), "pairs": pairs, "examples": examples}


def with_columns(example, **columns):
    return seal(Example, **{**{name: value for name, value in example.__dict__.items() if name != "id"}, **columns})


def dataset_of(rows):
    facts = SourceRows.of(rows["tracks"], rows["stems"], rows["track_estimates"])
    gains_db = {row.pair_id: row.gain_db for row in rows["examples"]}
    written = [written_pair(pair, gains_db[pair.id], facts) for pair in rows["pairs"] if pair.id in gains_db]
    return {"pairs": written, "examples": [of_dataset(row) for row in rows["examples"]]}


def problems_of(folder, rows, dataset):
    """What is found in a folder that gets these tables."""
    (folder / "dataset").mkdir(parents=True)
    for name, kind in TABLES.items():
        table.write(folder / f"{name}.parquet", rows[name], kind)
    for name in ("pairs", "examples"):
        table.write(folder / "dataset" / f"{name}.parquet", dataset[name], ROW_TYPES[name])
    tables = {name: JoinedRows(TableRows(folder / f"{name}.parquet", kind)) for name, kind in TABLES.items()}
    return [problem.what for problem in copies(folder, tables)]


def test_equal_tables_are_known_without_a_record(tmp_path, rows, monkeypatch):
    made, records = [], TableRows.records
    monkeypatch.setattr(TableRows, "records", lambda self, batch, start: made.append(self.record_type) or records(self, batch, start))
    for number, batch_rows in enumerate((1024, 7)):
        monkeypatch.setattr(table_rows, "BATCH_ROWS", batch_rows)
        assert problems_of(tmp_path / str(number), rows, dataset_of(rows)) == []
    assert {*made} <= {TrackEstimate}
    assert any(row.beats_s for row in dataset_of(rows)["pairs"])
    assert {row.gain_db for row in rows["examples"]} == {0.0, -1.5}


@pytest.mark.parametrize("only", ["columns", "records"])
def test_each_difference_of_a_pair_is_found(tmp_path, rows, monkeypatch, only):
    if only == "records":
        monkeypatch.setattr("stemwright.manifests.check.dataset_copies.same_pairs", lambda *_: False)
    dataset = dataset_of(rows)
    gains_db = {row.pair_id: row.gain_db for row in rows["examples"]}
    number = next(n for n, row in enumerate(dataset["pairs"]) if row.kind == "removal" and not gains_db[row.id] and row.beats_s)
    for at, change in enumerate(CHANGES):
        found = [*dataset["pairs"]]
        found[number] = WrittenPair.model_validate(change(found[number].model_dump()))
        expected = [] if change is unchanged else ["differs from the corpus's pairs.parquet; run render again"]
        assert problems_of(tmp_path / str(at), rows, {**dataset, "pairs": found}) == expected, at


def unchanged(row):
    return row


def with_value(*path, value):
    def change(row):
        at = row
        for name in path[:-1]:
            at[name] = [*at[name]] if isinstance(at[name], list | tuple) else {**at[name]}
            at = at[name]
        at[path[-1]] = value(at[path[-1]])
        return row

    return change


FIRST = ("inputs", 0, "branches", 0)
CHANGES = [
    unchanged,
    with_value("text", value=lambda _: "other"),
    with_value("start_frame", value=lambda frame: frame + 1),
    with_value("beats_s", value=lambda beats: beats[1:]),
    with_value("beats_s", value=lambda _: None),
    with_value("sources", value=lambda sources: sources[1:]),
    with_value("sources", 0, "title", value=lambda _: "other"),
    with_value("sources", 0, "metadata", value=lambda _: {}),
    with_value("sources", 0, "gain_db", value=lambda gain_db: gain_db - 1),
    with_value("sources", 0, "closure_db", value=lambda _: None),
    with_value("sources", 0, "resampled", value=lambda resampled: not resampled),
    with_value("inputs", 0, "name", value=lambda _: "other"),
    with_value("inputs", 0, "view", value=lambda _: "gain"),
    with_value("inputs", value=lambda signals: [*signals, *signals]),
    with_value(*FIRST, "offset_frames", value=lambda frames: frames + 1),
    with_value(*FIRST, "chain", value=lambda chain: chain[1:]),
    with_value(*FIRST, "chain", 0, "role", value=lambda _: "added"),
    with_value(*FIRST, "chain", 0, "settings", value=lambda settings: dict.fromkeys(settings, 0.125)),
    with_value("inputs", 0, "branches", value=lambda branches: [*branches, *branches]),
]


def test_each_difference_of_an_example_is_found(tmp_path, rows):
    dataset = dataset_of(rows)
    row = dataset["examples"][5].model_dump()
    audio = row["signals"][0]["audio"]
    changes = [
        {"cache_key": "0" * 16},
        {"gain_db": -7.0},
        {"signals": row["signals"][1:]},
        {"signals": [{**row["signals"][0], "audio": {**audio, "path": f"x/{audio['path']}"}}, *row["signals"][1:]]},
        {"signals": [{**row["signals"][0], "audio": {**audio, "num_bytes": 1}}, *row["signals"][1:]]},
        {"signals": [{**row["signals"][0], "peak_dbfs": None}, *row["signals"][1:]]},
        {"id": "0" * 16},
    ]
    for at, change in enumerate(changes):
        found = [*dataset["examples"]]
        sealed = with_columns(found[5], **{name: value for name, value in change.items() if name != "id"})
        found[5] = sealed.model_copy(update={"id": change.get("id", sealed.id)})
        expected = ["differs from the corpus's examples.parquet; run render again"]
        assert problems_of(tmp_path / str(at), rows, {**dataset, "examples": found}) == expected, change


def test_a_row_that_is_none_is_named(tmp_path, rows):
    dataset = dataset_of(rows)
    bad = dataset["examples"][2]
    signals = tuple(file.model_copy(update={"audio": file.audio.model_copy(update={"path": "../x"})}) for file in bad.signals)
    dataset["examples"][2] = bad.model_copy(update={"signals": signals})
    (what,) = problems_of(tmp_path / "one", rows, dataset)
    assert "row 2.signals.0.audio.path: Value error, path '../x' leaves its folder" in what
