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
from stemwright.manifests.catalog.candidates import Candidate
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.records import Track

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
        (('a.wav,"two', 'b.wav,lines"', "b.wav,x"), ["b.wav"], "an unmatched quote in column 'title'"),
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
    assert any(re.search(reason, said) for said in refused.values())
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
    path.write_text(f"path\n{written}\n", encoding="utf-8")
    (candidate,) = find(songs, csv=path).candidates
    assert candidate.path == place
    notes = inspect(songs, candidate, SplitShares()).notes
    assert [note for note in notes if "listed as" in note] == [f"listed as {written!r}, found as {place!r}"]


def test_a_multitrack_in_another_case_is_found_too(songs, tmp_path):
    candidates, refused = listed(songs, "path\nBAND\n", tmp_path)
    assert (candidates, refused) == (["band/mix.wav"], {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,title\na.wav,x\n", "line 1: no column 'path', but a column 'file'; did you mean 'path'"),
        ("Filename;year\na.wav;1999\n", "no column 'path', but a column 'filename'; did you mean 'path'"),
        ("id,genre\n1,rock\n", "no column 'path'; expected a first line such as path,title,artist.* got 'id, genre'"),
        ("a.wav,Title\nb.wav,x\n", "line 1: its first line is a song and no column 'path'"),
        ("path,tilte\na.wav,x\n", "unknown column 'tilte'; did you mean 'title'"),
        ("path,path\na.wav,b.wav\n", "a column is named twice"),
        ("path,Year, year \na.wav,1,2\n", "a column is named twice .year."),
        ('path,"title\na.wav,x\n', "line 1: its first line cannot be read"),
        ("path\na.wav\n".encode("utf-16") + b"x", "is not text in UTF-8 or UTF-16"),
        ("path\na.wav\n".encode("utf-32"), "is not text in UTF-8 or UTF-16"),
        ("path,title\na.wav,x\nb.wav,Bj\xf6rk\n".encode("latin-1"), r"line 3, column 'title': is not UTF-8 text \(byte 0xF6\)"),
        ("path,k\xfcnstler\na.wav,x\n".encode("cp1252"), "line 1, column 2: is not UTF-8 text"),
        (b"PK\x03\x04\x14\0\6\0", "is a spreadsheet or another archive, not text"),
        (bytes(4000), "is not text in UTF-8 or UTF-16"),
        ("", "no column 'path'; .*; the file is empty"),
        ("path" * 10_000 + "\n", "got 1 columns, one of them 'pathpath.*pathpath"),
        ("path," + ",".join(f"c{number}" for number in range(2000)), "got 2001 columns"),
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
    ("text", "title"),
    [
        ("\ufeffpath\na.wav\n", None),
        ("path\r\na.wav\r\n", None),
        ("path\ra.wav\r", None),
        ("\n\npath\n\na.wav\n\n", None),
        ("path;title\na.wav;x\n", "x"),
        (" Path \t TITLE\na.wav\tx\n", "x"),
        ("path|title\na.wav|x, y\n", "x, y"),
        ("sep=;\npath;title\na.wav;x,y\n", "x,y"),
        ("\ufeffsep=,\r\npath,title\r\na.wav,x\r\n", "x"),
        ("path\ttitle\r\na.wav\tBjörk\r\n".encode("utf-16"), "Björk"),
        ("path,title\na.wav,x\n".encode("utf-16-be"), "x"),
        ('"path","title"\n"a.wav","He said ""hi"", ok"\n', 'He said "hi", ok'),
        ('path,title\na.wav,12" mix\n', '12" mix'),
        ('path,title\na.wav,"in two\nlines, yes"\n', "in two lines, yes"),
        ("path,title,,\na.wav,x,,\n", "x"),
        (",path,title\n0,a.wav,x\n", "x"),
        ("path,title,year\na.wav\n", None),
        ("# my songs\n#\npath,title\n#b.wav,y\na.wav,x\n", "x"),
        ("#path,title\na.wav,x\n", "x"),
        ("path\u200b, title\u00a0\na.wav\u00a0,x\n", "x"),
    ],
)
def test_what_spreadsheets_and_scripts_write_is_read(text, title, songs, tmp_path):
    (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = find(songs, csv=tmp_path / "list.csv")
    assert [(candidate.path, candidate.title) for candidate in found.candidates] == [("a.wav", title)]
    assert found.refused == ()


def test_a_list_of_paths_alone_needs_no_quotes_and_a_name_may_begin_with_a_hash(songs, tmp_path):
    for name in ("Hello, World.wav", "#41.wav"):
        write_song_file(tmp_path / name, TONE)
    (tmp_path / "list.csv").write_text("path\nHello, World.wav\n#41.wav\n#42.wav\n")
    found = find(tmp_path / "list.csv")
    assert [candidate.path for candidate in found.candidates] == ["#41.wav", "Hello, World.wav"]
    assert found.notes == ("1 comment in list.csv left out (lines that begin with #)",)


def test_other_columns_are_kept_under_their_names_and_synonyms_of_ours_are_noted(songs, tmp_path):
    text = "path,Year, Genre ,source,licence\na.wav,1999,Röck,web,CC0\nb.wav,,  ,,\n"
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    found = find(songs, csv=tmp_path / "list.csv")
    kept = {"year": "1999", "genre": "Röck", "source": "web", "licence": "CC0"}
    assert [candidate.metadata for candidate in found.candidates] == [kept, {}]
    track = inspect(songs, found.candidates[0], SplitShares())
    assert (track.metadata, track.source, track.rights) == (kept, "csv", "unknown")
    assert found.notes == (
        "columns of list.csv that are kept with the songs: genre, licence, source, year",
        "the column 'licence' of list.csv is kept as it is; did you mean 'rights'?",
    )


def test_a_list_without_other_columns_keeps_its_cache_keys():
    (plain, with_year) = (Candidate(path="a.wav", source="csv", metadata=metadata) for metadata in ({}, {"year": "1999"}))
    assert "metadata" not in plain.content()
    assert with_year.content() == {**plain.content(), "metadata": {"year": "1999"}}


def test_a_song_that_is_listed_twice_is_one_and_the_first_line_counts(songs, tmp_path):
    (tmp_path / "list.csv").write_text("path,title\na.wav,x\nb.wav,y\na.wav,x\nA.WAV,x\n./b.wav,z\n")
    found = find(songs, csv=tmp_path / "list.csv")
    assert [(candidate.path, candidate.title) for candidate in found.candidates] == [("a.wav", "x"), ("b.wav", "y")]
    assert found.notes == tuple(
        f"list.csv, line {n}: the same song as in list.csv, line 2, {name}; taken once" for n, name in ((4, "a.wav"), (5, "A.WAV"))
    )
    ((_, reason),) = found.refused
    assert reason.startswith("list.csv, line 6: the same song as in list.csv, line 3, with another title; that line is used")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Deep.wav", "Sub/Deep.wav"),
        ("D:\\Music\\Sub\\Deep.wav", "Sub/Deep.wav"),
        ("file:///home/me/Sub/Deep.wav", "Sub/Deep.wav"),
        ("Sub/Deep.mp3", "Sub/Deep.wav"),
        ("My Long Titel 7.wav", "My long title 7.wav"),
        ("My Long Title 8.wav", ""),
        ("gone.wav", ""),
        ("zzz.wav", ""),
        ("....wav", ""),
    ],
)
def test_a_missing_file_is_answered_with_the_nearest_or_with_none(written, meant, songs, tmp_path):
    for name in ("Sub/Deep.wav", "My long title 7.wav", "one.wav"):
        write_song_file(tmp_path / name, TONE)
    (tmp_path / "list.csv").write_text(f"path\n{written}\n")
    ((_, reason),) = find(tmp_path / "list.csv").refused
    assert reason.partition("; did you mean ")[2] == (f"{meant!r}?" if meant else "")


def test_songs_of_one_genre_are_in_one_split_on_request(tmp_path):
    for number in range(12):
        write_song_file(tmp_path / f"{number}.wav", make_song(number, 0.3)["mixture"])
    genres = ("rock", "Jazz", "ROCK ")
    lines = [f"{number}.wav,Artist {number},{genres[number % 3]}" for number in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["path,artist,genre", *lines]))
    corpus = Corpus(tmp_path / "corpus")
    values = {"songs": {"folder": str(tmp_path / "list.csv"), "group_by": "Genre", "shares": {"train": 0.4, "valid": 0.3, "test": 0.3}}}
    corpus.create(configuration.check(values, where="test"))
    stages.run_catalog(corpus, Workers(1))
    splits: dict[str, set[str]] = {}
    for track in corpus.rows("tracks", Track):
        splits.setdefault(track.metadata["genre"].strip().lower(), set()).add(track.split)
    assert {genre: len(found) for genre, found in splits.items()} == {"rock": 1, "jazz": 1}
    values["songs"]["group_by"] = ["mood"]
    corpus.create(configuration.check(values, where="test"))
    with pytest.raises(CorpusError, match=r"group_by: no song has a column 'mood'; expected one of album, .*, genre, year, or another"):
        stages.run_catalog(corpus, Workers(1))


def test_a_pipe_in_place_of_the_list_is_refused_at_once(songs, tmp_path):
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(ValueError, match="is a pipe; expected a CSV file"):
        find(songs, csv=tmp_path / "list.csv")


def test_validation_is_read_as_valid(tmp_path):
    (tmp_path / "list.csv").write_text("path,split\na.wav,validation\nb.wav,dev\nc.wav,Val\nd.wav,TRAIN\ne.wav,eval\n")
    *read, last = song_list.read(tmp_path / "list.csv")
    assert [line.values["split"] for line in read] == ["valid", "valid", "valid", "train"]
    assert last.wrong == "split must be train, valid (or validation, val, dev) or test; got 'eval'"


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
