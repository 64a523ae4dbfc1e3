"""Synthetic multitrack songs: drums, bass, other and vocals from a seed, for benchmarks and for training the bundled model.

A song is composed first (tempo, key, chords, one list of notes per part), then each part is rendered and sent through effects.
With ``timbre="synth"`` everything is made here with oscillators, noise and filters. With ``timbre="soundfont"`` most instruments are played
by the ``fluidsynth`` program from a General MIDI sound font; the voice is always our own glottal pulse through moving formants.

Conventions
    Stems are float32 [2, T], full scale 1.0; the mixture is their sum in the order of ``STEMS`` (`mixture_of`), with a peak of 0.3 to 0.95.
    The same seed, duration, sample rate and timbre give the same samples. Times are in seconds, pitches in MIDI note numbers.

References
    Fant, Acoustic Theory of Speech Production (1960): source and filter. Peterson and Barney (1952): formants of vowels, as recalled.
    Valimaki and Huovilainen, IEEE Signal Processing Magazine 24(2), 2007: the polynomial band-limited step.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import signal

STEMS = ("drums", "bass", "other", "vocals")
SOUND_FONTS = (Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))
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
# Formant frequencies in Hz of an adult male voice (after Peterson and Barney, rounded); other voices scale them.
VOWELS = {
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "o": (570, 840, 2410), "u": (300, 870, 2240),
    "ae": (660, 1720, 2410), "uh": (640, 1190, 2390), "er": (490, 1350, 1690), "m": (250, 1000, 2200),
}  # fmt: skip
# Decay times and levels of our own drums; toms have 0.3 s and 0.6.
DRUM_DECAYS_S = {
    "kick": 0.28, "snare": 0.16, "clap": 0.14, "rim": 0.03, "hat": 0.05, "open": 0.3, "crash": 1.1, "ride": 0.6, "shaker": 0.05,
    "perc": 0.12,
}  # fmt: skip
DRUM_LEVELS = {
    "kick": 1.0, "snare": 0.8, "clap": 0.6, "rim": 0.4, "hat": 0.3, "open": 0.3, "crash": 0.45, "ride": 0.3, "shaker": 0.25,
    "perc": 0.35,
}  # fmt: skip
GM_DRUMS = {
    "kick": (36, 35), "snare": (38, 40), "clap": (39,), "rim": (37,), "hat": (42, 44), "open": (46,), "crash": (49, 57),
    "ride": (51, 59, 53), "tom1": (50, 48), "tom2": (47, 45), "tom3": (43, 41), "shaker": (82, 70, 54), "perc": (56, 62, 63, 64, 76, 75),
}  # fmt: skip
GM_KITS = (0, 0, 8, 16, 24, 25, 32, 40)
# Piano, electric piano, organ, guitar, strings, choir, brass, reed, pipe, lead and pad programs (counted from 0).
GM_CHORDS = (
    0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 21, 24, 25, 26, 27, 28, 29, 30, 29,
    30, 25, 27, 46, 48, 49, 50, 51, 61, 62, 63, 81, 88, 89, 90, 91, 92, 93, 94, 95,
)  # fmt: skip
GM_LEADS = (
    0, 4, 11, 12, 13, 22, 24, 26, 27, 29, 30, 40, 41, 42, 45, 56, 57,
    59, 60, 65, 66, 68, 71, 73, 74, 75, 80, 81, 82, 84, 87, 104, 105, 108,
)  # fmt: skip
GM_BASSES = (32, 33, 33, 34, 34, 35, 36, 37, 38, 39)


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


# ---------------------------------------------------------------- composing


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


# ---------------------------------------------------------------- oscillators and filters


def hertz(pitch: float | np.ndarray) -> float | np.ndarray:
    """Frequency of a MIDI pitch, 440 Hz at 69."""
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69.0) / 12.0)


def saw(phase: np.ndarray, increment: np.ndarray | float) -> np.ndarray:
    """Band-limited saw of a phase in turns, with one phase increment a sample, by a second-order polynomial step."""
    turn = phase % 1.0
    out = 2.0 * turn - 1.0
    increment = np.broadcast_to(increment, turn.shape)
    early, late = turn < increment, turn > 1.0 - increment
    t = turn[early] / increment[early]
    out[early] -= t + t - t * t - 1.0
    t = (turn[late] - 1.0) / increment[late]
    out[late] -= t * t + t + t + 1.0
    return out


def butter(audio: np.ndarray, sample_rate: int, kind: str, cutoff_hz: float | tuple[float, float], order: int = 2) -> np.ndarray:
    """Butterworth filter along the last axis."""
    nyquist = sample_rate / 2
    edges = np.clip(np.asarray(cutoff_hz, float), 15.0, 0.95 * nyquist)
    return signal.sosfilt(signal.butter(order, edges, kind, fs=sample_rate, output="sos"), audio)


def peak_filter(audio: np.ndarray, sample_rate: int, centre_hz: float, gain_db: float, q: float) -> np.ndarray:
    """A bell equaliser band along the last axis (bilinear transform of the analogue bell)."""
    amplitude, w = 10 ** (gain_db / 40), 2 * np.pi * min(centre_hz, 0.45 * sample_rate) / sample_rate
    alpha = np.sin(w) / (2 * q)
    b = [1 + alpha * amplitude, -2 * np.cos(w), 1 - alpha * amplitude]
    a = [1 + alpha / amplitude, -2 * np.cos(w), 1 - alpha / amplitude]
    return signal.lfilter(b, a, audio)


def tilt(audio: np.ndarray, sample_rate: int, corner_hz: float, gain_db: float) -> np.ndarray:
    """Raises or lowers everything above a corner: the sound plus its scaled high band."""
    high = butter(audio, sample_rate, "highpass", corner_hz, 1)
    return audio + (10 ** (gain_db / 20) - 1.0) * high


def envelope(num_frames: int, sample_rate: int, attack_s: float, decay_s: float, sustain: float, release_s: float) -> np.ndarray:
    """Attack, exponential decay to a sustain level and a release at the end."""
    t = np.arange(num_frames) / sample_rate
    out = sustain + (1.0 - sustain) * np.exp(-t / max(decay_s, 1e-3))
    out *= np.minimum(1.0, t / max(attack_s, 1e-3))
    return out * np.minimum(1.0, (num_frames - np.arange(num_frames)) / (max(release_s, 2e-3) * sample_rate))


def add_at(out: np.ndarray, start_s: float, sound: np.ndarray, sample_rate: int) -> None:
    """Adds a sound [..., t] into a buffer [..., T] at a time; what is outside is cut."""
    start = max(0, round(start_s * sample_rate))
    length = min(sound.shape[-1], out.shape[-1] - start)
    if length > 0:
        out[..., start : start + length] += sound[..., :length]


# ---------------------------------------------------------------- drums


def _metal(rng: np.random.Generator, t: np.ndarray, low_hz: float, num_partials: int) -> np.ndarray:
    partials = low_hz * np.sort(rng.uniform(1.0, 7.0, num_partials))
    starts = rng.uniform(0, 6.28, num_partials)
    return sum(np.sign(np.sin(2 * np.pi * f * t + p)) for f, p in zip(partials, starts, strict=True)) / num_partials


def _membrane(rng: np.random.Generator, name: str, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    base = rng.uniform(42, 68) if name == "kick" else {"tom1": 170, "tom2": 125, "tom3": 90}[name] * rng.uniform(0.8, 1.25)
    sweep = base * (1 + rng.uniform(1, 6 if name == "kick" else 1.5) * np.exp(-t / rng.uniform(0.008, 0.05)))
    sound = np.sin(2 * np.pi * np.cumsum(sweep) / sample_rate) * np.exp(-t / decay)
    click = rng.uniform(0.02, 0.4) * butter(noise, sample_rate, "highpass", rng.uniform(800, 4000))
    sound += click * np.exp(-t / rng.uniform(0.003, 0.015))
    return np.tanh(rng.uniform(0.8, 3.0) * sound)


def _snare(rng: np.random.Generator, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    base = rng.uniform(150, 260)
    body = sum(np.sin(2 * np.pi * base * r * t) * np.exp(-t / (decay * 0.5)) for r in (1.0, rng.uniform(1.4, 1.8)))
    wires = butter(noise, sample_rate, "bandpass", (rng.uniform(800, 2500), rng.uniform(6000, 14000)), 1) * np.exp(-t / decay)
    return rng.uniform(0.2, 0.8) * body + rng.uniform(0.6, 1.6) * wires


def _clap(rng: np.random.Generator, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    bursts = sum(np.where(t >= d, np.exp(-(t - d) / 0.008), 0.0) for d in (0.0, 0.011, 0.022))
    bursts = bursts + np.where(t >= 0.03, np.exp(-(t - 0.03) / decay), 0.0)
    return butter(noise, sample_rate, "bandpass", (rng.uniform(700, 1100), rng.uniform(2000, 6000)), 1) * bursts


def _cymbal(rng: np.random.Generator, name: str, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    metal = _metal(rng, t, rng.uniform(300, 900), 8)
    mixed = rng.uniform(0.2, 1.0) * metal + rng.uniform(0.2, 1.0) * noise
    corner_hz = rng.uniform(2500, 8000) * (0.6 if name in ("crash", "ride") else 1.0)
    sound = butter(mixed, sample_rate, "highpass", corner_hz, 2) * np.exp(-t / decay)
    if name == "ride":
        sound += 0.3 * np.sin(2 * np.pi * rng.uniform(2500, 5000) * t) * np.exp(-t / 0.15)
    return sound


def _one_shot(rng: np.random.Generator, name: str, sample_rate: int) -> np.ndarray:
    """One drum sound [t] with drawn timbre, peak 1."""
    decay = DRUM_DECAYS_S.get(name, 0.3) * rng.uniform(0.5, 1.7)
    t = np.arange(int(min(2.5, 6 * decay) * sample_rate)) / sample_rate
    noise = rng.standard_normal(t.size)
    if name == "kick" or name.startswith("tom"):
        sound = _membrane(rng, name, decay, t, noise, sample_rate)
    elif name == "snare":
        sound = _snare(rng, decay, t, noise, sample_rate)
    elif name == "clap":
        sound = _clap(rng, decay, t, noise, sample_rate)
    elif name in ("hat", "open", "crash", "ride"):
        sound = _cymbal(rng, name, decay, t, noise, sample_rate)
    elif name == "shaker":
        sound = butter(noise, sample_rate, "bandpass", (3500, 12000), 1) * np.minimum(1, t / 0.02) * np.exp(-t / decay)
    else:
        base = rng.uniform(250, 1600)
        tone = np.sin(2 * np.pi * base * t) + 0.5 * np.sin(2 * np.pi * base * rng.uniform(1.4, 2.7) * t)
        sound = tone * np.exp(-t / decay) + 0.2 * noise * np.exp(-t / 0.006)
    return sound / (np.abs(sound).max() + 1e-9)


def _render_drums(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    out = np.zeros((2, round(score.duration_s * sample_rate)))
    kit: dict[str, list[np.ndarray]] = {}
    gains: dict[str, np.ndarray] = {}
    for at, name, velocity in score.drums:
        if name not in kit:
            seed = int(rng.integers(2**31))
            kit[name] = [_one_shot(np.random.default_rng(seed), name, sample_rate) * (1 + 0.05 * v) for v in range(2)]
            pan = rng.normal(0, 0.05 if name in ("kick", "snare") else 0.35)
            gain = DRUM_LEVELS.get(name, 0.6) * rng.uniform(0.6, 1.5)
            gains[name] = gain * np.array([[1 - np.clip(pan, 0, 0.8)], [1 + np.clip(pan, -0.8, 0)]])
        shot = kit[name][int(rng.integers(2))] * velocity**1.5
        add_at(out, at, gains[name] * shot, sample_rate)
    return out


# ---------------------------------------------------------------- pitched synthesisers


def _render_synth_bass(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    out = np.zeros(round(score.duration_s * sample_rate))
    shape = str(rng.choice(["saw", "square", "sine", "pluck", "pluck", "fm"]))
    attack, decay, sustain = rng.uniform(0.002, 0.02), rng.uniform(0.15, 0.8), rng.uniform(0.2, 0.95)
    bright, width = rng.uniform(3, 14), rng.uniform(0.3, 0.5)
    for note in score.bass:
        num = int((note.length_s + 0.05) * sample_rate)
        f = float(hertz(note.pitch))
        t = np.arange(num) / sample_rate
        phase = f * t
        if shape == "saw":
            sound = saw(phase, f / sample_rate)
        elif shape == "square":
            sound = saw(phase, f / sample_rate) - saw(phase + width, f / sample_rate)
        elif shape == "sine":
            sound = np.tanh(2.0 * np.sin(2 * np.pi * phase))
        elif shape == "fm":
            sound = np.sin(2 * np.pi * phase + 2.5 * np.exp(-t / decay) * np.sin(2 * np.pi * phase * round(bright / 4)))
        else:
            sound = sum(np.sin(2 * np.pi * k * phase) * np.exp(-t * k * 0.6 / decay) / k for k in range(1, 13))
        if shape in ("saw", "square"):
            sound = butter(sound, sample_rate, "lowpass", min(f * bright, 8000.0), 2)
        add_at(out, note.start_s, sound * envelope(num, sample_rate, attack, decay, sustain, 0.04) * note.velocity, sample_rate)
    if rng.random() < 0.3:
        out = _swept(rng, out, score, sample_rate)
    if rng.random() < 0.3:
        out = np.tanh(rng.uniform(1, 10) * out)
    stereo = np.stack([out, out])
    if rng.random() < 0.2:
        late = butter(np.roll(out, int(rng.uniform(0.004, 0.015) * sample_rate)), sample_rate, "highpass", 200.0, 1)
        stereo += rng.uniform(0.2, 0.7) * late * np.array([[1.0], [-1.0]])
    return stereo


def _swept(rng: np.random.Generator, sound: np.ndarray, score: Score, sample_rate: int) -> np.ndarray:
    """A resonant low-pass whose cutoff follows a slow wave locked to the beat, over the sound and its detuned, driven copies [T]."""
    at = np.arange(sound.size)
    thick = sound + np.interp(at * rng.uniform(1.001, 1.006), at, sound) + np.interp(at * rng.uniform(0.994, 0.999), at, sound)
    thick = np.tanh(rng.uniform(1, 6) * thick) + rng.uniform(0, 0.08) * rng.standard_normal(sound.size) * np.abs(sound)
    transform = signal.ShortTimeFFT(np.sqrt(signal.windows.hann(1024, sym=False)), 256, sample_rate, scale_to=None)
    spectrum = transform.stft(thick)
    turns = np.arange(spectrum.shape[1]) * 256 / sample_rate / (score.step_s * float(rng.choice([2, 4, 8, 16, 32])))
    wave = turns % 1.0 if rng.random() < 0.3 else 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    cutoff = 150.0 * 2.0 ** (wave * rng.uniform(2, 6))
    ratio = np.fft.rfftfreq(1024, 1 / sample_rate)[:, None] / cutoff
    response = 1.0 / np.sqrt((1 - ratio**2) ** 2 + (ratio * rng.uniform(0.3, 1.2)) ** 2)
    return transform.istft(spectrum * response, k1=sound.size).real


def _tone(v: dict[str, float], kind: str, f: float, t: np.ndarray, sample_rate: int) -> np.ndarray:
    """One note [t] of a chordal synthesiser with drawn values ``v``."""
    if kind in ("pad", "brass", "lead"):
        num_voices = {"pad": 3, "brass": 2, "lead": 1}[kind]
        wobble = v["vibrato"] * np.sin(2 * np.pi * 5.3 * t) / 5.3 / 2 / np.pi if kind == "lead" else 0.0
        detuned = [f * (1 + v["detune"] * (i - (num_voices - 1) / 2)) for i in range(num_voices)]
        sound = sum(saw(g * (t + wobble) + 0.37 * i, f / sample_rate) for i, g in enumerate(detuned))
        return butter(sound, sample_rate, "lowpass", f * v["bright"], 1) / num_voices
    if kind == "organ":
        bars = [(v[f"bar{i}"], f * ratio) for i, ratio in enumerate((0.5, 1, 1.5, 2, 3, 4, 6, 8))]
        return sum(gain * np.sin(2 * np.pi * g * t) for gain, g in bars if g < sample_rate / 2.2) / 2
    if kind == "epiano":
        return np.sin(2 * np.pi * f * t + v["index"] * np.exp(-t / 0.4) * np.sin(2 * np.pi * f * round(v["ratio"]) * t))
    sound = np.zeros_like(t)
    for k in range(1, int(min(18, sample_rate / 2.2 / f)) + 1):
        gain = abs(np.sin(np.pi * k * v["pick"])) / k
        sound += gain * np.sin(2 * np.pi * k * f * np.sqrt(1 + v["stretch"] * k * k) * t) * np.exp(-t * (0.7 + 0.3 * k) / v["decay"])
    return sound


def _render_synth_part(rng: np.random.Generator, score: Score, notes: list[Note], sample_rate: int, kinds: tuple[str, ...]) -> np.ndarray:
    """One chordal or lead instrument [2, T]."""
    out = np.zeros(round(score.duration_s * sample_rate))
    kind = str(rng.choice(kinds))
    values = {
        "detune": rng.uniform(0.001, 0.008), "bright": rng.uniform(2, 12), "index": rng.uniform(0.5, 3), "ratio": rng.choice([1, 2, 3, 14]),
        "decay": rng.uniform(0.5, 2.5), "pick": rng.uniform(0.08, 0.45), "stretch": rng.choice([0.0, 1e-4, 4e-4]),
        "vibrato": rng.uniform(0, 0.02),
        **{f"bar{i}": rng.random() for i in range(8)},
    }  # fmt: skip
    slow = kind == "pad" or (kind == "brass" and rng.random() < 0.3)
    attack = rng.uniform(0.05, 0.4) if slow else rng.uniform(0.002, 0.03)
    decay, sustain = (5.0, 1.0) if slow or kind in ("organ", "lead") else (rng.uniform(0.3, 1.5), rng.uniform(0.1, 0.6))
    for note in notes:
        num = int((note.length_s + 0.1) * sample_rate)
        sound = _tone(values, kind, float(hertz(note.pitch)), np.arange(num) / sample_rate, sample_rate)
        add_at(out, note.start_s, sound * envelope(num, sample_rate, attack, decay, sustain, 0.1) * note.velocity, sample_rate)
    if kind == "guitar" and rng.random() < 0.6:
        out = out / (np.abs(out).max() + 1e-9)
        out = butter(np.tanh(rng.uniform(2, 25) * out), sample_rate, "lowpass", rng.uniform(3000, 6000), 2)
        out = butter(out, sample_rate, "highpass", 90)
    return np.stack([out, out])


def _render_synth_other(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    out = np.zeros((2, round(score.duration_s * sample_rate)))
    for notes in score.chordal:
        part = _render_synth_part(rng, score, notes, sample_rate, ("pad", "organ", "epiano", "guitar", "guitar", "piano", "brass"))
        out += _placed(rng, part, sample_rate, 0.5)
    if rng.random() < 0.5:
        part = _render_synth_part(rng, score, score.lead, sample_rate, ("lead", "epiano", "guitar", "piano"))
        out += _placed(rng, part, sample_rate, 0.3)
    return out


def _placed(rng: np.random.Generator, part: np.ndarray, sample_rate: int, spread: float) -> np.ndarray:
    """A part at unit level times a drawn gain, panned, and at times widened by a short delay on one side."""
    part = part / (np.sqrt(np.mean(part**2)) + 1e-6) * rng.uniform(0.4, 1.3)
    pan = float(np.clip(rng.normal(0, spread), -1, 1))
    if rng.random() < 0.3:
        part = np.stack([part[0], np.roll(part[1], int(rng.uniform(0.006, 0.022) * sample_rate))])
        pan *= 0.3
    return part * np.array([[min(1.0, 1 - pan)], [min(1.0, 1 + pan)]])


# ---------------------------------------------------------------- the voice


def _contours(rng: np.random.Generator, notes: list[Note], num_frames: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (MIDI, with glides, vibrato, drift and scoops) and loudness of a sung line, one value for every 64 samples."""
    hop = 64
    num = -(-num_frames // hop) + 1
    rate = sample_rate / hop
    pitch, level, depth = np.full(num, notes[0].pitch), np.zeros(num), np.zeros(num)
    attack, scoop = rng.uniform(0.015, 0.07), rng.uniform(0, 1.5)
    vibrato_depth, onset_s = rng.uniform(0, 0.6), rng.uniform(0.1, 0.35)
    spoken = rng.random() < 0.12
    for note, after in zip(notes, [*notes[1:], None], strict=True):
        a, b = round(note.start_s * rate), min(num, round((note.start_s + note.length_s) * rate))
        if b <= a:
            continue
        t = np.arange(b - a) / rate
        line = np.full(b - a, float(note.pitch)) - scoop * np.exp(-t / 0.05) * (rng.random() < 0.3)
        if spoken:
            line += rng.uniform(-5, 3) * t / max(t[-1], 0.05) + rng.normal(0, 2)
        pitch[a:] = line[-1]
        pitch[a:b] = line
        depth[a:b] = vibrato_depth * np.clip((t - onset_s) / 0.3, 0, 1)
        swell = np.minimum(1, t / attack) * np.minimum(1, (t[-1] - t) / 0.04 + 0.02) * (1 - rng.uniform(0, 0.35) * t / max(t[-1], 0.05))
        gap = after is None or after.start_s - note.start_s - note.length_s > 0.12
        level[a:b] = note.velocity * (swell if gap else np.maximum(swell, rng.uniform(0.2, 0.8)))
    glide = np.exp(-1 / (rate * rng.uniform(0.012, 0.045)))
    pitch = signal.lfilter([1 - glide], [1, -glide], pitch - pitch[0]) + pitch[0]
    level = signal.lfilter([0.08], [1, -0.92], level)
    drift = butter(rng.standard_normal(num), round(rate), "lowpass", 16.0) * rng.uniform(0.1, 0.6)
    turn = np.cumsum(rng.uniform(4.6, 6.6) * (1 + 0.1 * butter(rng.standard_normal(num), round(rate), "lowpass", 16.0))) / rate
    return pitch + drift + depth * np.sin(2 * np.pi * turn), level


def _articulation(
    rng: np.random.Generator, notes: list[Note], num_hops: int, rate: float, bins_hz: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Five formant frequencies [5, N], a new vowel on each note with smooth moves, and the noise gain of consonants [F, N]."""
    size = rng.uniform(0.95, 1.35)
    names = list(VOWELS)
    tracks, noise = np.zeros((5, num_hops)), np.zeros((bins_hz.size, num_hops))
    extra = np.array([rng.uniform(3200, 3700), rng.uniform(4200, 4900)])
    tracks[:] = (np.concatenate([VOWELS["uh"], extra]) * size)[:, None]
    for note in notes:
        a, b = round(note.start_s * rate), round((note.start_s + note.length_s) * rate)
        first = np.array(VOWELS[names[rng.integers(len(names))]]) * rng.normal(1, 0.06, 3)
        tracks[:, a:] = (np.concatenate([first, extra]) * size)[:, None]
        if b - a > 0.25 * rate and rng.random() < 0.4:
            second = np.array(VOWELS[names[rng.integers(len(names))]])
            tracks[:, (a + b) // 2 :] = (np.concatenate([second, extra]) * size)[:, None]
        if rng.random() < 0.55:
            length = int(rng.uniform(0.02, 0.14) * rate) + 1
            low, high, narrow, wide = (4000, 9000, 1500, 4000) if rng.random() < 0.6 else (800, 4000, 600, 2000)
            centre, width = rng.uniform(low, high), rng.uniform(narrow, wide)
            start = max(0, a - length)
            colour = np.exp(-0.5 * ((bins_hz - centre) / width) ** 2) * rng.uniform(0.1, 0.8) * note.velocity
            noise[:, start:a] += colour[:, None] * np.hanning(a - start + 2)[1:-1]
    smooth = np.exp(-1 / (rate * rng.uniform(0.02, 0.05)))
    return signal.lfilter([1 - smooth], [1, -smooth], tracks - tracks[:, :1], axis=1) + tracks[:, :1], noise


def _resonance(rng: np.random.Generator, tracks: np.ndarray, bins_hz: np.ndarray) -> np.ndarray:
    """Complex response [F, N] of one two-pole resonator for each formant track."""
    z = np.exp(-2j * np.pi * bins_hz / (2 * bins_hz[-1])).astype(np.complex64)[:, None]
    bands = np.array([70, 90, 130, 200, 260]) * rng.uniform(0.8, 1.8)
    response = np.ones((bins_hz.size, tracks.shape[1]), np.complex64)
    for centre, band in zip(tracks, bands, strict=True):
        radius = np.exp(-np.pi * band / (2 * bins_hz[-1])).astype(np.float32)
        cosine = np.cos(np.pi * centre / bins_hz[-1]).astype(np.float32)
        response *= (1 - 2 * radius * cosine + radius**2) / (1 - 2 * radius * cosine * z + radius**2 * z * z)
    # Five poles alone fall too fast: the formants above them, left out, would lift the top again. So the response is flattened in dB,
    # which stands for the higher poles and for the bright equaliser that a recorded voice gets.
    lift = np.sqrt(1.0 + (bins_hz / rng.uniform(3000, 5000)) ** rng.uniform(3.0, 6.0)).astype(np.float32)
    response *= np.maximum(np.abs(response), 1e-6) ** np.float32(rng.uniform(-0.6, -0.15))
    return response * lift[:, None]


def _render_voice(rng: np.random.Generator, notes: list[Note], num_frames: int, sample_rate: int) -> np.ndarray:
    """One singing voice [T]: pulses and breath through moving formants, with noise for consonants."""
    if not notes:
        return np.zeros(num_frames)
    pitch, level = _contours(rng, notes, num_frames, sample_rate)
    hops = np.arange(pitch.size) * 64
    at = np.arange(num_frames)
    increment = hertz(np.interp(at, hops, pitch)) / sample_rate
    gain = np.interp(at, hops, level)
    pulses = saw(np.cumsum(increment), increment)
    pulses = butter(pulses, sample_rate, "lowpass", float(np.exp(rng.uniform(np.log(700), np.log(8000)))), 1)
    noise = rng.standard_normal(num_frames)
    source = gain * (pulses + rng.uniform(0.005, 0.12) * noise * (0.6 + 0.4 * np.sin(2 * np.pi * np.cumsum(increment))))
    size, step = 1024, 256
    bins_hz = np.fft.rfftfreq(size, 1 / sample_rate)
    transform = signal.ShortTimeFFT(np.sqrt(signal.windows.hann(size, sym=False)), step, sample_rate, scale_to=None)
    voiced, unvoiced = transform.stft(source), transform.stft(noise)
    tracks, consonant = _articulation(rng, notes, voiced.shape[1], sample_rate / step, bins_hz)
    response = _resonance(rng, tracks, bins_hz)
    dark = 1.0 / (1.0 + (bins_hz / rng.uniform(6000, 24000)) ** 2)
    spectrum = voiced * response * dark[:, None]
    level = np.sqrt(np.mean(np.abs(spectrum) ** 2) / (np.mean(np.abs(unvoiced) ** 2) + 1e-12))
    spectrum += unvoiced * consonant * rng.uniform(0.05, 0.3) * level * 6
    return transform.istft(spectrum, k1=num_frames).real


def _render_vocals(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    """Lead voice in the middle with, at times, doubles and harmonies at the sides [2, T]."""
    num_frames = round(score.duration_s * sample_rate)
    notes = [note for note in score.melody if note.start_s < score.duration_s - 0.1]
    seed = int(rng.integers(2**31))
    lead = _render_voice(np.random.default_rng(seed), notes, num_frames, sample_rate)
    lead = lead / (np.sqrt(np.mean(lead**2)) + 1e-6)
    out = np.stack([lead, lead]) * np.array([[1.0], [rng.uniform(0.9, 1.1)]])
    style = rng.random()
    if style < 0.35:
        shift = 0 if style < 0.2 else int(rng.choice([-5, 3, 4, 7, 12, -12]))
        for side in range(2):
            moved = [Note(max(0.0, n.start_s + rng.normal(0, 0.015)), n.length_s, n.pitch + shift, n.velocity) for n in notes]
            voice = _render_voice(rng, moved, num_frames, sample_rate)
            out[side] += voice / (np.sqrt(np.mean(voice**2)) + 1e-6) * rng.uniform(0.2, 0.7)
    return out


# ---------------------------------------------------------------- General MIDI


def midi_file(tracks: dict[int, tuple[int, list[Note]]], controls: dict[int, dict[int, int]]) -> bytes:
    """A format 0 MIDI file at 960 ticks a second: channel -> (program, notes), and channel -> {controller: value}."""
    events: list[tuple[int, int, bytes]] = [(0, 0, b"\xff\x51\x03\x07\xa1\x20")]
    for channel, (program, notes) in tracks.items():
        events.append((0, 1, bytes([0xC0 | channel, program])))
        events += [(0, 1, bytes([0xB0 | channel, number, value])) for number, value in controls.get(channel, {}).items()]
        for note in notes:
            a, b = round(note.start_s * 960), round((note.start_s + max(note.length_s, 0.03)) * 960)
            pitch, velocity = int(np.clip(note.pitch, 0, 127)), int(np.clip(note.velocity * 127, 1, 127))
            events += [(a, 3, bytes([0x90 | channel, pitch, velocity])), (b, 2, bytes([0x80 | channel, pitch, 0]))]
    body, now = bytearray(), 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        delta, parts = tick - now, []
        while True:
            parts.append(delta & 0x7F | (0x80 if parts else 0))
            delta >>= 7
            if not delta:
                break
        body += bytes(reversed(parts)) + message
        now = tick
    body += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(body)) + bytes(body)


def play_midi(data: bytes, num_frames: int, sample_rate: int, sound_font: Path, *, reverb: bool) -> np.ndarray:
    """Plays a MIDI file with fluidsynth: float64 [2, T], cut or padded to the length."""
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "a.mid", Path(folder) / "a.raw"
        song.write_bytes(data)
        options = f"-niq -R {int(reverb)} -C 0 -g 0.4 -r {sample_rate} -T raw -O float -F".split()
        command = ["fluidsynth", *options, str(sound), str(sound_font), str(song)]
        subprocess.run(command, check=True, capture_output=True)
        audio = np.frombuffer(sound.read_bytes(), "<f4").reshape(-1, 2).T.astype(float)
    out = np.zeros((2, num_frames))
    length = min(num_frames, audio.shape[1])
    out[:, :length] = audio[:, :length]
    return out


def _play_parts(rng: np.random.Generator, score: Score, sample_rate: int) -> dict[str, np.ndarray]:
    """Drums, bass and other from a sound font, each part by chance left to the synthesisers."""
    font = SOUND_FONTS[int(rng.random() < 0.4)]
    num_frames = round(score.duration_s * sample_rate)
    out = {}
    if rng.random() < 0.75:
        choice = {name: pitches[rng.integers(len(pitches))] for name, pitches in GM_DRUMS.items()}
        hits = [Note(max(at, 0.0), 0.2, choice[name], velocity) for at, name, velocity in score.drums]
        data = midi_file({9: (int(rng.choice(GM_KITS)), hits)}, {})
        out["drums"] = play_midi(data, num_frames, sample_rate, font, reverb=bool(rng.random() < 0.3))
    if rng.random() < 0.7:
        program = int(rng.choice(GM_BASSES))
        out["bass"] = play_midi(midi_file({0: (program, score.bass)}, {}), num_frames, sample_rate, font, reverb=False)
    if rng.random() < 0.85:
        tracks = {i: (int(rng.choice(GM_CHORDS)), notes) for i, notes in enumerate(score.chordal)}
        if rng.random() < 0.5:
            tracks[len(tracks)] = (int(rng.choice(GM_LEADS)), score.lead)
        controls = {
            i: {7: int(rng.integers(60, 127)), 10: int(np.clip(rng.normal(64, 30), 0, 127)), 91: int(rng.integers(0, 90))} for i in tracks
        }
        out["other"] = play_midi(midi_file(tracks, controls), num_frames, sample_rate, font, reverb=bool(rng.random() < 0.5))
        if rng.random() < 0.2:
            level = np.sqrt(np.mean(out["other"] ** 2)) + 1e-6
            synth = _render_synth_other(rng, score, sample_rate)
            out["other"] = out["other"] / level + synth / (np.sqrt(np.mean(synth**2)) + 1e-6)
    return out


# ---------------------------------------------------------------- effects and levels


def reverberate(rng: np.random.Generator, audio: np.ndarray, sample_rate: int, wet: float) -> np.ndarray:
    """Adds a stereo tail of decaying, darkened noise with a few early reflections."""
    decay_s = float(np.exp(rng.uniform(np.log(0.2), np.log(3.0))))
    t = np.arange(int(min(decay_s * 1.2, 2.5) * sample_rate)) / sample_rate
    tail = rng.standard_normal((2, t.size)) * 10 ** (-3 * t / decay_s)
    tail = butter(tail, sample_rate, "lowpass", rng.uniform(2500, 10000), 1)
    tail = np.pad(butter(tail, sample_rate, "highpass", 150, 1), ((0, 0), (int(rng.uniform(0.0, 0.04) * sample_rate), 0)))
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    return audio + wet * signal.oaconvolve(audio, tail, axes=1)[:, : audio.shape[1]]


def _echo(rng: np.random.Generator, audio: np.ndarray, step_s: float, sample_rate: int) -> np.ndarray:
    out, delay, gain = audio.copy(), int(step_s * rng.choice([2, 3, 4]) * sample_rate), rng.uniform(0.1, 0.4)
    for number in range(1, 4):
        if number * delay < audio.shape[1]:
            out[:, number * delay :] += gain**number * np.roll(audio, number % 2, axis=0)[:, : -number * delay]
    return out


def compress(audio: np.ndarray, sample_rate: int, threshold_db: float, ratio: float, time_s: float) -> np.ndarray:
    """A simple feed-forward compressor on smoothed power, linked over channels."""
    coefficient = np.exp(-1 / (time_s * sample_rate))
    power = signal.lfilter([1 - coefficient], [1, -coefficient], np.mean(audio**2, axis=0))
    over = np.maximum(0.0, 10 * np.log10(power + 1e-12) - threshold_db)
    return audio * 10 ** (-over * (1 - 1 / ratio) / 20)


def _finished(
    rng: np.random.Generator, audio: np.ndarray, stem: str, score: Score, sample_rate: int, without: Collection[str] = ()
) -> np.ndarray:
    """Effects of one stem: equaliser, drive, compression, echo, reverb, in drawn strengths, but those named in ``without``."""
    audio = audio / (np.sqrt(np.mean(audio**2)) + 1e-6) * 0.1
    for _ in range(int(rng.integers(0, 3))):
        centre_hz = float(np.exp(rng.uniform(np.log(80), np.log(10000))))
        audio = peak_filter(audio, sample_rate, centre_hz, rng.uniform(-7, 7), rng.uniform(0.5, 2))
    if stem != "bass":
        audio = tilt(audio, sample_rate, rng.uniform(1500, 5000), rng.uniform(-6, 6) + (2.0 if stem == "vocals" else 0.0))
    if stem == "other" and rng.random() < 0.15:
        hiss = butter(rng.standard_normal(audio.shape), sample_rate, "bandpass", (rng.uniform(300, 3000), rng.uniform(4000, 12000)), 1)
        audio = audio + rng.uniform(0.003, 0.03) * hiss
    if stem in ("other", "vocals"):
        audio = butter(audio, sample_rate, "highpass", rng.uniform(40, 140), 1)
    if rng.random() < {"drums": 0.4, "bass": 0.4, "other": 0.25, "vocals": 0.3}[stem]:
        drive = float(np.exp(rng.uniform(0.0, np.log(20.0))))
        audio = audio if "drive" in without else np.tanh(drive * audio) / drive
    if rng.random() < {"drums": 0.6, "bass": 0.4, "other": 0.3, "vocals": 0.7}[stem]:
        settings = (rng.uniform(-38, -18), rng.uniform(1.5, 6), rng.uniform(0.005, 0.1))
        audio = audio if "compression" in without else compress(audio, sample_rate, *settings)
    if rng.random() < {"drums": 0.05, "bass": 0.0, "other": 0.2, "vocals": 0.3}[stem]:
        echoed = _echo(rng, audio, score.step_s, sample_rate)
        audio = audio if "echo" in without else echoed
    if rng.random() < {"drums": 0.55, "bass": 0.1, "other": 0.55, "vocals": 0.85}[stem]:
        wet = rng.uniform(0.03, 0.45)
        audio = audio if "reverb" in without else reverberate(rng, audio, sample_rate, wet)
    return audio


def render_song(
    seed: int, duration_s: float, sample_rate: int = 44_100, *, timbre: str = "synth", without: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Renders one song: stem name -> float32 [2, T] in the order of ``STEMS``.

    ``without`` names the effects that the stems shall not have of their own ("drive", "compression", "echo", "reverb"), for those who apply
    such effects and must know all of it.
    ``timbre`` is ``"synth"`` (no program needed) or ``"soundfont"`` (the ``fluidsynth`` program and the sound fonts of ``SOUND_FONTS``).
    Raises ValueError on another timbre.
    """
    if timbre not in ("synth", "soundfont"):
        raise ValueError(f'timbre is "synth" or "soundfont", got {timbre!r}')
    rng = np.random.default_rng([seed, 20_110])
    score = compose(rng, duration_s)
    raw = _play_parts(rng, score, sample_rate) if timbre == "soundfont" else {}
    makers = {"drums": _render_drums, "bass": _render_synth_bass, "other": _render_synth_other, "vocals": _render_vocals}
    level_db = {"drums": rng.normal(-1, 2.5), "bass": rng.normal(-2, 2.5), "other": rng.normal(-1, 2.5), "vocals": rng.normal(0, 2.5)}
    stems = {}
    for stem in STEMS:
        audio = raw[stem] if stem in raw else makers[stem](rng, score, sample_rate)
        audio = _finished(rng, audio, stem, score, sample_rate, without)
        rms = np.sqrt(np.mean(audio**2))
        stems[stem] = audio * (10 ** (level_db[stem] / 20) * 0.1 / rms if rms > 1e-5 else 0.0)
    peak = float(np.abs(sum(stems.values())).max())
    scale = rng.uniform(0.3, 0.95) / max(peak, 1e-6)
    return {stem: (audio * scale).astype(np.float32) for stem, audio in stems.items()}


def mixture_of(stems: dict[str, np.ndarray]) -> np.ndarray:
    """The sum of the stems in the order of ``STEMS``: float32 [2, T]."""
    total = np.zeros_like(stems[STEMS[0]])
    for stem in STEMS:
        total = total + stems[stem]
    return total


def main() -> None:
    """Prints how fast songs are rendered, as a Markdown table."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    print("| timbre | songs of 20 s | s a song | times real time |\n|---|---|---|---|")
    for timbre in ("synth", "soundfont"):
        start = time.perf_counter()
        for seed in seeds:
            render_song(seed, 20.0, timbre=timbre)
        each = (time.perf_counter() - start) / len(seeds)
        print(f"| {timbre} | {len(seeds)} | {each:.2f} | {20.0 / each:.1f} |")


if __name__ == "__main__":
    main()
