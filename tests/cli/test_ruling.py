"""The verb ``rules`` on songs and a corpus whose levels, places, years and spectra are known."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
from commands import stemwright
from PIL import Image

from stemwright.datagen.report.rules_plot import figure_text, place
from stemwright.separation.rules.published import RULES

RATE = 22_050
VOCAL_DB = {"A": 3.0, "B": 1.0, "C": -4.0, "D": 2.0, "E": 0.5, "F": -6.0}
YEARS = {"A": 1950, "B": 1958, "C": 1986, "D": 1989, "E": 1991, "F": 2001}
GENRES = {"A": "pop", "B": "pop", "C": "metal", "D": "country", "E": "pop", "F": "metal"}


def coloured(rng, num_frames):
    """Noise that falls by 5 dB an octave, the same in both channels."""
    hz = np.fft.rfftfreq(num_frames, 1 / RATE)
    size = np.where(hz > 30, np.maximum(hz, 30) ** (-5 / (20 * np.log10(2))), 0.0)
    audio = np.fft.irfft(size * np.exp(2j * np.pi * rng.random(hz.size)), num_frames)
    return audio / audio.std()


def write_song(folder, vocal_db, *, bass_pan=0.0, duration_s=4.0, channels=2, seed=0, names=("vocals", "bass", "other")):
    """A multitrack of three parts of one spectrum: the vocals at a level against all the rest, the bass at a pan."""
    rng = np.random.default_rng(seed)
    parts = [coloured(rng, round(duration_s * RATE)) for _ in names]
    angle = (bass_pan + 1) * np.pi / 4
    pans = [(1.0, 1.0), (2**0.5 * np.cos(angle), 2**0.5 * np.sin(angle)), (1.0, 1.0)]
    gains = [10 ** (vocal_db / 20), 0.5**0.5, 0.5**0.5]
    folder.mkdir(parents=True)
    total = 0
    for name, part, pan, gain in zip(names, parts, pans, gains, strict=True):
        stem = 0.04 * gain * part * np.array(pan)[:channels, None]
        soundfile.write(folder / f"{name}.wav", stem.T, RATE, subtype="FLOAT")
        total = total + stem
    soundfile.write(folder / "mixture.wav", np.asarray(total).T, RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    for number, (name, vocal_db) in enumerate(VOCAL_DB.items()):
        write_song(folder / name, vocal_db, bass_pan=0.5 if name == "F" else 0.0, seed=number)
    return folder


@pytest.fixture(scope="module")
def corpus(songs, tmp_path_factory):
    place = tmp_path_factory.mktemp("corpus")
    shutil.copytree(songs, place / "songs")
    facts = [f"{name},{name},{YEARS[name]},{GENRES[name]},{'so' if name < 'C' else ''}" for name in VOCAL_DB]
    (place / "songs" / "songs.csv").write_text("\n".join(["path,artist,year,genre,mood", *facts, ""]))
    stemwright("catalog", place / "songs" / "songs.csv", place / "corpus")
    stemwright("separate", place / "corpus")
    return place / "corpus"


def rows_of(done, key="songs"):
    return {(row.get("track", row.get("group")), row["rule"]): row for row in json.loads(done.stdout)[key]}


def test_verdicts_of_songs_whose_levels_and_places_are_known(songs):
    done = stemwright("rules", songs / "B", songs / "F", "--json")
    rows = rows_of(done)
    for name in "BF":
        against = rows[name, "vocal_equals_rest"]
        assert against["value"] == pytest.approx(VOCAL_DB[name], abs=0.3)
        assert rows[name, "slope_5_db"]["value"] == pytest.approx(-5.0, abs=0.3)
        assert rows[name, "slope_5_db"]["kept"] == "yes"
        assert rows[name, "kick_13_lu"]["kept"] == "not measured"
    assert rows["B", "vocal_equals_rest"]["kept"] == "yes"
    assert rows["F", "vocal_equals_rest"]["kept"] == "no"
    assert rows["B", "bass_centre"]["kept"] == "yes"
    assert rows["F", "bass_centre"]["kept"] == "no"
    assert rows["F", "bass_centre"]["value"] == pytest.approx(0.5, abs=0.01)
    assert rows["F", "vocal_pop"]["why"] == "the genre is not known"


def test_year_and_genre_decide_what_is_asked(songs):
    rows = rows_of(stemwright("rules", songs / "A", "--year", "1950", "--genre", "Pop", "--json"))
    kept = {name: rows["A", name]["kept"] for name in ("vocal_pop", "vocal_to_1960", "vocal_from_1975", "vocal_metal")}
    assert kept == {"vocal_pop": "yes", "vocal_to_1960": "yes", "vocal_from_1975": "not about it", "vocal_metal": "not about it"}


def test_a_corpus_gives_shares_trends_and_groups(corpus):
    done = stemwright("rules", corpus, "--by", "genre", "--json")
    summary = rows_of(done, "summary")
    assert summary["all songs", "bass_centre"]["share"] == pytest.approx(5 / 6, abs=1e-3)
    assert summary["metal", "bass_centre"]["share"] == 0.5
    assert summary["pop", "bass_centre"]["songs"] == 3
    assert summary["all songs", "vocal_to_1960"]["songs"] == 2
    assert summary["all songs", "vocal_to_1960"]["share"] == 1.0
    assert summary["metal", "vocal_metal"]["share"] == 1.0
    assert summary["pop", "vocal_metal"]["why"] == "it applies to metal"
    assert summary["all songs", "vocal_steady"]["why"].startswith("a trend needs at least 5 songs")
    values = [row["value"] for (track, rule), row in rows_of(done).items() if rule == "vocal_equals_rest"]
    assert sorted(values) == pytest.approx(sorted(VOCAL_DB.values()), abs=0.3)
    assert summary["all songs", "vocal_equals_rest"]["value"] == pytest.approx(np.median(list(VOCAL_DB.values())), abs=0.2)
    row = summary["all songs", "bass_centre"]
    assert row["share_low"] < row["share"] < row["share_high"]


def test_groups_of_decades_and_of_any_column_of_the_list(corpus):
    by_year = stemwright("rules", corpus, "--by", "year", "--rule", "bass_centre")
    assert [line.split(":")[0] for line in by_year.stdout.splitlines() if "song" in line and ":" in line and "rules" not in line] == [
        "all songs",
        "1950s",
        "1980s",
        "1990s",
        "2000s",
    ]
    by_mood = rows_of(stemwright("rules", corpus, "--by", "mood", "--rule", "bass_centre", "--json"), "summary")
    assert by_mood["so", "bass_centre"]["songs"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{corpus}", "--by", "colour"], "--by colour: none of 6 songs has a column 'colour'"),
        (["{corpus}", "--stems", "{songs}"], "--stems: for recordings; {corpus} is a corpus"),
        (["{corpus}", "--genre", "pop"], "--genre: for recordings"),
        (["{corpus}", "{songs}/A"], "{corpus} is a corpus; expected it alone, or songs alone"),
        (["{songs}/A", "--rule", "vocal_centr"], "there is no rule 'vocal_centr'; did you mean 'vocal_centre'?"),
        (["{songs}/A", "--by", "mood"], "--by mood: none of the song has a column 'mood'"),
        (["{songs}/A", "--by", "genre"], "--by genre: none of the song has a genre"),
        (["{songs}/nothing.wav"], "no such file; expected recordings"),
        (["--list", "{songs}/A"], "--list shows the rules and measures nothing"),
        (["{songs}/A", "--plot", "{songs}/A/mixture.wav"], "expected an output file that ends in .png"),
        ([], "expected a recording or a corpus to measure; for the rules themselves: stemwright rules --list"),
    ],
)
def test_wrong_usage_says_what_was_expected(words, message, songs, corpus):
    places = {"songs": str(songs), "corpus": str(corpus)}
    done = stemwright("rules", *(word.format(**places) for word in words), check=False)
    assert done.returncode == 2, done
    assert message.format(**places) in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_corpus_without_stems_names_the_verb_that_makes_them(songs, tmp_path):
    stemwright("catalog", songs, tmp_path / "corpus", "--kind", "multitracks")
    done = stemwright("rules", tmp_path / "corpus", check=False)
    assert done.returncode == 2
    assert f"stemwright separate {tmp_path / 'corpus'}" in done.stderr


def test_a_track_whose_stem_is_lost_is_rejected_and_the_others_measured(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    next((copy / "stems").rglob("bass.flac")).unlink()
    done = stemwright("rules", copy, "--rule", "bass_centre", "--json", check=False)
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert len(found["rejected"]) == 1
    assert len(found["songs"]) == 5
    assert "bass.flac" in found["rejected"][0]["reason"]


def test_a_silent_song_is_rejected_with_the_reason(tmp_path):
    folder = tmp_path / "quiet"
    folder.mkdir()
    for name in ("mixture", "vocals", "bass"):
        soundfile.write(folder / f"{name}.wav", np.zeros((RATE, 2)), RATE)
    done = stemwright("rules", folder, check=False)
    assert done.returncode == 1
    assert "silence" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mono_song_says_so_of_places_and_sides(tmp_path):
    shown = " ".join(stemwright("rules", write_song(tmp_path / "mono", 0.0, channels=1)).stdout.split())
    assert "not measured: vocal_centre, bass_centre, no_hard_pan: a mono recording has no pan" in shown
    assert "low_narrow, higher_wider, sides_balanced, mono_safe: a mono recording has no sides" in shown
    assert "vocal_equals_rest" in shown


def test_stems_of_other_names_say_which_names_are_missing(tmp_path):
    done = stemwright("rules", write_song(tmp_path / "duo", 0.0, names=("guitar", "backing", "noise")))
    assert "no stem is called vocals" in done.stdout
    assert "no stem is called bass" in done.stdout
    assert "slope_5_db" in done.stdout


def test_the_list_has_every_rule_with_its_source():
    found = json.loads(stemwright("rules", "--list", "--json").stdout)["rules"]
    assert [row["rule"] for row in found] == list(RULES)
    assert all(row["source"] and row["statement"].endswith(".") for row in found)
    assert all(row["measures"] or row["not_measured"] for row in found)
    assert "De Man, Leonard, King, Reiss (2014)" in stemwright("rules", "--list").stdout


def test_rows_and_pictures_are_written(songs, corpus, tmp_path):
    stemwright("rules", songs / "A", "--csv", tmp_path / "one.csv", "--plot", tmp_path / "one.png")
    stemwright("rules", corpus, "--plot", tmp_path / "all.png", "--rule", "bass_centre", "--rule", "slope_5_db")
    with (tmp_path / "one.csv").open(newline="") as lines:
        rows = {row["rule"]: row for row in csv.DictReader(lines)}
    assert float(rows["bass_centre"]["value"]) == pytest.approx(0.0, abs=0.01)
    assert rows["kick_centre"]["value"] == ""
    tall, short = (Image.open(tmp_path / name).size for name in ("one.png", "all.png"))
    assert tall[0] == short[0]
    assert tall[1] > 2 * short[1]


def test_values_are_drawn_to_the_scale_of_their_range():
    rule = RULES["slope_5_db"]
    assert [place(value, rule) for value in (-6.0, -5.0, -4.0, -3.5)] == pytest.approx([1.0, 1.5, 2.0, 2.25])
    assert (place(-99.0, rule), place(99.0, rule)) == (0.0, 3.0)
    assert place(-10.0, RULES["low_narrow"]) == 2.0
    assert place(-20.0, RULES["low_narrow"]) == pytest.approx(1.0)
    assert place(0.0, RULES["vocal_loudest"]) == 1.0


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (-0.0, "0.0"), (1e-9, "0.0"), (0.067, "0.067"), (-12.345, "-12.3"), (0.999, "1.0")]
)
def test_figures_have_few_digits(value, text):
    assert figure_text(value) == text


def test_a_group_that_is_called_all_songs_is_counted_once(songs, tmp_path):
    for name, folder in (("one", "A"), ("two", "B"), ("three", "C")):
        shutil.copytree(songs / folder, tmp_path / name)
    (tmp_path / "songs.csv").write_text(
        "path,title,genre\none/mixture.wav,Same,all songs\ntwo/mixture.wav,Same,pop\nthree/mixture.wav,Dawn,pop\n"
    )
    found = json.loads(
        stemwright("rules", tmp_path / "songs.csv", "--model", "bundled", "--by", "genre", "--rule", "slope_5_db", "--json").stdout
    )
    assert [(row["group"], row["is_group"], row["songs"]) for row in found["summary"]] == [
        ("all songs", False, 3),
        ("all songs", True, 1),
        ("pop", True, 2),
    ]
    assert sorted(row["track"] for row in found["songs"]) == ["Dawn", "Same (one)", "Same (two)"]
    basis = {(row["basis"], row["model"], row["rule_certainty"]) for row in found["songs"]}
    assert basis == {("demonstration", "bundled", RULES["slope_5_db"].certainty)}


def test_a_table_says_what_its_values_rest_on(songs, tmp_path):
    shutil.copy(songs / "A" / "mixture.wav", tmp_path / "song.wav")
    shown = stemwright("rules", tmp_path / "song.wav", "--model", "bundled").stdout
    assert "rough estimate by the demonstration model bundled" in shown
    assert "value" in shown
    shown = stemwright("rules", songs / "A").stdout
    assert "measured in its own stems" in shown
    assert "<= -60.0 dB" in shown  # nothing differs between the channels
