"""The protocol musdb on STEM files and folders that are made here, with our engine, the demucs package, callables and ready stems."""

import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import stempeg
from commands import stemwright
from tiny_model import write_tiny_model

from stemwright.datagen.evaluate import bss_metrics, evaluation
from stemwright.datagen.evaluate.given_models import GivenModel, HowToSeparate
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.protocols import musdb
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100
FOUR = ("drums", "bass", "other", "vocals")
MODELS = """
import numpy as np
STEMS = ("drums", "bass", "other", "vocals")
def quarter(mixture, sample_rate):
    return {name: mixture / 4 for name in STEMS}
def shorter(mixture, sample_rate):
    return {name: mixture[:, 1:] for name in STEMS}
def nan(mixture, sample_rate):
    return {name: mixture * np.nan for name in STEMS}
def voice(mixture, sample_rate):
    return {"vocals": mixture}
"""


@pytest.fixture(scope="module", autouse=True)
def short_filters():
    """Filters of 32 taps, whose equations are solved in no time; those of 512 are compared with museval elsewhere."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bss_metrics, "FILTER_FRAMES", 32)
        yield


@pytest.fixture(scope="module")
def songs(tmp_path_factory, make_songs):
    """MUSDB18 as STEM files, and the same songs as folders of MUSDB18-HQ; there is one song of train."""
    root = tmp_path_factory.mktemp("musdb")
    for number, (split, title) in enumerate((("test", "One - First"), ("test", "Two - Second"), ("train", "Three - Third"))):
        song = make_songs(number)
        (root / "stems" / split).mkdir(parents=True, exist_ok=True)
        streams = np.stack([song[name].T for name in ("mixture", *FOUR)])
        stempeg.write_stems(str(root / "stems" / split / f"{title}.stem.mp4"), streams, RATE, writer=stempeg.StreamsWriter())
        folder = root / "hq" / split / title
        folder.mkdir(parents=True)
        for name, audio in song.items():
            save(folder / f"{name}.wav", audio, RATE)
    return root


@pytest.fixture(scope="module")
def make_songs():
    from conftest import make_song

    return lambda seed: make_song(seed, 1.5)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return HowToSeparate(write_tiny_model(tmp_path_factory.mktemp("models")), "cpu")


@pytest.fixture
def callables(tmp_path, monkeypatch):
    (tmp_path / "musdb_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("musdb_models", None)


def evaluated(folder, request):
    return evaluation.evaluate(PROTOCOLS["musdb"], request, folder)


def measured(found, name, who=""):
    return {each.group: each.value for each in found.figures if each.origin == "measured" and each.name == name and who in each.who}


def test_our_engine_equals_the_demucs_package_and_only_the_test_songs_are_used(songs, models, tmp_path):
    found = evaluated(tmp_path, EvaluationRequest(songs / "stems", (GivenModel("tiny"),), separation=models))
    assert sorted({row["song"].removesuffix(".stem.mp4") for row in found.rows}) == ["One - First", "Two - Second"]
    ours, theirs = measured(found, "SDR", "ours"), measured(found, "SDR", "demucs")
    assert set(ours) == {*FOUR, musdb.ALL}
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours[musdb.ALL] == pytest.approx(np.mean([ours[name] for name in FOUR]))
    assert 0 <= measured(found, "difference")["ours and demucs"] < musdb.SAME_DB


def test_stem_files_and_wav_folders_have_the_figures_of_one_another(songs, callables, tmp_path):
    request = EvaluationRequest(songs / "hq", (GivenModel("musdb_models:quarter"),))
    wav, stems = (measured(evaluated(tmp_path, replace(request, data=songs / kind)), "uSDR") for kind in ("hq", "stems"))
    assert wav == pytest.approx(stems, abs=0.5)  # the STEM files are AAC


def test_figures_are_medians_over_songs_of_the_rows(songs, callables, tmp_path):
    found = evaluated(tmp_path, EvaluationRequest(songs / "hq", (GivenModel("musdb_models:quarter"),)))
    for stem in FOUR:
        rows = [row["SIR"] for row in found.rows if row["stem"] == stem]
        assert len(rows) == 2
        assert measured(found, "SIR")[stem] == pytest.approx(np.median(rows))


def test_published_figures_have_their_source_and_stand_beside_ours(songs, callables, tmp_path):
    figures = evaluated(tmp_path, EvaluationRequest(songs / "hq", (GivenModel("musdb_models:quarter"),), num_songs=1)).figures
    vocals = [each for each in figures if (each.group, each.name) == ("vocals", "SDR")]
    assert [each.value for each in vocals if each.who == "htdemucs_ft"] == [9.19]
    assert vocals[-1].origin == "measured"
    assert all("read" in each.note or "README" in each.note or "abstract" in each.note for each in vocals if each.origin == "published")


def test_ready_stems_of_the_songs_themselves_have_no_error(songs, tmp_path):
    found = evaluated(tmp_path, EvaluationRequest(songs / "hq", (GivenModel(str(songs / "hq")),)))
    assert {row["stem"] for row in found.rows} == set(FOUR)
    assert all(row["uSDR"] > 60 for row in found.rows)
    assert not found.rejected


def ready(folder, titles, *, rate=RATE, cut=0, stems=FOUR, channels=2):
    for title in titles:
        (folder / title).mkdir(parents=True)
        for name in stems:
            audio = np.random.default_rng(0).normal(0, 0.1, (channels, round(1.5 * RATE) - cut)).astype(np.float32)
            save(folder / title / f"{name}.wav", audio, rate)
    return GivenModel(str(folder))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rate": 48_000}, "One - First/bass.wav has 48000 Hz, its song 44100 Hz"),
        ({"cut": 5000}, r"One - First/bass.wav lasts 1\.387 s, its song 1\.500 s; expected the same within 2400 frames"),
        ({"channels": 1}, "has 1 channels, its song 2"),
    ],
)
def test_ready_stems_that_do_not_fit_their_song_are_rejected_with_what_they_have(songs, tmp_path, how, message):
    given = ready(tmp_path / "ready", ["One - First"], **how)
    found = evaluated(tmp_path, EvaluationRequest(songs / "hq", (given,), num_songs=1))
    assert len(found.rejected) == 1
    assert re.search(message, found.rejected[0][1])


def test_ready_stems_a_codec_longer_are_cut_and_a_missing_song_is_named(songs, tmp_path):
    given = ready(tmp_path / "ready", ["One - First"], cut=-1105)
    found = evaluated(tmp_path, EvaluationRequest(songs / "hq", (given,)))
    assert {row["song"] for row in found.rows} == {"One - First"}
    assert "has no folder 'Two - Second', nor has one of its folders; it has One - First (1 in all)" in found.rejected[0][1]


@pytest.mark.parametrize(
    ("name", "message"),
    [("shorter", r"the stem drums of the shape \[2, 66149\]; expected \[2, 66150\]"), ("nan", "NaN or infinite samples")],
)
def test_what_a_callable_returns_is_checked(songs, callables, tmp_path, name, message):
    found = evaluated(tmp_path, EvaluationRequest(songs / "hq", (GivenModel(f"musdb_models:{name}"),), num_songs=1))
    assert not found.rows
    assert re.search(message, found.rejected[0][1])


def test_a_separator_that_lacks_a_stem_ends_the_evaluation_with_what_it_lacks(songs, callables, tmp_path):
    with pytest.raises(UsageError, match=r"musdb_models:voice has the stems vocals; .* Expected bass, drums, other also"):
        evaluated(tmp_path, EvaluationRequest(songs / "hq", (GivenModel("musdb_models:voice"),)))


def test_a_folder_without_songs_is_refused_with_the_layout(tmp_path):
    with pytest.raises(UsageError, match=r"without sound files; .*; the protocol musdb looks for test/SONG\.stem\.mp4"):
        musdb.cases(EvaluationRequest(tmp_path))


def test_a_song_that_lacks_a_stem_is_rejected_and_the_others_are_measured(songs, callables, tmp_path):
    shutil.copytree(songs / "hq" / "test", tmp_path / "data")
    (tmp_path / "data" / "Two - Second" / "vocals.wav").unlink()
    found = evaluated(tmp_path, EvaluationRequest(tmp_path / "data", (GivenModel("musdb_models:quarter"),)))
    assert {row["song"] for row in found.rows} == {"One - First"}
    assert [(title, reason[:14]) for title, reason in found.rejected] == [("Two - Second, musdb_models:quarter", "has no vocals ")]
    assert "(silent stems need no file, but the others leave" in found.rejected[0][1]


def test_an_instrumental_without_a_file_of_vocals_is_scored_as_with_a_silent_one(songs, callables, tmp_path):
    found = {}
    for kind in ("silent", "absent"):
        shutil.copytree(songs / "hq" / "test", tmp_path / kind)
        song = tmp_path / kind / "Two - Second"
        stems = {path.stem: load(path)[0] for path in song.glob("*.wav")}
        rest = sum(stems[name] for name in FOUR if name != "vocals")
        save(song / "mixture.wav", rest, RATE)
        save(song / "vocals.wav", 0.0 * rest, RATE)
        if kind == "absent":
            (song / "vocals.wav").unlink()
        found[kind] = evaluated(tmp_path / f"{kind} kept", EvaluationRequest(tmp_path / kind, (GivenModel("musdb_models:quarter"),)))
    assert not found["absent"].rejected
    absent, silent = (
        {(row["song"], row["stem"], name): row.get(name) for row in found[kind].rows for name in ("SDR", "SIR", "ISR", "uSDR")}
        for kind in ("absent", "silent")
    )
    assert absent == pytest.approx(silent, abs=1e-5)
    assert {key[:2] for key, value in absent.items() if value is None} == {("Two - Second", "vocals")}
    vocals = next(each for each in found["absent"].figures if (each.group, each.name, each.origin) == ("vocals", "SDR", "measured"))
    assert vocals.count == 1
    assert vocals.note.startswith("1 of 2 songs have none: the stem is silent there")


def test_another_layout_is_refused_with_what_was_looked_for(tmp_path, synthetic_song):
    (tmp_path / "Song").mkdir()
    for stem in ("mixture", "drums", "bass"):
        save(tmp_path / "Song" / f"{stem}.wav", synthetic_song[stem], RATE)
    with pytest.raises(UsageError, match=r"no song of MUSDB18's layout: Song has no other, no vocals; expected test/SONG\.stem\.mp4"):
        musdb.cases(EvaluationRequest(tmp_path))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EvaluationRequest(options={"package": "maybe"}), "--set package=maybe: expected yes or no"),
        (EvaluationRequest(models=(GivenModel("tests"),), duration_s=1.0), "has the stems of whole songs; leave out --seconds"),
    ],
)
def test_what_cannot_be_evaluated_is_a_usage_error(request_, message):
    with pytest.raises(UsageError, match=message):
        musdb.cases(request_)


def test_an_interrupted_evaluation_goes_on_with_the_songs_that_are_left(songs, callables, tmp_path, monkeypatch):
    request = EvaluationRequest(songs / "hq", (GivenModel("musdb_models:quarter"),))
    whole = musdb.measure

    def stops(song, *arguments, **how):
        if song.title.startswith("Two"):
            raise KeyboardInterrupt
        return whole(song, *arguments, **how)

    with monkeypatch.context() as patched:
        patched.setattr(musdb, "measure", stops)
        with pytest.raises(KeyboardInterrupt):
            evaluated(tmp_path / "kept", request)
    found = evaluated(tmp_path / "kept", request)
    assert found.finished_before == 1
    assert found.figures == evaluated(tmp_path / "fresh", request).figures


def test_the_command_shows_ours_beside_the_package_on_the_excerpt(tmp_path):
    done = stemwright("evaluate", "musdb", "--seconds", "1", "--json", "--out", tmp_path)
    shown = json.loads(done.stdout)
    apart = [each for each in shown["figures"] if each["name"] == "difference"]
    assert apart[0]["value"] < musdb.SAME_DB
    assert shown["not_run"].startswith("needs MUSDB18")
    assert {each["group"] for each in shown["figures"] if each["who"] == "bundled (ours)"} == {"guitar", "backing", "mean of 2"}


def test_a_stem_that_is_silent_in_every_song_has_one_row_that_says_so():
    known = dict.fromkeys((*musdb.RATIOS, *musdb.WHOLE_SONG), 1.0)
    rows = [{"song": "a", "model": "m", "engine": "", "stem": "bass", **known}]
    rows.append({**rows[0], "stem": "vocals", **dict.fromkeys(known)})
    vocals = [each for each in musdb.figures(rows) if each.group == "vocals"]
    assert [(each.name, each.value) for each in vocals] == [("SDR", None)]
    assert vocals[0].note.startswith("1 of 1 songs have none")
