import gc
import json
import tracemalloc
from functools import partial

import pytest
from test_runner import tasks, work

from stemwright.datagen.run.known_tasks import EarlierWork, KnownTasks
from stemwright.datagen.run.runner import Stage, finish, finished_rows, run, shared
from stemwright.datagen.run.tasks import Result, Task, Workers
from stemwright.manifests import id_set, journal_index, table
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.journal_index import Scan, number_of_task
from stemwright.manifests.records import AudioFile, Stem, Track, content_id, seal
from stemwright.manifests.table_rows import TableRows


@pytest.fixture
def stage(tmp_path):
    return Stage("catalog", tmp_path, "tracks", Track)


class MadeWhenUsed:
    """Tasks of which none is kept."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return tasks(self.count)[number]

    def __iter__(self):
        return (task for number in range(self.count) for task in tasks(number + 1)[-1:])


def living(kind):
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())  # what is weakly referenced may be gone


def test_rows_stay_in_the_journal_until_they_are_used(stage, monkeypatch):
    monkeypatch.setattr(journal_index, "MERGED", 7)
    before, most = living(Track), []
    outcome = run(stage, MadeWhenUsed(40), shared(work, Workers()), lambda done, *_: most.append(living(Track)) if done % 13 == 0 else None)
    assert max(most) - before <= 2
    assert living(Track) - before <= 1
    assert [row.title for row in outcome.rows] == [row.title for row in outcome.rows] == [f"Song {number}" for number in range(40)]
    assert living(Track) - before <= 1


def test_a_finished_run_of_tasks_that_are_made_when_used_is_skipped(stage):
    first = run(stage, MadeWhenUsed(9), shared(work, Workers()))
    finish(stage, first.rows)
    digest = table.digest(stage.folder / "tracks.parquet")
    again = run(stage, MadeWhenUsed(9), shared(work, Workers()))
    assert (again.done, again.skipped) == (0, 9)
    finish(stage, again.rows)
    assert table.digest(stage.folder / "tracks.parquet") == digest == first_digest(stage, 9)


def first_digest(stage, count):
    rows = [row for number in range(count) for row in work(number)]
    whole = table.RowsDigest(Track)
    whole.add(tuple(rows))
    return whole.hexdigest()


def test_a_task_takes_sixteen_bytes_in_memory(tmp_path):
    path = tmp_path / "tracks.jsonl.part"
    row = json.loads(work(0)[0].model_dump_json())
    with path.open("w") as file:
        file.writelines(json.dumps({"task": content_id(number), "rows": [row]}) + "\n" for number in range(300))
    found = table.journalled(path, Track)
    assert len(found) == 300
    held = [value for value in vars(found).values() if hasattr(value, "nbytes")]
    assert sum(value.nbytes for value in held) == 300 * 16
    assert found[content_id(7)][0].title == "Song 0"


def test_names_of_the_same_number_are_distinguished_by_their_lines(tmp_path, monkeypatch):
    with table.Journal(tmp_path / "tracks.jsonl.part", Track) as journal:
        journal.append("one", work(1))
        monkeypatch.setattr(journal_index, "number_of_task", lambda _: number_of_task("one"))
        assert [row.title for row in journal.tasks["one"]] == ["Song 1"]
        assert journal.tasks["another"] == ()


def test_a_line_of_other_rows_counts_as_without_rows(tmp_path, stage):
    path = stage.folder / "tracks.jsonl.part"
    run(stage, tasks(3), shared(work, Workers()))
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"title"', '"heading"')
    path.write_text("".join(lines))
    again = run(stage, tasks(3), shared(work, Workers()))
    assert (again.done, again.skipped) == (1, 2)
    assert [row.title for row in again.rows] == ["Song 0", "Song 1", "Song 2"]


def stem(task, name, folder):
    file = folder / f"stems/{task}/{name}.flac"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"sound")
    facts = {"sample_rate": 8000, "num_channels": 1, "num_frames": 1, "num_bytes": 5, "sha256": "0" * 64}
    audio = AudioFile(path=file.relative_to(folder).as_posix(), **facts)
    return seal(Stem, cache_key=task, track_id=task, name=name, audio=audio, origin="tiny@1", gain_db=0.0, closure_db=None)


@pytest.fixture
def separated(tmp_path):
    """A finished stage of 30 tasks with two rows each, and a function that starts it again."""
    stage, keys = Stage("separate", tmp_path, "stems", Stem), [content_id(number) for number in range(30)]
    some = [Task(key, key, key, key, 2.0) for key in keys]
    work = shared(partial(stems_of, folder=tmp_path), Workers())
    finish(stage, run(stage, some, work).rows)
    return stage, keys, lambda: run(stage, some, work)


def stems_of(task, folder):
    return [stem(task, name, folder) for name in ("drums", "vocals")]


def test_a_finished_table_is_looked_through_without_a_record(separated, monkeypatch):
    stage, keys, start = separated
    (stage.folder / f"stems/{keys[3]}/vocals.flac").unlink()
    (stage.folder / f"stems/{keys[17]}/drums.flac").write_bytes(b"cut")
    made = []
    monkeypatch.setattr(TableRows, "records", lambda *_: made.append(1))
    again = start()
    assert (again.done, again.skipped, made) == (2, 28, [])
    assert set(again.fresh) == {keys[3], keys[17]}


def test_rows_are_made_in_batches_and_dropped(separated, monkeypatch, only_new_objects):
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 8)
    _, _, start = separated
    before, most, rows = living(Stem), 0, start().rows
    for _ in rows:
        most = max(most, living(Stem))
    assert most - before <= 2 * 8 + 2


@pytest.mark.parametrize("order", ["id", "name"])
def test_a_table_that_was_sorted_is_the_same_table(separated, order):
    """By name, the rows of a task do not follow one another."""
    stage, keys, start = separated
    path = stage.folder / "stems.parquet"
    rows = table.read(path, Stem)
    table.write(path, sorted(rows, key=lambda row: getattr(row, order)), Stem)
    again = start()
    assert (again.done, again.skipped) == (0, 30)
    found = list(again.rows)
    assert [row.cache_key for row in found] == [key for key in keys for _ in range(2)]
    assert {row.id for row in found} == {row.id for row in rows}
    (stage.folder / f"stems/{keys[5]}/vocals.flac").unlink()
    assert (start().done, start().skipped) == (1, 30)


def test_the_index_of_a_finished_table_takes_sixteen_bytes_a_task(separated):
    stage, keys, _ = separated
    known = KnownTasks(table.journalled(stage.folder / "none", Stem), finished_rows(stage))
    assert sum(value.nbytes for value in vars(known).values() if hasattr(value, "nbytes")) == len(keys) * 16


def test_earlier_work_is_named_once():
    works = [("0" * 15 + str(number % 10), "f" * 16) for number in range(3)]
    earlier = EarlierWork([*works, ("a task", "a song"), ("0" * 16, "a song")])
    assert earlier.pop("f" * 16) == [key for key, _ in works]
    assert earlier.pop("f" * 16) == []
    assert earlier.pop("a song") == ["a task", "0" * 16]
    assert earlier.pop("nothing") == []


def test_earlier_work_about_a_row_is_void_when_it_is_made_again(separated):
    stage, keys, _ = separated
    other = [Task(content_id([key]), key, key, content_id([key])) for key in keys[:3]]
    with table.Journal(stage.folder / "stems.jsonl.part", Stem) as journal:
        journal.append(content_id([keys[0]]), [])
    run(stage, other, lambda tasks, begin: (Result(task, reason="no") for task in tasks if begin(task) is None))
    journal = table.journalled(stage.folder / "stems.jsonl.part", Stem)
    assert {task for task, rows in journal.items() if not rows} == {content_id([keys[0]]), *keys[:3]}


def bytes_each(work, few=10_000, many=30_000):
    """What each thing takes at the peak of some work on so many of them."""
    peaks = []
    for count in (few, many):
        gc.collect()
        tracemalloc.start()
        try:
            work(count)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (many - few)


def test_looking_for_tasks_takes_few_bytes_of_each():
    known = KnownTasks(Scan([]).index(Stem), JoinedRows())

    def look(count):
        found = known.wanted(Task(content_id(number), "", "", None, 2.0) for number in range(count))
        assert (found.open_s, sum(found.is_open)) == (2.0 * count, count)

    assert bytes_each(look) < 24


def test_new_ids_and_tasks_are_merged_with_one_copy_of_a_column(tmp_path, monkeypatch):
    monkeypatch.setattr(id_set, "MERGED", 500)
    monkeypatch.setattr(journal_index, "MERGED", 500)

    def put(count):
        index = Scan([]).index(Stem)
        for number in range(count):
            index.put(content_id(number), tmp_path, number)
        assert len(index) == count

    assert bytes_each(lambda count: len(IdSet(map(content_id, range(count))))) < 20
    assert bytes_each(put) < 30


def test_the_latest_place_of_a_task_counts_however_they_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_index, "MERGED", 7)
    index = Scan([]).index(Stem)
    for place in range(100):
        index.put(content_id(place % 30), tmp_path, place)
    numbers = [number_of_task(content_id(number)) for number in range(31)]
    places = {number: max(range(number, 100, 30)) for number in range(30)}
    assert index.places(numbers).tolist() == [*places.values(), -1]
    assert len(index) == 30
