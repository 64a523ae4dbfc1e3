"""A corpus whose lossy recordings have ids of an earlier rule keeps its stems and its splits; nothing of it is lost without a word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from living_corpus import FilterSeparator, stub_separator, write_song

from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import kept_stems, run_catalog, run_separate
from stemwright.datagen.run.stages.cataloguing import found_songs
from stemwright.datagen.run.stages.reseparation import count_to_separate_again
from stemwright.datagen.run.stages.separation_keys import separation_key
from stemwright.datagen.run.stages.separator_order import SeparationOrder, separator_of
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import cache_key, split_of
from stemwright.manifests.check import check_corpus
from stemwright.manifests.records import Stem, Track, seal, track_id

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="making these files needs the ffmpeg program")


def run_ffmpeg(*arguments: Any) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *map(str, arguments)], check=True)


def separated(folder: Path, songs: Path, model: str = "one") -> tuple[Corpus, tuple[str, ...]]:
    corpus = Corpus(folder)
    corpus.create(
        configuration.check({"songs": {"folder": str(songs)}, "separation": {"model": model, "limits": {"bleed": 1.0}}}, where="test")
    )
    cataloged = run_catalog(corpus, Workers())
    run_separate(corpus)
    return corpus, cataloged.notes


def age(corpus: Corpus, path: str) -> None:
    """Makes the tables and folders what version 0.1 made them: with an id of one lossy recording that is of its decoded length, too."""
    config, tracks = corpus.config, corpus.rows("tracks", Track)
    (candidate,) = [one for one in found_songs(config).candidates if one.path == path]
    (row,) = [track for track in tracks if track.audio.path == path]
    sounds = (f"{number:064x}" for number in range(99))  # the first one that is in another split
    sound = next(sound for sound in sounds if split_of(None, track_id(sound), config.songs.shares) != row.split)
    split = split_of(None, track_id(sound), config.songs.shares)
    key = cache_key(corpus.songs, candidate, config.songs.shares, config.songs.longest_s, rules=8)
    old = row.model_copy(update={"id": track_id(sound), "sound": sound, "delay_frames": None, "cache_key": key, "split": split})
    stems = []
    for place in (corpus.folder / kept_stems.STEMS).glob(f"*/{row.id}"):
        there, kept = place.with_name(old.id), kept_stems.read(place)
        place.rename(there)
        config_of = config.model_copy(update={"separation": config.separation.model_copy(update={"model": place.parent.name})})
        changed = {"cache_key": separation_key(old, separator_of(config_of).identity), "track_id": old.id}
        rows = []
        for stem in kept.stems:
            audio = stem.audio.model_copy(update={"path": stem.audio.path.replace(row.id, old.id)})
            rows.append(
                seal(Stem, **{**{name: getattr(stem, name) for name in Stem.model_fields if name != "id"}, **changed, "audio": audio})
            )
        kept_stems.commit(there, changed["cache_key"], kept.figures, rows)
        stems += rows if place.parent.name == config.separation.model else []
    table.replace(corpus.table("tracks"), [old if track is row else track for track in tracks], Track)
    others = [stem for stem in corpus.rows("stems", Stem) if stem.track_id != row.id]
    table.replace(corpus.table("stems"), [*others, *stems], Stem)


def contents(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_stems_of_a_recording_with_an_id_of_an_earlier_rule_are_taken_along(tmp_path):
    songs = tmp_path / "songs"
    write_song(songs / "a.wav", 0, {"artist": "One"})
    write_song(tmp_path / "b.wav", 1, {})
    run_ffmpeg("-i", tmp_path / "b.wav", "-ar", "44100", songs / "b.mp3")
    with stub_separator():
        for model in ("two", "one"):
            corpus, _ = separated(tmp_path / "corpus", songs, model)
        fresh, before = contents(corpus.folder), FilterSeparator.count
        now = {track.audio.path: track for track in corpus.rows("tracks", Track)}
        age(corpus, "b.mp3")
        old = {track.audio.path: track for track in corpus.rows("tracks", Track)}
        assert old["b.mp3"].id != now["b.mp3"].id
        assert not [problem for problem in check_corpus(corpus.folder) if problem.level == "error"]

        assert count_to_separate_again(corpus, SeparationOrder(corpus.config)) == 0
        _, notes = separated(corpus.folder, songs)
        assert notes[0].startswith("1 recording has another id by the rules of this version, and the stems of 1 are taken along")
        rows = {track.audio.path: track for track in corpus.rows("tracks", Track)}
        noted = (*now["b.mp3"].notes, f"its split is drawn by its id of an earlier version, {old['b.mp3'].id}")
        assert rows == {**now, "b.mp3": now["b.mp3"].model_copy(update={"split": old["b.mp3"].split, "notes": noted})}
        assert not any("another id" in note for note in separated(corpus.folder, songs)[1])
        separated(corpus.folder, songs, "two")  # kept beside, and taken along when it is requested
        assert FilterSeparator.count == before
        assert not [problem for problem in check_corpus(corpus.folder) if problem.level == "error"]
        separated(corpus.folder, songs)
        again = contents(corpus.folder)
        assert {name for name in again if again[name] != fresh[name]} == {"tracks.parquet"}  # for its split
        assert again.keys() == fresh.keys()


def test_stems_fit_what_is_played_of_the_packets_of_a_lossy_file(tmp_path):
    """The header of an MP3 says how much to cut. Without it the recording is the same, and the stems of it are not."""
    songs, whole = tmp_path / "songs", tmp_path / "a.mp3"
    write_song(tmp_path / "a.wav", 0, {})
    run_ffmpeg("-i", tmp_path / "a.wav", "-ar", "44100", whole)
    run_ffmpeg("-i", whole, "-c", "copy", "-write_xing", "0", tmp_path / "bare.mp3")
    songs.mkdir()
    with stub_separator():
        shutil.copy(whole, songs / "song.mp3")
        corpus, _ = separated(tmp_path / "corpus", songs)
        (first,) = corpus.rows("tracks", Track)
        shutil.copy(tmp_path / "bare.mp3", songs / "song.mp3")
        separated(corpus.folder, songs)
        (bare,) = corpus.rows("tracks", Track)
        assert (bare.id, bare.sound, bare.split) == (first.id, first.sound, first.split)
        assert (first.delay_frames, bare.delay_frames) == (576 + 529, 0)
        assert bare.audio.num_frames > first.audio.num_frames
        assert FilterSeparator.count == 2
        assert {stem.audio.num_frames for stem in corpus.rows("stems", Stem)} == {bare.audio.num_frames}
