"""Stages on a dask cluster of processes: the rows and bytes of one process, whichever process is killed; a sentence for what is wrong.

Conventions
    One cluster of processes serves this file; tests that change a cluster make one of threads. The separator is ``cluster_work:Split``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal as signals
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cluster_work import wait_for
from commands import signalled_at, stemwright
from living_corpus import RATE, write_song
from test_runner import deadly, tasks, where_work, work

from stemwright.datagen.run import cluster, configuration, preflight
from stemwright.datagen.run.connection import CONNECT
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Stage, run, shared
from stemwright.datagen.run.stages import build_stages, run_catalog, run_separate
from stemwright.datagen.run.tasks import LEASES, Needs, StoppedError, Workers
from stemwright.manifests import table
from stemwright.manifests.disk import durable, lease
from stemwright.manifests.disk.lease import Holder
from stemwright.manifests.records import Track, content_id

dask = pytest.importorskip("dask", reason="needs the extra: pip install 'stemwright[dask]'")
distributed = pytest.importorskip("distributed", reason="needs the extra: pip install 'stemwright[dask]'")

REMOVAL = MappingProxyType({"per_track": 2, "effects": ["fader", "width"], "kept": [0, 0], "removed": [1, 1]})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with four songs, that of what workers are to do, and the corpus of one process."""
    folder = tmp_path_factory.mktemp("cluster")
    for number in range(4):
        write_song(folder / "songs" / f"song {number}.wav", number, {"title": f"Song {number}", "artist": f"Artist {number}"})
    (folder / "work").mkdir()
    build(folder / "one", Workers())
    return folder


@pytest.fixture(scope="module")
def address(place):
    """The address of a cluster of two workers with two threads each.

    One that was killed is always started again: by default LocalCluster gives up one that takes more than 15 s to come back.
    """
    with pytest.MonkeyPatch.context() as patch, dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}):
        patch.setenv("CLUSTER_WORK", str(place / "work"))
        with local(2, 2, processes=True, resources={"GPU": 1}) as made:
            yield made.scheduler_address


def local(workers: int, threads: int, **options: Any) -> Any:
    options = {"processes": False, "dashboard_address": None, "scheduler_kwargs": {"dashboard": False}, "protocol": "tcp", **options}
    return distributed.LocalCluster(n_workers=workers, threads_per_worker=threads, **options)


def new_corpus(folder: Path, further: dict[str, Any] | None = None) -> Corpus:
    corpus = Corpus(folder)
    pairs = {"duration_s": 0.5, "sample_rate": RATE, "mix": {"per_track": 1}, "removal": dict(REMOVAL)}
    values = {"songs": {"folder": str(folder.parent / "songs")}, "separation": {"separator": "cluster_work:Split"}, "pairs": pairs}
    corpus.create(configuration.check(values | (further or {}), where="the test"))
    return corpus


def build(folder: Path, workers: Workers) -> None:
    corpus = new_corpus(folder)
    for stage in build_stages(workers).values():
        stage(corpus)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".cluster", ".lock"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_log(found: dict[str, str]) -> dict[str, str]:
    return {name: sum_ for name, sum_ in found.items() if name != "stemwright.log"}


@pytest.fixture
def stage(tmp_path):
    return Stage("catalog", tmp_path, "tracks", Track)


def log_of(place: Path) -> list[str]:
    return (place / "work" / "log").read_text().split()


def test_a_corpus_that_a_cluster_built_has_the_bytes_of_one_process(place, address):
    build(place / "many", Workers(dask=address))
    assert contents(place / "many") == contents(place / "one")
    loads = [line for line in log_of(place) if line.startswith("load-") and line != f"load-{os.getpid()}"]
    assert len(loads) == len(set(loads)), "a worker loads its separator once"


def test_a_worker_that_is_killed_while_it_separates_costs_nothing(place, address):
    corpus = new_corpus(place / "killed")
    run_catalog(corpus, Workers())
    for number in range(2):
        (place / "work" / f"die-{number}").touch()
    summary = run_separate(corpus, workers=Workers(dask=address))
    assert (summary.done, summary.rejected) == (4, 0)
    assert not list((place / "work").glob("die-*"))
    found, expected = (contents(place / name / "stems") for name in ("killed", "one"))
    assert found == expected


def test_the_work_is_done_by_the_workers(stage, address):
    outcome = run(stage, tasks(4), shared(where_work, Workers(dask=address)))
    assert [row.title for row in outcome.rows] == [f"Song {number}" for number in range(4)]
    assert {row.album for row in outcome.rows}.isdisjoint({str(os.getpid())})


def test_a_task_that_takes_its_worker_along_is_named_and_its_neighbours_are_not_blamed(stage, tmp_path, address):
    log = tmp_path / "log"
    outcome = run(stage, tasks(6), shared(partial(deadly, log=log, killers=[1]), Workers(dask=address)))
    assert [row.title for row in outcome.rows] == [f"Song {number}" for number in range(6) if number != 1]
    (refused,) = outcome.rejected
    assert (refused.subject, refused.reason) == ("song 1", cluster.LOST)
    assert log.read_text().split().count("1") == cluster.LOSSES
    wait_for(lambda: workers_at(address) == 2)  # what the next test begins with


def workers_at(address: str) -> int:
    with distributed.Client(address) as client:
        return len(client.nthreads())


def lasting(number: int, folder: Path, tried_s: float = 300.0) -> list[Track]:
    """The same work, which waits for a file."""
    (folder / f"began-{number}").touch()
    until = time.monotonic() + tried_s
    while number and not (folder / "go").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return where_work(number)


def test_a_worker_that_joins_late_is_given_work(stage, tmp_path):
    with local(1, 1) as growing:
        found: list[Any] = []
        do = shared(partial(lasting, folder=tmp_path), Workers(dask=growing.scheduler_address))
        running = threading.Thread(target=lambda: found.append(run(stage, tasks(5)[1:], do)))
        running.start()
        wait_for((tmp_path / "began-1").exists)
        assert not (tmp_path / "began-2").exists()
        growing.scale(2)
        wait_for((tmp_path / "began-2").exists)  # while the first worker is still busy
        (tmp_path / "go").touch()
        running.join(300)
    assert found[0].done == 4


def test_a_scheduler_that_disappears_ends_the_stage_and_keeps_finished_work(stage, tmp_path, capfd):
    made = local(1, 1)
    closing = threading.Thread(target=made.close, kwargs={"timeout": 5})

    def progress(done: float, *_: Any) -> None:
        if done == 1:
            closing.start()

    with pytest.raises(StoppedError, match=r"dask cluster .*Finished work is kept"):
        run(stage, tasks(3), shared(partial(lasting, folder=tmp_path, tried_s=3.0), Workers(dask=made.scheduler_address)), progress)
    closing.join()
    assert "Traceback" not in capfd.readouterr().err
    assert list(table.journalled(stage.folder / "tracks.jsonl.part", Track)) == [content_id(0)]


CLIENT = """
import sys; sys.path[:0] = {path!r}
from pathlib import Path
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_separate
from stemwright.datagen.run.tasks import Workers
def report(done, *_):
    if done: print("one done", flush=True)
run_separate(Corpus(Path({folder!r})), report, workers=Workers(dask={address!r}))
"""


def test_a_client_that_was_killed_goes_on_where_it_was(place, address):
    corpus = new_corpus(place / "resumed")
    run_catalog(corpus, Workers())
    (place / "work" / "slow").write_text("0.7")
    program = CLIENT.format(path=sys.path, folder=str(corpus.folder), address=address)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "one done\n"
    process.send_signal(signals.SIGKILL)
    process.communicate()
    (place / "work" / "slow").unlink()
    summary = run_separate(corpus, workers=Workers(dask=address))
    assert summary.skipped >= 1
    assert summary.done + summary.skipped == 4
    assert contents(corpus.folder / "stems") == contents(place / "one" / "stems")


@pytest.mark.parametrize("number", [signals.SIGTERM, signals.SIGUSR1])
def test_a_client_that_is_preempted_keeps_what_is_finished_frees_its_lease_and_ends_with_0(place, address, number):
    corpus = new_corpus(place / f"preempted by {number}")
    run_catalog(corpus, Workers())
    left = Holder("left", 1, "here", os.getpid(), lease.machine(), "long ago")  # of a process that is gone: so this one needs a lease, too
    durable.make_folder(corpus.folder / LEASES)
    (corpus.folder / LEASES / "whole").write_text(json.dumps({name: getattr(left, name) for name in Holder.__dataclass_fields__}))
    (place / "work" / "slow").write_text("0.7")
    done = signalled_at("separate: 1 of 4", number, "separate", corpus.folder, "--dask", address, "-v")
    (place / "work" / "slow").unlink()
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("stemwright: preempted; finished work is kept, and the same command resumes it\n")
    assert "Traceback" not in done.stderr
    assert not (corpus.folder / LEASES).exists()
    again = stemwright("separate", corpus.folder, "--dask", address, "--json")
    (stage,) = json.loads(again.stdout)["stages"]
    assert stage["skipped"] >= 1
    assert stage["done"] + stage["skipped"] == 4
    assert contents(corpus.folder / "stems") == contents(place / "one" / "stems")


def test_two_clients_share_a_cluster(tmp_path, address):
    found: list[Any] = []

    def one(name: str) -> None:
        (tmp_path / name).mkdir()
        found.append(run(Stage("catalog", tmp_path / name, "tracks", Track), tasks(4), shared(work, Workers(dask=address))))

    both = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(300)
    assert [outcome.done for outcome in found] == [4, 4]


@pytest.fixture
def hasty():
    """A client that waits no 30 s for a scheduler with a worker, as dask's own configuration says."""
    with dask.config.set({CONNECT: "1s"}):
        yield


def test_a_scheduler_that_does_not_answer_is_reported_in_a_sentence(stage, hasty):
    with pytest.raises(StoppedError, match=r"no dask scheduler answers at tcp://127.0.0.1:1 .*Finished work is kept"):
        run(stage, tasks(2), shared(work, Workers(dask="tcp://127.0.0.1:1")))


def test_what_answers_and_is_no_scheduler_is_reported_in_a_sentence(stage, hasty):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StoppedError, match=rf"no dask scheduler answers at {address} \(\w+\)\. Finished work is kept"):
            run(stage, tasks(2), shared(work, Workers(dask=address)))


@pytest.mark.parametrize("address", ["127.0.0.1", "http://127.0.0.1:8786", "tcp://", "tcp://:8786", ""])
def test_what_is_no_address_of_a_scheduler_is_wrong_usage(place, address):
    before = contents(place / "one")
    done = stemwright("separate", place / "one", "--dask", address, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1 + ("started" in done.stderr))
    assert f"expected the address of a scheduler, such as tcp://10.0.0.1:8786; got '{address}'" in done.stderr
    assert without_log(contents(place / "one")) == without_log(before)


def test_a_scheduler_without_workers_is_reported_in_a_sentence(stage, hasty):
    with (
        local(0, 1) as empty,
        pytest.raises(StoppedError, match=f"the dask scheduler at {empty.scheduler_address} has no workers after 1 s.* dask worker tcp"),
    ):
        run(stage, tasks(2), shared(work, Workers(dask=empty.scheduler_address)))


def test_a_cluster_that_is_gone_costs_a_corpus_nothing_and_the_verb_exits_with_1(place, hasty):
    before = contents(place / "one")
    done = stemwright("build", place / "songs", place / "one", "--dask", "tcp://127.0.0.1:1", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("stemwright: no dask scheduler answers at tcp://127.0.0.1:1 ")
    assert without_log(contents(place / "one")) == without_log(before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--resources", "GPU=1"], "--resources are those of dask's workers, and no --dask ADDRESS was given"),
        (["--dask", "tcp://x", "--resources", "GPU"], "expected NAME=NUMBER, such as GPU=1; got 'GPU'"),
    ],
    ids=["no cluster", "no number"],
)
def test_resources_that_make_no_sense_are_wrong_usage(place, options, sentence):
    done = stemwright("separate", place / "one", *options, check=False)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def other_device(threads: int) -> dict[str, str]:
    """Answers of workers that differ: by their process, since they are on one host here."""
    del threads
    mark = Path(os.environ["CLUSTER_WORK"]) / "first"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return {"precision": "bf16"}
    return {"precision": "fp32"}


def no_device(threads: int) -> dict[str, str]:
    from stemwright.separation.demucs.separator import check_device

    del threads
    check_device("cuda:1")
    return {}


@pytest.mark.parametrize(
    ("needs", "sentence"),
    [
        (Needs(probe=other_device), r"worker on \S+ differs: precision (fp32|bf16), the other workers have (fp32|bf16); set precision to"),
        (Needs(probe=no_device), r"worker on \S+ cannot be used: device 'cuda:1' was requested"),
        (Needs(songs=Path("/nowhere/songs")), r"worker on \S+ cannot be used: it does not see the songs in /nowhere/songs; mount"),
    ],
    ids=["precision", "device", "songs"],
)
def test_what_differs_between_workers_is_said_before_anything_is_done(stage, address, needs, sentence):
    with pytest.raises(StoppedError, match=f"the dask {sentence}"):
        run(stage, tasks(2), shared(work, Workers(dask=address, needs=needs)))
    assert table.journalled(stage.folder / "tracks.jsonl.part", Track) == {}


def test_workers_without_the_resources_are_not_used(stage, address):
    with pytest.raises(StoppedError, match=r"no dask worker has the resources TPU=1; start some: dask worker ADDRESS --resources 'TPU=1'"):
        run(stage, tasks(2), shared(work, Workers(dask=address, resources={"TPU": 1}, needs=Needs(fraction=0.5))))


def test_a_resource_lets_so_many_tasks_into_a_worker(stage, tmp_path):
    with local(1, 4, resources={"GPU": 1}) as made:
        workers = Workers(dask=made.scheduler_address, resources={"GPU": 1}, needs=Needs(at_once=3, fraction=0.5))
        running = threading.Thread(target=lambda: run(stage, tasks(5), shared(partial(lasting, folder=tmp_path), workers)))
        running.start()
        wait_for((tmp_path / "began-2").exists)
        time.sleep(0.3)
        began = sorted(path.name for path in tmp_path.glob("began-*"))
        (tmp_path / "go").touch()
        running.join(300)
    assert began == ["began-0", "began-1", "began-2"]  # the first is done, two have half of the resource each


def test_a_folder_that_is_another_one_at_the_same_path_is_known_by_its_token(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "SEEN_S", 0.1)
    asked = preflight.examination(Needs(corpus=tmp_path))
    assert preflight.examination(Needs(corpus=tmp_path)) == asked  # made once
    assert preflight.examine(asked).problem == ""
    (tmp_path / preflight.TOKEN).write_text("other\n")
    assert preflight.examine(asked).problem.startswith(f"its folder {tmp_path} is another one than here; mount the corpus")
    (tmp_path / preflight.TOKEN).unlink()
    assert preflight.examine(asked).problem == f"it does not see the corpus {tmp_path}; mount the folder at the same path on every worker"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("stemwright", "0.1", "stemwright 0.1, here .*; install the same version on every worker and here"),
        ("torch", "2.0", "torch 2.0, the other workers have .*; install the same versions on every worker"),
        ("demucs", None, "demucs none, the other workers have 4"),
        ("separator", {"weights": "other"}, "another separator; they would separate with other weights"),
    ],
)
def test_the_host_and_the_value_that_differ_are_named(name, value, sentence):
    usual = preflight.examine(preflight.Examination(Needs(probe=lambda _: {"separator": {"weights": "usual"}})))
    odd = preflight.WorkerFacts("node7", {**usual.values, name: value})
    assert preflight.first_difference([usual, usual], preflight.norm_of([usual, usual])) == ""
    answers = [odd, usual, usual]
    assert re.match(f"the dask worker on node7 differs: {sentence}", preflight.first_difference(answers, preflight.norm_of(answers)))
