"""Stages on a dask cluster: what a task costs, how many workers one client keeps busy, what losses cost, and whose bytes come out.

Conventions
    The tasks of overhead, workers and growth sleep, so that they take the processor nothing: what is left is dask and ours. Scheduler and
    workers are processes of their own; 8 and 64 workers share one, since 64 would not fit on a small machine.
    CPU seconds are those of the processor, of all threads of a process; elapsed ones include what else the machine did.
    The simulation has the rules of ``datagen/run/cluster.py``, with the time of the client that was measured in the same run.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import psutil

from stemwright.datagen.run.cluster import LOSSES, on_cluster
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Stage, run, shared
from stemwright.datagen.run.tasks import StoppedError, Task, Workers
from stemwright.manifests.records import AudioFile, Track, content_id, seal

HERE = Path(__file__).resolve().parent
BACK_S = 60.0  # until a lost worker is replaced
THREADED = """
import sys, distributed
workers, per_worker = int(sys.argv[1]), int(sys.argv[2])
if __name__ == "__main__":
    options = dict(processes=False, dashboard_address=None, protocol="tcp", scheduler_kwargs=dict(dashboard=False))
    with distributed.LocalCluster(n_workers=workers, threads_per_worker=per_worker, **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        for line in sys.stdin:
            cluster.scale(int(line))
"""


class Split:
    """A separator without networks: each stem is a share of the mixture."""

    stem_names = ("drums", "bass", "other", "vocals")
    version = "1"

    def __call__(self, mixture: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """The stems; ends this process if a file says so, and waits as long as another one says."""
        del sample_rate
        folder = Path(os.environ["SCALE_CLUSTER"])
        for death in folder.glob("die-*"):
            death.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float((folder / "song_s").read_text()))
        return {name: np.roll(mixture, number, axis=1) * np.float32(0.2) for number, name in enumerate(self.stem_names)}


def nap(sleep_s: float, number: int) -> int:
    """A task that takes time and nothing else."""
    time.sleep(sleep_s)
    return number


def one_row(number: int) -> list[Track]:
    """A task that gives a row."""
    audio = AudioFile(path=f"{number}.wav", sample_rate=44_100, num_channels=2, num_frames=44_100, num_bytes=1, sha256="0" * 64, stream=0)
    facts = {
        "title": f"Song {number}",
        "artist": "",
        "album": "",
        "source": "folder",
        "split": "train",
        "sound": f"{number:064x}",
        "peak_dbfs": -1.0,
    }
    return [seal(Track, cache_key=content_id(number), audio=audio, **facts)]


@contextlib.contextmanager
def threaded(workers: int, per_worker: int = 1) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler with workers in one process; gives its address. Its standard input takes another number of workers."""
    command = [sys.executable, "-c", THREADED, str(workers), str(per_worker)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_env()
    ) as process:
        try:
            yield process.stdout.readline().strip(), process  # type: ignore[union-attr]
        finally:
            process.kill()


@contextlib.contextmanager
def cluster(workers: int, threads: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and workers with nannies, each a process of its own, as the commands of dask start them."""
    program = Path(sys.executable).with_name("dask")
    options: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": _env()}
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        scheduler = subprocess.Popen([program, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], **options)
        stack.callback(_end, scheduler)
        arguments = ["--nworkers", str(workers), "--nthreads", str(threads), "--no-dashboard", "--local-directory", _env()["TMPDIR"]]
        stack.callback(_end, subprocess.Popen([program, "worker", address, *arguments], **options))
        yield address, scheduler


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else [process]
    for one in family:
        with contextlib.suppress(psutil.Error, OSError):
            one.kill()
    process.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _env() -> dict[str, str]:
    path = os.pathsep.join((str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": os.environ.get("TMPDIR", "/tmp")}


def _cpu_s(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def overhead(scratch: Path, count: int = 1500) -> str:
    """What the scheduler and the client spend on a task, with and without the runner and its journal."""
    tasks = [Task(content_id(number), f"song {number}", content_id([number]), number) for number in range(count)]
    lines = ["| task | scheduler, CPU ms | client, CPU ms | tasks/s |", "|---|---|---|---|"]
    with cluster(1, 2) as (address, scheduler):
        workers = Workers(dask=address)
        list(on_cluster(partial(nap, 0.0), range(50), workers))  # everything is imported then
        for name in ("nothing", "a row, journalled"):
            before, spent, began = _cpu_s(scheduler.pid), time.process_time(), time.monotonic()
            if name == "nothing":
                done = len(list(on_cluster(partial(nap, 0.0), range(count), workers)))
            else:
                done = run(Stage("catalog", scratch, "tracks", Track), tasks, shared(one_row, workers)).done
            each = [1e3 * (_cpu_s(scheduler.pid) - before) / done, 1e3 * (time.process_time() - spent) / done]
            lines.append(f"| {name} | {each[0]:.2f} | {each[1]:.2f} | {done / (time.monotonic() - began):.0f} |")
    return "\n".join([*lines, "", f"{count:,} tasks on one worker of two threads. Targets: 3 ms each."])


def workers_kept_busy(scratch: Path, song_s: float = 2.0) -> str:
    """8 and 64 workers on tasks that sleep, and a cluster that grows from 1 worker to 8."""
    del scratch
    lines = ["| workers | tasks | ideal, s | took, s | of the ideal rate | target |", "|---|---|---|---|---|---|"]
    for workers, target in ((8, 0.98), (64, 0.93)):
        with threaded(workers) as (address, _):
            began = time.monotonic()
            first_s, count = 0.0, 10 * workers
            for _done in on_cluster(partial(nap, song_s), range(count), Workers(dask=address)):
                first_s = first_s or time.monotonic() - began - song_s  # connecting and examining, once a stage
            took_s, ideal_s = time.monotonic() - began - first_s, song_s * count / workers
        lines.append(f"| {workers} | {count} | {ideal_s:.1f} | {took_s:.1f} | {ideal_s / took_s:.3f} | {target} |")
    lines += ["", *_growth(song_s=1.0, count=92)]
    return "\n".join(lines)


def _growth(song_s: float, count: int) -> list[str]:
    with threaded(1) as (address, process):
        eight_at = first_at = 0.0
        for number, _ in enumerate(on_cluster(partial(nap, song_s), range(count), Workers(dask=address))):
            if number == 0:
                first_at = time.monotonic()
            if number == 3:
                process.stdin.write("8\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                eight_at = time.monotonic()
        took_s = time.monotonic() - first_at
    ideal_s = eight_at - first_at + song_s * (count - 4) / 8
    return [
        f"From 1 worker to 8 after 4 of {count} tasks of {song_s:.0f} s: {took_s:.1f} s, {took_s / ideal_s:.2f} of the ideal {ideal_s:.1f} "
        "(target: at most 1.1; joblib's back-end for dask: 6.4). The ideal has all eight at once."
    ]


def simulated(songs: int, workers: int, song_s: float, client_s: float, loss_s: float, seed: int = 0) -> tuple[float, int, int]:
    """Seconds that a corpus takes, the tasks that were given up, and the losses: two songs in a worker, each loss costs it ``BACK_S``.

    A song of ``song_s`` seconds is one of the networks; with two in a worker each takes twice as long. ``client_s`` is the client's time
    for one task; workers are lost at random, on average every ``loss_s`` seconds.
    """
    rng = random.Random(seed)  # a simulation: no number of it is in a dataset
    given, losses, given_up, client_free, now = 0, 0, 0, 0.0, 0.0
    again: list[int] = []  # how often each task that waits has lost its worker
    lost_at = [rng.expovariate(1 / loss_s) if loss_s else float("inf") for _ in range(workers)]
    events = [(0.0, worker, -1, False) for worker in range(workers) for _ in range(2)]  # time, worker, losses of its task, whether lost now
    heapq.heapify(events)
    while events:
        now, worker, task_losses, is_lost = heapq.heappop(events)
        if is_lost:
            losses += 1
            if task_losses + 1 >= LOSSES:
                given_up += 1
            else:
                again.append(task_losses + 1)
            if lost_at[worker] == now:
                lost_at[worker] = now + BACK_S + rng.expovariate(1 / loss_s)
            heapq.heappush(events, (now + BACK_S, worker, -1, False))
            continue
        if not again and given == songs:
            continue
        client_free = max(now, client_free) + client_s
        task = again.pop() if again else 0
        given += task == 0
        end = client_free + 2 * song_s * rng.uniform(0.8, 1.2)
        is_lost = lost_at[worker] < end
        heapq.heappush(events, (max(now, lost_at[worker]) if is_lost else end, worker, task, is_lost))
    return now, given_up, losses


def simulation(scratch: Path, songs: int = 1_000_000) -> str:
    """A million songs, from the client's measured time for one."""
    del scratch
    with threaded(2) as (address, _):
        list(on_cluster(partial(nap, 0.0), range(50), Workers(dask=address)))
        began = time.process_time()
        list(on_cluster(partial(nap, 0.0), range(1000), Workers(dask=address)))
        client_s = (time.process_time() - began) / 1000
    lines = ["| workers | s a song | lost every | hours | songs/h | of the ideal rate | given up |", "|---|---|---|---|---|---|---|"]
    for workers, song_s, loss_s in ((64, 4.0, 0.0), (64, 4.0, 6 * 3600.0), (64, 4.0, 1800.0), (512, 4.0, 0.0), (64, 0.1, 0.0)):
        took_s, given_up, _ = simulated(songs, workers, song_s, client_s, loss_s)
        every = f"{loss_s / 3600:g} h" if loss_s else "never"
        figures = f"{took_s / 3600:.1f} | {songs / took_s * 3600:,.0f} | {songs * song_s / workers / took_s:.3f} | {given_up}"
        lines.append(f"| {workers} | {song_s:g} | {every} | {figures} |")
    return "\n".join(
        [*lines, "", f"{songs:,} songs; the client spends {1e3 * client_s:.1f} ms on one, and dask's scheduler about as much."]
    )


SONG = """
import os, sys, time
from pathlib import Path
sys.path[:0] = [{root!r}]
if {keep}:
    from stemwright.datagen.run.preflight import keep_freed_memory
    keep_freed_memory()
import resource, numpy, stemwright as sw, torch
torch.set_num_threads(1)
separator = sw.DemucsSeparator("bundled")
mixture = numpy.random.default_rng(0).normal(0, 0.1, (2, 44100 * 15)).astype("float32")
separator.separate(mixture[:, :441000], 44100)
began = time.process_time()
separator.separate(mixture, 44100)
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def allocator(scratch: Path, rounds: int = 2) -> str:
    """One song in one process, and with the environment of dask's nanny with and without setting the allocator back."""
    del scratch
    ways = {"one process": (False, False), "dask's nanny": (True, False), "dask's nanny, allocator set back": (True, True)}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, (nanny, keep) in ways.items():
            env = {**os.environ, "OMP_NUM_THREADS": "1", **({"MALLOC_TRIM_THRESHOLD_": "65536"} if nanny else {})}
            program = SONG.format(root=str(HERE.parent), keep=keep)
            out = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout.split()
            best[name] = min(best.get(name, (9e9, 0.0)), (float(out[0]), float(out[1])))
    usual = best["one process"][0]
    lines = ["| where | CPU s | of one process | peak MB |", "|---|---|---|---|"]
    lines += [f"| {name} | {cpu_s:.2f} | {cpu_s / usual:.2f} | {peak:.0f} |" for name, (cpu_s, peak) in best.items()]
    return "\n".join([*lines, "", f"15 s of noise by the bundled model on one thread, best of {rounds}. Target: at most 1.1."])


def kills(scratch: Path) -> str:
    """Whose bytes come out when a worker, the client or the scheduler is killed, and what each says."""
    os.environ["SCALE_CLUSTER"] = str(scratch)
    (scratch / "song_s").write_text("0.0")
    _songs(scratch / "songs", 8)
    expected = _separated(_corpus(scratch, "one"), Workers())
    lines = ["| what is killed | stems of one process | rejected | what it says |", "|---|---|---|---|"]
    (scratch / "song_s").write_text("0.3")
    with cluster(2, 2) as (address, _):
        for number in range(2):
            (scratch / f"die-{number}").touch()
        corpus = _corpus(scratch, "workers")
        lines.append(_verdict("a worker, twice", expected, _separated(corpus, Workers(dask=address)), corpus, "nothing"))
        corpus = _corpus(scratch, "client")
        said = _killed_client(corpus, address)
        lines.append(_verdict("the client, then run again", expected, _separated(corpus, Workers(dask=address)), corpus, said))
    corpus = _corpus(scratch, "scheduler")
    said = _killed_scheduler(corpus)
    with cluster(1, 2) as (address, _):
        lines.append(_verdict("the scheduler, then run again", expected, _separated(corpus, Workers(dask=address)), corpus, said))
    return "\n".join(lines)


def _songs(folder: Path, count: int) -> None:
    import stemwright as sw

    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 0.1, (2, 16_000)).astype("float32")
        sw.save(folder / f"song {number}.wav", noise, 8_000)


def _corpus(scratch: Path, name: str) -> Corpus:
    from stemwright.datagen.run import configuration
    from stemwright.datagen.run.stages import run_catalog

    corpus = Corpus(scratch / name)
    values = {"songs": {"folder": str(scratch / "songs")}, "separation": {"separator": "scale_cluster:Split"}}
    corpus.create(configuration.check(values, where="the benchmark"))
    run_catalog(corpus, Workers())
    return corpus


def _separated(corpus: Corpus, workers: Workers) -> dict[str, str]:
    from stemwright.datagen.run.stages import run_separate

    run_separate(corpus, workers=workers)
    stems = corpus.folder / "stems"
    found = {
        path.relative_to(stems).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in stems.rglob("*") if path.is_file()
    }
    return {**found, "stems.parquet": corpus.digest("stems")}


CLIENT = """
import sys; sys.path[:0] = {path!r}
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_separate
from stemwright.datagen.run.tasks import Workers
def report(done, *_):
    if done >= 2: print("two", flush=True)
run_separate(Corpus({folder!r}), report, workers=Workers(dask={address!r}))
"""


def _killed_client(corpus: Corpus, address: str) -> str:
    program = CLIENT.format(path=sys.path, folder=str(corpus.folder), address=address)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=_env()) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        process.kill()
    return "(killed)"


def _killed_scheduler(corpus: Corpus) -> str:
    from stemwright.datagen.run.stages import run_separate

    with cluster(1, 2) as (address, scheduler):

        def report(done: float, *_: object) -> None:
            if done >= 2:
                scheduler.kill()

        try:
            run_separate(corpus, report, workers=Workers(dask=address))
        except StoppedError as error:
            return str(error)
    return "(it had finished)"


def _verdict(name: str, expected: dict[str, str], found: dict[str, str], corpus: Corpus, said: str) -> str:
    same = "equal" if found == expected else f"{sum(found.get(key) != value for key, value in expected.items())} differ"
    shutil.rmtree(corpus.folder / "stems")
    return f"| {name} | {same} | {len([row for row in corpus.rejected() if row.stage == 'separate'])} | {said} |"
