"""Sections of made music whose boundaries are known, and the key of melodies that others wrote."""

from itertools import pairwise

import numpy as np
import pytest

from stemwright.separation.balance.music import MIN_S, find_sections, hear_music
from stemwright.separation.tempo import TONICS, find_key

RATE = 22_050
# Melodies without copyright as MIDI notes and lengths in beats, in C major and A minor
ODE_TO_JOY = [
    *((note, 1) for note in (64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64)), (64, 1.5), (62, 0.5), (62, 2),
    *((note, 1) for note in (64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64)), (62, 1.5), (60, 0.5), (60, 2),
]  # fmt: skip
GREENSLEEVES = [
    (69, 1), (72, 2), (74, 1), (76, 1.5), (77, 0.5), (76, 1), (74, 2), (71, 1), (67, 1.5), (69, 0.5), (71, 1), (72, 2), (69, 1),
    (69, 1.5), (68, 0.5), (69, 1), (71, 2), (68, 1), (64, 3), (69, 1), (72, 2), (74, 1), (76, 1.5), (77, 0.5), (76, 1), (74, 2),
    (71, 1), (67, 1.5), (69, 0.5), (71, 1), (72, 1.5), (71, 0.5), (69, 1), (68, 1.5), (66, 0.5), (68, 1), (69, 3),
]  # fmt: skip


def tones(notes, seconds, *, harmonics=4, decay=3.0):
    time_s = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * k * time_s) / k**1.3 for note in notes for k in range(1, harmonics + 1)]
    return np.sum(waves, axis=0) * np.exp(-decay * time_s)


def melody(notes, transposed=0, beat_s=0.4):
    return (0.1 * np.concatenate([tones([note + transposed], length * beat_s) for note, length in notes])).astype(np.float32)[None]


def part(chords, seconds, *, harmonics=4, noise=0.0, seed=0):
    """Chords of half a second in turn, with noise as drums have."""
    count = round(seconds / 0.5)
    audio = np.concatenate([tones(chords[n % len(chords)], 0.5, harmonics=harmonics, decay=2.0) for n in range(count)])
    return 0.05 * audio + noise * np.random.default_rng(seed).standard_normal(len(audio))


QUIET, LOUD = ((57, 60, 64), (53, 57, 60)), ((60, 64, 67), (55, 59, 62), (57, 60, 64), (53, 57, 60))


@pytest.mark.parametrize("lengths_s", [(12.0, 16.0, 10.0), (8.0, 20.0, 8.0, 24.0)])
def test_sections_begin_where_texture_and_level_change(lengths_s):
    parts = [
        part(LOUD, length, harmonics=9, noise=0.05, seed=number)
        if number % 2
        else part(QUIET, length, harmonics=2, noise=0.002, seed=number)
        for number, length in enumerate(lengths_s)
    ]
    audio = np.concatenate(parts).astype(np.float32)[None]
    found = find_sections(audio, RATE)
    edges = np.cumsum(lengths_s)
    assert [end for _, end in found] == pytest.approx(edges.tolist(), abs=1.0)
    assert found[0][0] == 0.0
    assert all(one[1] == other[0] for one, other in pairwise(found))


def test_harmony_alone_makes_a_section():
    audio = np.concatenate([part(((60, 64, 67),), 15.0, noise=0.005), part(((66, 70, 73),), 15.0, noise=0.005)]).astype(np.float32)[None]
    assert [end for _, end in find_sections(audio, RATE)] == pytest.approx([15.0, 30.0], abs=1.0)


def test_what_does_not_change_is_one_section_and_no_audio_has_none():
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 40 * RATE))).astype(np.float32)
    assert find_sections(noise, RATE) == ((0.0, 40.0),)
    assert find_sections(part(LOUD, 30.0, noise=0.01).astype(np.float32)[None], RATE) == ((0.0, 30.0),)
    assert find_sections(np.zeros((2, 30 * RATE), np.float32), RATE) == ((0.0, 30.0),)
    assert find_sections(noise[:, : 3 * RATE], RATE) == ((0.0, 3.0),)
    assert find_sections(noise[:, :0], RATE) == ()


def test_no_section_is_shorter_than_the_least():
    rng = np.random.default_rng(0)
    gains = np.repeat(10 ** (-rng.uniform(0, 30, 30) / 20), 2 * RATE)
    audio = (gains * rng.standard_normal(len(gains)) * 0.1).astype(np.float32)[None]
    assert min(end - start for start, end in find_sections(audio, RATE)) >= MIN_S - 0.6


@pytest.mark.parametrize("transposed", [0, 2, 7, 11])
def test_melodies_have_the_key_in_which_they_are_printed(transposed):
    assert find_key(melody(ODE_TO_JOY, transposed), RATE).name == f"{TONICS[transposed]} major"
    assert find_key(melody(GREENSLEEVES, transposed), RATE).name == f"{TONICS[(transposed + 9) % 12]} minor"


def test_all_is_heard_at_once_and_sections_only_where_asked():
    audio = np.concatenate([melody(ODE_TO_JOY, 2)] * 2, axis=1)
    music = hear_music(audio, RATE)
    assert music.key == "D major"
    assert music.tempo_bpm is None or 60 < music.tempo_bpm < 320
    assert music.sections[-1][1] == audio.shape[1] / RATE
    assert hear_music(audio, RATE, sections=False).sections == ()
