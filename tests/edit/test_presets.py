import base64
import json
import math
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file
from scipy.signal import oaconvolve
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.edit.presets import write_preset
from stemwright.datagen.edit.presets.preset import Preset, is_preset
from stemwright.datagen.edit.presets.reaper import bandwidth_of
from stemwright.datagen.effects import EFFECTS, apply_chain, resolve_chain
from stemwright.datagen.effects.room import impulse_response
from stemwright.datagen.inverse.console.shared_room import SharedRoom
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError

RATE = 44_100
CHAINS = {
    "vocals": [
        ("eq", {"low_shelf_gain_db": -4.0, "peak2_gain_db": 5.0, "high_shelf_gain_db": 3.0}),
        ("fader", {"gain_db": 2.0, "pan": 0.3}),
    ],
    "drums": [
        ("highpass", {"cutoff_hz": 60.0, "order": 2}),
        ("compressor", {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 10.0}),
        ("fader", {"gain_db": -3.0, "pan": -0.5}),
    ],
    "bass": [("lowpass", {"cutoff_hz": 3000.0, "order": 4}), ("fader", {"gain_db": -1.0})],
}
SEND = '{"stems": {"vocals": []}, "send": {"effect": "room", "settings": {}, "gains_db": {"vocals": GAIN}}}'


@pytest.fixture(scope="module")
def song():
    return make_song(0, 2.0)


@pytest.fixture(scope="module")
def folder(song, tmp_path_factory):
    place = tmp_path_factory.mktemp("dry")
    for name in CHAINS:
        write_song_file(place / f"{name}.wav", song[name])
    return place


def preset(chains=None, bus=(), **facts):
    def uses(chain):
        return tuple((effect.NAME, settings) for effect, settings in resolve_chain(chain))

    return Preset({name: uses(chain) for name, chain in (chains or CHAINS).items()}, uses(bus), RATE, **facts)


def written(folder, place, suffix, **facts):
    made = preset(**facts)
    path = place / f"console{suffix}"
    left_out = write_preset(made, {name: folder / f"{name}.wav" for name in made.stems}, path)
    return path, left_out


def apply(*arguments):
    return CliRunner().invoke(app, ["apply", *map(str, arguments)])


def test_a_preset_is_applied_to_the_stems_of_a_folder(song, folder, tmp_path):
    bus = [("eq", {"peak1_gain_db": 2.0})]
    path, left_out = written(folder, tmp_path, ".json", bus=bus, lags={"bass": 100})
    assert not left_out
    ended = apply(path, folder, tmp_path / "mix.wav", "--save-stems", tmp_path / "stems")
    assert ended.exit_code == 0, ended.output
    late = np.pad(song["bass"], ((0, 0), (100, 0)))[:, :-100]
    parts = {name: apply_chain(late if name == "bass" else song[name], RATE, chain) for name, chain in CHAINS.items()}
    assert np.abs(load(tmp_path / "mix.wav")[0] - apply_chain(sum(parts.values()), RATE, bus)).max() < 1e-5
    assert np.abs(load(tmp_path / "stems" / "bass.wav")[0] - parts["bass"]).max() < 1e-5


def test_a_preset_that_was_read_is_the_one_that_was_written(folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json", lags={"drums": -7})
    assert Preset.read(path) == preset(lags={"drums": -7})
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as an editor of Windows saves it
    assert Preset.read(path) == preset(lags={"drums": -7})
    assert is_preset(path)


def test_stems_of_other_rates_lengths_and_channels_are_mixed(song, folder, tmp_path):
    soundfile.write(tmp_path / "Vocals.wav", song["vocals"][0, : RATE // 2], 22_050, subtype="FLOAT")
    for name in ("drums", "bass"):
        write_song_file(tmp_path / f"{name}.wav", song[name])
    path, _ = written(folder, tmp_path / "p", ".json")
    ended = apply(path, tmp_path, tmp_path / "p" / "mix.flac", "--json")
    assert ended.exit_code == 0, ended.output
    audio, rate = load(tmp_path / "p" / "mix.flac")
    assert (audio.shape, rate) == (song["drums"].shape, RATE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected JSON with stems"),
        ("{", "cannot be read as a preset"),
        ('{"stems": {"vocals": [{"effect": "equaliser", "settings": {}}]}}', "preset.json, vocals: .*equaliser.*did you mean 'eq'"),
        ('{"stems": {"vocals": [{"effect": "eq", "settings": {"peak1_gain_db": 99}}]}}', "peak1_gain_db"),
        ('{"stems": {"vocals": 3}}', "preset.json, vocals: expected a list of effects, got 3"),
        ('{"stems": {"vocals": []}, "bus": null}', "preset.json, bus: expected a list of effects, got null"),
        ('{"stems": {"vocals": [{"effect": ["fader"]}]}}', 'vocals: expected {"effect": NAME, "settings": {...}}, got {"effect": '),
        ('{"stems": {"vocals": ["fader"]}}', 'vocals: expected {"effect": NAME, "settings": {...}}, got "fader"'),
        ('{"stems": {"vocals": []}, "send": [1]}', r"preset.json: expected a send such as .*, got \[1\]"),
        ('{"stems": {"vocals": []}, "send": {"gains_db": [1]}}', "preset.json: expected a send such as"),
        ('{"stems": {}}', "nothing to mix"),
        ('{"stems": {"vocals": []}, "sample_rate": 0}', "at least 1 Hz, got 0"),
        ('{"stems": {"vocals": []}, "lags": {"vocals": Infinity}}', "preset.json is no preset"),
        ('{"stems": {"vocals": []}, "send": {}}', "preset.json: expected a send with effect, settings and gains_db"),
        (SEND.replace("GAIN", "NaN"), "the gain of vocals into the send must be a number"),
        (SEND.replace("GAIN", "1e9"), "the gain of vocals into the send must be a number"),
    ],
)
def test_what_is_no_preset_is_refused_by_name(text, message, folder, tmp_path):
    (tmp_path / "preset.json").write_text(text)
    ended = apply(tmp_path / "preset.json", folder, tmp_path / "mix.wav")
    with pytest.raises(UsageError, match=message):
        raise ended.exception
    assert not (tmp_path / "mix.wav").exists()


def test_stems_are_not_saved_over_those_that_are_read_nor_over_the_mix(song, folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json")
    for out, place, message in (("mix.wav", folder, "left as they are"), ("vocals.wav", tmp_path, "of one of the stems to save")):
        ended = apply(path, folder, tmp_path / out, "--save-stems", place)
        with pytest.raises(UsageError, match=message):
            raise ended.exception
        assert not (tmp_path / out).exists()
    assert np.array_equal(load(folder / "vocals.wav")[0], song["vocals"])


def test_a_missing_stem_is_named_and_left_out_only_on_request(folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json", chains=CHAINS | {"piano": []})
    ended = apply(path, folder, tmp_path / "mix.wav")
    assert "has no piano; it has bass, drums, vocals" in str(ended.exception)
    ended = apply(path, folder, tmp_path / "mix.wav", "--partial")
    assert ended.exit_code == 0, ended.output
    assert "without piano" in ended.output


def test_stems_of_other_names_are_named_with_their_files(song, folder, tmp_path):
    for name, file in (("vocals", "01 Lead Vox"), ("drums", "Kit"), ("bass", "bass")):
        write_song_file(tmp_path / "dry" / f"{file}.wav", song[name])
    path, _ = written(folder, tmp_path, ".json")
    ended = apply(path, tmp_path / "dry", tmp_path / "mix.wav", "--stem", "vocals=01 lead vox", "--stem", "drums=Kit.wav")
    assert ended.exit_code == 0, ended.output
    parts = (apply_chain(song[name], RATE, chain) for name, chain in CHAINS.items())
    assert np.abs(load(tmp_path / "mix.wav")[0] - sum(parts)).max() < 1e-5
    missing = apply(path, tmp_path / "dry", tmp_path / "other.wav")
    assert 'or add --stem "vocals=NAME OF ITS FILE", or --partial' in str(missing.exception)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["vocals"], 'expected --stem "STEM=FILE"'),
        (["vocals=bass", "vocals=drums"], "vocals has two files, bass and drums"),
        (["vox=vocals"], "the preset has no stem vox; it has vocals, drums, bass"),
        (["vocals=lead"], "has no lead; it has bass, drums, vocals"),
        (["vocals=bass.wav"], "bass.wav would be two stems of the preset"),
    ],
)
def test_a_wrong_name_of_a_stem_is_refused_with_a_sentence(texts, message, folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json")
    ended = apply(path, folder, tmp_path / "mix.wav", *(part for text in texts for part in ("--stem", text)))
    with pytest.raises(UsageError, match=message):
        raise ended.exception
    assert not (tmp_path / "mix.wav").exists()


def test_the_pedalboard_script_renders_the_mix(song, folder, tmp_path):
    pytest.importorskip("pedalboard")
    chains = {name: [use for use in chain if use[0] != "compressor"] for name, chain in CHAINS.items()}
    path, left_out = written(folder, tmp_path, ".py", chains=chains, lags={"vocals": 30})
    assert not left_out
    subprocess.run([sys.executable, path, folder, tmp_path / "mix.wav"], check=True)
    mix, _ = preset(chains, lags={"vocals": 30}).mix({name: song[name] for name in chains}, RATE)
    error = load(tmp_path / "mix.wav")[0] - mix
    assert 10.0 * math.log10(np.square(error).sum() / np.square(mix).sum()) < -60.0
    path, left_out = written(folder, tmp_path, ".py")
    assert left_out == ("drums: compressor",)
    assert "Left out: drums: compressor." in path.read_text()


def test_a_script_says_what_it_needs(song, folder, tmp_path):
    pytest.importorskip("pedalboard")
    path, _ = written(folder, tmp_path, ".py")
    write_song_file(tmp_path / "some" / "vocals.wav", song["vocals"])
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "vocals.wav", song["vocals"].T, 48_000)
    for arguments, message in (
        ([folder], "expected a folder of stems and a file to write"),
        ([tmp_path / "some", tmp_path / "out.wav"], "drums.wav: no such file; this mix needs a file of that name"),
        ([tmp_path / "other", tmp_path / "out.wav"], "vocals.wav: expected 44100 Hz, mono or stereo, got 48000 Hz and 2 channels"),
    ):
        done = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reaper_project_is_read_back_by_another_parser(song, folder, tmp_path):
    rpp = pytest.importorskip("rpp")
    path, left_out = written(folder, tmp_path, ".rpp", lags={"bass": 441})
    assert not left_out
    project = rpp.loads(path.read_text())
    tracks = {track.find("NAME")[1]: track for track in project.findall("TRACK")}
    assert set(tracks) == {"vocals", "drums (approximate)", "bass"}
    volume, pan = (float(value) for value in tracks["vocals"].find("VOLPAN")[1:3])
    left, right = volume * min(1.0, 1.0 - pan), volume * min(1.0, 1.0 + pan)  # of a balance of 0 dB
    ones = apply_chain(np.ones((2, 8)), RATE, [("fader", {"gain_db": 2.0, "pan": 0.3})])
    assert (left, right) == pytest.approx((ones[0, 0], ones[1, 0]), rel=1e-6)
    assert tracks["bass"].find("ITEM").find("SOURCE").find("FILE")[1] == str(folder / "bass.wav")
    assert float(tracks["bass"].find("ITEM").find("POSITION")[1]) == pytest.approx(0.01)
    assert bands(tracks["vocals"]) == [
        (0, pytest.approx(100.0), pytest.approx(-4.0), pytest.approx(bandwidth_of(0.71))),
        (8, pytest.approx(1000.0), pytest.approx(5.0), pytest.approx(bandwidth_of(1.0))),
        (1, pytest.approx(8000.0), pytest.approx(3.0), pytest.approx(bandwidth_of(0.71))),
    ]
    assert [vst.attrib[0] for vst in tracks["drums (approximate)"].find("FXCHAIN").findall("VST")] == [
        "VST: ReaEQ (Cockos)",
        "VST: ReaComp (Cockos)",
    ]


def bands(track):
    """(type, Hz, dB, octaves) of each band in the state of a track's first ReaEQ."""
    lines = [line for line in track.find("FXCHAIN").find("VST") if isinstance(line, str)]
    state = b"".join(base64.b64decode(line) for line in lines[1:-1])
    head = base64.b64decode(lines[0])
    assert len(state) == struct.unpack_from("<i", head, 48)[0]
    version, count = struct.unpack_from("<ii", state)
    assert version == 33
    found = [struct.unpack_from("<iidddB", state, 8 + 33 * number) for number in range(count)]
    return [(kind, hz, 20.0 * math.log10(gain), octaves) for kind, _, hz, gain, octaves, _ in found]


def test_a_name_with_quotes_and_lines_keeps_the_project_whole(folder, tmp_path):
    rpp = pytest.importorskip("rpp")
    path = tmp_path / "console.rpp"
    name = 'lead "vox"\n>\n<TRACK'
    write_preset(preset({name: [("reverb", {"wet": 0.3})]}), {}, path)
    project = rpp.loads(path.read_text())
    assert len(project.findall("TRACK")) == 1
    assert json.dumps(project.find("TRACK").find("NAME")[1]).startswith('"lead')


def shared(response=True):
    room = EFFECTS["room"].Settings(rt60_s=0.3, wet_db=0.0)
    heard = impulse_response(room, RATE, 2) if response else None
    return SharedRoom({"vocals": -10.0, "bass": -20.0}, room, heard, RATE)


def test_a_shared_room_is_kept_with_its_response_and_applied(song, folder, tmp_path):
    path, left_out = written(folder, tmp_path, ".json", send=shared())
    assert not left_out
    ended = apply(path, folder, tmp_path / "mix.wav", "--save-stems", tmp_path / "stems")
    assert ended.exit_code == 0, ended.output
    parts = {name: apply_chain(song[name], RATE, chain) for name, chain in CHAINS.items()}
    fed = 10.0**-0.5 * parts["vocals"] + 0.1 * parts["bass"]
    returned = oaconvolve(fed, shared().response.numpy(), axes=-1)[:, : fed.shape[1]]
    assert np.abs(load(tmp_path / "stems" / "shared room.wav")[0] - returned).max() < 1e-5
    assert np.abs(load(tmp_path / "mix.wav")[0] - sum(parts.values()) - returned).max() < 1e-5
    assert "found response" in ended.output


def test_mono_stems_get_the_two_channels_of_the_room(song, folder, tmp_path):
    for name in ("vocals", "bass"):
        write_song_file(tmp_path / "mono" / f"{name}.wav", song[name][:1])
    path, _ = written(folder, tmp_path, ".json", chains={"vocals": [], "bass": []}, send=shared())
    ended = apply(path, tmp_path / "mono", tmp_path / "mix.wav")
    assert ended.exit_code == 0, ended.output
    fed = 10.0**-0.5 * song["vocals"][:1] + 0.1 * song["bass"][:1]
    expected = (
        song["vocals"][:1] + song["bass"][:1] + oaconvolve(np.repeat(fed, 2, 0), shared().response.numpy(), axes=-1)[:, : fed.shape[1]]
    )
    assert np.abs(load(tmp_path / "mix.wav")[0] - expected).max() < 1e-5
    with pytest.raises(ValueError, match="has 2 channels: expected as many of the stems, got 1"):
        Preset.read(path).mix({name: song[name][:1] for name in ("vocals", "bass")}, RATE)
    soundfile.write(path.with_suffix(".room.wav"), np.zeros((100, 3)), RATE)
    with pytest.raises(UsageError, match="expected a response of 1 or 2 channels, got 3"):
        Preset.read(path)


@pytest.mark.parametrize("response", [True, False])
def test_a_shared_room_sounds_alike_at_another_rate(response, folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json", chains={"vocals": []}, send=replace(shared(response), gains_db={"vocals": 0.0}))
    time_s = np.arange(RATE) / RATE
    sounds = {rate: np.stack([np.sin(2.0 * np.pi * hz * np.arange(rate) / rate) for hz in (440.0, 660.0)]) for rate in (RATE, 48_000)}
    heard = {rate: Preset.read(path).mix({"vocals": audio}, rate)[1]["shared room"] for rate, audio in sounds.items()}
    resampled = np.stack([np.interp(time_s, np.arange(48_000) / 48_000, channel) for channel in heard[48_000]])
    assert np.abs(resampled - heard[RATE]).max() < 0.01 * np.abs(heard[RATE]).max()


def test_a_send_of_a_stem_that_is_not_there_is_noted(folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json", send=replace(shared(), gains_db={"vocals": -10.0, "guitar": -9.0}))
    ended = apply(path, folder, tmp_path / "mix.wav", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["notes"] == [
        "the preset sends guitar to the shared room, but has no such stem: nothing of it is in the mix",
    ]


def test_a_shared_room_without_response_has_its_own_noise_and_a_lost_one_is_missed(song, folder, tmp_path):
    path, _ = written(folder, tmp_path, ".json", send=shared(response=False))
    _, wet = Preset.read(path).mix({name: song[name] for name in CHAINS}, RATE)
    fed = 10.0**-0.5 * wet["vocals"] + 0.1 * wet["bass"]
    np.testing.assert_allclose(wet["shared room"], apply_chain(fed, RATE, [("room", shared().settings)]) - fed, atol=1e-6)
    path, _ = written(folder, tmp_path, ".json", send=shared())
    path.with_suffix(".room.wav").unlink()
    with pytest.raises(UsageError, match="response of the shared room cannot be read"):
        Preset.read(path)


@pytest.mark.parametrize("suffix", [".json", ".rpp", ".py"])
def test_a_program_without_our_rooms_gets_the_response_of_the_settings(suffix, folder, tmp_path):
    path, _ = written(folder, tmp_path, suffix, send=shared(response=False))
    response = path.with_suffix(".room.wav")
    assert response.exists() == (suffix != ".json")
    if suffix != ".json":
        assert np.abs(load(response)[0] - shared().response.numpy()).max() < 1e-6


def test_a_project_sends_every_stem_to_the_track_of_the_room(folder, tmp_path):
    path, left_out = written(folder, tmp_path, ".rpp", send=shared())
    sends = [line.split() for line in path.read_text().splitlines() if line.strip().startswith("AUXRECV")]
    assert [(send[1], float(send[3])) for send in sends] == [("0", pytest.approx(10.0**-0.5)), ("2", pytest.approx(0.1))]
    assert any("load the file *.room.wav" in each for each in left_out)
    assert load(path.with_suffix(".room.wav"))[1] == RATE


@pytest.mark.parametrize("response", [True, False])
def test_a_script_renders_the_shared_room_from_its_response(response, song, folder, tmp_path):
    pytest.importorskip("pedalboard")
    chains = {"vocals": CHAINS["vocals"], "bass": CHAINS["bass"]}
    path, left_out = written(folder, tmp_path, ".py", chains=chains, send=shared(response))
    assert not left_out
    out = tmp_path / "out.wav"
    subprocess.run([sys.executable, path, folder, out], check=True)
    mix, _ = preset(chains, send=shared(response)).mix({name: song[name] for name in chains}, RATE)
    assert 10.0 * np.log10(((load(out)[0] - mix) ** 2).sum() / (mix**2).sum()) < -60.0
