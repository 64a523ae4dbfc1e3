"""Bass, chordal and lead synthesisers of synthetic songs."""

from __future__ import annotations

import numpy as np
from scipy import signal
from song_filters import add_at, butter, envelope, hertz, saw
from song_score import Note, Score

RHYTHM = ("pad", "organ", "epiano", "guitar", "guitar", "piano", "brass")
LEADS = ("lead", "epiano", "guitar", "piano")


def render_bass(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
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


def render_part(rng: np.random.Generator, score: Score, notes: list[Note], sample_rate: int, kinds: tuple[str, ...]) -> np.ndarray:
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


def render_other(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    out = np.zeros((2, round(score.duration_s * sample_rate)))
    for notes in score.chordal:
        part = render_part(rng, score, notes, sample_rate, RHYTHM)
        out += _placed(rng, part, sample_rate, 0.5)
    if rng.random() < 0.5:
        part = render_part(rng, score, score.lead, sample_rate, LEADS)
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
