import json
import os

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from rows import arrow_values, corpus_rows

from stemwright.manifests import table
from stemwright.manifests.feature_rows import Features, Simulated, StemFeatures, StemStatistic
from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, MOST_FRAMES
from stemwright.manifests.pair_records import Branch, Example, Pair, SendBus, Signal, SignalFile
from stemwright.manifests.records import (
    AudioFile,
    EffectUse,
    Estimate,
    Member,
    Normalisation,
    Part,
    ReferenceStem,
    Rejected,
    Shard,
    Stem,
    Track,
    TrackEstimate,
    seal,
)
from stemwright.manifests.row_columns import table_of
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.table_rows import arrow_schema

ID = "0123456789abcdef"
texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
scalars = st.one_of(numbers, st.booleans(), texts)
audio_files = st.builds(
    AudioFile,
    path=st.sampled_from(["a.flac", "ä/ö ü.wav", "日本.mp3"]),
    sample_rate=st.integers(LOWEST_RATE, HIGHEST_RATE),
    num_channels=st.integers(1, 2),
    num_frames=st.integers(0, MOST_FRAMES),
    num_bytes=st.integers(0, 2**50),
    sha256=st.just("a" * 64),
    stream=st.integers(0, 4),
)
uses = st.builds(EffectUse, effect=texts, settings=st.dictionaries(texts, scalars, max_size=3))


def sent(signal):
    """The signal, with a send if it has branches that can feed one."""
    count = len(signal.branches)
    gains = st.lists(st.none() | st.floats(-48.0, 24.0), min_size=count, max_size=count).filter(lambda found: found != [None] * count)
    sends = st.builds(SendBus, name=names, gains_db=gains, chain=st.lists(uses, max_size=1), feed=st.none() | st.just("mean"))
    return st.lists(sends, max_size=min(1, count)).map(lambda found: Signal(**{**dict(signal), "sends": found}))


signals = st.builds(
    Signal,
    name=st.just("mix"),
    branches=st.lists(
        st.builds(
            Branch,
            source_id=st.just(ID),
            chain=st.lists(uses, max_size=2),
            offset_frames=st.integers(-(MOST_FRAMES), MOST_FRAMES),
            channels=st.sampled_from(["all", "mono", "left", "right"]),
        ),
        max_size=3,
    ),
    bus=st.lists(uses, max_size=1),
    view=st.sampled_from(["audio", "gain", "unlimited"]),
).flatmap(sent)


pairs = st.builds(
    Pair,
    id=st.just(ID),
    kind=names,
    number=st.integers(0, 9),
    track_id=st.just(ID),
    split=st.just("train"),
    start_frame=st.integers(0, MOST_FRAMES),
    num_frames=st.integers(1, 600 * 44_100),
    sample_rate=st.just(44_100),
    inputs=st.lists(signals, max_size=2),
    targets=st.lists(signals, max_size=2),
    text=st.none() | texts,
    seed=st.integers(0, 2**62),
    redraw_of=st.none() | st.just(ID),
    redraw_below=st.floats(0, 1),
)
bands = st.lists(st.none() | numbers, max_size=3)
features = st.builds(
    Features,
    loudness_lufs=numbers,
    range_lu=numbers,
    crest_db=numbers,
    onset_peak_db=st.none() | numbers,
    onset_deviation_db=st.none() | numbers,
    spectrum_db=bands,
    side_db=bands,
    similarity=bands,
    whole_side_db=st.none() | numbers,
    decay_s=st.none() | numbers,
    dynamics=st.lists(numbers, max_size=3),
)
stem_features = st.builds(
    StemFeatures,
    id=st.just(ID),
    cache_key=st.just(ID),
    stem_id=st.just(ID),
    track_id=st.just(ID),
    name=names,
    features=st.none() | features,
    simulated=st.lists(st.builds(Simulated, use=uses, amount=numbers, dynamics=st.lists(numbers, max_size=3)), max_size=2),
)
sounds = st.just("c" * 64)
statistics = st.builds(
    StemStatistic,
    id=st.just(ID),
    cache_key=st.just(ID),
    stem_id=st.just(ID),
    track_id=st.just(ID),
    name=names,
    statistic=names,
    values=st.lists(st.none() | numbers, max_size=3),
)
estimates = st.builds(
    Estimate,
    id=st.just(ID),
    cache_key=st.just(ID),
    stem_id=st.just(ID),
    track_id=st.just(ID),
    name=names,
    loudness_lufs=st.none() | numbers,
    peak_dbfs=st.none() | numbers,
    level_lu=st.none() | numbers,
    level_low_lu=st.none(),
    level_high_lu=st.none(),
    pan=st.none() | numbers,
    width=st.none() | numbers,
    active=st.lists(st.booleans(), max_size=5),
    profile=st.none() | texts,
)
rows = {
    "statistics": statistics,
    "tracks": st.builds(
        Track,
        id=st.just(ID),
        cache_key=st.just(ID),
        audio=audio_files,
        sound=sounds,
        title=texts,
        artist=st.none() | texts,
        album=st.none() | texts,
        rights=texts,
        source=st.just("folder"),
        split=st.sampled_from(["train", "valid", "test"]),
        peak_dbfs=numbers,
        references=st.lists(st.builds(ReferenceStem, name=names, audio=audio_files, sound=sounds), max_size=2),
        notes=st.lists(texts, max_size=2),
    ),
    "stems": st.builds(
        Stem,
        id=st.just(ID),
        cache_key=st.just(ID),
        track_id=st.just(ID),
        name=names,
        audio=audio_files,
        origin=texts,
        gain_db=numbers,
        closure_db=st.none() | numbers,
    ),
    "estimates": estimates,
    "part_estimates": estimates,
    "parts": st.builds(
        Part,
        id=st.just(ID),
        cache_key=st.just(ID),
        track_id=st.just(ID),
        stem_id=st.just(ID),
        part_of=names,
        name=names,
        audio=audio_files,
        origin=texts,
        gain_db=numbers,
        closure_db=st.none() | numbers,
    ),
    "track_estimates": st.builds(
        TrackEstimate,
        id=st.just(ID),
        cache_key=st.just(ID),
        track_id=st.just(ID),
        tempo_bpm=st.none() | numbers,
        beats_s=st.lists(numbers, max_size=3),
        key=st.none() | texts,
        key_confidence=st.floats(0, 1),
    ),
    "features": stem_features,
    "profile": stem_features,
    "normalisations": st.builds(
        Normalisation,
        id=st.just(ID),
        cache_key=st.just(ID),
        stem_id=st.just(ID),
        track_id=st.just(ID),
        name=names,
        profile=st.just(ID),
        chain=st.lists(st.builds(EffectUse, effect=texts, settings=st.dictionaries(texts, numbers, max_size=2)), max_size=2),
    ),
    "pairs": pairs,
    "redraws": pairs,
    "examples": st.builds(
        Example,
        id=st.just(ID),
        cache_key=st.just(ID),
        pair_id=st.just(ID),
        gain_db=numbers,
        signals=st.lists(
            st.builds(
                SignalFile,
                role=st.sampled_from(["input", "target"]),
                name=names,
                audio=audio_files,
                loudness_lufs=st.none() | numbers,
                peak_dbfs=st.none() | numbers,
                levelled_db=st.lists(numbers, max_size=3),
            ),
            max_size=3,
        ),
    ),
    "shards": st.builds(
        Shard,
        id=st.just(ID),
        path=st.just("mix/train-000000.tar"),
        labels=st.just(ID),
        num_bytes=st.integers(0, 2**50),
        sha256=st.just("b" * 64),
        members=st.lists(
            st.builds(Member, path=st.just("a.flac"), start_byte=st.integers(0, 2**50), num_bytes=st.integers(1, MOST_FRAMES))
        ),
    ),
    "rejected": st.builds(
        Rejected, id=st.just(ID), stage=texts, row_id=texts, subject=texts, reason=texts, replaced_by=st.none() | st.just(ID)
    ),
}
a_few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def rejected(number: int) -> Rejected:
    return seal(Rejected, stage="catalog", row_id=f"{number}.mp3", subject=f"Süßes {number}\n", reason="empty file (0 bytes)")


@pytest.mark.parametrize("name", ROW_TYPES)
@a_few
@given(data=st.data())
def test_rows_come_back_from_parquet_as_they_were(name, data, tmp_path):
    written = data.draw(st.lists(rows[name], max_size=4))
    path = tmp_path / f"{name}.parquet"
    table.write(path, written, ROW_TYPES[name])
    assert table.read(path, ROW_TYPES[name]) == written
    assert table.is_as_written(path, ROW_TYPES[name])


@pytest.mark.parametrize("name", ROW_TYPES)
@a_few
@given(data=st.data())
def test_rows_come_back_from_a_journal_as_they_were(name, data, tmp_path):
    written = tuple(data.draw(st.lists(rows[name], max_size=3)))
    path = tmp_path / f"{name}.jsonl.part"
    path.unlink(missing_ok=True)
    with table.Journal(path, ROW_TYPES[name]) as journal:
        journal.append("task", written)
    with table.Journal(path, ROW_TYPES[name]) as journal:
        assert journal.tasks == {"task": written}


def test_journal_torn_at_any_byte_gives_exactly_the_whole_lines_before_it(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    with table.Journal(path, Rejected) as journal:
        for number in range(3):
            journal.append(f"task {number}", [rejected(number)] * (number % 2 + 1))
    whole, tasks = path.read_bytes(), dict(journal.tasks)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with table.Journal(path, Rejected) as journal:
            lines = whole[:size].count(b"\n")
            assert journal.tasks == dict(list(tasks.items())[:lines])
            journal.append("next", [rejected(9)])
        with table.Journal(path, Rejected) as journal:
            assert list(journal.tasks) == [*list(tasks)[:lines], "next"]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("broken", ["NULs", "half", "words", "other columns"])
def test_a_broken_line_is_dropped_and_all_others_stay(tmp_path, number, broken):
    path = tmp_path / "rejected.jsonl.part"
    with table.Journal(path, Rejected) as journal:
        for count in range(3):
            journal.append(f"task {count}", [rejected(count)])
    lines = path.read_bytes().splitlines(keepends=True)
    made = {"NULs": bytes(len(lines[number])), "half": lines[number][:40] + b"\n", "words": b"words\n", "other columns": b'{"task": "x"}\n'}
    path.write_bytes(b"".join(made[broken] if count == number else line for count, line in enumerate(lines)))
    with table.Journal(path, Rejected) as journal:
        expected = {f"task {count}": (rejected(count),) for count in range(3) if count != number}
        assert journal.tasks == expected
        journal.append("next", [rejected(9)])
    assert table.journalled(path, Rejected) == {**expected, "next": (rejected(9),)}
    assert (
        path.read_bytes() == b"".join(line for count, line in enumerate(lines) if count != number) + path.read_bytes().splitlines(True)[-1]
    )


def test_a_line_that_voids_earlier_work_is_on_the_disk_before_its_files_go(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(table.durable, "sync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    with table.Journal(tmp_path / "rejected.jsonl.part", Rejected) as journal:
        synced.clear()
        journal.append("one", [rejected(1)])
        journal.append("two", [])
        assert synced == [(tmp_path / "rejected.jsonl.part").stat().st_size]
        journal.append("three", [rejected(3)], at_once=True)
        assert synced[1:] == [(tmp_path / "rejected.jsonl.part").stat().st_size]


def test_lines_are_on_the_disk_within_a_second_and_at_the_end(tmp_path, monkeypatch):
    synced, now = [], [0.0]
    monkeypatch.setattr(table.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(table.durable, "sync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    with table.Journal(tmp_path / "rejected.jsonl.part", Rejected) as journal:
        synced.clear()
        for second in (0.2, 0.9, 1.1, 1.3):
            now[0] = second
            journal.append(str(second), [rejected(1)])
        assert len(synced) == 1
    assert len(synced) == 2
    assert synced[-1] == (tmp_path / "rejected.jsonl.part").stat().st_size


def test_the_journals_of_all_writers_are_read_and_one_without_a_name_takes_them_over(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    for number in range(3):
        with table.Journal(path, Rejected, f"{number}of3") as journal:
            journal.append(f"task {number}", [rejected(number)])
    expected = {f"task {number}": (rejected(number),) for number in range(3)}
    assert [each.name for each in table.journals(path)] == [f"rejected.{number}of3.jsonl.part" for number in range(3)]
    assert table.journalled(path, Rejected) == expected
    with table.Journal(path, Rejected, "1of3") as journal:
        assert journal.tasks == expected
    with table.Journal(path, Rejected) as journal:
        assert journal.tasks == expected
    assert table.journals(path) == [path]
    assert table.journalled(path, Rejected) == expected


@pytest.mark.parametrize("writers", [("0of2", "1of2"), ("1of2", "0of2"), ("", "0of2"), ("1of2", "")])
def test_of_two_writers_the_later_line_counts_whatever_they_are_called(tmp_path, writers):
    path = tmp_path / "rejected.jsonl.part"
    for writer, rows in zip((*writers, *writers), ([rejected(0)], [], [rejected(2)], [rejected(3)]), strict=True):
        with table.Journal(path, Rejected, writer) as journal:
            journal.append("task", rows)
        assert table.journalled(path, Rejected) == {"task": tuple(rows)}


def test_what_a_writer_that_was_believed_dead_still_appends_damages_nothing(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    with table.Journal(path, Rejected, "0of2") as slow:
        slow.append("before", [rejected(0)])
        with table.Journal(path, Rejected, "0of2") as successor:
            successor.append("one", [rejected(1)])
            slow.append("late", [rejected(2)])
            successor.append("two", [rejected(3)])
    assert table.journalled(path, Rejected) == {"before": (rejected(0),), "one": (rejected(1),), "two": (rejected(3),)}


def test_a_kill_while_journals_are_taken_over_leaves_the_later_lines_in_force(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    with table.Journal(path, Rejected, "0of2") as journal:
        journal.append("task", [rejected(0)])
    earlier = table.journals(path)[0].read_bytes()
    with table.Journal(path, Rejected) as journal:
        journal.append("task", [])
    (tmp_path / "rejected.0of2.jsonl.part").write_bytes(earlier)  # as a power cut brings it back
    for _ in range(2):
        assert table.journalled(path, Rejected) == {"task": ()}
        with table.Journal(path, Rejected):
            pass


def test_journal_line_is_plain_json(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    with table.Journal(path, Rejected) as journal:
        journal.append("one", [rejected(1)])
    assert json.loads(path.read_text())["rows"][0]["row_id"] == "1.mp3"


def test_row_that_holds_nan_never_reaches_the_journal(tmp_path):
    path = tmp_path / "stems.jsonl.part"
    stem = Stem.model_construct(**dict.fromkeys(Stem.model_fields) | {"gain_db": float("nan")})
    with table.Journal(path, Stem) as journal, pytest.raises(ValueError, match="not JSON compliant"):
        journal.append("one", [stem])
    assert path.read_bytes() == b""


def test_edited_table_is_not_as_written(tmp_path):
    path = tmp_path / "rejected.parquet"
    table.write(path, [rejected(1), rejected(2)], Rejected)
    frame = pq.read_table(path)
    for changed in (frame.slice(0, 1), pa.concat_tables([frame, frame]), frame.set_column(1, "stage", [["a", "b"]])):
        pq.write_table(changed, path)
        assert not table.is_as_written(path, Rejected)
    table.write(path, [rejected(1), rejected(2)], Rejected)
    assert table.is_as_written(path, Rejected)


def test_rows_that_come_one_by_one_give_the_same_rows_and_digest_as_a_list(tmp_path, monkeypatch):
    rows = [rejected(number) for number in range(10)]
    table.write(tmp_path / "whole.parquet", rows, Rejected)
    digest = table._digest(rows, Rejected)
    monkeypatch.setattr(Rejected, "AT_ONCE", 3)
    assert table.write(tmp_path / "parts.parquet", (row for row in rows), Rejected) == 10
    assert table.read(tmp_path / "parts.parquet", Rejected) == rows
    assert table.is_as_written(tmp_path / "parts.parquet", Rejected)
    assert table._digest(iter(rows), Rejected) == digest


def test_path_in_a_table_that_leaves_its_folder_is_refused(tmp_path):
    path = tmp_path / "stems.parquet"
    audio = AudioFile.model_construct(
        path="../../secret.flac", sample_rate=1, num_channels=1, num_frames=1, num_bytes=1, sha256="0" * 64, stream=0
    )
    columns = {"cache_key": ID, "track_id": ID, "name": "drums", "origin": "reference", "gain_db": 0.0, "closure_db": None}
    pq.write_table(pa.Table.from_pylist([{"id": ID, "audio": audio.model_dump(), **columns}], table.arrow_schema(Stem)), path)
    with pytest.raises(ValueError, match=r"stems.parquet: row 0.audio.path.*'../../secret.flac' leaves its folder"):
        table.read(path, Stem)


def test_file_that_is_no_table_is_named(tmp_path):
    path = tmp_path / "stems.parquet"
    path.write_text("not a table")
    with pytest.raises(ValueError, match=r"stems.parquet is not a readable Parquet table"):
        table.read(path, Stem)


def test_table_of_other_rows_is_named(tmp_path):
    path = tmp_path / "stems.parquet"
    table.write(path, [rejected(1)], Rejected)
    with pytest.raises(ValueError, match="Was the table edited, or written by another version"):
        table.read(path, Stem)


def test_made_from_and_column_read_without_the_rows(tmp_path):
    path = tmp_path / "rejected.parquet"
    assert table.made_from(path) is None
    assert table.column(path, "id") == []
    table.write(path, [rejected(1), rejected(2)], Rejected, made_from="abc")
    assert table.made_from(path) == "abc"
    assert table.column(path, "row_id") == ["1.mp3", "2.mp3"]


def test_table_is_replaced_when_any_column_changed_and_only_then(tmp_path):
    path = tmp_path / "rejected.parquet"
    row = rejected(1)
    table.replace(path, [row], Rejected, made_from="abc")
    written = path.stat().st_ino
    table.replace(path, [row], Rejected, made_from="abc")
    assert path.stat().st_ino == written
    corrected = row.model_copy(update={"reason": "not a sound file"})  # the same id, as of a track whose rights were corrected
    table.replace(path, [corrected], Rejected, made_from="abc")
    assert table.read(path, Rejected) == [corrected]
    table.replace(path, [corrected], Rejected, made_from="other")
    assert table.made_from(path) == "other"


def test_digest_of_a_table_differs_for_other_rows(tmp_path):
    path = tmp_path / "rejected.parquet"
    assert table.digest(path) == ""
    table.write(path, [rejected(1)], Rejected)
    one = table.digest(path)
    table.write(path, [rejected(1).model_copy(update={"subject": "renamed"})], Rejected)
    assert table.digest(path) not in ("", one)


def test_failed_write_leaves_the_table_before_it_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "rejected.parquet"
    table.write(path, [rejected(1)], Rejected)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full_disk)
    with pytest.raises(OSError, match="No space left"):
        table.write(path, [rejected(2)], Rejected)
    assert table.read(path, Rejected) == [rejected(1)]
    assert list(tmp_path.iterdir()) == [path]


def test_pandas_joins_tables_by_id(tmp_path):
    first = rejected(1)
    table.write(tmp_path / "rejected.parquet", [first, rejected(2)], Rejected)
    frame = table.frame(tmp_path / "rejected.parquet")
    assert frame.set_index("id").loc[first.id, "reason"] == "empty file (0 bytes)"


def test_id_survives_the_way_through_parquet(tmp_path):
    row = seal(
        Stem,
        cache_key=ID,
        track_id=ID,
        name="drums",
        audio=AudioFile(path="a.flac", sample_rate=44_100, num_channels=2, num_frames=3, num_bytes=99, sha256="0" * 64),
        origin="reference",
        gain_db=-0.1,
        closure_db=1 / 3,
    )
    table.write(tmp_path / "stems.parquet", [row], Stem)
    back = table.read(tmp_path / "stems.parquet", Stem)[0]
    assert back.id == back.seal_id()


def test_a_finished_table_names_the_versions_that_wrote_it(tmp_path):
    from importlib.metadata import version

    table.write(tmp_path / "rejected.parquet", [], Rejected)
    assert table.versions(tmp_path / "rejected.parquet")["torch"] == version("torch")


def test_a_table_of_version_0_1_is_read_with_its_ids_and_its_digest(tmp_path):
    rows = corpus_rows()[2]
    table.write(tmp_path / "estimates.parquet", rows, Estimate)
    now = pq.read_table(tmp_path / "estimates.parquet")
    names = ["task_id" if name == "cache_key" else name for name in now.schema.names]
    old = now.rename_columns(names).replace_schema_metadata(pq.read_metadata(tmp_path / "estimates.parquet").metadata)
    pq.write_table(old, tmp_path / "old.parquet")
    assert table.read(tmp_path / "old.parquet", Estimate) == rows
    assert table.is_as_written(tmp_path / "old.parquet", Estimate)
    assert table.column(tmp_path / "old.parquet", "cache_key") == [row.cache_key for row in rows]
    assert all(row.id == row.seal_id() for row in rows)
    assert '"task_id"' in rows[0].model_dump_json(by_alias=True), "ids are over the column's first name"


@pytest.mark.parametrize("name", ROW_TYPES)
@a_few
@given(data=st.data())
def test_columns_made_from_records_are_those_of_their_dictionaries(name, data):
    written = tuple(data.draw(st.lists(rows[name], max_size=4)))
    schema = arrow_schema(ROW_TYPES[name])
    made = table_of(written, schema)
    made.validate(full=True)
    assert made.equals(pa.Table.from_pylist(arrow_values(ROW_TYPES[name], written), schema=schema))


def test_a_record_that_holds_another_type_makes_no_column():
    row = rejected(1).model_copy(update={"reason": 3})
    with pytest.raises(TypeError):
        table_of((row,), arrow_schema(Rejected))
    shard = Member.model_construct(path="a.flac", start_byte=0.5, num_bytes=1)
    with pytest.raises(TypeError):
        table_of((shard,), arrow_schema(Member))
