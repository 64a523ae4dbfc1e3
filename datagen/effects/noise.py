"""Steady noise under the sound, at a signal-to-noise ratio.

    y = x + 10^(-snr_db / 20) r n,    r the RMS of x over its channels and its length, n noise of RMS 1

Conventions
    The ratio is of the whole excerpt, so a gain before it is a gain after it, and silence stays silence. An infinite ratio is off.
    The noise is drawn from ``seed``, in each channel by itself: white; pink, whose power falls by 3 dB an octave; or brown, by 6 dB an
    octave. Below 20 Hz the last two are flat.
    It can be undone where the seed is known: of the output the RMS of the input follows from a quadratic equation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import checked, column, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "noise"
TRAITS: frozenset[Trait] = frozenset({"stochastic"})

SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # exponents of 1/f of the amplitude
FLAT_HZ = 20.0

TYPICAL = {"snr_db": (15.0, 50.0)}


class Settings(EffectSettings):
    """Level, colour and seed of the noise."""

    snr_db: float = setting(
        math.inf,
        low=5.0,
        high=100.0,
        unit="dB",
        off=math.inf,
        tolerance=DB_TOLERANCE,
        description="power of the sound over that of the noise",
    )
    colour: str = choice("white", tuple(SLOPES), description="spectrum of the noise")
    seed: float = setting(0.0, low=0.0, high=2.0**31 - 1.0, scale="integer", description="seed of the noise")


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with noise."""
    checked(audio, sample_rate)
    if is_off(settings.snr_db, math.inf):
        return audio
    power = audio.square().mean((-2, -1), keepdim=True)
    rms = power.clamp(min=torch.finfo(audio.dtype).tiny).sqrt() * (power > 0.0)  # a root at 0 has no gradient
    return audio + _share(settings, audio) * rms * _noise(settings, sample_rate, audio)


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``: takes away the noise of the seed at the level that it had."""
    checked(audio, sample_rate)
    if is_off(settings.snr_db, math.inf):
        return audio
    share, noise = _share(settings, audio), _noise(settings, sample_rate, audio)
    power, product = (audio.double() * each.double() for each in (audio, noise))
    energy, common = power.mean((-2, -1), keepdim=True), product.mean((-2, -1), keepdim=True)
    # |y - k r n|^2 = r^2 with |n| = 1: (1 - k^2) r^2 + 2 k <y, n> r - |y|^2 = 0, whose positive root is r
    half, rest = share.double() * common, 1.0 - share.double().square()
    rms = ((half.square() + rest * energy).sqrt() - half) / rest
    return audio - share * rms.to(audio) * noise


def _share(settings: Settings, audio: torch.Tensor) -> torch.Tensor:
    share: torch.Tensor = 10.0 ** (column(settings.snr_db, audio) / -20.0)
    return share


def _noise(settings: Settings, sample_rate: int, audio: torch.Tensor) -> torch.Tensor:
    """Noise [C, T] of RMS 1."""
    samples = _samples(int(settings.seed), settings.colour, sample_rate, *audio.shape[-2:])
    return torch.from_numpy(samples).to(audio)


@lru_cache(maxsize=4)
def _samples(seed: int, colour: str, sample_rate: int, channels: int, frames: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Noise [C, T] in float64."""
    white = np.stack([np.random.default_rng([seed, channel]).standard_normal(frames) for channel in range(channels)])
    if SLOPES[colour]:
        hz = np.maximum(np.fft.rfftfreq(frames, 1.0 / sample_rate), FLAT_HZ)
        white = np.fft.irfft(np.fft.rfft(white) * hz ** -SLOPES[colour], frames)
    return np.asarray(white / np.sqrt(np.mean(white**2)))
