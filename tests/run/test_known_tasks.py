import gc
import json

import pytest
from test_runner import tasks, work

from stemwright.datagen.run.runner import Stage, finish, run, shared
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import journal_index, table
from stemwright.manifests.journal_index import number_of_task
from stemwright.manifests.records import Track, content_id


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
