import errno
import os
import re
import signal as signals
import subprocess
import sys
from functools import partial

import pytest
from rows import stems_of, track

from stemwright.datagen.run.runner import Stage, finish, run, shared
from stemwright.datagen.run.tasks import StoppedError, Task, Workers
from stemwright.manifests import table
from stemwright.manifests.records import Refused, Stem, Track, content_id


def tasks(count):
    return [Task(content_id(number), f"song {number}", content_id([number]), number) for number in range(count)]


def work(number, log=None, refuse=(), fail=(), full=()):
    if log is not None:
        with log.open("a") as file:
            file.write(f"{number}\n")
    if number in refuse:
        raise Refused("too short")
    if number in fail:
        raise ZeroDivisionError("no")
    if number in full:
        raise OSError(errno.ENOSPC, "No space left on device")
    return [track(number).model_copy(update={"cache_key": content_id(number)})]


def where_work(number):
    """The same work, with the process that did it."""
    return [row.model_copy(update={"album": str(os.getpid())}) for row in work(number)]


def interrupted_work(number):
    """The same work, in a process that is sent Ctrl-C."""
    os.kill(os.getpid(), signals.SIGINT)
    return work(number)


@pytest.fixture
def stage(tmp_path):
    return Stage("catalog", tmp_path, "tracks", Track)


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_come_in_the_order_of_the_tasks_whatever_the_workers(stage, jobs):
    outcome = run(stage, tasks(12), shared(work, Workers(jobs)))
    assert [row.title for row in outcome.rows] == [f"Song {number}" for number in range(12)]
    assert (outcome.done, outcome.skipped, outcome.rejected) == (12, 0, [])


def test_a_process_of_the_workers_leaves_an_interrupt_to_the_main_process(stage):
    outcome = run(stage, tasks(4), shared(interrupted_work, Workers(2)))
    assert (outcome.done, outcome.rejected) == (4, [])


def test_finished_tasks_are_not_done_again(stage, tmp_path):
    log = tmp_path / "log"
    first = run(stage, tasks(3), shared(partial(work, log=log), Workers()))
    finish(stage, first.rows)
    again = run(stage, tasks(5), shared(partial(work, log=log), Workers()))
    assert (again.done, again.skipped) == (2, 3)
    assert log.read_text().split() == ["0", "1", "2", "3", "4"]
    assert [row.title for row in again.rows] == [f"Song {number}" for number in range(5)]


def test_a_journal_of_an_interrupted_run_is_continued(stage, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(StoppedError):
        run(stage, tasks(5), shared(partial(work, log=log, full=[3]), Workers()))
    outcome = run(stage, tasks(5), shared(partial(work, log=log), Workers()))
    assert (outcome.done, outcome.skipped) == (2, 3)


def test_what_is_refused_or_fails_becomes_a_row_and_the_rest_is_processed(stage):
    outcome = run(stage, tasks(6), shared(partial(work, refuse=[1], fail=[4]), Workers(2)))
    assert outcome.done == 4
    assert {row.subject: row.reason for row in outcome.rejected} == {"song 1": "too short", "song 4": "unexpected ZeroDivisionError: no"}


def test_a_full_disk_stops_the_stage_and_keeps_what_was_finished(stage):
    with pytest.raises(StoppedError, match="the disk is full"):
        run(stage, tasks(6), shared(partial(work, full=[2]), Workers()))
    with table.Journal(stage.folder / "tracks.jsonl.part", Track) as journal:
        assert set(journal.tasks) == {content_id(0), content_id(1)}


def test_a_task_whose_file_is_missing_is_done_again(tmp_path):
    stage = Stage("separate", tmp_path, "stems", Stem)
    (stem, *_) = stems_of(track(0))
    task = [Task(stem.cache_key, "song", stem.track_id, None)]
    path = tmp_path / stem.audio.path

    def make(_):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(stem.audio.num_bytes))
        return [stem]

    finish(stage, run(stage, task, shared(make, Workers())).rows)
    assert run(stage, task, shared(make, Workers())).skipped == 1
    path.unlink()
    assert run(stage, task, shared(make, Workers())).done == 1


def test_finishing_twice_leaves_the_table_untouched(stage):
    outcome = run(stage, tasks(3), shared(work, Workers()))
    finish(stage, outcome.rows)
    before = (stage.folder / "tracks.parquet").stat().st_mtime_ns
    finish(stage, run(stage, tasks(3), shared(work, Workers())).rows)
    assert (stage.folder / "tracks.parquet").stat().st_mtime_ns == before
    assert not (stage.folder / "tracks.jsonl.part").exists()


def test_rows_of_tasks_that_are_no_longer_wanted_leave_the_table(stage):
    finish(stage, run(stage, tasks(5), shared(work, Workers())).rows)
    finish(stage, run(stage, tasks(2), shared(work, Workers())).rows)
    assert [row.title for row in table.read(stage.folder / "tracks.parquet", Track)] == ["Song 0", "Song 1"]


def test_progress_counts_every_task_that_was_open(stage):
    seen = []
    run(stage, tasks(4), shared(partial(work, refuse=[2]), Workers()), lambda done, total, *_: seen.append((done, total)))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_ctrl_c_leaves_the_finished_tasks_in_the_journal(tmp_path):
    script = f"""
import sys, time; sys.path[:0] = {sys.path!r}
from pathlib import Path; from stemwright.datagen.run.runner import Stage, run, shared
from stemwright.datagen.run.tasks import Workers; from stemwright.manifests.records import Track
from test_runner import tasks, work
def slow(number):
    if number == 2:
        print("third", flush=True); time.sleep(60)
    return work(number)
run(Stage("catalog", Path({str(tmp_path)!r}), "tracks", Track), tasks(4), shared(slow, Workers()))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signals.signal, signals.SIGINT, signals.SIG_DFL),  # tests that run in the background inherit its being ignored
    )
    assert process.stdout.readline() == "third\n"
    process.send_signal(signals.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode != 0
    with table.Journal(tmp_path / "tracks.jsonl.part", Track) as journal:
        assert set(journal.tasks) == {content_id(0), content_id(1)}


def test_a_task_whose_file_is_empty_or_short_is_done_again(tmp_path):
    stage = Stage("separate", tmp_path, "stems", Stem)
    (stem, *_) = stems_of(track(0))
    task, path = [Task(stem.cache_key, "song", stem.track_id, None)], tmp_path / stem.audio.path

    def make(_):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(stem.audio.num_bytes))
        return [stem]

    finish(stage, run(stage, task, shared(make, Workers())).rows)
    for left in (0, stem.audio.num_bytes - 1):  # what a power cut can leave under a final name
        os.truncate(path, left)
        assert run(stage, task, shared(make, Workers())).done == 1
    assert run(stage, task, shared(make, Workers())).skipped == 1


def deadly(number, log=None, killers=(), once=None, signal=signals.SIGKILL):
    """The same work, but some tasks end their process, each time or, with a folder, only the first time."""
    if log is not None:
        with log.open("a") as file:
            file.write(f"{number}\n")
    if number in killers and not (once and (once / str(number)).exists()):
        if once:
            (once / str(number)).touch()
        os.kill(os.getpid(), signal)
    return work(number)


@pytest.mark.parametrize(
    ("signal", "likely"), [(signals.SIGKILL, "ran out of memory.* fewer --jobs"), (signals.SIGSEGV, "a library most likely crashed")]
)
def test_a_task_that_ends_its_process_twice_is_named_and_its_neighbours_are_not_blamed(stage, tmp_path, signal, likely):
    log = tmp_path / "log"
    outcome = run(stage, tasks(9), shared(partial(deadly, log=log, killers=[4], signal=signal), Workers(2)))
    assert [row.title for row in outcome.rows] == [f"Song {number}" for number in range(9) if number != 4]
    (refused,) = outcome.rejected
    assert refused.subject == "song 4"
    assert re.search(f"its process ended .*{likely}", refused.reason)
    assert log.read_text().split().count("4") == 2  # once among others, once alone


@pytest.mark.parametrize("killer", [1, 5])
def test_a_task_whose_process_was_killed_once_is_done_after_all(stage, tmp_path, killer):
    """One killer: of two at a time, the second could be blamed, since its process ends with the first before it has done its killing."""
    outcome = run(stage, tasks(7), shared(partial(deadly, killers=[killer], once=tmp_path), Workers(2)))
    assert outcome.rejected == []
    assert [row.title for row in outcome.rows] == [f"Song {number}" for number in range(7)]
