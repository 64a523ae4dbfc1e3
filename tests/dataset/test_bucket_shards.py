"""Shards in a bucket: the same shards and items as in a folder, one request an example, and failures that lose nothing."""

import hashlib
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from bucket_server import BUCKET, never_fails
from commands import stemwright
from conftest import make_song, write_song_file
from obstore.fsspec import register

import stemwright as sw
from stemwright.datagen.share import stored_export
from stemwright.manifests import shards
from stemwright.manifests.disk import bulk, stores
from stemwright.manifests.disk.regular import file_sha256

CONFIG = """
[songs]
kind = "multitracks"
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 4
[pairs.removal]
per_track = 0
[dataset]
format = "webdataset"
shard_examples = 3
"""
TABLES = ("pairs.parquet", "examples.parquet", "shards.parquet", "README.md")


@pytest.fixture(scope="module")
def built(tmp_path_factory, server):
    """The same corpus twice: all in its folder, and with its stems and shards in a bucket."""
    place = tmp_path_factory.mktemp("built")
    for number in range(2):
        for stem, audio in make_song(number, 2.0, sample_rate=8000).items():
            write_song_file(place / "songs" / f"Artist {number} - Song" / f"{stem}.flac", audio, 8000)
    for name, more in (("one", ""), ("two", f'[storage]\nbulk = "s3://{BUCKET}/built"\n')):
        (place / f"{name}.toml").write_text(CONFIG + more)
        stemwright("build", place / "songs", place / name, "--config", place / f"{name}.toml")
    return place


@pytest.fixture(autouse=True)
def working(server):
    yield
    server.fails = never_fails
    stores.opened.cache_clear()


def corpus_in(built: Path, tmp_path: Path) -> Path:
    """A copy of the corpus whose shards are in the bucket."""
    return Path(shutil.copytree(built / "two", tmp_path / "corpus"))


def same_items(one, other) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for n in range(len(one)) for a, b in zip(one[n], other[n], strict=True))


def test_a_dataset_is_the_same_byte_for_byte_wherever_its_shards_are(built, server):
    one, two = built / "one/dataset", built / "two/dataset"
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in TABLES)
    rows = shards.read(one)
    assert len(rows) >= 3
    assert not list(two.rglob("*.tar"))
    for row in rows:
        assert file_sha256(bulk.located(two, row)) == row.sha256
    assert stemwright("check", built / "two", "--checksums").returncode == 0
    assert "only sizes were compared" in stemwright("check", built / "two").stdout


def test_an_example_is_one_request_whatever_the_order(built, server, monkeypatch, tmp_path):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "fresh"))
    one = sw.PairDataset(built / "one/dataset", kind="mix", split="all")
    two = sw.PairDataset(built / "two/dataset", kind="mix", split="all")
    assert one[0].inputs.shape[0] == 4
    assert same_items(one, two)
    server.requests.clear()
    for number in reversed(range(len(two))):
        two[number]
    assert len(server.reads()) == len(two)
    server.requests.clear()
    batch = next(iter(torch.utils.data.DataLoader(two, batch_size=4)))
    assert torch.equal(batch.inputs, torch.stack([one[n].inputs for n in range(4)]))
    assert len(server.reads()) == 4


def test_a_second_render_reads_and_writes_no_shard(built, server):
    server.requests.clear()
    assert "render: 0 done" in stemwright("render", built / "two").stdout
    assert not [path for _, path in server.requests if ".tar" in path]


def test_another_format_is_packed_from_the_shards_in_the_bucket(built, tmp_path, server):
    corpus = corpus_in(built, tmp_path)
    stemwright("render", corpus, "--format", "huggingface")
    stemwright("render", shutil.copytree(built / "one", tmp_path / "here"), "--format", "huggingface")
    assert all((corpus / "dataset" / name).read_bytes() == (tmp_path / "here/dataset" / name).read_bytes() for name in TABLES)
    one, two = (sw.PairDataset(place / "dataset", kind="mix", split="all") for place in (tmp_path / "here", corpus))
    assert same_items(one, two)
    stemwright("render", corpus, "--format", "folder")
    assert not (corpus / "dataset/storage.json").exists()
    assert same_items(one, sw.PairDataset(corpus / "dataset", kind="mix", split="all"))
    assert stemwright("check", corpus).returncode == 0


def test_shards_that_are_packed_when_no_store_is_named_are_in_the_folder(built, tmp_path):
    corpus, config = corpus_in(built, tmp_path), tmp_path / "two.toml"
    config.write_text("[dataset]\nshard_examples = 2\n")
    stemwright("build", built / "songs", corpus, "--config", config, "--reset", "storage", "--again")
    rows = shards.read(corpus / "dataset")
    assert sorted(path.name for path in (corpus / "dataset").rglob("*.tar")) == sorted(Path(row.path).name for row in rows)
    assert not (corpus / "dataset/storage.json").exists()
    one, two = (sw.PairDataset(place / "dataset", kind="mix", split="all") for place in (built / "one", corpus))
    assert same_items(one, two)


def test_a_shard_that_is_gone_is_named_and_made_again(built, tmp_path, monkeypatch):
    corpus = corpus_in(built, tmp_path)
    lost = bulk.bulk_of(corpus / "dataset").object_of(shards.read(corpus / "dataset")[0])
    kept = lost.store.get(lost.prefix)
    lost.store.delete([lost.prefix])
    bulk._read.cache_clear()
    with pytest.raises(ValueError, match=r"train-000000\.tar is missing; delete it and run `stemwright render` again"):
        sw.PairDataset(corpus / "dataset", kind="mix", split="all")
    done = stemwright("check", corpus, check=False)
    assert done.returncode == 1
    assert "sound files are lost with it" in done.stdout
    assert "render: 3 done" in stemwright("render", corpus).stdout
    assert lost.store.get(lost.prefix) == kept


def test_a_shard_that_was_cut_off_in_the_bucket_is_an_error_and_no_silence(built, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "fresh"))
    dataset = sw.PairDataset(built / "two/dataset", kind="mix", split="all")
    place = bulk.bulk_of(built / "two/dataset").object_of(shards.read(built / "two/dataset")[0])
    kept = place.store.get(place.prefix)
    place.store.put(place.prefix, kept[:3000], create=False)
    try:
        with pytest.raises(OSError, match=r"the store gave|ends before"):
            _ = [dataset[number] for number in range(len(dataset))]
    finally:
        place.store.put(place.prefix, kept, create=False)


def test_credentials_that_expire_while_training_are_one_sentence(built, server, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "fresh"))
    dataset = sw.PairDataset(built / "two/dataset", kind="mix", split="all")
    server.fails = lambda *_: (400, "ExpiredToken")
    with pytest.raises(stores.StoreError, match="have expired"):
        dataset[0]


def test_a_dataset_that_is_in_a_bucket_as_a_whole_is_opened_by_its_address(built, server, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "fresh"))
    for path in (built / "one/dataset").rglob("*"):
        if path.is_file():
            server.client.upload_file(str(path), BUCKET, f"moved/{path.relative_to(built / 'one/dataset').as_posix()}")
    one = sw.PairDataset(built / "one/dataset", kind="mix", split="all")
    two = sw.PairDataset(f"s3://{BUCKET}/moved", kind="mix", split="all")
    assert same_items(one, two)
    server.requests.clear()
    _ = two[1]
    assert len(server.reads()) == 1
    with pytest.raises(FileNotFoundError, match=f"s3://{BUCKET}/nothing is not a dataset"):
        sw.PairDataset(f"s3://{BUCKET}/nothing")


def test_an_export_to_a_bucket_is_opened_by_its_address_and_by_other_libraries(built, server, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "fresh"))
    stemwright("export", built / "two", f"s3://{BUCKET}/sets/webdataset")
    one = sw.PairDataset(built / "one/dataset", kind="mix", split="all")
    two = sw.PairDataset(f"s3://{BUCKET}/sets/webdataset/dataset", kind="mix", split="all")
    assert same_items(one, two)
    server.requests.clear()
    for number in range(len(two)):
        two[number]
    assert len(server.reads()) == len(two)
    rows = shards.read(built / "one/dataset")
    links = [f"sets/webdataset/dataset/{row.path}" for row in rows]
    assert {*links} <= {*server.listed()}
    signed = [server.client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": key}) for key in links]
    found = {each["__key__"]: each for each in webdataset.WebDataset([f"pipe:curl -sf '{link}'" for link in signed], shardshuffle=False)}
    assert len(found) == len(one)
    for number in range(len(one)):
        for file in one.example(number).signals:
            data = found[one.pair(number).id][f"{file.role}_{file.name}.flac"]
            assert hashlib.sha256(data).hexdigest() == file.audio.sha256
    done = stemwright("export", built / "two", f"s3://{BUCKET}/sets/webdataset", check=False)
    assert done.returncode == 2
    assert "holds a complete dataset, which others may be reading; export to another prefix" in done.stderr
    server.client.put_object(Bucket=BUCKET, Key="mine/notes.txt", Body=b"x")
    assert "holds other objects" in stemwright("export", built / "two", f"s3://{BUCKET}/mine", check=False).stderr


def test_a_local_export_brings_the_shards_along(built, tmp_path):
    stemwright("export", built / "two", tmp_path / "out")
    assert not (tmp_path / "out/dataset/storage.json").exists()
    assert stemwright("check", tmp_path / "out/dataset").returncode == 0
    one, two = (sw.PairDataset(place / "dataset", kind="mix", split="all") for place in (built / "one", tmp_path / "out"))
    assert same_items(one, two)


def test_hugging_face_opens_shards_in_a_bucket_by_its_own_client(built, server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # this server has no certificate
    corpus = Path(shutil.copytree(built / "one", tmp_path / "corpus"))
    stemwright("render", corpus, "--format", "huggingface")
    stemwright("export", corpus, f"s3://{BUCKET}/sets/huggingface")
    register("s3")
    files = [f"s3://{BUCKET}/sets/huggingface/dataset/{row.path}" for row in shards.read(corpus / "dataset")]
    data = datasets.load_dataset("parquet", data_files={"train": files}, streaming=True)["train"]
    data = data.cast_column("target_mixture", datasets.Audio(decode=False))
    rows = {row["id"]: row["target_mixture"]["bytes"] for row in data.select_columns(["id", "target_mixture"])}
    one = sw.PairDataset(corpus / "dataset", kind="mix", split="all")
    sums = {one.pair(n).id: one.example(n).signals[-1].audio.sha256 for n in range(len(one))}
    assert {key: hashlib.sha256(data).hexdigest() for key, data in rows.items()} == sums


def test_one_column_of_a_million_rows_is_a_few_requests(server, tmp_path):
    table = pa.table({"id": pa.array(range(1_000_000)), "kind": ["mix"] * 1_000_000, "more": [[{"a": 1.0, "b": "x"}]] * 1_000_000})
    with pq.ParquetWriter(tmp_path / "small groups.parquet", table.schema) as writer:
        writer.write_table(table, row_group_size=4096)
    stored_export.regroup(tmp_path / "small groups.parquet", tmp_path / "pairs.parquet")
    server.client.upload_file(str(tmp_path / "pairs.parquet"), BUCKET, "million/pairs.parquet")
    server.requests.clear()
    found = sw.read_table(f"s3://{BUCKET}/million/pairs.parquet", columns=["id"])
    assert [*found.columns] == ["id"]
    assert found["id"].tolist() == [*range(1_000_000)]
    assert len(server.requests) <= 6
