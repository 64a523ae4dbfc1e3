"""From paths to results: balance, separate, edit, build, check and report, as a user of the library calls them."""

import base64
import pickle
from pathlib import Path

import numpy as np
import pytest

import stemwright as sw

RATE = 8000
VOCALS, DRUMS = np.random.default_rng(0).normal(0, 0.1, (2, 2, 2 * RATE)).astype(np.float32)


class Halves:
    """A separator of somebody else: a callable with the names of its stems."""

    stem_names = ("vocals", "drums")

    def __call__(self, mixture, sample_rate):
        del sample_rate
        return dict.fromkeys(self.stem_names, 0.5 * mixture)


@pytest.fixture
def song(tmp_path, monkeypatch) -> Path:
    """``song.wav``, and its stems in ``stems/``, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, audio in {"stems/vocals.wav": VOCALS, "stems/drums.wav": DRUMS, "song.wav": VOCALS + DRUMS}.items():
        sw.save(name, audio, RATE)
    return tmp_path / "song.wav"


def test_a_balance_is_a_table_a_frame_and_a_picture(song, tmp_path):
    found = sw.balance("song.wav", "stems")
    assert set(found.stems) == {"vocals", "drums"}
    frame = found.to_pandas().set_index("stem")
    assert frame.loc["vocals", "level_lu"] == pytest.approx(found.stems["vocals"].level_lu, abs=0.01)
    assert repr(found) == found.table()
    assert f"{found.stems['drums'].level_lu:.1f}" in found.table().splitlines()[2]
    assert found.basis == "measured"
    assert found.table().splitlines()[0].endswith("measured in its own stems")
    assert "centre" in found.table().splitlines()[2]
    assert found.plot().get_size_inches().min() > 1
    shown = found._repr_html_()
    assert base64.b64decode(shown.split("base64,")[1].split('"')[0]).startswith(b"<?xml")
    assert "<pre>song.wav" in shown
    found.plot(tmp_path / "balance.png")
    assert (tmp_path / "balance.png").read_bytes().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(found)).table() == found.table()


def test_any_callable_that_names_its_stems_separates(song, tmp_path):
    stems, sample_rate = sw.separate("song.wav", model=Halves())
    assert sample_rate == RATE
    np.testing.assert_allclose(stems["vocals"], 0.5 * (VOCALS + DRUMS), atol=1e-6)
    files = sw.separate(song, tmp_path / "out", model=Halves())
    np.testing.assert_allclose(sum(sw.load(path)[0] for path in files.values()), VOCALS + DRUMS, atol=1e-6)
    assert sw.balance(song, model=Halves()).stems.keys() == {"vocals", "drums"}
    assert sw.edit(song, "mute drums", "quiet.flac", model=Halves()).audio.shape == VOCALS.shape


def test_a_separation_never_replaces_its_input_nor_files_of_no_separation(song, tmp_path):
    folder = tmp_path / "own"
    sw.save(folder / "vocals.flac", 0.5 * VOCALS, RATE)
    before = (folder / "vocals.flac").read_bytes()
    (tmp_path / "linked.flac").symlink_to(folder / "vocals.flac")
    for path in (folder / "vocals.flac", "own/../own/vocals.flac", "linked.flac"):
        with pytest.raises(ValueError, match="is the recording to separate, and a stem would be written over it"):
            sw.separate(path, folder, Halves(), force=True)
    with pytest.raises(ValueError, match="exists and is of no earlier separation"):
        sw.separate(song, folder, Halves())
    assert (folder / "vocals.flac").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["vocals.flac"]
    for force in (True, False):  # the second time, the stems of the first are replaced
        assert sorted(sw.separate(song, folder, Halves(), force=force)) == ["drums", "residual", "vocals"]


def test_parts_never_replace_files_of_no_separation(song, tmp_path):
    def kit(drums, sample_rate):
        del sample_rate
        return {"kick": drums / 2, "snare": drums / 2}

    kit.stem_names = ("kick", "snare")
    sw.save(tmp_path / "out" / "drums" / "kick.flac", DRUMS, RATE)
    with pytest.raises(ValueError, match=r"kick\.flac exists and is of no earlier separation"):
        sw.separate(song, tmp_path / "out", Halves(), drums_model=kit)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drums"]
    sw.separate(song, tmp_path / "new", Halves(), drums_model=kit)
    assert sw.separate(song, tmp_path / "new", Halves(), drums_model=kit).parts.keys() == {"kick", "snare", "residual"}
    with pytest.raises(ValueError, match="expected stems or drums_model, got both"):
        sw.balance(song, "stems", drums_model=kit)


@pytest.mark.parametrize("call", [lambda model: sw.separate("song.wav", model=model), lambda model: sw.balance("song.wav", model=model)])
def test_what_is_no_model_is_refused_at_once(song, call):
    with pytest.raises(ValueError, match="there is no model 'htdemucs_tf'; did you mean 'htdemucs_ft'"):
        call("htdemucs_tf")
    with pytest.raises(ValueError, match=r"expected a model's name, a DemucsSeparator, or a callable .*got 3"):
        call(3)


def test_an_edit_with_the_songs_own_stems_leaves_the_others(song):
    made = sw.edit("song.wav", ["mute drums", "increase the volume of vocals by 6 dB"], "out.wav", stems="stems")
    np.testing.assert_allclose(sw.load("out.wav")[0], VOCALS * 10 ** (6 / 20), atol=1e-5)
    assert made.gain_db == 0.0
    for out, message in (("out.txt", "ends in .wav or .flac or .mp3"), ("song.wav", "is the song itself")):
        with pytest.raises(ValueError, match=message):
            sw.edit("song.wav", "mute drums", out, stems="stems")
    with pytest.raises(ValueError, match=r"'mute the drumz' is .*the nearest is 'mute drums'"):
        sw.edit("song.wav", "mute the drumz", "out.wav", stems="stems")


def test_a_file_is_written_in_the_format_of_its_suffix(tmp_path):
    sw.save(tmp_path / "a.wav", VOCALS, RATE)
    np.testing.assert_array_equal(sw.load(tmp_path / "a.wav")[0], VOCALS)
    sw.save(tmp_path / "a.flac", VOCALS, RATE)
    assert 0.0 < np.abs(sw.load(tmp_path / "a.flac")[0] - VOCALS).max() <= 2.0**-24
    with pytest.raises(ValueError, match=r"ends in .flac or .wav; got .*a.mp3"):
        sw.save(tmp_path / "a.mp3", VOCALS, RATE)
    np.testing.assert_array_equal(np.concatenate(list(sw.blocks(tmp_path / "a.wav", num_frames=999)), axis=1), VOCALS)


def test_a_calibration_has_a_name():
    reference = sw.measure_balance(VOCALS + DRUMS, {"vocals": VOCALS, "drums": DRUMS}, RATE, calibration="reference")["vocals"]
    assert reference.level_low_lu == reference.level_lu == reference.level_high_lu
    with pytest.raises(ValueError, match="expected a calibration of separated, bundled, reference; got 'referense'"):
        sw.measure_balance(VOCALS, {"vocals": VOCALS}, RATE, calibration="referense")


PAIRS = {"duration_s": 1.0, "sample_rate": RATE, "mix": {"per_track": 1}, "removal": {"per_track": 1, "effects": ["fader"]}}
CONFIG = {"songs": {"kind": "multitracks"}, "pairs": {**PAIRS, "removal": {**PAIRS["removal"], "kept": [0, 0], "removed": [1, 1]}}}


@pytest.fixture
def songs(tmp_path) -> Path:
    for name, audio in {"vocals": VOCALS, "drums": DRUMS, "mixture": VOCALS + DRUMS}.items():
        sw.save(tmp_path / "songs" / "one" / f"{name}.wav", audio, RATE)
    return tmp_path / "songs"


def test_a_corpus_is_built_checked_and_reported(songs, tmp_path):
    heard = []
    made = sw.build(songs, tmp_path / "corpus", CONFIG, on_progress=lambda *progress: heard.append(progress))
    assert made.ok
    assert heard
    assert repr(made).endswith("render 2; 0 rejected, 0 problems>")
    again = sw.build(songs, made.corpus)  # the configuration is kept: nothing is left to do
    assert [summary.done for summary in again.stages] == [0] * 5
    assert sw.check(made.corpus) == []
    assert sw.check(made.dataset) == []
    (made.corpus / sw.read_table(made.corpus / "stems.parquet")["audio"][0]["path"]).unlink()
    assert any(problem.level == "error" and problem.table == "stems" for problem in sw.check(made.corpus))
    assert sw.report(made.corpus, players=0).read_text().startswith("<!")


def test_the_chain_of_a_tables_row_makes_the_wet_side_again(songs, tmp_path):
    made = sw.build(songs, tmp_path / "corpus", CONFIG)
    data = sw.PairDataset(made.dataset, kind="removal", split="all", labels=["fader"])
    pairs = sw.read_table(made.dataset / "pairs.parquet").set_index("id")
    chain = pairs.loc[data.pair(0).id, "inputs"][0]["branches"][0]["chain"]
    removed = [use for use in chain if use["role"] == "removed"]
    item = data[0]
    wet, dry = item.inputs[0].numpy(), item.targets[0].numpy()
    np.testing.assert_allclose(sw.apply_chain(dry, data.sample_rate, removed), wet, atol=1e-4)
    np.testing.assert_allclose(sw.invert_chain(wet, data.sample_rate, removed), dry, atol=1e-4)


def test_a_build_that_cannot_start_leaves_nothing_and_gives_the_reason(songs, tmp_path):
    for config, message in (
        ({"pairs": {"removel": {}}}, "removel.*removal"),
        ({"songs": {"folder": str(tmp_path)}}, "the configuration names the songs"),
        ({"separation": {"model": "htdemucs_tf"}}, "did you mean 'htdemucs_ft'"),
    ):
        with pytest.raises(ValueError, match=message):
            sw.build(songs, tmp_path / "corpus", config)
        assert not (tmp_path / "corpus" / "config.toml").exists()
    with pytest.raises(ValueError, match="does not exist; expected a folder of songs"):
        sw.build(tmp_path / "nothing", tmp_path / "corpus")
