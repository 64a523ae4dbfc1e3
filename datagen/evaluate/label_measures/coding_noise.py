"""How a sound was coded, from what coding added to it: the codec, bit rate and level whose noise has the most similar spectrum.

Conventions
    The noise is what comes out less what went in, after the delay is taken away; its spectrum is in 24 bands, in dB. It is compared with
    that of the same signal coded by the program ``ffmpeg``; where there is none, nothing can be measured, and the probe has no measure.
    Different builds of an encoder, and frames that begin elsewhere, give other noise of the same spectrum.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System

ENCODERS = {"mp3": ("libmp3lame", "mp3"), "aac": ("aac", "adts"), "opus": ("libopus", "ogg"), "vorbis": ("libvorbis", "ogg")}
DURATION_S = 2.0
BANDS = 24
LONGEST_DELAY = 4096


@dataclass(frozen=True)
class Coding:
    """A codec, a bit rate in kbit/s, and a gain in dB before the coder that is undone after it.

    That of Vorbis is nominal, of two channels at 44.1 kHz: it is coded by quality, 64 kbit/s being quality 0 and 128 quality 4.
    """

    codec: str
    kbps: float
    level_db: float = 0.0

    @property
    def arguments(self) -> tuple[str, ...]:
        """The encoder and its rate, as ``ffmpeg`` takes them."""
        encoder, form = ENCODERS[self.codec]
        how = ("-q:a", f"{(self.kbps - 64.0) / 16.0:g}") if self.codec == "vorbis" else ("-b:a", f"{self.kbps:g}k")
        return "-c:a", encoder, *how, "-f", form


def has_program() -> bool:
    """Whether ``ffmpeg`` is installed."""
    return shutil.which("ffmpeg") is not None


def nearest_coding(candidates: Sequence[Coding]) -> Measure | None:
    """The place, from 0, of the candidate whose noise is nearest to that of the output; None where there is no ``ffmpeg``."""
    if not has_program():
        return None

    def measure(system: System, _: float) -> float:
        dry = _material(system.sample_rate, system.channels)
        found = _noise_db(system.play(dry), dry, system.sample_rate)
        distances = [float(np.abs(found - _coded_noise_db(each, system.sample_rate, system.channels)).mean()) for each in candidates]
        return float(np.argmin(distances)) if all(map(math.isfinite, distances)) else math.nan

    return measure


def _material(sample_rate: int, channels: int) -> Signal:
    """Tones that begin one after another over noise whose power falls by 3 dB an octave, [C, T]."""
    frames = round(DURATION_S * sample_rate)
    rng, time = np.random.default_rng(7), np.arange(frames) / sample_rate
    spectrum = np.fft.rfft(rng.standard_normal((channels, frames)), axis=1)
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(frames, 1.0 / sample_rate), 20.0))
    sound = np.fft.irfft(spectrum, frames, axis=1)
    sound *= 0.03 / sound.std()
    for number in range(8):
        since = time - 0.25 * number
        sound += np.where(since >= 0.0, 0.15 * np.exp(-4.0 * np.maximum(since, 0.0)), 0.0) * np.sin(
            2.0 * math.pi * 110.0 * 2 ** (number / 3) * time
        )
    return sound


@lru_cache(maxsize=64)
def _coded_noise_db(coding: Coding, sample_rate: int, channels: int) -> Signal:
    """The noise spectrum of the material coded by ``ffmpeg``."""
    dry, gain = _material(sample_rate, channels), 10.0 ** (coding.level_db / 20.0)
    raw = ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels)]
    stream = _ffmpeg([*raw, "-i", "-", *coding.arguments, "-"], (gain * dry).T.astype("<f4").tobytes())
    sound = np.frombuffer(_ffmpeg(["-i", "-", *raw, "-"], stream), "<f4").reshape(-1, channels).T.astype(np.float64) / gain
    return _noise_db(sound, dry, sample_rate)


def _ffmpeg(arguments: Sequence[str], given: bytes) -> bytes:
    return subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", *arguments], input=given, capture_output=True, check=True).stdout


def _noise_db(wet: Signal, dry: Signal, sample_rate: int) -> Signal:
    """The spectrum of the difference in bands from 50 Hz to 20 kHz, in dB, with the delay of the whole taken away."""
    size = 2 ** math.ceil(math.log2(wet.shape[1] + dry.shape[1]))
    correlation = np.fft.irfft(np.fft.rfft(wet, size) * np.fft.rfft(dry, size).conj(), size).sum(axis=0)
    delay = int(np.argmax(correlation[:LONGEST_DELAY]))
    frames = min(wet.shape[1] - delay, dry.shape[1])
    noise = wet[:, delay : delay + frames] - dry[:, :frames]
    power = np.square(np.abs(np.fft.rfft(noise, axis=1))).sum(axis=0)
    hz = np.fft.rfftfreq(frames, 1.0 / sample_rate)
    edges = np.geomspace(50.0, 20_000.0, BANDS + 1)
    return np.array([10.0 * math.log10(power[(hz >= low) & (hz < high)].sum() + 1e-12) for low, high in pairwise(edges)])
