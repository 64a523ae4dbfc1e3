"""A CSV as anybody may have written it: one bad line is one refusal with its number, and the songs after it are there."""

import os
import unicodedata
from pathlib import Path

import hypothesis.strategies as st
import pytest
from conftest import make_song, write_song_file
from hypothesis import given, settings

from stemwright.datagen.run import configuration, stages
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.catalog import song_list
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect

TONE = make_song(0, 0.2)["mixture"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """Songs, two of which differ in case only and one of which has a decomposed accent; a folder, a pipe, a device, a multitrack.

    Not to be changed.
    """
    folder = tmp_path_factory.mktemp("songs")
    for name in (
        "a.wav",
        "b.wav",
        unicodedata.normalize("NFD", "Café.wav"),
        "Sub/Deep.wav",
        "one.wav",
        "ONE.wav",
        "band/mix.wav",
        "band/Kick In.wav",
    ):
        write_song_file(folder / name, TONE)
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    return folder


def listed(songs: Path, text: str | bytes, tmp_path: Path):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = find(songs, csv=path)
    return [candidate.path for candidate in found.candidates], dict(found.refused)


@pytest.mark.parametrize(
    ("lines", "found", "reason"),
    [
        (('a.wav,"open', "b.wav,x"), ["b.wav"], "an unmatched quote"),
        (('a.wav,"open', 'b.wav,"closed"'), ["b.wav"], "an unmatched quote"),
        (('a.wav,"two', 'lines"', "b.wav,x"), ["b.wav"], "an unmatched quote"),
        (('a.wav,"x"y', "b.wav,x"), ["b.wav"], "an unmatched quote"),
        (("a.wav," + "x" * 200_000, "b.wav,x"), ["b.wav"], "has 200,006 characters; expected at most 65,536"),
        (("x" * 5_000 + ".wav,x", "b.wav,x"), ["b.wav"], "is longer than file systems allow"),
        (("a/" * 60 + "x" * 300 + ".wav,x", "b.wav,x"), ["b.wav"], "is longer than file systems allow"),
        (("a.wav,\0", "b.wav,x"), ["b.wav"], "contains a NUL character"),
        (("a\0.wav,x", "b.wav,x"), ["b.wav"], "contains a NUL character"),
        (("pipe.wav,x", "b.wav,x"), ["b.wav"], "a pipe, not a sound file"),
        (("zero.wav,x", "b.wav,x"), ["b.wav"], "a device, not a sound file"),
        (("/dev/zero,x", "b.wav,x"), ["b.wav"], "outside the songs folder"),
        (("../../etc/passwd,x", "b.wav,x"), ["b.wav"], "outside the songs folder|file not found"),
        (("empty,x", "b.wav,x"), ["b.wav"], "expected a multitrack folder: a file named mixture"),
        (("gone.wav,x", "b.wav,x"), ["b.wav"], "line 2: file not found; looked for"),
        (("One.wav,x", "b.wav,x"), ["b.wav"], "ONE.wav and one.wav differ from it only in accents or case"),
        (("a.wav,x,y", "b.wav,x"), ["b.wav"], "has more fields than the first line"),
        ((",x", "b.wav,x"), ["b.wav"], "no path"),
    ],
)
def test_one_bad_line_costs_one_song_and_is_named(lines, found, reason, songs, tmp_path):
    import re

    candidates, refused = listed(songs, "path,title\n" + "\n".join(lines) + "\n", tmp_path)
    assert candidates == found
    assert all(re.search(reason, said) or "lines" in subject for subject, said in refused.items())
    assert any(re.search("line 2", subject + said) or "multitrack" in said for subject, said in refused.items())
    assert all(len(subject) < 200 and len(said) < 700 for subject, said in refused.items())


@pytest.mark.parametrize(
    ("written", "place"),
    [
        (unicodedata.normalize("NFC", "Café.wav"), unicodedata.normalize("NFD", "Café.wav")),
        ("sub/deep.WAV", "Sub/Deep.wav"),
        ("Sub\\Deep.wav", "Sub/Deep.wav"),
        ("SUB\\DEEP.wav", "Sub/Deep.wav"),
        ("CAFÉ.WAV", unicodedata.normalize("NFD", "Café.wav")),
    ],
)
def test_a_path_that_differs_in_accents_case_or_slashes_is_found_with_a_note(written, place, songs, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"path\n{written}\n{place}\n", encoding="utf-8")
    found = find(songs, csv=path)
    assert [candidate.path for candidate in found.candidates] == [place, place]
    tracks = [inspect(songs, candidate, SplitShares()) for candidate in found.candidates]
    assert sorted(note for track in tracks for note in track.notes if "listed as" in note) == [f"listed as {written!r}, found as {place!r}"]


def test_a_multitrack_in_another_case_is_found_too(songs, tmp_path):
    candidates, refused = listed(songs, "path\nBAND\n", tmp_path)
    assert (candidates, refused) == (["band/mix.wav"], {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,title\na.wav,x\n", "unknown column 'file'; did you mean 'path'"),
        ("Filename\na.wav\n", "unknown column 'filename'; did you mean 'path'"),
        ("path,licence\na.wav,x\n", "unknown column 'licence'; did you mean 'rights'"),
        ("path,name\na.wav,x\n", "unknown column 'name'; did you mean 'title'"),
        ("path,year\na.wav,1999\n", r"unknown column 'year'\. Known: path"),
        ("path,path\na.wav,b.wav\n", "a column is named twice"),
        ('path,"title\na.wav,x\n', "its first line cannot be read"),
        ("path\na.wav\n".encode("utf-16"), "is UTF-16 or not a text file"),
        ("path\na.wav\n".encode("utf-16-le"), "is UTF-16 or not a text file"),
        ("path,title\na.wav,x\nb.wav,Bj\xf6rk\n".encode("latin-1"), r"is not UTF-8 text \(byte 27, in line 3\)"),
        (bytes(4000), "is UTF-16 or not a text file"),
        ("path" * 10_000 + "\n", "unknown column 'pathpath.*pathpath"),
    ],
)
def test_a_list_that_cannot_be_read_is_wrong_usage_in_one_sentence(text, message, songs, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        listed(songs, text, tmp_path)
    assert len(str(refused.value)) < 600
    corpus = Corpus(tmp_path / "corpus")
    corpus.create(configuration.check({"songs": {"folder": str(tmp_path / "list.csv")}}, where="test"))
    with pytest.raises(CorpusError, match=message):
        stages.run_catalog(corpus, Workers(1))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath\na.wav\n",
        "path\r\na.wav\r\n",
        "path\ra.wav\r",
        "\n\npath\n\na.wav\n\n",
        "path;title\na.wav;x\n",
        " Path \t TITLE\na.wav\tx\n",
    ],
)
def test_what_spreadsheets_write_is_read(text, songs, tmp_path):
    assert listed(songs, text, tmp_path) == (["a.wav"], {})


def test_a_pipe_in_place_of_the_list_is_refused_at_once(songs, tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(ValueError, match="is a pipe; expected a CSV file"):
        find(songs, csv=tmp_path / "list.csv")


def test_validation_is_read_as_valid(tmp_path):
    (tmp_path / "list.csv").write_text("path,split\na.wav,validation\nb.wav,dev\nc.wav,val\n")
    first, second, third = song_list.read(tmp_path / "list.csv")
    assert (first.values["split"], second.values["split"]) == ("valid", "valid")
    assert "split must be train, valid (or validation, dev) or test; got 'val'" in third.wrong


def test_a_list_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "list.csv").open("wb") as file:
        file.truncate(song_list.LARGEST_BYTES + 1)
    with pytest.raises(ValueError, match="has 268 MB; expected a list of songs"):
        list(song_list.read(tmp_path / "list.csv"))


@settings(max_examples=150)
@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=12).map(lambda text: text.replace("\n", "").replace("\r", "")),
        max_size=6,
    )
)
def test_no_line_takes_the_song_after_it(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("list") / "list.csv"
    text = "path,title\n" + "".join(f"{line}\na.wav,after {number}\n" for number, line in enumerate(lines))
    path.write_text(text, encoding="utf-8", newline="")
    titles = [line.values.get("title") for line in song_list.read(path) if not line.wrong and line.values["path"] == "a.wav"]
    assert [title for title in titles if title and title.startswith("after ")] >= [f"after {number}" for number in range(len(lines))]
