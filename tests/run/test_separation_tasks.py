from pathlib import Path
from types import SimpleNamespace

import pytest
from test_known_tasks import living, stem
from test_runner import work

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.stages.separation_tasks import StemRows, TrackTasks
from stemwright.datagen.run.stages.separation_work import KeptTasks
from stemwright.datagen.run.tasks import Result, Share
from stemwright.manifests import table
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.table_rows import TableRows

COUNT = 60


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 8)
    table.write(tmp_path / "tracks.parquet", (row for number in range(COUNT) for row in work(number)), Track)
    config = check({"songs": {"folder": str(tmp_path)}}, where="test")
    return TrackTasks(TableRows(tmp_path / "tracks.parquet", Track), tmp_path, SimpleNamespace(identity={"tiny": 1}), config)


def test_tasks_are_made_when_they_are_used(tasks, only_new_objects):
    before, most, ids = living(Track), 0, []
    for task in tasks:
        ids.append(task.id)
        most = max(most, living(Track)) if len(ids) % 5 == 0 else most
    assert most - before <= 2 * 8 + 2
    assert len(set(ids)) == len(ids) == len(tasks) == COUNT
    assert [tasks[number].id for number in (0, 7, -1)] == [ids[0], ids[7], ids[-1]]
    assert [task.id for task in tasks[3:9]] == ids[3:9]


def test_shares_of_the_tasks_are_all_of_them(tasks):
    shares = [[task.id for task in tasks.of_share(Share(number, 7))] for number in range(7)]
    assert [len(share) for share in shares] == [len(tasks.of_share(Share(number, 7))) for number in range(7)]
    ids = [task.id for task in tasks.of_share(None)]
    assert [ids[number::7] for number in range(7)] == shares


class Kept:
    """Every third track is kept, every sixth was refused."""

    row_type = Stem

    def __init__(self, folder, tasks):
        self.folder, self.settled = folder, []
        self.numbers = {task.id: number for number, task in enumerate(tasks)}

    def kept(self, task, *, settle=False):
        number = self.numbers[task.id]
        if number % 3:
            return None
        if settle:
            self.settled.append(task.id)
        return Result(task, reason="poor") if number % 6 else Result(task, self.stems(task))

    def stems(self, task):
        return tuple(stem(task.id, name, self.folder) for name in ("vocals", "drums"))

    def kept_stems(self, task):
        return self.kept(task).rows

    def place(self, track):
        return Path("corpus/stems/tiny") / track.id


def test_rows_are_in_the_order_of_the_tracks_whether_kept_or_made(tasks, tmp_path):
    separation = Kept(tmp_path, tasks)
    kept = KeptTasks(separation, tasks)
    ids = [task.id for task in tasks]
    assert (separation.settled, [task.id for task in kept.others]) == (ids[::3], [key for number, key in enumerate(ids) if number % 3])
    assert [(task.id, reason) for task, reason in kept.refused] == [(key, "poor") for key in ids[3::6]]
    assert all(f"tiny/{task.row_id}" in kept.places for task in tasks)
    assert "tiny/another" not in kept.places
    made = [row for number, task in enumerate(tasks) if number % 3 and number != 4 for row in separation.stems(task)]  # 4 was refused now
    rows = StemRows(tasks, kept.marks, separation.kept_stems, made)
    wanted = [key for number, key in enumerate(ids) if number % 6 != 3 and number != 4]
    assert [row.cache_key for row in rows] == [row.cache_key for row in rows] == [key for key in wanted for _ in range(2)]


def test_the_rows_of_a_track_are_dropped_once_they_are_used(tasks, tmp_path):
    separation = Kept(tmp_path, tasks)
    before, most = living(Stem), 0
    for number, _ in enumerate(StemRows(tasks, KeptTasks(separation, tasks).marks, separation.kept_stems, ())):
        most = max(most, living(Stem)) if number % 5 == 0 else most
    assert most - before <= 4


class AllKept(Kept):
    def kept(self, task, **_):
        self.settled.append(task.id)
        return Result(task, self.stems(task))


def test_results_that_are_all_kept_are_read_once_where_the_table_is_the_same(tasks, tmp_path):
    separation, path = AllKept(tmp_path, tasks), tmp_path / "stems.parquet"
    kept = KeptTasks(separation, tasks)
    table.write(path, StemRows(tasks, kept.marks, separation.kept_stems, ()), Stem)
    written, separation.settled = path.read_bytes(), []
    kept = KeptTasks(separation, tasks)
    table.replace(path, StemRows(tasks, kept.marks, separation.kept_stems, (), kept.digest), Stem)
    assert kept.digest == table.digest(path)
    assert (len(separation.settled), path.read_bytes()) == (COUNT, written)


def test_results_of_which_some_are_missing_state_no_digest(tasks, tmp_path):
    assert KeptTasks(Kept(tmp_path, tasks), tasks).digest is None
