"""A corpus holds every recording once, in whatever files, under whatever names; and it is known again when its tags change."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, make_song, write_song_file
from living_corpus import FilterSeparator, stub_separator

from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus
from stemwright.manifests.records import Rejected, Stem, Track

ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="making these files needs the ffmpeg program")
DURATION_S = 7.0
ENCODINGS = {
    "flac": (),
    "wav": ("-c:a", "pcm_s16le"),
    "mp3": ("-b:a", "128k"),
    "m4a": ("-c:a", "aac"),
    "ogg": ("-c:a", "libvorbis"),
}
TAGGINGS: tuple[dict[str, str], ...] = (
    {},
    {"artist": "The Lanterns {}", "title": "Song {}"},
    {"artist": "Various Artists", "comment": "rip"},
)
EXCERPTS = {"beginning.mp3": ("-t", "4", "-b:a", "96k"), "middle.opus": ("-ss", "2.4", "-t", "4", "-ar", "48000")}
SHARES = {"train": 0.4, "valid": 0.3, "test": 0.3}


def run_ffmpeg(*arguments: Any) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", *map(str, arguments)], check=True)


def tagged(texts: dict[str, str], number: int) -> list[str]:
    return [part for name, text in texts.items() for part in ("-metadata", f"{name}={text.format(number)}")]


def write_copies(songs: Path, number: int, encodings: Sequence[str]) -> None:
    """One song in each encoding with each tagging, and its excerpts; files named after it. One process makes them all."""
    whole, outputs = songs / f"{number:02} whole.wav", []
    write_song_file(whole, make_song(100 + number, DURATION_S)["mixture"])
    for suffix in encodings:
        for n, texts in enumerate(TAGGINGS):
            outputs += [*ENCODINGS[suffix], *tagged(texts, number), songs / f"{number:02} {n}.{suffix}"]
    for name, options in EXCERPTS.items():
        outputs += [*options, songs / f"{number:02} {name}"]
    run_ffmpeg("-i", whole, *outputs)
    whole.unlink()


def cataloged(corpus: Corpus, songs: Path, **options: Any) -> tuple[list[Track], list[Rejected]]:
    asked = {"songs": {"folder": str(songs), "shares": SHARES, **options}, "separation": {"model": "one", "limits": {"bleed": 1.0}}}
    corpus.create(configuration.check(asked, where="test"))
    run_catalog(corpus, Workers())
    return table.read(corpus.table("tracks"), Track), corpus.rejected()


def retag(songs: Path, number: int) -> None:
    """Gives every file of a song another title, and FLAC another container, without encoding it again."""
    paths = sorted(songs.glob(f"{number:02} *"))
    inputs, outputs = [part for path in paths for part in ("-i", path)], []
    for n, path in enumerate(paths):
        changed = songs / f"new {path.name}".replace(".flac", ".mka")
        outputs += ["-map", n, "-c", "copy", "-metadata", "title=Another title", changed]
    run_ffmpeg(*inputs, *outputs)
    for path, changed in zip(paths, outputs[6::7], strict=True):
        path.unlink()
        changed.rename(songs / changed.name.removeprefix("new "))


def check_one_each(corpus: Corpus, songs: Path, count: int, encodings: Sequence[str]) -> None:
    for number in range(count):
        write_copies(songs, number, encodings)
    tracks, rejected = cataloged(corpus, songs)
    assert [track.audio.path for track in tracks] == [f"{number:02} 0.flac" for number in range(count)]
    kept = {track.id: track.audio.path.split()[0] for track in tracks}
    assert len(rejected) == count * (len(encodings) * len(TAGGINGS) + len(EXCERPTS) - 1)
    assert all(row.subject.split()[0] == kept[str(row.same_as)] for row in rejected)
    excerpts = [row.reason for row in rejected if "middle" in row.subject]
    assert all("by its sound" in reason and "earlier" in reason for reason in excerpts)
    assert not [problem for problem in check_corpus(corpus.folder) if problem.level == "error"]

    separated = FilterSeparator.count
    run_separate(corpus)
    assert FilterSeparator.count == separated + count
    stems = corpus.rows("stems", Stem)
    for number in range(count):
        retag(songs, number)
    again, rejected_again = cataloged(corpus, songs)
    assert [(track.id, track.split, track.audio.path) for track in again] == [
        (track.id, track.split, track.audio.path.replace(".flac", ".mka")) for track in tracks
    ]
    assert {track.title for track in again} == {"Another title"}
    assert not {track.audio.sha256 for track in again} & {track.audio.sha256 for track in tracks}
    assert Counter(row.same_as for row in rejected_again) == Counter(row.same_as for row in rejected)
    run_separate(corpus)
    assert FilterSeparator.count == separated + count
    assert corpus.rows("stems", Stem) == stems
    summary = run_catalog(corpus, Workers())
    assert (summary.done, summary.skipped) == (0, count)


@ffmpeg
def test_a_song_in_many_files_is_one_and_other_tags_separate_nothing_again(tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    with stub_separator():
        check_one_each(Corpus(tmp_path / "corpus"), songs, 6, ("flac", "mp3"))


@ffmpeg
@pytest.mark.slow
def test_thirty_songs_in_many_files_are_thirty(tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    with stub_separator():
        check_one_each(Corpus(tmp_path / "corpus"), songs, 30, tuple(ENCODINGS))


@ffmpeg
def test_copies_are_kept_in_one_split_if_asked_and_check_finds_those_that_are_not(tmp_path):
    songs, corpus = tmp_path / "songs", Corpus(tmp_path / "corpus")
    for number in range(3):
        source = write_song_file(songs / f"{number}.wav", make_song(200 + number, 5.0)["mixture"])
        run_ffmpeg("-i", source, "-b:a", "64k", songs / f"{number}.mp3")
    tracks, rejected = cataloged(corpus, songs, copies="same_split")
    assert (len(tracks), rejected) == (6, [])
    assert all(len({track.split for track in tracks if track.audio.path[0] == str(number)}) == 1 for number in range(3))
    notes = {track.audio.path: track.notes for track in tracks}
    assert any(note.startswith("sounds as 1.wav does: ") and note.endswith("; in the same split") for note in notes["1.mp3"])
    assert not any(note.startswith("sounds as") for note in notes["1.wav"])
    assert cataloged(corpus, songs, copies="same_split") == (tracks, [])

    moved = [track.model_copy(update={"split": "test" if track.audio.path == "1.mp3" else "train"}) for track in tracks]
    table.replace(corpus.table("tracks"), moved, Track)
    (problem,) = [found for found in check_corpus(corpus.folder) if found.level == "error"]
    assert problem.what.startswith(("is in test and sounds as 1.wav does, which is in train", "is in train and sounds as 1.mp3 does"))
    assert len(cataloged(corpus, songs)[0]) == 3


def test_a_copy_is_not_decoded_again_and_takes_the_place_of_one_that_is_gone(tmp_path, monkeypatch):
    from stemwright.datagen.run.stages import cataloguing

    songs, corpus = tmp_path / "songs", Corpus(tmp_path / "corpus")
    song = make_song(300, 5.0)["mixture"]
    write_song_file(songs / "a.wav", song)
    write_song_file(songs / "b.wav", song * np.float32(0.5), SAMPLE_RATE)
    assert [track.audio.path for track in cataloged(corpus, songs)[0]] == ["a.wav"]
    decoded: list[str] = []
    inspect = cataloguing.inspect
    monkeypatch.setattr(
        cataloguing, "inspect", lambda songs, candidate, *rest: decoded.append(candidate.path) or inspect(songs, candidate, *rest)
    )
    fresh = cataloged(Corpus(tmp_path / "fresh"), songs)
    assert decoded == ["a.wav", "b.wav"]
    decoded.clear()
    assert cataloged(corpus, songs) == fresh
    assert decoded == []
    (songs / "a.wav").unlink()
    assert [track.audio.path for track in cataloged(corpus, songs)[0]] == ["b.wav"]
    assert decoded == ["b.wav"]
    shutil.rmtree(corpus.folder / "fingerprints")
    assert [track.audio.path for track in cataloged(corpus, songs)[0]] == ["b.wav"]
    assert Counter(path.suffix for path in corpus.folder.glob("fingerprints/*/*")) == {".fingerprint": 1}


def test_of_multitracks_of_one_recording_the_one_whose_stems_fit_is_kept_also_when_looked_at_again(tmp_path):
    parts = dict(make_song(7, 6.0))
    mixture = parts.pop("mixture")
    for name, late in (("Band - A", 1000), ("Band - B", 0), ("Band - C", 100)):
        for part, audio in {"mixture": np.pad(mixture, ((0, 0), (late, 0)))[:, : mixture.shape[1]], **parts}.items():
            write_song_file(tmp_path / "songs" / name / f"{part}.wav", audio)
    for _ in range(2):
        rows, rejected = cataloged(Corpus(tmp_path / "corpus"), tmp_path / "songs")
        assert [row.audio.path for row in rows] == ["Band - B/mixture.wav"]
        assert {row.subject for row in rejected} == {"Band - A/mixture.wav", "Band - C/mixture.wav"}
    shutil.rmtree(tmp_path / "songs" / "Band - B")
    (row,) = cataloged(Corpus(tmp_path / "corpus"), tmp_path / "songs")[0]
    assert all(stem.mended for stem in row.references)


def test_songs_that_are_added_in_any_order_end_as_if_all_were_there_at_once(tmp_path):
    """Of each recording a FLAC, a quieter WAV and an MP3, with the artist in one of them: which is first decides nothing."""
    made, songs, fresh = tmp_path / "made", tmp_path / "songs", Corpus(tmp_path / "fresh")
    for number in range(3):
        song = make_song(400 + number, 5.0)["mixture"]
        write_song_file(made / f"{number}.flac", song)
        write_song_file(made / f"{number} (1).wav", song * np.float32(0.5), artist=f"The Lanterns {number}")
        soundfile.write(made / f"0{number}.mp3", song.T, SAMPLE_RATE)
    wanted = cataloged(fresh, made)
    assert [track.audio.path for track in wanted[0]] == [f"{number}.flac" for number in range(3)]
    assert {track.split for track in wanted[0]} > {wanted[0][0].split}
    for seed in range(3):
        songs.mkdir()
        paths = sorted(made.iterdir())
        random.Random(seed).shuffle(paths)
        for first in range(0, len(paths), 4):
            for path in paths[first : first + 4]:
                shutil.copy(path, songs)
            found = cataloged(Corpus(tmp_path / f"corpus {seed}"), songs)
        assert found == wanted, seed
        shutil.rmtree(songs)


@pytest.mark.parametrize("damage", ["deleted", "cut", "one bit"])
def test_a_damaged_fingerprint_is_made_again_and_never_believed(damage, tmp_path):
    songs, corpus = tmp_path / "songs", Corpus(tmp_path / "corpus")
    song = make_song(300, 5.0)["mixture"]
    write_song_file(songs / "a.wav", song)
    write_song_file(songs / "b.wav", song * np.float32(0.5), SAMPLE_RATE)
    before = cataloged(corpus, songs)
    kept = {path: path.read_bytes() for path in sorted(corpus.folder.glob("fingerprints/*/*"))}
    assert len(kept) == 2
    for path, data in kept.items():
        path.write_bytes(data[:-7] if damage == "cut" else data[:-99] + bytes([data[-99] ^ 4]) + data[-98:])
        if damage == "deleted":
            path.unlink()
    assert cataloged(corpus, songs) == before
    assert {path: path.read_bytes() for path in sorted(corpus.folder.glob("fingerprints/*/*"))} == kept
