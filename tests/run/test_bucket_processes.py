"""Processes of this machine that read from and write to a bucket: those of --jobs, and the workers of a DataLoader."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bucket_server import BUCKET
from commands import own_process, stemwright
from conftest import make_song, write_song_file

import stemwright as sw
from stemwright.manifests import table
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Stem

CONFIG = """
[songs]
kind = "multitracks"
[dataset]
format = "webdataset"
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 4
[pairs.removal]
per_track = 0
"""
LOADS = """
import hashlib, json, sys
import numpy
import stemwright as sw
from torch.utils.data import DataLoader

def digests(items):
    return [hashlib.sha256(numpy.ascontiguousarray(item[0]).tobytes()).hexdigest() for item in items]

if __name__ == "__main__":
    data = sw.PairDataset(sys.argv[1], kind="mix", split="all")
    found = {"here": digests(data[number] for number in range(len(data)))}
    for context in ("spawn", "forkserver"):
        loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=context)
        found[context] = digests(loader)
    print(json.dumps(found))
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(server, tmp_path_factory):
    """Corpora of the same songs: one in folders that one process built, one with all bytes in a bucket that two processes built."""
    place = tmp_path_factory.mktemp("processes")
    for number in range(2):
        for stem, audio in make_song(number, 1.0, sample_rate=8000).items():
            path = write_song_file(place / "songs" / f"Artist {number} - Song é 100%" / f"{stem}.flac", audio, 8000)
            server.client.upload_file(str(path), BUCKET, f"processes/songs/{path.relative_to(place / 'songs')}")
    (place / "one.toml").write_text(CONFIG)
    (place / "two.toml").write_text(f'{CONFIG}\n[storage]\nbulk = "s3://{BUCKET}/processes/bulk"\n')
    stemwright("build", place / "songs", place / "one", "--config", place / "one.toml")
    own_process("build", f"s3://{BUCKET}/processes/songs", place / "two", "--config", place / "two.toml", "--jobs", "2")
    return place


def test_processes_that_work_in_a_bucket_give_the_corpus_of_one_in_a_folder(built):
    one, two = built / "one", built / "two"
    for name in ("tracks", "stems", "estimates", "pairs", "examples"):
        assert sw.read_table(one / f"{name}.parquet").to_json() == sw.read_table(two / f"{name}.parquet").to_json(), name
    assert not [path for path in two.rglob("*") if path.suffix in (".flac", ".tar")]
    stems = table.read(two / "stems.parquet", Stem)
    assert all(file_sha256(located(two, stem.audio)) == stem.audio.sha256 for stem in stems)
    assert len(table.read(two / "examples.parquet", Example)) == 8


def test_workers_of_a_loader_read_examples_from_a_bucket(built):
    done = subprocess.run([sys.executable, "-c", LOADS, str(built / "two" / "dataset")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(set(found["here"])) == 8
    assert found["spawn"] == found["forkserver"] == found["here"]
