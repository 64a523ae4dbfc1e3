import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from conftest import make_song, write_song_file
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen import excerpts
from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.stopping import Stopped
from stemwright.datagen.cli.undoing import lines
from stemwright.datagen.edit.undone_file import Undoing
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.limiter import Settings as Limiter
from stemwright.datagen.effects.limiter import gain_curve
from stemwright.datagen.inverse.undo.dry_placement import placed_dry
from stemwright.datagen.inverse.undo.known import KnownSettings
from stemwright.datagen.inverse.undo.requests import Request
from stemwright.datagen.inverse.undo.reversal import _below, _sure
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100
EXCERPTS = Path(excerpts.__file__).parent
INVERTIBLE = {
    "fader": {"gain_db": -4.0, "pan": 0.3},
    "width": {"width": 1.6},
    "eq": {"low_shelf_gain_db": 5.0, "high_shelf_gain_db": -4.0},
    "compressor": {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 8.0, "release_ms": 120.0, "makeup_db": 5.0},
    "delay": {"delay_ms": 120.0, "mix": 0.3, "feedback": 0.2},
    "dc": {"offset": 0.05},
    "envelope": {"step_s": 0.5, "gain_01_db": -4.0, "gain_02_db": 3.0},
    "noise": {"snr_db": 20.0, "seed": 3},
}
EXACT_DB = {"noise": 70.0}  # its level follows from the sound with the noise in it


@pytest.fixture(scope="module")
def dry():
    song = make_song(0, 3.0)
    return song["vocals"] + song["drums"]


FADER = {"effect": "fader", "settings": {"gain_db": -6.0}}


@pytest.fixture
def stems_folder(tmp_path):
    """mix.wav, and its stems in a folder."""
    song = make_song(0, 3.0)
    (tmp_path / "stems").mkdir()
    for name in ("bass", "drums"):
        save(tmp_path / "stems" / f"{name}.wav", song[name], RATE)
    save(tmp_path / "mix.wav", song["bass"] + song["drums"] + 0.1 * song["vocals"], RATE)  # they do not sum to it
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, ["undo", *map(str, arguments)])


def sdr_db(found, dry):
    return 10.0 * np.log10(np.square(dry, dtype=np.float64).sum() / max(1e-30, np.square(found.astype(np.float64) - dry).sum()))


def settings_file(folder, chain, **facts):
    path = folder / "settings.json"
    path.write_text(json.dumps({"chain": [{"effect": effect, "settings": settings} for effect, settings in chain], **facts}))
    return path


@pytest.mark.parametrize("effect", [name for name in EFFECTS if hasattr(EFFECTS[name], "invert")])
def test_an_effect_of_known_settings_is_undone(effect, dry, tmp_path):
    chain = [(effect, INVERTIBLE[effect])]
    save(tmp_path / "wet.wav", apply_chain(dry.astype(np.float64), RATE, chain).astype(np.float32), RATE)
    ended = invoke(tmp_path / "wet.wav", tmp_path / "dry.wav", "--settings", settings_file(tmp_path, chain))
    assert ended.exit_code == 0, ended.output
    assert effect in ended.output
    assert sdr_db(load(tmp_path / "dry.wav")[0], dry) > EXACT_DB.get(effect, 100.0)


def test_a_whole_chain_is_undone_last_to_first(dry, tmp_path):
    chain = [(name, INVERTIBLE[name]) for name in ("eq", "compressor", "fader")]
    save(tmp_path / "wet.wav", apply_chain(dry.astype(np.float64), RATE, chain).astype(np.float32), RATE)
    ended = invoke(tmp_path / "wet.wav", tmp_path / "dry.flac", "--settings", settings_file(tmp_path, chain), "--json")
    found = json.loads(ended.stdout)
    assert [step["effect"] for step in found["undone"]] == ["fader", "compressor", "eq"]
    assert found["after"]["peak_dbfs"] == pytest.approx(20.0 * np.log10(np.abs(dry).max()), abs=1e-3)
    assert sdr_db(load(tmp_path / "dry.flac")[0], dry) > 90.0


def test_a_compressor_is_undone_with_a_dry_reference_of_its_first_seconds(dry, tmp_path):
    wet = apply_chain(dry, RATE, [("compressor", INVERTIBLE["compressor"])])
    gain = 0.9 / float(np.abs(wet).max())
    soundfile.write(tmp_path / "wet.wav", (gain * wet).T, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "dry.wav", dry[:, : 2 * RATE].T, RATE, subtype="PCM_16")
    shares = list[float]()
    asked = Request(("compressor",), dry=tmp_path / "dry.wav")
    made = Undoing(asked).undo_file(tmp_path / "wet.wav", tmp_path / "out.wav", on_share=shares.append)
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert any(line.startswith("error against the dry reference") for line in lines(made))
    assert sdr_db(load(tmp_path / "out.wav")[0], dry) > 40.0  # a second of it has no reference


def test_a_limiter_is_undone_by_its_gain_curve(dry, tmp_path):
    import torch

    settings = Limiter(ceiling_db=-12.0, release_ms=80.0)
    gain = gain_curve(torch.from_numpy(dry).double(), RATE, settings).numpy()
    save(tmp_path / "wet.wav", (dry * gain).astype(np.float32), RATE)
    np.save(tmp_path / "gain.npy", gain[0])
    ended = invoke(tmp_path / "wet.wav", tmp_path / "dry.wav", "--gain-curve", tmp_path / "gain.npy")
    assert ended.exit_code == 0, ended.output
    assert sdr_db(load(tmp_path / "dry.wav")[0], dry) > 120.0
    np.save(tmp_path / "short.npy", gain[0, :100])
    np.save(tmp_path / "complex.npy", np.ones(100, complex))
    ended = invoke(tmp_path / "wet.wav", tmp_path / "other.wav", "--gain-curve", tmp_path / "complex.npy")
    assert "expected real gains, got complex128" in str(ended.exception)
    refused = invoke(tmp_path / "wet.wav", tmp_path / "other.wav", "--gain-curve", tmp_path / "short.npy")
    assert "expected one gain for each sample" in str(refused.exception)
    assert not (tmp_path / "other.wav").exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("removal")
    for number in range(2):
        song = folder / "songs" / f"song {number}"
        song.mkdir(parents=True)
        for name, audio in make_song(number, 3.0).items():
            write_song_file(song / f"{name}.wav", audio)
    effects = [name for name in INVERTIBLE if name != "fader"]
    removal = {"per_track": 6, "effects": effects, "kept": [0, 2], "removed": [1, 3], "ranges": {"delay": {"mix": [0.1, 0.3]}}}
    config = {
        "songs": {"kind": "multitracks"},
        "pairs": {"duration_s": 2.0, "mix": {"per_track": 0}, "removal": removal, "limit": {"per_track": 1}},
    }
    sw.build(folder / "songs", folder / "corpus", config)
    return folder / "corpus"


def test_the_input_of_every_example_is_undone_to_its_target(corpus, tmp_path):
    examples = sw.read_table(corpus / "examples.parquet")
    seen = set()
    for number, signals in enumerate(examples["signals"]):
        paths = {signal["role"]: corpus / signal["audio"]["path"] for signal in signals if signal["name"] != "gain"}
        ended = invoke(paths["input"], tmp_path / f"{number}.wav", "--settings", corpus, "--json")
        assert ended.exit_code == 0, ended.output
        seen |= {step["effect"] for step in json.loads(ended.stdout)["undone"]}
        assert sdr_db(load(tmp_path / f"{number}.wav")[0], load(paths["target"])[0]) > 80.0
    assert seen >= {"eq", "compressor", "width", "delay", "gain"}  # a limiter by the gain curve of its pair


def test_a_file_of_no_row_is_refused(corpus, dry, tmp_path):
    save(tmp_path / "other.wav", dry, RATE)
    ended = invoke(tmp_path / "other.wav", tmp_path / "out.wav", "--settings", corpus)
    assert "none of its rows has its SHA-256" in str(ended.exception)
    [target, *_] = (
        signal for signals in sw.read_table(corpus / "examples.parquet")["signals"] for signal in signals if signal["role"] == "target"
    )
    ended = invoke(corpus / target["audio"]["path"], tmp_path / "out.wav", "--settings", corpus)
    assert "it is a target of" in str(ended.exception)


def test_settings_of_another_recording_are_refused(dry, tmp_path):
    save(tmp_path / "wet.wav", dry, RATE)
    by_sum = settings_file(tmp_path, [("fader", {"gain_db": -3.0})], sha256="0" * 64)
    assert "of another recording" in str(invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", by_sum).exception)
    by_peak = settings_file(tmp_path, [("clip", {"ceiling_db": -40.0})])
    assert "lets nothing above -40.00" in str(invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", by_peak).exception)
    louder = settings_file(tmp_path, [("compressor", {"threshold_db": -60.0, "ratio": 20.0})])
    assert "at most +24 dBFS is accepted" in str(invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", louder).exception)
    other = make_song(5, 3.0)["mixture"]
    save(tmp_path / "unrelated.wav", other, RATE)
    by_dry = invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--dry", tmp_path / "unrelated.wav", "--effect", "fader")
    assert by_dry.exit_code == 1
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ({"stems": {"bas": [FADER]}}, "expected stems of bass, drums; got bas"),
        ([FADER], "has a chain of the mixture (fader) and none of stems: leave out --stems"),
    ],
)
def test_chains_that_no_stem_has_are_refused(chains, message, stems_folder):
    (stems_folder / "chains.json").write_text(json.dumps(chains))
    ended = invoke(
        stems_folder / "mix.wav", stems_folder / "out.wav", "--stems", stems_folder / "stems", "--settings", stems_folder / "chains.json"
    )
    assert message in str(ended.exception)


def test_a_chain_of_the_bus_that_stays_is_named_and_a_stem_of_another_recording_refused(stems_folder):
    (stems_folder / "chains.json").write_text(json.dumps({"stems": {"bass": [FADER]}, "bus": [FADER]}))
    arguments = (
        stems_folder / "mix.wav",
        stems_folder / "out.wav",
        "--stems",
        stems_folder / "stems",
        "--settings",
        stems_folder / "chains.json",
    )
    said = " ".join(invoke(*arguments).output.split())
    assert "fader of the mixture bus is left in" in said
    assert "levels have an interval" not in said  # nothing is measured
    save(stems_folder / "stems" / "bass.wav", make_song(9, 3.0)["bass"][:, ::-1].copy(), RATE)
    assert "stem bass has effects to undo and is not found in mix.wav" in str(invoke(*arguments).exception)


def test_a_confidence_is_shown_below_the_one_that_it_lacks():
    assert [_below(value, 0.8) for value in (0.5, 0.7961, 0.79999)] == ["0.50", "0.796", "0.79999"]


@pytest.mark.parametrize("text", ["\ufeff[]", "[" * 100_000])
def test_settings_that_an_editor_or_a_fault_wrote_are_read_or_refused_by_name(text, dry, tmp_path):
    save(tmp_path / "wet.wav", dry, RATE)
    (tmp_path / "s.json").write_text(text, encoding="utf-8")
    ended = invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", tmp_path / "s.json")
    assert re.search(r"s\.json: expected effects to undo|s\.json cannot be read as JSON: maximum recursion", str(ended.exception))


def test_settings_without_an_effect_are_refused(dry, tmp_path):
    save(tmp_path / "wet.wav", dry, RATE)
    ended = invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", settings_file(tmp_path, []))
    assert "expected effects to undo; it names none" in str(ended.exception)


def test_a_dry_reference_tells_whether_settings_are_of_this_recording(dry, tmp_path):
    chain = [("eq", INVERTIBLE["eq"]), ("fader", {"gain_db": -3.0})]
    save(tmp_path / "wet.wav", apply_chain(dry.astype(np.float64), RATE, chain).astype(np.float32), RATE)
    save(tmp_path / "dry.wav", dry[:, :RATE], RATE)
    right = settings_file(tmp_path, chain)
    ended = invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--settings", right, "--dry", tmp_path / "dry.wav", "--json")
    assert json.loads(ended.stdout)["error_against_dry_db"]["recording"] < -100.0
    wrong = settings_file(tmp_path, [("fader", {"gain_db": 6.0})])
    ended = invoke(tmp_path / "wet.wav", tmp_path / "other.wav", "--settings", wrong, "--dry", tmp_path / "dry.wav")
    assert "Are they the settings of this recording" in str(ended.exception)
    assert not (tmp_path / "other.wav").exists()


def shifted(audio, frames):
    """Later by so many frames, which may be negative or no whole number."""
    if frames != int(frames):
        turned = np.exp(-2j * np.pi * frames * np.fft.rfftfreq(2 * audio.shape[1]))
        return np.fft.irfft(np.fft.rfft(audio, 2 * audio.shape[1]) * turned)[:, : audio.shape[1]]
    return np.pad(audio, ((0, 0), (max(0, frames), max(0, -frames))))[:, max(0, -frames) :][:, : audio.shape[1]]


@pytest.fixture(scope="module")
def filtered_guitar():
    """A real recording, and what saturation and a filter that are not ours make of it."""
    dry, rate = load(EXCERPTS / "guitar.ogg")
    return dry, scipy.signal.lfilter([0.6, -0.25], [1.0, -0.4], np.tanh(2.0 * dry)), rate


@pytest.mark.parametrize("frames", [0, 1, -1, 10.4, 441, -441, 22_050, -22_050, 132_300, -132_300])
def test_a_late_early_or_inverted_dry_reference_is_placed_where_it_sounds(frames, filtered_guitar):
    dry, wet, rate = filtered_guitar
    placed = placed_dry(-0.4 * shifted(dry, frames), wet, rate)
    assert placed.lag_frames == pytest.approx(-frames, abs=0.1)
    assert placed.inverted
    assert sdr_db(placed.audio / 0.4, dry[:, placed.start : placed.start + placed.audio.shape[1]]) > 30.0
    said = " ".join(placed.notes(rate))
    assert ("too late" in said, "too early" in said) == (frames > 0, frames < 0)


@pytest.mark.parametrize(
    ("stretch", "message"), [(1.0002, "another clock, which runs [12].. ppm too fast"), (None, "sounds nowhere in it")]
)
def test_a_dry_reference_of_another_clock_or_recording_is_refused_for_what_it_is(stretch, message, filtered_guitar):
    dry, wet, rate = filtered_guitar
    backing = load(EXCERPTS / "backing.ogg")[0]
    dry, wet = (np.concatenate([each, backing, each[:, ::-1]], axis=1) for each in (dry, wet))  # a clock needs time to run away
    at = np.arange(dry.shape[1])
    other = np.stack([np.interp(at / stretch, at, each) for each in dry]) if stretch else backing[:, ::-1]
    with pytest.raises(Refused, match=message):
        placed_dry(other, wet, rate)


def test_references_that_are_too_short_and_recordings_that_are_silent_are_refused_as_such(dry):
    for audio, reference, message in ((dry, dry[:, RATE : RATE + 9], "at least 256 frames; got 9"), (0.0 * dry, dry, "it is silent")):
        with pytest.raises(Refused, match=message):
            placed_dry(reference, audio, RATE)


def test_a_late_and_inverted_dry_reference_undoes_its_recording_in_time(dry, tmp_path):
    wet = apply_chain(dry.astype(np.float64), RATE, [("fader", {"gain_db": -6.0, "pan": 0.2})])
    save(tmp_path / "wet.wav", wet.astype(np.float32), RATE)
    save(tmp_path / "dry.wav", -shifted(dry, 4410), RATE)
    ended = invoke(tmp_path / "wet.wav", tmp_path / "out.wav", "--dry", tmp_path / "dry.wav", "--effect", "fader", "--json")
    assert sdr_db(load(tmp_path / "out.wav")[0], dry) > 60.0
    late, inverted = json.loads(ended.stdout)["notes"]
    assert "4410 frames (100.00 ms) too late: it was aligned" in late
    assert "inverted against it" in inverted
    save(tmp_path / "loud.wav", 0.3 * dry, RATE)
    refused = invoke(tmp_path / "wet.wav", tmp_path / "other.wav", "--dry", tmp_path / "loud.wav", "--effect", "width")
    assert "Name the gain, too: --effect width,fader" in str(refused.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--effect", "compressor"], "do not follow from the recording alone"),
        (["--effect", "compresser"], "did you mean 'compressor'"),
        (["--effect", "reverb", "--dry", "dry.wav"], "only .* can be inverted"),
        (["--effect", "limiter", "--dry", "dry.wav"], "--gain-curve FILE"),
        (["--profile", "corpus"], "give --stems FOLDER, or --separate"),
        (["--dry", "dry.wav", "--gain-curve", "g.npy"], "can follow from one of them only"),
        (["--model", "htdemucs"], "add --separate"),
        (["--effect", "eq", "--settings", "s.json"], "leave out --effect"),
        (["--gain-curve", "notes.txt"], "the gain curve notes.txt: "),
        (["--dry", "notes.txt", "--effect", "eq"], "the dry reference notes.txt: "),
        (["--settings", "nowhere.json"], "expected a JSON file"),
    ],
)
def test_what_cannot_be_undone_is_said_before_anything_is_read(options, message, dry, tmp_path):
    save(tmp_path / "song.wav", dry, RATE)
    ended = invoke(tmp_path / "song.wav", tmp_path / "out.wav", *options)
    assert ended.exit_code != 0
    with pytest.raises(type(ended.exception), match=message):
        raise ended.exception


def test_many_recordings_are_undone_into_a_folder_and_the_finished_ones_skipped(dry, tmp_path):
    songs = tmp_path / "songs"
    chain = [("fader", {"gain_db": -6.0})]
    for name in ("a.wav", "b.wav", "sub/a.wav"):
        save(songs / name, apply_chain(dry, RATE, chain), RATE)
    (songs / "notes.wav").write_text("no sound")
    settings = settings_file(tmp_path, chain)
    ended = invoke(songs, tmp_path / "out", "--settings", settings)
    assert ended.exit_code == 3, ended.output
    assert "3 done (0 of them before), 3 written" in ended.output
    assert "1 rejected" in ended.output
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.flac")} == {"a.flac", "b.flac", "sub/a.flac"}
    (tmp_path / "out" / "b.flac").unlink()
    with (tmp_path / "out" / "undo.jsonl").open("a") as file:
        file.write('{"key": "torn')
    again = invoke(songs, tmp_path / "out", "--settings", settings)
    assert "3 done (2 of them before), 3 written" in again.output
    assert "3 done (3 of them before)" in invoke(songs, tmp_path / "out", "--settings", settings).output
    assert "lowered" not in again.output
    other = settings_file(tmp_path, [("fader", {"gain_db": -20.0})])
    ended = invoke(songs, tmp_path / "out", "--settings", other)
    assert "3 done (0 of them before)" in ended.output
    assert "3 lowered, each by the gain that its file needed" in " ".join(ended.output.split())


def test_a_folder_that_is_stopped_keeps_what_is_finished_and_says_so(dry, tmp_path, monkeypatch):
    undo_file = Undoing.undo_file

    def stopped(undoing, song, *arguments, **options):
        if song.name == "b.wav":
            raise KeyboardInterrupt
        return undo_file(undoing, song, *arguments, **options)

    for name in ("a.wav", "b.wav"):
        save(tmp_path / "songs" / name, dry[:, :RATE], RATE)
    settings = settings_file(tmp_path, [("fader", {"gain_db": 3.0})])
    with monkeypatch.context() as patched:
        patched.setattr(Undoing, "undo_file", stopped)
        ended = invoke(tmp_path / "songs", tmp_path / "out", "--settings", settings)
    assert isinstance(ended.exception, Stopped)
    assert str(ended.exception) == "stopped; finished work is kept, and the same command resumes it"
    assert "2 done (1 of them before), 2 written" in invoke(tmp_path / "songs", tmp_path / "out", "--settings", settings).output


def test_clipping_is_found_and_restored_and_the_other_samples_stay(dry, tmp_path):
    dry = dry[:, :RATE]
    ceiling = float(np.quantile(np.abs(dry), 0.97))
    clipped = dry.clip(-ceiling, ceiling)
    save(tmp_path / "clipped.wav", clipped, RATE)
    ended = invoke(tmp_path / "clipped.wav", tmp_path / "out.wav", "--plot", tmp_path / "out.png", "--json")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    [step] = found["undone"]
    assert step["settings"]["ceiling_high_dbfs"] == pytest.approx([20.0 * np.log10(ceiling)] * 2, abs=0.01)
    restored = load(tmp_path / "out.wav")[0]
    beyond = np.abs(clipped) >= ceiling * (1 - 1e-6)
    assert np.array_equal(restored[~beyond], clipped[~beyond])
    assert np.abs(restored.clip(-ceiling, ceiling) - clipped).max() < 1e-6
    assert sdr_db(restored[beyond], dry[beyond]) > sdr_db(clipped[beyond], dry[beyond]) + 3.0
    assert found["after"]["peak_dbfs"] > found["before"]["peak_dbfs"] + 1.0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_recording_without_clipping_is_not_written(dry, tmp_path):
    save(tmp_path / "song.wav", dry, RATE)
    ended = invoke(tmp_path / "song.wav", tmp_path / "out.wav")
    assert ended.exit_code == 0, ended.output
    assert "nothing to undo, nothing written" in ended.output
    assert not (tmp_path / "out.wav").exists()
    assert "nothing was undone" in invoke(tmp_path / "song.wav", tmp_path / "out.wav", "--always").output
    assert np.array_equal(load(tmp_path / "out.wav")[0], dry)


def test_each_ceiling_needs_a_confidence_of_its_own():
    assert _sure([(-0.9, 0.74), (-0.7, 0.95)], 0.8, [0.7]) == (-0.7, 0.95)
    assert _sure([(0.9, 0.74)], 0.8, []) == (0.0, 0.0)
    assert _sure([(0.9, 0.74)], 0.8, [0.905]) == (0.9, 0.74)  # as that of another channel


def test_flat_tops_that_a_limiter_may_have_left_are_said(tmp_path):
    """A steep attack, then a slow decay: the gain falls at once and stays, so that tops begin steep and end round."""
    time = np.arange(4 * RATE) / RATE
    sound = sum(np.sin(2 * np.pi * hz * time + number) for number, hz in enumerate((83.0, 110.3, 277.7))) * (0.3 + 0.2 * np.sin(5.7 * time))
    save(tmp_path / "limited.wav", apply_chain(sound[None], RATE, [("limiter", Limiter(ceiling_db=-9.0, lookahead_ms=0.0))]), RATE)
    ended = invoke(tmp_path / "limited.wav", tmp_path / "out.wav")
    assert ended.exit_code == 0, ended.output
    assert "limited without look-ahead or clipped" in " ".join(ended.output.split())
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(("frames", "rate"), [(1, RATE), (4000, 8000)])
def test_silence_one_sample_and_low_rates_have_nothing_to_undo(frames, rate, tmp_path):
    save(tmp_path / "song.wav", np.zeros((1, frames), np.float32), rate)
    ended = invoke(tmp_path / "song.wav", tmp_path / "out.wav", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["undone"] == []


def test_stems_are_undone_in_their_mixture(tmp_path):
    song = make_song(0, 3.0)
    chain = [("fader", {"gain_db": -3.0})]
    stems = {name: song[name] for name in ("vocals", "drums", "bass")}
    for name, audio in stems.items():
        save(tmp_path / "stems" / f"{name}.wav", apply_chain(audio, RATE, chain) if name == "vocals" else audio, RATE)
    mixture = sum(load(tmp_path / "stems" / f"{name}.wav")[0] for name in stems)
    save(tmp_path / "mix.wav", mixture, RATE)
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"stems": {"vocals": [{"effect": "fader", "settings": {"gain_db": -3.0}}]}}))
    ended = invoke(tmp_path / "mix.wav", tmp_path / "out.wav", "--stems", tmp_path / "stems", "--settings", path)
    assert ended.exit_code == 0, ended.output
    assert sdr_db(load(tmp_path / "out.wav")[0], sum(stems.values())) > 100.0


def test_a_shared_room_that_is_not_undone_is_named_and_stems_without_a_chain_stay(tmp_path):
    song = make_song(0, 1.0)
    for name in ("vocals", "drums"):
        save(tmp_path / "stems" / f"{name}.wav", np.clip(4.0 * song[name], -0.3, 0.3), RATE)  # clipping that the settings do not name
    save(tmp_path / "mix.wav", load(tmp_path / "stems" / "vocals.wav")[0] + load(tmp_path / "stems" / "drums.wav")[0], RATE)
    chain = [{"effect": "fader", "settings": {"gain_db": -3.0}}]
    room = {"effect": "room", "settings": {"rt60_s": 0.4, "wet_db": 0.0}, "gains_db": {"vocals": -12.0, "drums": -9.0}}
    printed = [{"stem": "vocals", "effect": "fader", "setting": "gain_db", "value": -3.0}]
    printed += [{"stem": name, "effect": "send", "setting": "gain_db", "value": -9.0} for name in ("vocals", "drums")]
    for settings in ({"stems": {"vocals": chain}, "send": room}, {"console": printed}):
        (tmp_path / "console.json").write_text(json.dumps(settings))
        words = [tmp_path / "mix.wav", tmp_path / "out.wav", "--stems", tmp_path / "stems", "--settings", tmp_path / "console.json"]
        said = json.loads(invoke(*words, "--json").stdout)
        assert any("the shared room of console.json (vocals, drums) is not undone" in note for note in said["notes"])
        assert [(step["stem"], step["effect"]) for step in said["undone"]] == [("vocals", "fader")]
        assert said["left"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stems": {"drums": 5}}', "a list of effects for drums, got 5"),
        ('{"stems": {}, "bus": null}', "a list of effects for the bus, got None"),
        ('{"console": [{"stem": "drums"}]}', "rows of stem, effect, setting and value"),
        ('{"console": [1]}', "rows of stem, effect, setting and value"),
        ('{"chain": [], "sha256": 5}', "sha256 as text, got 5"),
        ('[{"effect": "compressor"}]', r'such as \{"effect": "fader", .*; the effect \'compressor\' has no settings'),
        ('[{"fader": -3}]', r'such as \{"effect": "fader", .*; got \{"fader": -3\}'),
    ],
)
def test_settings_of_another_form_are_refused_with_what_is_expected(text, message, tmp_path):
    (tmp_path / "chain.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        KnownSettings(tmp_path / "chain.json")
