"""Songs that are in a bucket: the corpus is that of the same songs in a folder, each song is downloaded, and failures lose nothing."""

import json

import pytest
from bucket_server import BUCKET, never_fails
from commands import stemwright
from conftest import make_song, write_song_file

import stemwright as sw
from stemwright.manifests.disk import stores

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
SONGS = ("Björk & Co - 100% \"live\" #1", "Artist 2 - two  spaces")  # fmt: skip


@pytest.fixture(scope="module")
def songs(tmp_path_factory, server):
    """A folder of two multitracks, with a list of one song beside it; the same is in the bucket."""
    folder = tmp_path_factory.mktemp("songs")
    for number, name in enumerate(SONGS):
        for stem, audio in make_song(number, 1.0, sample_rate=8000).items():
            write_song_file(folder / "many" / name / f"{stem}.flac", audio, 8000)
    (folder / "list.csv").write_text(f'path,artist\n"many/{SONGS[1]}/mixture.flac",Somebody\n')
    for path in folder.rglob("*"):
        if path.is_file():
            server.client.put_object(Bucket=BUCKET, Key=f"my songs/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())
    return folder


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path / "config.toml"


@pytest.fixture(autouse=True)
def working(server):
    yield
    server.fails = never_fails
    stores.opened.cache_clear()


def test_songs_of_a_bucket_give_the_corpus_of_the_same_songs_in_a_folder(songs, server, tmp_path, config):
    stemwright("build", songs / "many", tmp_path / "one", "--config", config)
    stemwright("build", f"s3://{BUCKET}/my songs/many", tmp_path / "two", "--config", config)
    for name in ("tracks", "stems", "estimates", "pairs", "examples"):
        one, two = (sw.read_table(tmp_path / corpus / f"{name}.parquet") for corpus in ("one", "two"))
        assert one.to_json() == two.to_json(), name
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one/dataset").rglob("*.flac")]
    assert files
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    server.requests.clear()
    again = json.loads(stemwright("build", f"s3://{BUCKET}/my songs/many", tmp_path / "two", "--json").stdout)
    assert [stage["done"] for stage in again["stages"]] == [0] * 5
    assert stemwright("check", tmp_path / "two").returncode == 0
    assert not server.reads()  # everything is in scratch


def test_a_list_in_a_bucket_names_its_songs(songs, tmp_path):
    stemwright("catalog", f"s3://{BUCKET}/my songs/list.csv", tmp_path / "corpus")
    tracks = sw.read_table(tmp_path / "corpus/tracks.parquet")
    assert [*tracks["artist"]] == ["Somebody"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://no-such-bucket/songs", "there is no bucket s3://no-such-bucket"),
        (f"s3://{BUCKET}/nothing here", f"no recordings in s3://{BUCKET}/nothing here"),
        ("s5://bucket/songs", "there is no store 's5'; did you mean"),
    ],
)
def test_a_place_without_songs_is_one_sentence_and_leaves_nothing(server, tmp_path, place, said):
    done = stemwright("build", place, tmp_path / "corpus", check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "corpus/config.toml").exists()


def test_credentials_that_expire_meanwhile_stop_the_run_and_refuse_no_song(songs, server, tmp_path, config, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "scratch"))
    place, corpus = f"s3://{BUCKET}/my songs/many", tmp_path / "corpus"
    stemwright("catalog", place, corpus, "--kind", "multitracks")
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "another machine"))
    server.fails = lambda _, path: (400, "ExpiredToken") if SONGS[0] in path else None
    done = stemwright("separate", corpus, check=False)
    assert done.returncode == 1
    assert f"the credentials for s3://{BUCKET} have expired (ExpiredToken); renew them and run the same command again" in done.stderr
    assert not len(sw.read_table(corpus / "rejected.parquet"))
    server.fails = never_fails
    stemwright("separate", corpus)
    assert len(sw.read_table(corpus / "stems.parquet")) == 10


def test_a_song_that_may_not_be_read_stops_the_run_and_is_named(songs, server, tmp_path, config, monkeypatch):
    corpus = tmp_path / "corpus"
    stemwright("catalog", f"s3://{BUCKET}/my songs/many", corpus, "--kind", "multitracks")
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "another machine"))
    server.fails = lambda method, path: (403, "AccessDenied") if method == "GET" and f"{SONGS[0]}/drums.flac" in path else None
    done = stemwright("separate", corpus, check=False)
    assert (done.returncode, len(sw.read_table(corpus / "rejected.parquet"))) == (1, 0)
    named = f"not allowed to read s3://{BUCKET}/my songs/many/{SONGS[0]}/drums.flac (or it is not there: a store that may not be listed"
    assert named in done.stderr.splitlines()[-1]
    server.fails = never_fails
    stemwright("separate", corpus)
    assert len(sw.read_table(corpus / "stems.parquet")) == 10


def test_a_song_that_is_gone_is_refused_by_itself(songs, server, tmp_path, config, monkeypatch):
    stemwright("catalog", f"s3://{BUCKET}/my songs/many", tmp_path / "corpus", "--kind", "multitracks")
    monkeypatch.setenv("STEMWRIGHT_SCRATCH", str(tmp_path / "another machine"))
    key = f"my songs/many/{SONGS[0]}/drums.flac"
    server.client.delete_object(Bucket=BUCKET, Key=key)
    done = stemwright("separate", tmp_path / "corpus", check=False)
    server.client.put_object(Bucket=BUCKET, Key=key, Body=(songs / "many" / SONGS[0] / "drums.flac").read_bytes())
    assert done.returncode == 3
    assert [*sw.read_table(tmp_path / "corpus/rejected.parquet")["reason"]] == [
        f"{SONGS[0]}/drums.flac is no longer in s3://{BUCKET}/my songs/many"
    ]
