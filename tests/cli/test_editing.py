import json
import re

import numpy as np
import pytest
import soundfile
import torch
from conftest import make_song, write_song_file
from tiny_model import write_tiny_model
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.edit.grammar import EditError, chains, parse
from stemwright.datagen.edit.recording import apply_edits, parse_all_edits
from stemwright.datagen.effects import apply_chain
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.containers import tags
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.song_writing import SongFormat, write_song
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100
STEMS = ("drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def song():
    return make_song(0, 2.0)


@pytest.fixture(scope="module")
def stems(song):
    return {name: song[name] for name in STEMS}


@pytest.fixture(scope="module")
def folder(song, tmp_path_factory):
    place = tmp_path_factory.mktemp("song")
    for name, audio in song.items():
        write_song_file(place / f"{name}.wav", audio)
    return place


def invoke(*arguments):
    return CliRunner().invoke(app, ["edit", *map(str, arguments)])


def edited(*texts, mixture, stems, **options):
    return apply_edits(mixture, stems, RATE, parse_all_edits(texts), **options)


@pytest.mark.parametrize(
    "texts",
    [
        ("increase the volume of vocals by 0 dB",),
        ("lower drums, bass, other and vocals by 0 dB",),
        ("raise bass by 0 dB", "lower bass by 0 dB; raise other by 0 dB"),
    ],
)
def test_an_edit_that_changes_nothing_gives_back_the_mixture_bit_for_bit(song, texts):
    rng = np.random.default_rng(0)
    poor = {name: (song[name] + 0.01 * rng.standard_normal(song[name].shape)).astype(np.float32) for name in STEMS}  # as separated
    made = edited(*texts, mixture=song["mixture"], stems=poor)
    assert made.audio.tobytes() == song["mixture"].tobytes()
    assert made.gain_db == 0.0
    assert made.closure_db < -10.0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_the_file_of_an_edit_that_changes_nothing_holds_the_samples_of_the_song(folder, song, tmp_path, subtype, suffix):
    soundfile.write(tmp_path / "song.wav", song["mixture"].T, RATE, subtype=subtype)
    done = invoke(tmp_path / "song.wav", "raise vocals by 0 dB", tmp_path / f"out{suffix}", "--stems", folder)
    assert done.exit_code == 0, done.output
    assert "holds the samples of the song exactly" in done.stdout.replace("\n", " ")
    np.testing.assert_array_equal(load(tmp_path / f"out{suffix}")[0], load(tmp_path / "song.wav")[0])


@pytest.mark.parametrize(
    "text", ["mute drums", "raise vocals and bass by 6 dB", "pan other to the left side", "apply heavy lowpass to drums"]
)
def test_the_change_is_what_the_effect_did_to_the_named_stems(song, stems, text):
    made, label = edited(text, mixture=song["mixture"], stems=stems), parse(text)
    expected = np.zeros_like(song["mixture"])
    for name in label.stems:
        parts = [apply_chain(torch.from_numpy(stems[name].copy()), RATE, chain).numpy() for chain in chains(label, name)]
        expected += sum(parts, np.zeros_like(expected)) - stems[name]
    np.testing.assert_allclose(made.audio - song["mixture"], expected, atol=3e-7)


def test_a_song_that_24_bits_cannot_hold_is_reported_as_rounded_in_flac_and_is_exact_in_wav(folder, song, tmp_path):
    fine = song["mixture"] * np.float32(0.999)
    save(tmp_path / "song.wav", fine, RATE, encoding="wav32f")
    rounded, exact = (
        invoke(tmp_path / "song.wav", "raise vocals by 0 dB", tmp_path / name, "--stems", folder) for name in ("o.flac", "o.wav")
    )
    assert "rounded to 24 bit" in rounded.stdout.replace("\n", " ")
    assert "exactly" in exact.stdout
    np.testing.assert_array_equal(load(tmp_path / "o.wav")[0], fine)


def test_what_is_in_no_stem_stays_but_for_isolation(song, stems):
    some = {name: audio for name, audio in stems.items() if name != "other"}
    muted = edited("mute vocals", mixture=song["mixture"], stems=some)
    np.testing.assert_allclose(muted.audio, song["drums"] + song["bass"] + song["other"], atol=3e-7)
    alone = edited("isolate vocals and drums", mixture=song["mixture"], stems=some)
    np.testing.assert_allclose(alone.audio, song["vocals"] + song["drums"], atol=3e-7)
    energy = [float((audio.astype(np.float64) ** 2).sum()) for audio in (song["other"], song["mixture"])]
    assert muted.closure_db == pytest.approx(10 * np.log10(energy[0] / energy[1]), abs=0.01)


def test_edits_act_one_after_another(song, stems):
    at_once = edited("raise vocals by 6 dB; mute drums", "lower vocals by 6 dB", mixture=song["mixture"], stems=stems)
    np.testing.assert_allclose(at_once.audio, edited("mute drums", mixture=song["mixture"], stems=stems).audio, atol=3e-7)
    gone = edited("mute drums; raise drums by 6 dB", mixture=song["mixture"], stems=stems)
    np.testing.assert_allclose(gone.audio, at_once.audio, atol=3e-7)


EVERY_STEM = "raise drums, bass, other and vocals by 12 dB"


def test_the_level_stays_in_float_whatever_the_peak(folder, song, tmp_path):
    done = invoke(folder / "mixture.wav", EVERY_STEM, tmp_path / "out.wav", "--stems", folder, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["gain_db"] == 0.0
    assert said["peak_dbfs"] > 1.0
    np.testing.assert_allclose(load(tmp_path / "out.wav")[0], song["mixture"] * db_to_gain(12.0), rtol=1e-5, atol=1e-6)
    plain = invoke(folder / "mixture.wav", EVERY_STEM, tmp_path / "out.wav", "--stems", folder)
    assert "float WAV holds it, but a player clips it" in plain.stdout.replace("\n", " ")


def test_one_gain_lowers_all_where_the_file_holds_no_such_peak(folder, song, tmp_path):
    done = invoke(folder / "mixture.wav", EVERY_STEM, tmp_path / "out.flac", "--stems", folder, "--json")
    said = json.loads(done.stdout)
    assert said["gain_db"] < -1.0
    assert round(100 * said["gain_db"]) == pytest.approx(100 * said["gain_db"])
    audio = load(tmp_path / "out.flac")[0]
    assert 0.998 < np.abs(audio).max() <= 1.0
    np.testing.assert_allclose(audio, song["mixture"] * db_to_gain(12.0 + said["gain_db"]), atol=1e-5)
    plain = invoke(folder / "mixture.wav", EVERY_STEM, tmp_path / "out.flac", "--stems", folder)
    assert f"lowered by {-said['gain_db']:.2f} dB" in plain.stdout


def test_a_song_beyond_full_scale_stays_so_in_float_and_is_lowered_in_flac(folder, song, tmp_path):
    loud = np.asarray(song["mixture"] * np.float32(1.5 / np.abs(song["mixture"]).max()))
    save(tmp_path / "loud.wav", loud, RATE)
    for name, gain_db in (("out.wav", 0.0), ("out.flac", -20 * np.log10(1.5))):
        done = invoke(tmp_path / "loud.wav", "raise vocals by 0 dB", tmp_path / name, "--stems", folder, "--json")
        assert json.loads(done.stdout)["gain_db"] == pytest.approx(gain_db, abs=0.011)
    np.testing.assert_array_equal(load(tmp_path / "out.wav")[0], loud)


def test_a_kept_level_is_limited_or_refused(folder, song, tmp_path):
    words = [folder / "mixture.wav", EVERY_STEM, tmp_path / "out.flac", "--stems", folder, "--keep-level"]
    refused = invoke(*words, "refuse")
    assert isinstance(refused.exception, Refused)
    assert re.search(r"the edited song peaks at \+\d\.\d\d dBFS, at \d\.\d\d s: 24-bit FLAC cannot hold it", str(refused.exception))
    assert not (tmp_path / "out.flac").exists()
    done = invoke(*words, "limit", "--json")
    said = json.loads(done.stdout)
    assert said["gain_db"] == 0.0
    assert said["limited"]["lowest_db"] < -1.0
    loud, audio = song["mixture"] * db_to_gain(12.0), load(tmp_path / "out.flac")[0]
    assert np.abs(audio).max() <= 1.0
    assert (np.abs(audio) <= np.abs(loud) + 1e-5).all()
    assert "limiter: limited by at most" in invoke(*words, "limit").stdout
    assert "expected to keep the level by limit or refuse" in str(invoke(*words, "yes").exception)


def test_the_command_separates_edits_and_reports_what_it_did(folder, tmp_path):
    models = write_tiny_model(tmp_path / "models", "tiny", seed=0)
    words = [folder / "mixture.wav", "mute drums; raise vocals by 3 dB", "pan bass to the left side", tmp_path / "out.flac"]
    done = invoke(*words, "--model", "tiny", "--model-folder", models, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["edits"] == [
        {"operation": "mute", "stems": ["drums"], "amount": None},
        {"operation": "volume", "stems": ["vocals"], "amount": 3.0},
        {"operation": "pan", "stems": ["bass"], "amount": "left"},
    ]
    assert said["changed"] is True
    assert said["gain_db"] <= 0.0
    audio, rate = load(tmp_path / "out.flac")
    assert (audio.shape, rate) == (load(folder / "mixture.wav")[0].shape, RATE)
    assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(said["peak_dbfs"], abs=0.01)


def test_a_separated_song_at_another_rate_is_untouched_by_an_edit_of_nothing(tmp_path, song):
    models = write_tiny_model(tmp_path / "models", "tiny", seed=0)
    write_song_file(tmp_path / "song.wav", song["mixture"], 48_000)
    done = invoke(tmp_path / "song.wav", "raise vocals by 0 dB", tmp_path / "out.wav", "--model", "tiny", "--model-folder", models)
    assert done.exit_code == 0, done.output
    audio, rate = load(tmp_path / "out.wav")
    assert rate == 48_000
    np.testing.assert_array_equal(audio, song["mixture"])


def test_stems_at_another_rate_and_in_mono_are_brought_to_the_song(folder, song, tmp_path):
    from stemwright.manifests.sound.resampling import resample

    save(tmp_path / "stems" / "vocals.flac", resample(np.ascontiguousarray(song["vocals"]), RATE, 48_000), 48_000)
    done = invoke(folder / "mixture.wav", "mute vocals", tmp_path / "out.wav", "--stems", tmp_path / "stems")
    assert done.exit_code == 0, done.output
    error = load(tmp_path / "out.wav")[0] - (song["mixture"] - song["vocals"])
    assert float((error**2).sum()) < 1e-4 * float((song["vocals"] ** 2).sum())  # what is at half the sample rate is lost in resampling
    save(tmp_path / "mono" / "drums.flac", song["drums"][:1], RATE)
    assert invoke(folder / "mixture.wav", "mute drums", tmp_path / "out.wav", "--stems", tmp_path / "mono").exit_code == 0
    np.testing.assert_allclose(load(tmp_path / "out.wav")[0], song["mixture"] - song["drums"], atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (
            ["increse the vocals please", "out.flac"],
            r"'increse the vocals please' is not understood as an edit; the nearest is 'increase the volume of vocals'",
            EditError,
        ),
        ([";", "out.flac"], "expected an edit, such as 'mute bass'", EditError),
        (["frob the bass", "out.flac"], r"such as 'mute bass', .*, with the stems bass, drums, other, vocals; `stemwright", EditError),
        (["increse the piano", "out.flac"], r"not understood as an edit.*, with the stems bass, drums, other, vocals; ", EditError),
        (["mute guitar", "out.flac"], r"there is no stem 'guitar': .* gives bass, drums, other, vocals", EditError),
        (["remove reverb from vocals", "out.flac"], "the reverberation of a recording cannot be removed", EditError),
        (["mute drums", "out.txt"], r"out.txt: expected an output file that ends in \.wav or \.flac or \.mp3", UsageError),
        (["mute drums", "out.mp3", "--bits", "16"], "bits are for .wav or .flac; out.mp3 has a bit rate", UsageError),
        (["mute drums", "out.flac", "--bits", "32"], "expected 16 or 24 bits for .flac; got 32", UsageError),
        (
            ["mute drums", "out.flac", "--bit-rate", "320"],
            "a bit rate is for .mp3, .m4a, .opus, .ogg; out.flac has bits: 16 or 24",
            UsageError,
        ),
        (["mute drums", "out.mp3", "--bit-rate", "2"], "expected a bit rate of 8 to 512 kbit/s; got 2", UsageError),
    ],
)
def test_an_impossible_edit_is_reported_and_nothing_is_written(folder, tmp_path, monkeypatch, arguments, said, code):
    monkeypatch.chdir(tmp_path)
    done = invoke(folder / "mixture.wav", *arguments, "--stems", folder)
    assert isinstance(done.exception, code)
    assert re.search(said, str(done.exception))
    assert not list(tmp_path.iterdir())


def test_no_suggestion_is_itself_refused():
    with pytest.raises(EditError) as refused:
        parse_all_edits(["remoove the vocals"])
    parse_all_edits([re.search(r"nearest is '(.*)'", str(refused.value))[1]])


def test_a_model_without_the_stem_is_reported_before_anything_is_separated(folder, tmp_path):
    done = invoke(folder / "mixture.wav", "mute piano", tmp_path / "out.flac", "--model", "bundled")
    assert "model bundled gives" in str(done.exception)
    assert "try --model htdemucs_6s" in str(done.exception)


def test_stems_of_another_song_are_refused(folder, tmp_path):
    for name in STEMS:
        write_song_file(tmp_path / "stems" / f"{name}.wav", make_song(7, 2.0)[name])
    done = invoke(folder / "mixture.wav", "mute vocals", tmp_path / "out.flac", "--stems", tmp_path / "stems")
    assert "they are of another recording, or not aligned" in str(done.exception)
    assert not (tmp_path / "out.flac").exists()


def test_the_song_is_never_written_over(folder):
    before = (folder / "mixture.wav").read_bytes()
    done = invoke(folder / "mixture.wav", "mute vocals", folder / "mixture.wav", "--stems", folder)
    assert "is the song itself" in str(done.exception)
    assert (folder / "mixture.wav").read_bytes() == before


def test_panning_a_mono_song_is_an_error():
    song = make_song(0, 1.0, num_channels=1)
    with pytest.raises(
        EditError, match=r"pan of vocals is not possible on this recording: a pan needs two channels; got 1: write the song as stereo"
    ):
        edited("pan vocals to the left side", mixture=song["mixture"], stems={name: song[name] for name in STEMS})


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".opus", ".ogg", ".flac"])
def test_a_song_is_edited_into_every_format_with_its_tags(folder, song, tmp_path, suffix):
    write_song(tmp_path / "song.flac", song["mixture"], RATE, SongFormat(".flac", 24), {"title": "Ëine", "artist": "A & B"})
    done = invoke(tmp_path / "song.flac", "mute drums", tmp_path / f"new/out{suffix}", "--stems", folder)
    assert done.exit_code == 0, done.output
    made = tags(tmp_path / f"new/out{suffix}")
    assert (made["title"], made["artist"]) == ("Ëine", "A & B")
    audio, rate = load(tmp_path / f"new/out{suffix}")
    assert audio.shape[1] / rate == pytest.approx(song["mixture"].shape[1] / RATE, abs=1 / rate)


@pytest.mark.parametrize("bits", [16, 24])
def test_a_wav_of_integers_holds_a_song_that_was_not_changed(folder, song, tmp_path, bits):
    soundfile.write(tmp_path / "song.wav", song["mixture"].T, RATE, subtype="PCM_16")
    words = [tmp_path / "song.wav", "raise vocals by 0 dB", tmp_path / "out.wav", "--stems", folder, "--bits", bits]
    assert "holds the samples of the song exactly" in invoke(*words).stdout.replace("\n", " ")
    assert soundfile.info(tmp_path / "out.wav").subtype == f"PCM_{bits}"


def odd_song(folder, audio, rate):
    """A song of two stems in a folder, from one sound."""
    for name, part in {"vocals": 0.25 * audio, "drums": 0.5 * audio, "mixture": 0.75 * audio}.items():
        save(folder / f"{name}.wav", np.asarray(part, np.float32), rate)
    return folder / "mixture.wav"


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a", ".opus", ".ogg"])
@pytest.mark.parametrize(
    ("shape", "rate"), [((1, 8000), 8000), ((2, 1), RATE), ((1, 1), 8000), ((2, 30), 96_000)], ids=["8 kHz", "1 sample", "1 at 8 kHz", "30"]
)
def test_short_slow_and_mono_songs_are_edited(tmp_path, suffix, shape, rate):
    audio = np.random.default_rng(0).uniform(-1.0, 1.0, shape)
    song = odd_song(tmp_path / "in", audio, rate)
    done = invoke(song, "mute drums", tmp_path / f"out{suffix}", "--stems", tmp_path / "in")
    if suffix == ".ogg":
        assert "Vorbis does not keep the length of this song" in str(done.exception) or done.exit_code == 0
        return
    assert done.exit_code == 0, repr(done.exception)
    found, found_rate = load(tmp_path / f"out{suffix}")
    assert found.shape[0] == shape[0]
    if suffix in (".wav", ".flac"):
        assert found_rate == rate
        np.testing.assert_allclose(found, 0.25 * audio, atol=2.0**-23)


def test_a_silent_song_stays_silent(tmp_path):
    song = odd_song(tmp_path / "in", np.zeros((2, 5000)), RATE)
    for name, bits in (("out.wav", 16), ("out.flac", 16), ("out.flac", 24)):
        done = invoke(song, "raise vocals by 12 dB", tmp_path / name, "--stems", tmp_path / "in", "--bits", bits, "--json")
        assert done.exit_code == 0, repr(done.exception)
        assert json.loads(done.stdout)["peak_dbfs"] is None
        np.testing.assert_array_equal(load(tmp_path / name)[0], np.zeros((2, 5000)))


def test_more_than_two_channels_are_edited_and_refused_where_a_format_has_two(tmp_path):
    audio = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 5000))
    song = odd_song(tmp_path / "in", audio, RATE)
    for name in ("out.wav", "out.flac"):
        assert invoke(song, "mute drums", tmp_path / name, "--stems", tmp_path / "in").exit_code == 0
        np.testing.assert_allclose(load(tmp_path / name)[0], 0.25 * audio, atol=2.0**-23)
    for name in ("out.mp3", "out.m4a", "out.opus", "out.ogg"):
        done = invoke(song, "mute drums", tmp_path / name, "--stems", tmp_path / "in")
        assert "is written with 1 or 2 channels; the song has 6: write .wav or .flac" in str(done.exception)
        assert not (tmp_path / name).exists()


def test_no_stem_is_written_over(folder):
    done = invoke(folder / "mixture.wav", "mute drums", folder / "vocals.wav", "--stems", folder)
    assert "is one of the files to read" in str(done.exception)


def test_all_that_can_be_said_is_listed_without_a_song(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke("--list")
    assert shown.exit_code == 0
    assert "turn [volume of] STEMS" in shown.stdout
    assert "characters left out" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    monkeypatch.setattr("sys.argv", ["stemwright", "edit", "--list", "--json"])
    listed = json.loads(invoke("--list", "--json").stdout)
    assert {each["operation"] for each in listed["edits"]} >= {"mute", "volume", "eq", "dereverb"}
    assert "singer" in listed["words"]["stem vocals"]


@pytest.mark.parametrize(
    ("text", "rest"), [("turn everything but the vocals down by 6 dB", -6.0), ("raise everything by 3 dB", 3.0), ("mute vocals", 0.0)]
)
def test_all_but_some_stems_has_what_is_in_no_stem_among_it(song, stems, text, rest):
    noise = 0.01 * np.random.default_rng(1).standard_normal(song["mixture"].shape).astype(np.float32)
    made = edited(text, mixture=song["mixture"] + noise, stems=stems)
    gain = db_to_gain(rest)
    vocals = {"turn": 1.0, "rais": gain, "mute": 0.0}[text[:4]]
    expected = gain * (song["mixture"] + noise - song["vocals"]) + vocals * song["vocals"]
    np.testing.assert_allclose(made.audio, expected, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "make the vocals much brighter",
        "slightly less muddy drums",
        "make bass wider",
        "make the drums punchier",
        "more reverb on the vocals",
    ],
)
def test_edits_of_sound_change_the_named_stem_by_its_chain(song, stems, text):
    made = edited(text, mixture=song["mixture"], stems=stems)
    edit = parse(text)
    (name,) = edit.stems
    wet = apply_chain(torch.from_numpy(song[name].copy()), RATE, chains(edit, name)[0]).numpy()
    np.testing.assert_allclose(made.audio - song["mixture"], wet - song[name], atol=1e-6)
    assert np.abs(wet - song[name]).max() > 1e-4
