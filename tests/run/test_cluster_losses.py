"""What a cluster loses, and what each loss leaves: a sentence, finished work, and in the end the bytes of one process."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from bucket_server import BUCKET, never_fails
from cluster_work import wait_for
from commands import stemwright
from living_corpus import write_song
from test_cluster import contents, lasting, local, new_corpus, other_device
from test_runner import tasks

from stemwright.datagen.cli.logs import logging_of
from stemwright.datagen.run import fleet, preflight
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.fleet import Fleet
from stemwright.datagen.run.preflight import WorkerFacts
from stemwright.datagen.run.runner import Stage, run, shared
from stemwright.datagen.run.stages import run_catalog, run_separate
from stemwright.datagen.run.tasks import Needs, StoppedError, Workers
from stemwright.manifests import table
from stemwright.manifests.disk import mirror, stores
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Stem, Track

pytest.importorskip("distributed", reason="needs the extra: pip install 'stemwright[dask]'")

SCHEDULER = """
import sys, distributed
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp") as made:
        print(made.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with songs, a catalogued corpus of them, and one that one process has separated."""
    folder = tmp_path_factory.mktemp("losses")
    for number in range(4):
        write_song(folder / "songs" / f"song {number}.wav", number, {"title": f"Song {number}", "artist": f"Artist {number}"})
    corpus = new_corpus(folder / "one")
    run_catalog(corpus, Workers())
    run_separate(corpus)
    return folder


@pytest.fixture
def started(place, monkeypatch):
    """Starts a scheduler with a worker in a process of its own, which can be killed: (address, process)."""
    (place / "work").mkdir(exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("CLUSTER_WORK", str(place / "work"))
    processes: list[subprocess.Popen[str]] = []

    def start() -> tuple[str, subprocess.Popen[str]]:
        command = [sys.executable, "-c", SCHEDULER]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        assert processes[-1].stdout is not None
        return processes[-1].stdout.readline().strip(), processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_scheduler_that_is_killed_costs_nothing_once_the_command_is_run_again(place, started):
    corpus = new_corpus(place / "scheduler")
    run_catalog(corpus, Workers())
    address, scheduler = started()
    (place / "work" / "slow").write_text("0.3")

    def kill_it(done: float, *_: Any) -> None:
        if done:
            scheduler.kill()

    with pytest.raises(StoppedError, match=r"dask cluster .*Finished work is kept; run the same command again"):
        run_separate(corpus, kill_it, workers=Workers(dask=address))
    assert 1 <= len(table.journalled(corpus.journal("stems"), Stem)) < 4
    (place / "work" / "slow").unlink()
    address, _ = started()
    done = stemwright("separate", corpus.folder, "--dask", address)
    assert re.search(r"separate: \d done, [123] skipped, 0 rejected", done.stdout)
    assert contents(corpus.folder / "stems") == contents(place / "one" / "stems")
    assert (corpus.folder / "stems.parquet").read_bytes() == (place / "one" / "stems.parquet").read_bytes()


def test_a_late_worker_that_differs_is_given_nothing_and_the_stage_ends_if_it_is_the_only_one_left(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CLUSTER_WORK", str(tmp_path))
    monkeypatch.setattr(fleet, "WORKERS_S", 1.0)
    stage, ended = Stage("catalog", tmp_path, "tracks", Track), list[Exception]()
    with local(1, 1) as growing:
        workers = Workers(dask=growing.scheduler_address, needs=Needs(probe=other_device))

        def work() -> None:
            try:
                run(stage, tasks(5), shared(partial(lasting, folder=tmp_path), workers))
            except StoppedError as error:
                ended.append(error)

        running = threading.Thread(target=work)
        running.start()
        wait_for((tmp_path / "began-1").exists)
        growing.scale(2)
        differs = r"the dask worker on \S+ differs: precision bf16, the other workers have fp32; set precision to fp32 or bf16, so that .*"
        wait_for(lambda: re.search(rf"{differs}\. It is left out", caplog.text))
        assert not (tmp_path / "began-2").exists()
        assert [record.for_users for record in caplog.records if "left out" in record.message] == [True]
        growing.sync(growing.workers[0].close, executor_wait=False)
        running.join(300)
        (tmp_path / "go").touch()
    assert re.match(rf"the dask cluster has no workers left that can be used: {differs}\. Finished work is kept", str(ended[0]))
    assert len(table.journalled(tmp_path / "tracks.jsonl.part", Track)) == 1


def test_what_is_wrong_with_a_late_worker_is_shown_on_the_terminal(tmp_path, capsys):
    with logging_of("separate", verbose=False):
        logging.getLogger("stemwright.datagen.run.fleet").warning("a differs\x1b[2J. It is left out", extra=fleet.FOR_USERS)
        logging.getLogger("stemwright.datagen.run.fleet").warning("another")
    assert capsys.readouterr().err == "stemwright: a differs\\x1b[2J. It is left out\n"


def test_a_worker_whose_examination_never_ends_is_left_out(monkeypatch, caplog):
    monkeypatch.setattr(fleet, "PREPARED_S", 0.0)
    found = Fleet(SimpleNamespace(), Needs(), {})
    found.workers["tcp://a"] = fleet.Worker("tcp://a", {"host": "node7"}, examined=SimpleNamespace(done=lambda: False))
    found.take_answers()
    assert "the dask worker on node7 cannot be used: it has not answered for 0 s. It is left out" in caplog.text
    assert found.usable() == []


def test_an_answer_that_could_not_be_fetched_at_once_is_fetched_later():
    answers = iter([TimeoutError(), WorkerFacts("node7", {})])

    def result(timeout: float) -> WorkerFacts:
        del timeout
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    info = {"nthreads": 2, "local_directory": "/tmp/a"}
    client = SimpleNamespace(
        status="running", scheduler=SimpleNamespace(identity=None), sync=lambda *_, **__: {"workers": {"tcp://a": info}}
    )
    found = Fleet(client, Needs(), {})
    examined = SimpleNamespace(done=lambda: True, result=result)
    found.workers["tcp://a"] = fleet.Worker("tcp://a", info, examined=examined, asked_at=time.monotonic())
    found.take_answers()
    assert found.usable() == []
    assert found.look(now=True) == []
    assert [worker.slots for worker in found.usable()] == [2]


def test_a_device_that_the_workers_lack_is_no_change_of_the_configuration(place):
    before = (place / "one" / "config.toml").read_bytes()
    options = ("--device", "cuda:1", "--separator", "auto", "--again")
    with local(1, 1) as made:
        done = stemwright("separate", place / "one", *options, "--dask", made.scheduler_address, check=False)
    assert done.returncode == 1
    said = r"stemwright: the dask worker on \S+ cannot be used: device 'cuda:1' was requested, but .*\. Nothing was done\n$"
    assert re.search(said, done.stderr)
    assert (place / "one" / "config.toml").read_bytes() == before


@pytest.fixture
def in_bucket(place, server, tmp_path):
    """A catalogued corpus whose songs and stems are in a bucket."""
    for path in sorted((place / "songs").iterdir()):
        server.client.upload_file(str(path), BUCKET, f"{tmp_path.name}/songs/{path.name}")
    corpus = new_corpus(tmp_path / "corpus", {"storage": {"bulk": f"s3://{BUCKET}/{tmp_path.name}/bulk"}})
    stemwright("catalog", f"s3://{BUCKET}/{tmp_path.name}/songs", corpus.folder)
    yield corpus
    server.fails = never_fails
    stores.opened.cache_clear()


def test_workers_read_songs_from_a_bucket_and_write_stems_to_it(place, in_bucket):
    with local(2, 2) as made:
        for verb in ("separate", "estimate"):
            stemwright(verb, in_bucket.folder, "--dask", made.scheduler_address)
    assert not list(in_bucket.folder.rglob("stems/**/*.flac"))
    stems = in_bucket.rows("stems", Stem)
    assert stems == Corpus(place / "one").rows("stems", Stem)
    assert all(file_sha256(located(in_bucket.folder, stem.audio)) == stem.audio.sha256 for stem in stems)


def test_credentials_that_expire_on_the_workers_stop_the_command_and_refuse_no_song(place, in_bucket, server):
    puts: list[str] = []

    def later(method: str, path: str) -> tuple[int, str] | None:
        puts.append(path) if method == "PUT" and "/stems/" in path else None
        return (400, "ExpiredToken") if len(puts) > 7 else None

    with local(1, 1) as made:
        server.fails = later
        done = stemwright("separate", in_bucket.folder, "--dask", made.scheduler_address, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith("have expired (ExpiredToken); renew them and run the same command again")
        server.fails = never_fails
        stemwright("separate", in_bucket.folder, "--dask", made.scheduler_address)
    assert in_bucket.rows("stems", Stem) == Corpus(place / "one").rows("stems", Stem)
    assert [row for row in in_bucket.rejected() if row.stage == "separate"] == []


@pytest.mark.parametrize(
    ("method", "part", "answer", "said"),
    [
        ("", "", (403, "InvalidAccessKeyId"), f"the credentials for s3://{BUCKET} are not accepted"),
        ("PUT", "", (403, "AccessDenied"), f"not allowed to write s3://{BUCKET}/.*bulk/.stemwright-owner"),
        ("GET", "/songs/", (403, "AccessDenied"), f"not allowed to read s3://{BUCKET}/.*/songs/song 0.wav"),
    ],
    ids=["no credentials", "stems", "songs"],
)
def test_workers_are_asked_whether_they_may_use_the_bucket(in_bucket, server, method, part, answer, said):
    asked = preflight.examination(Needs(in_bucket.folder, in_bucket.songs))
    assert preflight.examine(asked).problem == ""
    server.fails = lambda by, path: answer if by.startswith(method) and part in path else None
    assert re.match(said, preflight.examine(asked).problem)
    server.fails = never_fails
    server.client.delete_object(Bucket=BUCKET, Key=f"{in_bucket.folder.parent.name}/songs/song 0.wav")
    assert preflight.examine(asked).problem == ""  # that song alone is gone


def test_a_song_that_a_worker_downloads_goes_to_its_own_scratch_folder(in_bucket, server, tmp_path, monkeypatch):
    of_client = in_bucket.songs
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "of a worker"))
    assert mirror.here(of_client) == mirror.scratch() / of_client.relative_to(of_client.parents[4])
    assert mirror.here(tmp_path) == tmp_path
