"""Stems in a bucket: a round trip with equal checksums, rows that alone say where bytes are, and failures that lose nothing."""

import json
import shutil
from pathlib import Path

import pytest
from bucket_server import BUCKET, never_fails
from commands import stemwright
from conftest import make_song, write_song_file

import stemwright as sw
from stemwright.manifests import table
from stemwright.manifests.disk import bulk, mirror, stores
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Stem

CONFIG = """
[songs]
kind = "multitracks"
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 2
[pairs.removal]
per_track = 0
"""


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for number in range(2):
        for stem, audio in make_song(number, 1.0, sample_rate=8000).items():
            write_song_file(folder / f"Artist {number} - Song" / f"{stem}.flac", audio, 8000)
    return folder


@pytest.fixture(scope="module")
def in_folder(songs, tmp_path_factory):
    """The corpus of these songs whose stems are in its folder."""
    place = tmp_path_factory.mktemp("one")
    (place / "config.toml").write_text(CONFIG)
    stemwright("build", songs, place / "corpus", "--config", place / "config.toml")
    return place / "corpus"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.toml").write_text(f'{CONFIG}\n[storage]\nbulk = "s3://{BUCKET}/{tmp_path.name} 100%"\n')
    return tmp_path / "config.toml"


@pytest.fixture(autouse=True)
def working(server, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "scratch"))
    yield
    server.fails = never_fails
    stores.opened.cache_clear()


def stems_of(corpus: Path) -> list[Stem]:
    return table.read(corpus / "stems.parquet", Stem)


def test_stems_go_to_the_bucket_and_come_back_with_their_checksums(songs, in_folder, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("build", songs, corpus, "--config", config)
    assert not list((corpus / "stems").rglob("*.flac"))
    for name in ("tracks", "stems", "estimates", "pairs", "examples"):
        assert sw.read_table(corpus / f"{name}.parquet").to_json() == sw.read_table(in_folder / f"{name}.parquet").to_json(), name
    sounds = [path.relative_to(in_folder) for path in (in_folder / "dataset").rglob("*.flac")]
    assert sounds
    assert all((corpus / path).read_bytes() == (in_folder / path).read_bytes() for path in sounds)
    for stem in stems_of(corpus):
        assert file_sha256(bulk.located(corpus, stem.audio)) == stem.audio.sha256
    again = json.loads(stemwright("build", songs, corpus, "--json").stdout)
    assert [stage["done"] for stage in again["stages"]] == [0] * 5
    assert "only sizes were compared" in stemwright("check", corpus).stdout
    done = stemwright("check", corpus, "--checksums")
    assert "check: 0 problems, 0 warnings" in done.stdout


def test_a_stem_that_is_gone_is_found_by_check_and_made_again(songs, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    stemwright("separate", corpus)
    lost = bulk.bulk_of(corpus).object_of(stems_of(corpus)[0].audio)
    lost.store.delete([lost.prefix])
    bulk._read.cache_clear()
    done = stemwright("check", corpus, check=False)
    assert done.returncode == 1
    assert done.stdout.count("run separate again") == 1
    assert "1 problem" in done.stdout
    bulk._read.cache_clear()
    assert "separate: 1 done, 1 skipped, 0 rejected" in stemwright("separate", corpus).stdout
    assert lost.store.size(lost.prefix) == stems_of(corpus)[0].audio.num_bytes


def test_a_stem_of_other_bytes_is_found_when_checksums_are_requested(songs, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    stemwright("separate", corpus)
    stem = stems_of(corpus)[0].audio
    place = bulk.bulk_of(corpus).object_of(stem)
    place.store.put(place.prefix, bytes(stem.num_bytes), create=False)
    assert stemwright("check", corpus).returncode == 0
    done = stemwright("check", corpus, "--checksums", check=False)
    assert done.returncode == 1
    assert "its content changed after it was written" in done.stdout


def test_what_no_row_names_is_swept_by_clean_and_nothing_else_is(songs, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    stemwright("separate", corpus)
    before = {key for key in server.listed() if tmp_path.name in key}
    place = bulk.bulk_of(corpus).address
    for name in ("stems/aa/drums.0123456789abcdef0123456789abcdef.flac", "dataset/mix/train-000000.00.tar", "notes of mine.txt"):
        place.store.put(place.below(name).prefix, b"of a writer that was killed")
    listed = json.loads(stemwright("clean", corpus, "--dry-run", "--json").stdout)["orphans"]
    assert [each["kind"] for each in listed] == ["stored", "stored"]
    assert "2 files deleted" in stemwright("clean", corpus, "--yes").stdout
    assert {key for key in server.listed() if tmp_path.name in key} == before | {place.below("notes of mine.txt").prefix}


@pytest.mark.parametrize(
    ("status", "code", "method", "said"),
    [
        (403, "AccessDenied", "PUT", "not allowed to write"),
        (404, "NoSuchBucket", "", "there is no bucket"),
        (301, "PermanentRedirect", "", "in another region"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_noticed_before_anything_is_done(songs, server, tmp_path, config, status, code, method, said):
    server.fails = lambda by, _: (status, code) if by.startswith(method) else None
    done = stemwright("build", songs, tmp_path / "corpus", "--config", config, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "corpus").glob("*.parquet"))


def test_credentials_that_expire_while_stems_are_written_stop_the_run_and_nothing_is_lost(songs, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    puts = []

    def later(method, path):
        puts.append(path) if method == "PUT" and "/stems/" in path else None
        return (400, "ExpiredToken") if len(puts) > 7 else None

    server.fails = later
    done = stemwright("separate", corpus, check=False)
    assert done.returncode == 1
    assert "have expired (ExpiredToken); renew them and run the same command again" in done.stderr
    server.fails = never_fails
    assert "separate: 1 done, 1 skipped, 0 rejected" in stemwright("separate", corpus).stdout
    assert len(stems_of(corpus)) == 10
    assert not list((corpus / "stems").rglob("*.flac"))


def test_shares_write_to_one_bucket_and_give_the_stems_of_one_process(songs, in_folder, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    for number in range(2):
        stemwright("separate", corpus, "--share", f"{number}/2")
        assert json.loads(stemwright("clean", corpus, "--dry-run", "--json").stdout)["orphans"] == []  # journals name what is there
    stemwright("separate", corpus)
    assert sw.read_table(corpus / "stems.parquet").to_json() == sw.read_table(in_folder / "stems.parquet").to_json()
    assert not list((corpus / "stems").rglob("*.flac"))
    assert "check: 0 problems, 0 warnings" in stemwright("check", corpus, "--checksums").stdout


def test_a_prefix_belongs_to_one_corpus(songs, server, tmp_path, config):
    stemwright("catalog", songs, tmp_path / "one", "--config", config)
    done = stemwright("catalog", songs, tmp_path / "two", "--config", config, check=False)
    assert done.returncode == 2
    assert "is used by another corpus; give each corpus a prefix of its own" in done.stderr


def test_a_listing_that_lags_loses_nothing(songs, server, tmp_path, config, monkeypatch):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    stemwright("separate", corpus)
    bulk._read.cache_clear()
    store = bulk.bulk_of(corpus).address.store
    monkeypatch.setattr(store, "list", lambda _: iter(()))
    assert "separate: 0 done, 2 skipped, 0 rejected" in stemwright("separate", corpus).stdout


def test_a_store_that_may_not_be_listed_is_trusted(songs, server, tmp_path, config):
    corpus = tmp_path / "corpus"
    stemwright("catalog", songs, corpus, "--config", config)
    stemwright("separate", corpus)
    bulk._read.cache_clear()
    server.fails = lambda _, path: (403, "AccessDenied") if "list-type" in path else None
    assert "separate: 0 done, 2 skipped, 0 rejected" in stemwright("separate", corpus).stdout


def test_a_folder_can_be_the_store(songs, in_folder, tmp_path):
    corpus, config = tmp_path / "corpus", tmp_path / "config.toml"
    config.write_text(f'{CONFIG}\n[storage]\nbulk = "file://{tmp_path}/another disk"\n')
    stemwright("build", songs, corpus, "--config", config)
    stored = {path.stem.partition(".")[2] for path in (tmp_path / "another disk/stems").rglob("*.flac")}
    assert stored == {stem.audio.sha256[:32] for stem in stems_of(corpus)}  # two stems may be equal: silence
    shutil.rmtree(mirror.scratch())
    assert "check: 0 problems, 0 warnings" in stemwright("check", corpus, "--checksums").stdout
    assert [stem.id for stem in stems_of(corpus)] == [stem.id for stem in stems_of(in_folder)]


@pytest.mark.parametrize("text", ["bucket/prefix", "/data/x", "s3://", "s3://b/../c", "s9://b/c"])
def test_a_store_that_is_no_address_is_one_sentence(songs, tmp_path, text):
    (tmp_path / "bad.toml").write_text(f'[storage]\nbulk = "{text}"\n')
    done = stemwright("catalog", songs, tmp_path / "corpus", "--config", tmp_path / "bad.toml", check=False)
    assert done.returncode == 2
    assert "[storage] bulk" in done.stderr
    assert done.stderr.count("\n") == 1
