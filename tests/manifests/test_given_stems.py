"""Stems that were given with a mixture: every fault of data sets' errata is named, what is certain is mended, foreign stems are refused."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import soxr
from conftest import STEM_NAMES, make_song, write_song_file
from scipy.signal import lfilter

from stemwright.manifests.catalog.listing import find
from stemwright.manifests.catalog.tracks import SplitShares, inspect
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.stems.given_stems import examine
from stemwright.manifests.stems.stem_drift import drift_of, drifts
from stemwright.manifests.stems.stem_reading import GivenStems, Mending, StemReader
from stemwright.separation.balance.own_stems import load_own, multitrack_files, stem_paths
from stemwright.separation.balance.recordings import measure_recording, titles_of
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100
BLOCK = 30_000


def source(audio):
    return lambda: (np.asarray(audio[:, start : start + BLOCK], np.float32) for start in range(0, audio.shape[1], BLOCK))


def given(mixture, stems, **kinds):
    return GivenStems(source(mixture), {name: source(audio) for name, audio in stems.items()}, RATE, mixture.shape[0], **kinds)


def later(audio, frames):
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


@pytest.fixture(scope="module")
def song():
    """Six seconds: the mixture, and its stems."""
    parts = dict(make_song(3, 6.0))
    return parts.pop("mixture"), parts


def test_stems_that_sum_are_read_once_and_need_nothing(song):
    found = examine(given(*song))
    assert found.closure_db is None
    assert not found.mending
    assert not found.all_notes


FAULTS = {
    "one frame late": (lambda s: {"drums": later(s["drums"], 1)}, r"drums is 1 frame \(0.0 ms\) too late: moved", -60.0),
    "10 ms late": (lambda s: {"vocals": later(s["vocals"], 441)}, r"vocals is 441 frames \(10.0 ms\) too late: moved", -25.0),
    "6 dB too loud": (lambda s: {"drums": 2 * s["drums"]}, r"drums is at \+6\.02 dB .* undone", -80.0),
    "inverted": (lambda s: {"bass": -s["bass"]}, r"bass is inverted .* undone", -80.0),
    "swapped channels": (lambda s: {"other": s["other"][::-1]}, r"other has left and right swapped: swapped back", -80.0),
    "leak": (lambda s: {"other": s["other"] + s["vocals"]}, r"vocals is contained in stem other", None),
    "zeros": (lambda s: {"vocals": 0 * s["vocals"]}, r"vocals is silent", None),
    "missing channel": (lambda s: {"other": s["other"] * np.array([[0], [1]])}, r"left channel of stem other is silent", None),
    "noise": (lambda s: {"other": 0.05 * np.random.default_rng(1).normal(size=s["other"].shape)}, r"other is not found", None),
    "other take": (lambda s: {**s, "drums": make_song(12, 6.0)["drums"]}, r"drums is not found", None),
    "sum of others": (lambda s: {"band": s["drums"] + s["bass"] + s["other"]}, r"band is the sum of", -80.0),
}


@pytest.mark.parametrize(("change", "note", "closes_db"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_and_mended_where_it_is_certain(song, change, note, closes_db):
    mixture, stems = song
    found = examine(given(mixture, {**stems, **change(stems)}))
    text = "\n".join(found.all_notes)
    assert re.search(note, text), text
    if closes_db is not None:
        assert found.closure_db is None or found.closure_db < closes_db
        blocks = list(given(mixture, {**stems, **change(stems)}).mended(found.mending).blocks())
        assert all(mixture_block.shape == part.shape[1:] for mixture_block, part in blocks)


@pytest.mark.parametrize("frames", [100, 1000, 4000])
def test_all_stems_early_are_moved_together(song, frames):
    mixture, stems = song
    found = examine(given(later(mixture, frames), stems))
    assert {each.lag_frames for each in found.mending.values()} == {float(frames)}
    assert f"all stems are {frames} frames" in found.all_notes[0]
    assert found.closure_db is None or found.closure_db < -60


@pytest.mark.parametrize("seed", range(3))
def test_stems_rescaled_one_by_one_are_found_within_a_third_of_a_decibel(song, seed):
    mixture, stems = song
    gains_db = np.random.default_rng(seed).uniform(-15, 15, len(stems))
    rescaled = {name: 10 ** (gain / 20) * audio for (name, audio), gain in zip(stems.items(), gains_db, strict=True)}
    found = examine(given(mixture, rescaled))
    assert [each.fit_gain_db for each in found.stems.values()] == pytest.approx(list(-gains_db), abs=0.3)
    assert found.closure_db < -60


def test_stems_of_another_song_are_foreign_and_levels_of_dry_stems_stay(song):
    mixture, stems = song
    other = {name: audio for name, audio in make_song(12, 6.0).items() if name != "mixture"}
    assert set(examine(given(mixture, other)).foreign) == set(STEM_NAMES)
    dry = examine(given(mixture, {**stems, "drums": 2 * stems["drums"]}), undo_gains=False)
    assert not dry.mending
    assert not dry.all_notes, "dry stems are at other levels than in their mixture: that is no fault"
    assert dry.stems["drums"].fit_gain_db == pytest.approx(-6.02, abs=0.05)


def test_a_delay_by_a_part_of_a_frame_is_that_delay():
    time = np.arange(20_000) / RATE
    tone = np.sin(2 * np.pi * 1000 * time)[None].astype(np.float32)
    reader = StemReader("tone", iter([tone[:, :7000], tone[:, 7000:]]), 1, RATE, Mending(lag_frames=2.5))
    read = np.concatenate([reader.take(9000), reader.take(11_000)], axis=1)
    expected = np.sin(2 * np.pi * 1000 * (time - 2.5 / RATE))
    np.testing.assert_allclose(read[0, 200:-200], expected[200:-200], atol=1e-4)


MASTERS = {
    "limiter": "volume=9dB,alimiter=limit=0.9:level=0:attack=5:release=50",
    "compressor": "acompressor=threshold=-24dB:ratio=4:attack=10:release=100:makeup=4",
    "equaliser": "equalizer=f=80:t=q:w=1:g=4,equalizer=f=3000:t=q:w=1:g=-3,highshelf=f=9000:g=5",
}


@pytest.mark.parametrize("master", MASTERS.values(), ids=MASTERS)
def test_a_master_made_by_ffmpeg_keeps_its_stems_and_loses_a_foreign_one(easton_excerpt, tmp_path, master):
    if not shutil.which("ffmpeg"):
        pytest.skip("needs the ffmpeg program")
    stems = {name: load(easton_excerpt, stream=number)[0] for number, name in enumerate(STEM_NAMES, 1)}
    mixture = sum(stems.values())
    soundfile.write(tmp_path / "mix.wav", mixture.T, RATE, subtype="FLOAT")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "mix.wav", "-af", master, "-ar", "44100", "-c:a", "pcm_f32le", tmp_path / "master.wav"],
        check=True,
    )
    mastered = soundfile.read(tmp_path / "master.wav")[0].T[:, : mixture.shape[1]]
    assert not examine(given(mastered, stems)).foreign
    assert examine(given(mastered, {**stems, "vocals": stems["vocals"][:, ::-1]})).foreign == ("vocals",)


def test_a_balance_from_rescaled_stems_is_that_of_the_right_ones(song, tmp_path):
    mixture, stems = song
    write_song_file(tmp_path / "song" / "mixture.wav", mixture)
    for name, audio in stems.items():
        write_song_file(tmp_path / "song" / f"{name}.wav", (0.9 * audio / np.abs(audio).max()).astype(np.float32))
    found = measure_recording(tmp_path / "song", None)
    whole = integrated_loudness(mixture, RATE)
    for name, audio in stems.items():
        assert found.stems[name].level_lu == pytest.approx(integrated_loudness(audio, RATE) - whole, abs=0.02)
        assert found.stems[name].level_low_lu <= found.stems[name].level_lu <= found.stems[name].level_high_lu
    assert all("undone" in note for note in found.notes)


@pytest.mark.parametrize(("which", "parts_per_million"), [(("drums",), 100.0), (STEM_NAMES, -60.0)], ids=["one", "all"])
def test_stems_of_another_clock_are_named_and_refused(which, parts_per_million):
    parts = dict(make_song(3, 10.0))
    mixture = parts.pop("mixture")
    ratio = 1 + 1e-6 * parts_per_million
    drifted = {name: soxr.resample(parts[name].T, 1.0, ratio, quality="VHQ").T for name in which}
    found = examine(given(mixture, {**parts, **drifted}))
    assert "drums" in found.drifting
    assert all(found.stems[name].drift_ppm == pytest.approx(parts_per_million, rel=0.1) for name in found.drifting)
    assert set(found.drifting) <= set(which)
    assert not found.foreign
    with pytest.raises(Refused, match=rf"drums is of a clock that runs \d+ ppm too {'fast' if ratio > 1 else 'slow'}: .*Resample"):
        found.check_clocks()


def test_a_drift_is_a_line_of_delays_over_time_and_nothing_else():
    starts, even = np.arange(8) * 65_536, np.ones(8)
    assert drift_of(starts, -1e-4 * starts + 300, even) == pytest.approx(100.0)
    assert drift_of(starts, np.where(np.arange(8) == 3, 9000, 2e-5 * starts), even) == pytest.approx(-20.0)
    assert drift_of(starts, np.full(8, 441.0), even) == 0
    assert drift_of(starts, np.random.default_rng(0).uniform(-500, 500, 8), even) == 0
    assert drift_of(starts, -1e-4 * starts, np.array([1, 1, 1, 0, 0, 0, 0, 0.0])) == 0
    beats = np.array([0, 18_900, 0, 18_900, 0, -18_900, 0, 0])  # a loop is alike a beat later
    assert drift_of(starts, -1e-4 * starts + beats, even) == pytest.approx(100.0, rel=0.05)
    assert drift_of(starts, beats + np.array([0, 1, 0, 0, 1, 0, 1, 0]), even) == 0
    found = drifts(starts, np.stack([-1e-4 * starts, 1e-5 * (starts > 0)], axis=1), np.ones((8, 2)), 0.99, 1.0)
    assert found == (pytest.approx(100.0), 0.0)  # all on one line, though it explains little more


def test_the_levels_of_a_compressed_master_are_those_of_its_stems_at_its_gain(song, tmp_path):
    mixture, stems = song
    power = lfilter([1e-3], [1, -0.999], np.mean(mixture**2, axis=0))
    gain = (1 + power / np.mean(power)) ** -0.4 * 0.3  # by up to 10 dB less where it is loud, and all of it softer
    write_song_file(tmp_path / "mixture.wav", (gain * mixture).astype(np.float32))
    for name, audio in stems.items():
        write_song_file(tmp_path / f"{name}.wav", audio)
    found = measure_recording(tmp_path, None)
    whole = integrated_loudness(gain * mixture, RATE)
    for name, audio in stems.items():
        level = integrated_loudness(gain * audio, RATE) - whole
        assert found.stems[name].level_low_lu < level < found.stems[name].level_high_lu
        assert found.stems[name].level_lu == pytest.approx(level, abs=1.0)


def test_songs_whose_files_have_one_name_are_called_by_their_folders_and_find_their_own_stems(tmp_path):
    paths = [tmp_path / each for each in ("a/Song/mixture.wav", "b/Song/mixture.wav", "Tune/mix.flac", "x.mp3", "x.mp3")]
    assert titles_of(paths) == ["a/Song", "b/Song", "Tune", "x.mp3", "x.mp3"]
    for name in ("Tune/vocals", "x/drums", "left"):
        write_song_file(tmp_path / "stems" / f"{name}.wav", np.zeros((1, 10), np.float32))
    found = [stem_paths(tmp_path / "stems", path) for path in paths[2:4]]
    assert [list(each) for each in found] == [["vocals"], ["drums"]]
    assert list(stem_paths(tmp_path / "stems", tmp_path / "other.wav")) == ["left"]


def test_stems_of_another_recording_are_refused(song, tmp_path):
    write_song_file(tmp_path / "song.wav", song[0])
    for name, audio in make_song(12, 6.0).items():
        write_song_file(tmp_path / "other" / f"{name}.wav", audio)
    with pytest.raises(Refused, match=r"none of the stems in .* is found in song\.wav: they are of another recording"):
        load_own(*multitrack_files(tmp_path / "song.wav", tmp_path / "other"))


def test_a_track_has_the_findings_in_its_row_and_refuses_a_foreign_stem(song, tmp_path):
    mixture, stems = song
    for name, audio in {"mixture": mixture, **stems, "drums": 2 * stems["drums"]}.items():
        write_song_file(tmp_path / "Band - Song" / f"{name}.wav", audio)
    (candidate,) = find(tmp_path, kind="multitracks").candidates
    track = inspect(tmp_path, candidate, SplitShares())
    drums = next(stem for stem in track.references if stem.name == "drums")
    assert (drums.gain_db, drums.fit_gain_db) == (pytest.approx(-6.02, abs=0.01), pytest.approx(-6.02, abs=0.01))
    assert track.closure_db < -60
    assert any("drums is at +6.02 dB" in note for note in track.notes)
    write_song_file(tmp_path / "Band - Song" / "drums.wav", make_song(12, 6.0)["drums"])
    with pytest.raises(Refused, match="stem drums is not found in the mixture"):
        inspect(tmp_path, candidate, SplitShares())


def test_parts_of_a_multitrack_are_no_songs(tmp_path):
    audio = np.zeros((1, 100), np.float32)
    for name in (
        "a/mixture",
        "a/drums",
        "a/bass",
        "a/other",
        "a/vocals",
        "a/accompaniment",
        "b/mix",
        "b/stems/S01",
        "c/drums",
        "c/bass",
        "c/vocals",
    ):
        write_song_file(tmp_path / f"{name}.wav", audio)
    found = find(tmp_path)
    assert [(song.path, len(song.references)) for song in found.candidates] == [("a/mixture.wav", 4), ("b/mix.wav", 0)]
    reasons = dict(found.refused)
    assert set(reasons) == {"a/accompaniment.wav", "b/stems/S01.wav", "c/drums.wav", "c/bass.wav", "c/vocals.wav"}
    assert all("--kind multitracks" in reason for reason in reasons.values())
    (one,) = [song for song in find(tmp_path, kind="multitracks").candidates if song.path == "b/mix.wav"]
    assert one.references == (("s01", "b/stems/S01.wav", 0),)
