"""The voice of synthetic songs: a glottal pulse and breath through moving formants, with doubles and harmonies.

References
    Fant, Acoustic Theory of Speech Production (1960): source and filter. Peterson and Barney (1952): formants of vowels, as recalled.
"""

from __future__ import annotations

import numpy as np
from scipy import signal
from song_filters import butter, hertz, saw
from song_score import Note, Score

# Formant frequencies in Hz of an adult male voice (after Peterson and Barney, rounded); other voices scale them.
VOWELS = {
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "o": (570, 840, 2410), "u": (300, 870, 2240),
    "ae": (660, 1720, 2410), "uh": (640, 1190, 2390), "er": (490, 1350, 1690), "m": (250, 1000, 2200),
}  # fmt: skip


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


def render_vocals(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
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
