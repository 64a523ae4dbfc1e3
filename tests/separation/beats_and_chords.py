"""Sound whose tempo, beats and key are known."""

import numpy as np

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
