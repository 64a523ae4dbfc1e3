"""A bucket on loopback (moto): what goes in and comes back, and how many requests that takes.

The server is written in Python and answers a few hundred requests a second; times say how much the client adds to them, and no more.
Requests are counted by the server.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bucket_server import BUCKET, serving
from commands import stemwright
from conftest import make_song, write_song_file

import stemwright as sw
from stemwright.datagen.share.stored_export import regroup
from stemwright.manifests import shards, table
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Stem

CONFIG = """
[songs]
kind = "multitracks"
[pairs]
duration_s = 5.0
[pairs.mix]
per_track = 8
[pairs.removal]
per_track = 0
[dataset]
format = "webdataset"
[storage]
bulk = "s3://{bucket}/corpus"
"""
SONGS, SONG_S = 4, 30.0
ROWS = 1_000_000


def bucket(folder: Path) -> str:
    """The table."""
    with pytest.MonkeyPatch.context() as environment, serving(environment, folder / "scratch") as server:
        for number in range(SONGS):
            for name, audio in make_song(number, SONG_S).items():
                path = write_song_file(folder / "song.flac", audio)
                server.client.upload_file(str(path), BUCKET, f"songs/Artist {number} - Song/{name}.flac")
        (folder / "config.toml").write_text(CONFIG.format(bucket=BUCKET))
        server.requests.clear()
        began = time.perf_counter()
        stemwright("build", f"s3://{BUCKET}/songs", folder / "corpus", "--config", folder / "config.toml")
        build_s, build_requests = time.perf_counter() - began, len(server.requests)
        environment.setenv("STEMWRIGHT_SCRATCH", str(folder / "another machine"))
        rows = table.read(folder / "corpus/stems.parquet", Stem)
        equal = sum(file_sha256(located(folder / "corpus", row.audio)) == row.audio.sha256 for row in rows)
        dataset = folder / "corpus/dataset"
        packed = sum(file_sha256(located(dataset, row)) == row.sha256 for row in shards.read(dataset))
        environment.setenv("STEMWRIGHT_SCRATCH", str(folder / "a third machine"))
        items = sw.PairDataset(dataset, kind="mix", split="all")
        server.requests.clear()
        began = time.perf_counter()
        for number in np.random.default_rng(0).permutation(len(items)):
            items[int(number)]
        items_s, item_requests = time.perf_counter() - began, len(server.requests)
        requests, seconds = _column(folder, server)
        files = len(items.example(0).signals)
    return "\n".join(
        [
            "| what | limit | found |",
            "|---|---:|---:|",
            f"| {SONGS} songs of {SONG_S:g} s in the bucket, built with stems and shards in it: requests | | {build_requests} |",
            f"| the same, s | | {build_s:.1f} |",
            f"| stems that come back with the checksum of their row, of {len(rows)} | {len(rows)} | {equal} |",
            f"| shards that do, of {len(shards.read(dataset))} | {len(shards.read(dataset))} | {packed} |",
            f"| requests for an example of {files} files, any order, mean of {len(items)} | 1 | {item_requests / len(items):g} |",
            f"| the same, ms each | | {1e3 * items_s / len(items):.1f} |",
            f"| requests for one column of {ROWS:,} rows | 6 | {requests} |",
            f"| the same, s | | {seconds:.2f} |",
        ]
    )


def _column(folder: Path, server: object) -> tuple[int, float]:
    """Requests and seconds for one column of a table like that of a dataset's pairs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    ids = pa.array([f"{number:016x}" for number in rng.integers(0, 2**62, ROWS)])
    rows = pa.table({"id": ids, "kind": ["mix"] * ROWS, "start_frame": rng.integers(0, 10**7, ROWS), "track_id": ids})
    pq.write_table(rows, folder / "small.parquet", row_group_size=4096)
    regroup(folder / "small.parquet", folder / "pairs.parquet")
    server.client.upload_file(str(folder / "pairs.parquet"), BUCKET, "million/pairs.parquet")  # type: ignore[attr-defined]
    server.requests.clear()  # type: ignore[attr-defined]
    began = time.perf_counter()
    found = sw.read_table(f"s3://{BUCKET}/million/pairs.parquet", columns=["id"])
    assert found["id"].tolist() == ids.to_pylist()
    return len(server.requests), time.perf_counter() - began  # type: ignore[attr-defined]
