"""Synthetic multitrack songs: drums, bass, other and vocals from a seed, for benchmarks and for training the bundled model.

A song is composed first (tempo, key, chords, one list of notes per part), then each part is rendered and sent through effects.
With ``timbre="synth"`` everything is made here with oscillators, noise and filters. With ``timbre="soundfont"`` most instruments are played
by the ``fluidsynth`` program from a General MIDI sound font; the voice is always our own glottal pulse through moving formants.

Conventions
    Stems are float32 [2, T], full scale 1.0; the mixture is their sum in the order of ``STEMS`` (`mixture_of`), with a peak of 0.3 to 0.95.
    The same seed, duration, sample rate and timbre give the same samples. Times are in seconds, pitches in MIDI note numbers.

"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection

import numpy as np
from song_drums import render_drums
from song_filters import butter, compress, echo, peak_filter, reverberate, tilt
from song_instruments import render_bass, render_other
from song_midi import play_parts
from song_score import Score, compose
from song_voice import render_vocals

STEMS = ("drums", "bass", "other", "vocals")


def finished(
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
        echoed = echo(rng, audio, score.step_s, sample_rate)
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
    raw = play_parts(rng, score, sample_rate) if timbre == "soundfont" else {}
    makers = {"drums": render_drums, "bass": render_bass, "other": render_other, "vocals": render_vocals}
    level_db = {"drums": rng.normal(-1, 2.5), "bass": rng.normal(-2, 2.5), "other": rng.normal(-1, 2.5), "vocals": rng.normal(0, 2.5)}
    stems = {}
    for stem in STEMS:
        audio = raw[stem] if stem in raw else makers[stem](rng, score, sample_rate)
        audio = finished(rng, audio, stem, score, sample_rate, without)
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
