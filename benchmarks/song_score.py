"""Composing of synthetic songs: tempo, key, chords, and the notes of every part, all drawn.

Conventions
    Times are in seconds, pitches in MIDI note numbers, velocities 0 to 1. Steps are sixteenths of a bar of four beats, or of three.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
PROGRESSIONS = (
    (0, 4, 5, 3),
    (5, 3, 0, 4),
    (0, 3, 4, 4),
    (0, 5, 3, 4),
    (0, 0, 3, 4),
    (0, 6, 5, 6),
    (1, 4, 0, 0),
    (0, 2, 3, 4),
    (0, 0, 5, 5),
    (0, 3, 0, 4),
)


@dataclass(frozen=True)
class Note:
    """One note of a part: start and length in seconds, MIDI pitch, velocity 0 to 1."""

    start_s: float
    length_s: float
    pitch: float
    velocity: float


@dataclass
class Score:
    """A composed song: tempo, key, chords and the notes of every part."""

    duration_s: float
    step_s: float
    steps_per_bar: int
    swing: float
    scale: tuple[int, ...]
    root: int
    chords: list[int]
    drums: list[tuple[float, str, float]] = field(default_factory=list)
    bass: list[Note] = field(default_factory=list)
    chordal: list[list[Note]] = field(default_factory=list)
    lead: list[Note] = field(default_factory=list)
    melody: list[Note] = field(default_factory=list)

    def time_of(self, bar: int, step: float) -> float:
        """Seconds of a step of a bar; every second step comes late by the swing."""
        late = self.swing * self.step_s if int(step) % 2 else 0.0
        return (bar * self.steps_per_bar + step) * self.step_s + late

    def pitch_of(self, degree: int) -> int:
        """MIDI pitch of a scale degree, which may run beyond the octave either way."""
        return self.root + self.scale[degree % 7] + 12 * (degree // 7)


def compose(rng: np.random.Generator, duration_s: float) -> Score:
    """Draws tempo, key, chords and notes for all parts."""
    steps = 16 if rng.random() < 0.85 else 12
    tempo_bpm = rng.uniform(68, 172)
    step_s = 60.0 / tempo_bpm / 4
    num_bars = int(np.ceil(duration_s / (steps * step_s)))
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))] if rng.random() < 0.8 else tuple(rng.integers(0, 7, 4))
    hold = int(rng.choice([1, 1, 2]))
    chords = [int(progression[(bar // hold) % len(progression)]) for bar in range(num_bars)]
    scale = SCALES[list(SCALES)[rng.integers(4)]]
    swing = rng.uniform(0.1, 0.35) if rng.random() < 0.25 else 0.0
    score = Score(duration_s, step_s, steps, swing, scale, int(rng.integers(0, 12)), chords)
    score.drums = _compose_drums(rng, score)
    score.bass = _compose_bass(rng, score)
    score.chordal = [_compose_chords(rng, score) for _ in range(int(rng.integers(1, 4)))]
    score.lead = _compose_line(rng, score, centre=int(rng.integers(64, 80)), density=rng.uniform(0.2, 0.8))
    score.melody = _compose_line(rng, score, centre=int(rng.choice([50, 54, 58, 62, 66, 69])), density=rng.uniform(0.4, 0.95))
    return score


def _playing(rng: np.random.Generator, num_bars: int, share: float) -> np.ndarray:
    """Draws in which bars a part plays, in sections of two or four bars; at least one section plays."""
    length = int(rng.choice([2, 4]))
    sections = rng.random(max(1, -(-num_bars // length))) < share
    sections[rng.integers(len(sections))] = True
    return np.repeat(sections, length)[:num_bars]


def _compose_drums(rng: np.random.Generator, score: Score) -> list[tuple[float, str, float]]:
    steps = score.steps_per_bar
    beat = 4
    kick = rng.random(steps) < rng.uniform(0.02, 0.25)
    kick[0] = True
    if rng.random() < 0.3:
        kick[::beat] = True
    snare = np.zeros(steps, bool)
    snare[beat :: 2 * beat] = True
    snare |= rng.random(steps) < rng.uniform(0, 0.08)
    every = int(rng.choice([1, 2, 2, 2, 4]))
    hat = (np.arange(steps) % every == 0) & (rng.random(steps) < 0.95)
    voices = {
        "snare": str(rng.choice(["snare", "snare", "snare", "clap", "rim"])),
        "hat": str(rng.choice(["hat", "hat", "hat", "ride", "shaker"])),
    }
    extra = rng.random(steps) < rng.uniform(0, 0.2)
    ghost = rng.uniform(0.0, 0.35)
    events: list[tuple[float, str, float]] = []
    playing = _playing(rng, len(score.chords), 0.92)
    for bar in np.flatnonzero(playing):
        fill = rng.random() < 0.18
        for step in range(steps):
            at = score.time_of(int(bar), step) + rng.normal(0, 0.003)
            if kick[step] and rng.random() < 0.95:
                events.append((at, "kick", rng.uniform(0.75, 1.0)))
            if fill and step >= steps - 6:
                events.append((at, str(rng.choice(["snare", "tom1", "tom2", "tom3"])), rng.uniform(0.5, 1.0)))
                continue
            if snare[step]:
                events.append((at, voices["snare"], rng.uniform(0.7, 1.0)))
            elif rng.random() < ghost * 0.2:
                events.append((at, voices["snare"], rng.uniform(0.1, 0.4)))
            if hat[step]:
                cymbal = "open" if rng.random() < 0.07 else voices["hat"]
                events.append((at, cymbal, rng.uniform(0.35, 1.0) * (1.0 if step % 4 == 0 else 0.75)))
            if extra[step] and rng.random() < 0.7:
                events.append((at, "perc", rng.uniform(0.3, 0.9)))
        if bar % 4 == 0 and rng.random() < 0.6:
            events.append((score.time_of(int(bar), 0), "crash", rng.uniform(0.5, 1.0)))
    return [event for event in sorted(events) if 0 <= event[0] < score.duration_s]


def _compose_bass(rng: np.random.Generator, score: Score) -> list[Note]:
    style = str(rng.choice(["hold", "eighths", "pattern", "pattern", "walk"]))
    pattern = rng.random(score.steps_per_bar) < rng.uniform(0.2, 0.5)
    pattern[0] = True
    if style == "eighths":
        pattern[:] = np.arange(score.steps_per_bar) % 2 == 0
    elif style == "walk":
        pattern[:] = np.arange(score.steps_per_bar) % 4 == 0
    elif style == "hold":
        pattern[1:] = False
    gate = rng.uniform(0.5, 1.0)
    low = int(rng.integers(28, 36))
    notes = []
    onsets = np.flatnonzero(pattern)
    gaps = np.diff(np.append(onsets, score.steps_per_bar))
    for bar in np.flatnonzero(_playing(rng, len(score.chords), 0.92)):
        for onset, gap in zip(onsets, gaps, strict=True):
            degree = score.chords[bar] + (0 if onset == 0 or rng.random() < 0.6 else int(rng.choice([2, 4, 7, -1, 1])))
            pitch = low + (score.pitch_of(degree) - low) % 12 + (12 if rng.random() < 0.08 else 0)
            notes.append(Note(score.time_of(int(bar), int(onset)), gap * score.step_s * gate, pitch, rng.uniform(0.65, 1.0)))
    return notes


def _compose_chords(rng: np.random.Generator, score: Score) -> list[Note]:
    style = str(rng.choice(["hold", "hold", "strum", "rhythm", "arpeggio"]))
    voices = [0, 2, 4] + ([6] if rng.random() < 0.3 else []) + ([7] if rng.random() < 0.4 else [])
    if rng.random() < 0.15:
        voices = [0, 4, 7]
    low = int(rng.integers(45, 64))
    pattern = rng.random(score.steps_per_bar) < rng.uniform(0.15, 0.45)
    pattern[0] = True
    gate = rng.uniform(0.4, 1.0)
    notes = []
    for bar in np.flatnonzero(_playing(rng, len(score.chords), 0.8)):
        pitches = sorted(low + (score.pitch_of(score.chords[bar] + v) - low) % 12 + 12 * (v >= 7) for v in voices)
        at, bar_s = score.time_of(int(bar), 0), score.steps_per_bar * score.step_s
        if style == "arpeggio":
            every = int(rng.choice([1, 2]))
            for number, step in enumerate(range(0, score.steps_per_bar, every)):
                notes.append(
                    Note(score.time_of(int(bar), step), score.step_s * every * 1.5, pitches[number % len(pitches)], rng.uniform(0.5, 0.9))
                )
            continue
        onsets = np.flatnonzero(pattern) if style in ("rhythm", "strum") else np.array([0])
        gaps = np.diff(np.append(onsets, score.steps_per_bar))
        for onset, gap in zip(onsets, gaps, strict=True):
            velocity = rng.uniform(0.5, 0.95)
            spread = rng.uniform(0.005, 0.025) if style == "strum" else 0.0
            length = bar_s if style == "hold" else gap * score.step_s * gate
            start = at if style == "hold" else score.time_of(int(bar), int(onset))
            notes += [Note(start + i * spread, length, pitch, velocity) for i, pitch in enumerate(pitches)]
    return notes


def _compose_line(rng: np.random.Generator, score: Score, *, centre: int, density: float) -> list[Note]:
    """A melody in phrases: a walk on the scale around a centre, with rests between phrases."""
    notes = []
    lengths = rng.choice([1, 2, 2, 3, 4, 6, 8], size=4)
    base = 7 * ((centre - score.root) // 12) + int(rng.integers(0, 7))
    degree = base
    playing = _playing(rng, len(score.chords), 0.85)
    step, total = 0, score.steps_per_bar * len(score.chords)
    while step < total:
        bar = step // score.steps_per_bar
        length = int(rng.choice(lengths))
        if not playing[bar] or rng.random() > density:
            step += int(rng.choice([2, 4]))
            continue
        for _ in range(int(rng.integers(2, 9))):
            if step >= total:
                break
            at = score.time_of(step // score.steps_per_bar, step % score.steps_per_bar) + rng.normal(0, 0.01)
            if at >= 0:
                notes.append(Note(at, length * score.step_s * rng.uniform(0.8, 1.0), score.pitch_of(degree), rng.uniform(0.55, 1.0)))
            step += length
            length = int(rng.choice(lengths))
            degree += int(rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3]))
            degree = int(np.clip(degree, base - 5, base + 6))
    return notes
