"""What is asked of each worker of a cluster before it is given a task, and what its answer means.

Conventions
    ``examine`` runs on the worker, ``first_difference`` here. The folder of the corpus is known by a token: a file of random digits, made
    once, that a worker must find at the same path with the same contents. A mount that is missing, or that is of something else, is so
    found before the first song rather than as a refusal of each.
    Each worker tests with its own credentials whether it may write to the bucket of the corpus, and read a song from that of the songs.
    A worker that cannot do the work, and one that would do it otherwise than the others, are reported in a sentence with their host.
    The versions of stemwright and Python are compared with those of this process, which sends it the tasks; all else with most workers.
    Memory: dask's nanny sets ``MALLOC_TRIM_THRESHOLD_``, by which glibc gives every freed array back to the system and gets it again page
    by page. Separation then takes more than twice the time of the processor, so the worker's allocator is set back.

References
    mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD; either, once set, ends glibc's own adjustment of both.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import secrets
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stemwright.datagen.run.tasks import Needs
from stemwright.manifests import __version__
from stemwright.manifests.disk.bulk import bulk_of
from stemwright.manifests.disk.durable import write_first
from stemwright.manifests.disk.mirror import address_of_place, is_mirrored
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.disk.stores import StoreError
from stemwright.manifests.records import Track
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.usage import UsageError

TOKEN = ".cluster"  # of a corpus
SEEN_S = 5.0  # how long a file that was just made may take to be seen over a network file system
OF_PACKAGES = ("demucs", "torch", "numpy")
HERE = ("stemwright", "Python")  # compared with this process
REMEDY = {
    "stemwright": "install the same version on every worker and here",
    "Python": "use the same version on every worker and here",
    "precision": "set precision to fp32 or bf16, so that all stems are computed in one",
    "device": "name the device, or use only workers that have it: --resources GPU=1",
    "engine": "name the engine, or install the same packages on every worker",
    "separator": "they would separate with other weights; give every worker the same model",
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_IN_HEAP = 32 << 20  # bytes: the largest M_MMAP_THRESHOLD on 64 bits, which glibc's own adjustment also arrives at
KEPT_IN_HEAP = 512 << 20  # bytes that are free at the top of the heap and stay there: the activations of a network


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker answers: its host, what must be equal on all, and why it cannot do the work ("" if it can)."""

    host: str
    values: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Examination:
    """What a worker of so many threads is asked: whether it sees a corpus by its token, and what the work itself needs.

    ``song`` is the place of a song in a bucket, of which a worker must be able to read a byte; None if the songs are in no bucket.
    """

    needs: Needs
    token: bytes = b""
    threads: int = 1
    song: Path | None = None


def examination(needs: Needs) -> Examination:
    """The examination for tasks with these needs; leaves the token in the folder of the corpus."""
    if needs.corpus is None:
        return Examination(needs)
    path = needs.corpus / TOKEN
    write_first(path, secrets.token_hex(8).encode() + b"\n")
    return Examination(needs, regular(path).read_bytes(), song=_a_song(needs))


def _a_song(needs: Needs) -> Path | None:
    """A song of a bucket: the first of the table of tracks, or what the bucket's mirror shows here."""
    if needs.songs is None or not is_mirrored(needs.songs) or needs.corpus is None:
        return None
    for row in TableRows(needs.corpus / "tracks.parquet", Track) if (needs.corpus / "tracks.parquet").exists() else ():
        return needs.songs / row.audio.path
    return next((Path(folder, name) for folder, _, names in os.walk(needs.songs) for name in sorted(names)), None)


def examine(asked: Examination) -> WorkerFacts:
    """Runs on a worker. Raises nothing: what is wrong is in the answer."""
    keep_freed_memory()
    host, needs = socket.gethostname(), asked.needs
    values: dict[str, Any] = {"stemwright": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    for package in OF_PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            values[package] = importlib.metadata.version(package)
    problem = _unseen(asked)
    if not problem and needs.probe is not None:
        try:
            values |= needs.probe(asked.threads)
        except Exception as error:  # of whatever library: it is the answer
            problem = str(error) or type(error).__name__
    return WorkerFacts(host, values, problem)


def _unseen(asked: Examination) -> str:
    """Why a worker cannot work in the folders; "" if it can."""
    folder, songs = asked.needs.corpus, asked.needs.songs
    if folder is not None:
        found = _token(folder / TOKEN, time.monotonic() + SEEN_S)
        if found is None:
            return f"it does not see the corpus {folder}; mount the folder at the same path on every worker"
        if found != asked.token:
            return f"its folder {folder} is another one than here; mount the corpus at the same path on every worker"
        if not os.access(folder, os.W_OK):
            return f"it may not write to the corpus {folder}; run the workers as a user who may"
    if songs is not None and not is_mirrored(songs) and not songs.exists():
        return f"it does not see the songs in {songs}; mount the folder at the same path on every worker"
    return _unreachable(asked)


def _unreachable(asked: Examination) -> str:
    """Why a worker cannot use the buckets that hold the stems, or the songs; "" if it can."""
    try:
        if asked.needs.corpus is not None and (bulk := bulk_of(asked.needs.corpus)) is not None:
            bulk.claim(asked.needs.corpus)
        if asked.song is not None:
            song = address_of_place(asked.song)
            with suppress(FileNotFoundError):  # that song alone is gone
                song.store.get(song.prefix, 0, 1)
    except (StoreError, UsageError, OSError) as error:
        return str(error)
    return ""


def _token(path: Path, until: float) -> bytes | None:
    while True:
        with suppress(OSError):
            return path.read_bytes()
        if not path.parent.is_dir() or time.monotonic() > until:
            return None
        time.sleep(0.2)


def first_difference(answers: Sequence[WorkerFacts], norm: Mapping[str, Any]) -> str:
    """A sentence about the first worker that cannot do the work, or whose facts differ from the norm; "" if there is none."""
    for facts in answers:
        if facts.problem:
            return f"the dask worker on {facts.host} cannot be used: {facts.problem}"
        for name, value in norm.items():
            if (found := facts.values.get(name)) != value:
                other = "here" if name in HERE else "the other workers have"
                what = f"{name} {_shown(found)}, {other} {_shown(value)}" if isinstance(value, str | None) else f"another {name}"
                remedy = REMEDY.get(name, "install the same versions on every worker")
                return f"the dask worker on {facts.host} differs: {what}; {remedy}"
    return ""


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def norm_of(answers: Sequence[WorkerFacts]) -> dict[str, Any]:
    """What most workers have, and the versions of this process."""
    usable = [facts.values for facts in answers if not facts.problem]
    names = dict.fromkeys(name for values in usable for name in values)
    norm = {name: _most_common([values.get(name) for values in usable]) for name in names}
    return norm | {"stemwright": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}


def _most_common(values: Sequence[Any]) -> Any:
    counts = Counter(map(repr, values))
    most = max(counts.values(), default=0)
    return next((value for value in values if counts[repr(value)] == most), None)


@cache
def keep_freed_memory() -> None:
    """Lets this process keep the memory that it frees, whatever its environment says of it; does nothing but on Linux with glibc.

    Once in a process: OpenVINO's engine sets another threshold later.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_IN_HEAP)
