import pytest
from rows import corpus_rows
from test_known_tasks import living

from stemwright.datagen.run.stages.stem_tasks import TracksWithStems
from stemwright.datagen.run.tasks import Share
from stemwright.manifests import table
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.table_rows import TableRows

COUNT = 40


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 8)
    tracks, stems, _ = corpus_rows(COUNT)
    table.write(tmp_path / "tracks.parquet", tracks, Track)
    table.write(tmp_path / "stems.parquet", stems, Stem)
    rows = TableRows(tmp_path / "stems.parquet", Stem), TableRows(tmp_path / "tracks.parquet", Track)
    return TracksWithStems(GroupedRows(rows[0], "track_id"), GroupedRows(rows[1], "id")).tasks(lambda own: f"key of {own[0].track_id}")


def test_a_task_has_the_stems_of_its_track_and_its_name(tasks):
    tracks, stems, _ = corpus_rows(COUNT)
    made = [*tasks]
    assert [(task.row_id, task.subject) for task in made] == [(track.id, track.audio.path) for track in tracks]
    assert [row for task in made for row in task.payload] == stems
    assert [task.id for task in made] == [f"key of {track.id}" for track in tracks]
    assert [tasks[number].id for number in (0, 7, -1)] == [made[0].id, made[7].id, made[-1].id]
    assert [task.id for task in tasks[3:9]] == [task.id for task in made[3:9]]


def test_shares_of_the_tasks_are_all_of_them(tasks):
    shares = [[task.id for task in tasks.of_share(Share(number, 3))] for number in range(3)]
    assert shares == [[task.id for task in tasks][number::3] for number in range(3)]
    assert [len(tasks.of_share(Share(number, 3))) for number in range(3)] == [len(share) for share in shares]


def test_tasks_are_made_when_they_are_used(tasks, only_new_objects):
    before, most = (living(Stem), living(Track)), [0, 0]
    for number, _ in enumerate(tasks):
        if number % 5 == 0:
            most = [max(was, living(kind) - there) for was, kind, there in zip(most, (Stem, Track), before, strict=True)]
    assert most[0] <= 3 * 8 + 5
    assert most[1] <= 3 * 8
