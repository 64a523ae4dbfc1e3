"""Rendering into shards without a file for each sound: whatever happens on the way, the end has the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import make_song
from interrupting import tree_of

from stemwright.datagen.dataset.writers import packing
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import rendering
from stemwright.datagen.run.tasks import Share, StoppedError, Workers
from stemwright.manifests import shards, table
from stemwright.manifests.check import check_corpus, errors
from stemwright.manifests.disk import durable
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Refused
from stemwright.manifests.spooled_sounds import FILE, SPOOL, folder_of

RATE = 8_000
SHARDED = ("webdataset", "huggingface")
each_format = pytest.mark.parametrize("name", SHARDED)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of two songs, of which nothing is rendered."""
    place = tmp_path_factory.mktemp("spooled")
    for number in range(2):
        for stem, audio in make_song(number, 0.6, sample_rate=RATE).items():
            path = place / "songs" / f"Artist {number} - Title" / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, audio.T, RATE, subtype="PCM_24")
    corpus = Corpus(place / "corpus")
    configure(corpus, place / "songs", "folder")
    stages.run_catalog(corpus, Workers())
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers())
    stages.run_plan(corpus)
    return corpus


@pytest.fixture(scope="module")
def rendered(planned: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """A finished corpus of each format. Not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    found = {name: copied(planned, place / name, name) for name in ("folder", *SHARDED)}
    for corpus in found.values():
        render(corpus)
    return found


def configure(corpus: Corpus, songs: Path, name: str) -> None:
    pairs = {"duration_s": 0.2, "mix": {"per_track": 3}, "removal": {"per_track": 3, "effects": ["eq"]}}
    dataset = {"format": name, **({"shard_examples": 2} if name != "folder" else {})}
    corpus.create(check({"seed": 3, "songs": {"folder": str(songs)}, "pairs": pairs, "dataset": dataset}, where="test"))


def copied(source: Corpus, place: Path, name: str) -> Corpus:
    corpus = Corpus(shutil.copytree(source.folder, place))
    configure(corpus, Path(source.config.songs.folder), name)
    return corpus


def render(corpus: Corpus, workers: Workers = Workers(), stop_at: int = 0):  # noqa: B008  # immutable
    def progress(done, *_):
        if done and done == stop_at:
            raise KeyboardInterrupt

    return stages.run_render(Corpus(corpus.folder), workers, progress)


def interrupted(corpus: Corpus, stop_at: int, workers: Workers = Workers()) -> None:  # noqa: B008  # immutable
    with pytest.raises(KeyboardInterrupt):
        render(corpus, workers, stop_at)


def sounds_in(corpus: Corpus) -> list[Path]:
    return [path for path in corpus.dataset.rglob("*.flac") if path.is_file()]


@each_format
def test_no_sound_is_ever_a_file_of_its_own(name, planned, rendered, tmp_path, monkeypatch):
    corpus, put, named, most = copied(planned, tmp_path / "corpus", name), durable.put_all, [], []
    monkeypatch.setattr(durable, "put_all", lambda files, before=None: (named.extend(path for _, path in files), put(files, before)))
    assembled = packing._assembled
    monkeypatch.setattr(
        packing, "_assembled", lambda *given: (most.append(len(list(folder_of(corpus.dataset).iterdir()))), assembled(*given))[1]
    )
    render(corpus)
    assert {path.suffix for path in named} >= {".parquet", packing_suffix(name)}
    assert not [path for path in named if path.suffix == ".flac"]
    assert len(most) == len(shards.read(corpus.dataset)) > 4
    assert most == sorted(most, reverse=True)
    assert most[-1] < most[0] / 2  # files of the spool go while their sounds are packed, not in the end
    assert not (corpus.dataset / SPOOL).exists()
    assert tree_of(corpus.dataset) == tree_of(rendered[name].dataset)


def packing_suffix(name: str) -> str:
    return {"webdataset": ".tar", "huggingface": ".parquet"}[name]


@each_format
def test_shards_have_the_bytes_that_packing_files_gives(name, rendered, tmp_path):
    """From a dataset of files, which nothing renders again."""
    corpus = copied(rendered["folder"], tmp_path / "corpus", name)
    assert render(corpus).done == 0
    assert tree_of(corpus.dataset) == tree_of(rendered[name].dataset)


@each_format
def test_shares_of_which_one_is_killed_give_the_bytes_of_one_process(name, planned, rendered, tmp_path):
    corpus = copied(planned, tmp_path / "corpus", name)
    interrupted(corpus, 2, Workers(share=Share(0, 2)))
    render(corpus, Workers(share=Share(1, 2)))
    assert len(list(folder_of(corpus.dataset).glob(".sounds.*of2.jsonl.part"))) == 2
    assert render(corpus, Workers(share=Share(0, 2))).skipped >= 1
    summary = render(corpus)
    assert (summary.done, summary.skipped) == (0, len(table.read(corpus.table("examples"), Example)))
    assert tree_of(corpus.dataset) == tree_of(rendered[name].dataset)


@pytest.mark.parametrize("after", ["folder", "huggingface"])
def test_what_was_rendered_before_a_kill_is_taken_into_another_format(after, planned, rendered, tmp_path):
    corpus = copied(planned, tmp_path / "corpus", "webdataset")
    interrupted(corpus, 5)
    assert not sounds_in(corpus)
    configure(corpus, Path(corpus.config.songs.folder), after)
    assert render(corpus).skipped >= 4
    assert tree_of(corpus.dataset) == tree_of(rendered[after].dataset)


def test_files_of_an_earlier_version_do_not_outlast_what_was_rendered_into_the_spool(rendered, tmp_path, monkeypatch):
    corpus = copied(rendered["folder"], tmp_path / "corpus", "webdataset")
    for path in sounds_in(corpus):  # as if that version had written other samples, in as many bytes
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("stemwright.datagen.dataset.writers.base.__version__", "newer")
    with monkeypatch.context() as patched:
        patched.setattr(packing, "pack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        interrupted(corpus, 0)
    assert not sounds_in(corpus)
    configure(corpus, Path(corpus.config.songs.folder), "folder")
    assert render(corpus).done == 0
    assert {path.name: path.read_bytes() for path in sounds_in(corpus)} == {
        path.name: path.read_bytes() for path in sounds_in(rendered["folder"])
    }


@each_format
def test_a_few_other_pairs_render_only_these_and_take_the_others_from_the_shards(name, rendered, tmp_path, monkeypatch):
    corpus = copied(rendered[name], tmp_path / "corpus", name)
    config = corpus.config
    pairs = config.pairs.model_copy(update={"mix": config.pairs.mix.model_copy(update={"per_track": 4})})
    corpus.create(config.model_copy(update={"pairs": pairs}))
    stages.run_plan(Corpus(corpus.folder))
    fresh = Corpus(shutil.copytree(corpus.folder, tmp_path / "fresh"))
    shutil.rmtree(fresh.dataset)
    fresh.table("examples").unlink()
    fresh.table("rejected").unlink(missing_ok=True)
    named, put = [], durable.put_all
    monkeypatch.setattr(durable, "put_all", lambda files, before=None: (named.extend(path for _, path in files), put(files, before)))
    assert render(corpus).done == 2
    assert not [path for path in named if path.suffix == ".flac"]
    assert render(fresh).skipped == 0
    assert tree_of(corpus.dataset) == tree_of(fresh.dataset)
    assert errors(check_corpus(corpus.folder)) == []


def test_a_refused_pair_leaves_the_others_in_the_shard(planned, tmp_path, monkeypatch):
    corpus, made = copied(planned, tmp_path / "corpus", "webdataset"), rendering._signals
    refused = corpus.ids("pairs")[1]

    def but_one(folder, pair, files):
        if pair.id == refused:
            raise Refused("not this one")
        return made(folder, pair, files)

    monkeypatch.setattr(rendering, "_signals", but_one)
    assert render(corpus).rejected == 1
    (row,) = (row for row in corpus.rejected() if row.stage == "render" and row.replaced_by is None)
    assert (row.row_id, row.reason) == (refused, "not this one")
    packed = {member.path.split("/")[2] for shard in shards.read(corpus.dataset) for member in shard.members}
    assert packed == {row.pair_id for row in table.read(corpus.table("examples"), Example)}
    assert refused not in packed
    assert len(packed) >= len(corpus.ids("pairs")) - 1


def test_a_full_disk_stops_the_stage_and_the_next_start_goes_on(planned, rendered, tmp_path, monkeypatch):
    corpus, append, calls = copied(planned, tmp_path / "corpus", "webdataset"), durable.append, []

    def filling(path, parts):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return append(path, parts)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "append", filling)
        with pytest.raises(StoppedError, match="the disk is full"):
            render(corpus)
    summary = render(corpus)
    assert summary.skipped == 3
    assert tree_of(corpus.dataset) == tree_of(rendered["webdataset"].dataset)


def test_a_spool_that_lost_a_file_is_rendered_again_where_it_was_lost(planned, rendered, tmp_path):
    corpus = copied(planned, tmp_path / "corpus", "webdataset")
    interrupted(corpus, 7)
    lost, *_ = sorted(path for path in folder_of(corpus.dataset).iterdir() if FILE.fullmatch(path.name))
    lost.unlink()
    assert 0 < render(corpus).skipped < 7
    assert tree_of(corpus.dataset) == tree_of(rendered["webdataset"].dataset)


def test_an_interrupted_rendering_shows_no_foreign_files_and_cleaning_leaves_it(planned, rendered, tmp_path):
    from stemwright.datagen.run.orphans import find_orphans, remove_orphans

    corpus = copied(planned, tmp_path / "corpus", "webdataset")
    interrupted(corpus, 6)
    remove_orphans(find_orphans(Corpus(corpus.folder)))
    assert render(corpus).skipped >= 5
    assert tree_of(corpus.dataset) == tree_of(rendered["webdataset"].dataset)
