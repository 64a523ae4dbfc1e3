"""Tempo, beats and key against synthetic audio whose tempo, beats and key are known."""

import os
import subprocess
import sys

import numpy as np
import pytest
from test_estimate import written

from stemwright.datagen.run.track_estimation import estimate_tempo, mixture_at, tempo_cache_key
from stemwright.separation.tempo import TONICS, find_beats, find_key, key_of_chroma, pitch_set

RATE = 22_050
MAJOR, MINOR = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)), ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7))  # I IV V I, i iv V i


def clicks(tempo_bpm, *, duration_s=15.0, first_s=0.3, sample_rate=RATE):
    """A click track [1, T] and the times of its clicks."""
    audio = np.zeros(round(duration_s * sample_rate), np.float32)
    time_s = np.arange(round(0.05 * sample_rate)) / sample_rate
    click = (np.sin(2 * np.pi * 1_000 * time_s) * np.exp(-80 * time_s)).astype(np.float32)
    times_s = np.arange(first_s, duration_s - 0.1, 60.0 / tempo_bpm)
    for onset in times_s:
        start = round(onset * sample_rate)
        audio[start : start + len(click)] += click
    return audio[None], times_s


def cadence(tonic, chords, *, sample_rate=RATE):
    """Four chords of two seconds each, three notes of four harmonics, over a root in the bass: [1, T]."""
    time_s = np.arange(2 * sample_rate) / sample_rate
    parts = []
    for chord in chords:
        notes = [48 + tonic + step for step in chord] + [36 + tonic + chord[0]]
        tones = [
            np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * harmonic * time_s) / harmonic**1.5
            for note in notes
            for harmonic in range(1, 5)
        ]
        parts.append(np.sum(tones, axis=0) * np.exp(-0.8 * time_s))
    return (0.05 * np.concatenate(parts)).astype(np.float32)[None]


@pytest.mark.parametrize("tempo_bpm", [72, 96, 120, 133.5, 160])
def test_tempo_and_beats_of_a_click_track_are_its_own(tempo_bpm):
    audio, times_s = clicks(tempo_bpm)
    found = find_beats(audio, RATE)
    assert found.tempo_bpm == pytest.approx(tempo_bpm, rel=0.005)
    late_s = [found_s - times_s[np.abs(times_s - found_s).argmin()] for found_s in found.times_s[1:-1]]
    assert abs(np.median(late_s)) < 0.004
    assert np.abs(late_s).max() < 0.02


@pytest.mark.parametrize(("tempo_bpm", "levels"), [(45, (45, 90)), (200, (100, 200)), (240, (120,))])
def test_far_from_120_the_tempo_may_be_that_of_the_next_level_of_the_beat(tempo_bpm, levels):
    audio, _ = clicks(tempo_bpm)
    found = find_beats(audio, RATE)
    assert min(abs(found.tempo_bpm / level - 1.0) for level in levels) < 0.01


def test_channels_and_sample_rate_change_neither_tempo_nor_beats():
    mono, _ = clicks(110, sample_rate=44_100)
    low, _ = clicks(110)
    stereo = np.concatenate([mono, mono])
    one, other, third = find_beats(mono, 44_100), find_beats(stereo, 44_100), find_beats(low, RATE)
    assert one == other
    assert third.tempo_bpm == pytest.approx(one.tempo_bpm, rel=0.005)


@pytest.mark.parametrize("num_frames", [0, 1, 300, RATE // 2])
def test_what_is_too_short_has_no_tempo(num_frames):
    audio, _ = clicks(120)
    assert find_beats(audio[:, :num_frames], RATE) == find_beats(np.zeros((1, RATE), np.float32), RATE)
    assert find_beats(audio[:, :num_frames], RATE).tempo_bpm is None


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_tempo(seed):
    noise = 0.1 * np.random.default_rng(seed).standard_normal((2, 15 * RATE)).astype(np.float32)
    assert find_beats(noise, RATE).tempo_bpm is None


@pytest.mark.parametrize("tonic", [0, 3, 6, 9, 10])
@pytest.mark.parametrize(("mode", "chords"), [("major", MAJOR), ("minor", MINOR)])
def test_key_of_a_cadence_is_its_own(tonic, mode, chords):
    found = find_key(cadence(tonic, chords), RATE)
    assert found.name == f"{TONICS[tonic]} {mode}"
    assert 0.01 < found.confidence <= 1


def test_silence_noise_and_one_note_have_no_key():
    time_s = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal((1, 4 * RATE)).astype(np.float32)
    for audio in (np.zeros((2, RATE), np.float32), np.zeros((1, 0), np.float32), noise, np.sin(2 * np.pi * 440 * time_s)[None]):
        found = find_key(audio.astype(np.float32), RATE)
        assert (found.name, found.confidence) == (None, 0.0)


def test_a_transposed_chroma_has_the_transposed_key_and_equal_confidence():
    chroma = np.array([5.0, 0.5, 2, 0.5, 4, 3, 0.5, 5, 0.5, 2, 0.5, 1])
    for steps in range(12):
        found = key_of_chroma(np.roll(chroma, steps))
        assert found.name == f"{TONICS[steps]} major"
        assert found.confidence == pytest.approx(key_of_chroma(chroma).confidence)


def test_a_minor_key_has_the_pitches_of_its_relative_major():
    assert pitch_set("A minor") == pitch_set("C major") == 0
    assert pitch_set("C minor") == pitch_set("D# major")
    assert len({pitch_set(f"{tonic} minor") for tonic in TONICS}) == 12
    with pytest.raises(ValueError, match="'H major' is not a key"):
        pitch_set("H major")


def test_the_row_of_a_track_has_the_tempo_of_the_sum_of_its_stems(tmp_path):
    beat, times_s = clicks(100, sample_rate=44_100)
    chords = np.tile(cadence(2, MAJOR, sample_rate=44_100), (1, 2))[:, : beat.shape[1]]
    stems = written(tmp_path, {"drums": np.repeat(0.1 * beat, 2, axis=0), "other": np.repeat(chords, 2, axis=0)})
    (row,) = estimate_tempo(stems, tmp_path)
    assert (row.track_id, row.cache_key) == (stems[0].track_id, tempo_cache_key(stems))
    assert row.tempo_bpm == pytest.approx(100, rel=0.005)
    assert abs(row.beats_s[3] - times_s).min() < 0.02
    assert row.key == "D major"
    assert row.id == row.seal_id()


def test_the_mixture_is_the_sum_of_the_stems_at_the_requested_rate(tmp_path, synthetic_song):
    parts = {name: synthetic_song[name] for name in ("drums", "bass", "other", "vocals")}
    found = mixture_at(written(tmp_path, parts), tmp_path, 44_100)
    np.testing.assert_allclose(found, synthetic_song["mixture"].mean(axis=0, keepdims=True), atol=1e-6)


def test_a_silent_track_has_a_row_without_values(tmp_path):
    (row,) = estimate_tempo(written(tmp_path, {"drums": np.zeros((1, 44_100), np.float32)}), tmp_path)
    assert (row.tempo_bpm, row.beats_s, row.key, row.key_confidence) == (None, (), None, 0.0)


def test_librosa_is_imported_by_one_process_at_a_time():
    code = """
import sys, filelock
import numpy as np
held, seen = filelock.FileLock, []
class Seen(held):
    def __enter__(self):
        seen.append("librosa.beat" in sys.modules)
        return super().__enter__()
    def __exit__(self, *error):
        seen.append({"librosa.beat", "librosa.feature", "librosa.onset"} <= sys.modules.keys())
        return super().__exit__(*error)
filelock.FileLock = Seen
from stemwright.separation.tempo import find_beats, find_key
find_beats(np.random.default_rng(0).standard_normal((1, 22_050)).astype(np.float32), 22_050)
find_key(np.ones((1, 22_050), np.float32), 22_050)
print(seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[False, True]"


@pytest.mark.slow
def test_processes_that_compile_the_kernels_at_once_all_find_the_beats(tmp_path):
    # Each has compiled another number of functions before, which numba counts into the names of those that follow.
    code = f"""
import sys
import numba
import numpy as np
from stemwright.separation.tempo import find_beats
for number in range(int(sys.argv[1])):
    numba.njit(lambda value: value)(number)
beat = np.zeros((1, 10 * {RATE}), np.float32)
beat[:, :: {RATE} // 2] = 0.9
print(round(find_beats(beat, {RATE}).tempo_bpm))
"""
    new_cache = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):  # on a new cache all at once, and on what that left behind
        processes = [
            subprocess.Popen([sys.executable, "-c", code, str(number)], stdout=subprocess.PIPE, text=True, env=new_cache)
            for number in range(1, 4)
        ]
        assert [(process.communicate()[0].strip(), process.returncode) for process in processes] == [("120", 0)] * 3
