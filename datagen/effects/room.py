"""A room: convolution with a synthetic impulse response of decaying noise.

    response   h = Σ_b noise_b(t) 10^(-3 t / T_b),    T_b = rt60 / (1 + damping f_b / 4 kHz),    for t after the pre-delay
    output     y = x + 10^(wet_db / 20) h * x,        mean over the channels of the energy of h = 1

Conventions
    rt60 is the decay time without damping; a damping of 1 shortens it by 4 % in the lowest band, and halves it at 4 kHz. The bands b are
    octaves, f_b their centres, of white noise drawn from ``seed``, different in each channel. wet_db is the energy of the reverberation
    against that of the direct sound; minus infinity is off. The pre-delay is rounded to a whole sample and has no gradient. The direct
    sound is not changed. The response ends at -72 dB; the tail beyond the end of the audio is cut. It runs on the device of the audio.

References
    Moorer 1979 and later: exponentially decaying noise as the late response of a room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from stemwright.datagen.effects.batches import are_numbers, by_items, each, is_batch
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import place
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

NAME = "room"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "commutes", "late", "stochastic"})

EDGES_HZ = (500.0, 1000.0, 2000.0, 4000.0, 8000.0)
DAMPED_HZ = 4000.0
SPLIT_S = 0.01  # half of the length of the filters that split the noise: edges about 160 Hz wide
LENGTH = 1.2  # of rt60: the response ends at -72 dB

TYPICAL = {"rt60_s": (0.2, 2.0), "pre_delay_ms": (0.0, 40.0), "damping": (0.2, 1.0), "wet_db": (-18.0, 0.0)}


class Settings(EffectSettings):
    """Decay, pre-delay, damping and level of the room, and the seed of its noise."""

    rt60_s: float = setting(
        0.8, low=0.05, high=10.0, unit="s", scale="log", tolerance=0.1, description="time in which sound falls by 60 dB, without damping"
    )
    pre_delay_ms: float = setting(
        0.0, low=0.0, high=200.0, unit="ms", stepped=True, tolerance=5.0, description="time before the reverberation begins"
    )
    damping: float = setting(0.5, low=0.0, high=4.0, tolerance=0.2, description="faster decay of high frequencies; 1 halves it at 4 kHz")
    wet_db: float = setting(
        -math.inf, low=-60.0, high=12.0, unit="dB", off=-math.inf, tolerance=1.0, description="reverberation against direct sound"
    )
    seed: float = setting(0.0, low=0.0, high=2.0**31 - 1.0, scale="integer", description="seed of the noise in the response")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio in the room."""
    check_form(audio, sample_rate)
    if is_off(settings.wet_db, -math.inf):
        return checked(audio, sample_rate)
    if on_gpu(audio) or not is_batch(audio):
        return _convolved(audio, sample_rate, settings)
    if not are_numbers(settings):
        return _items_convolved(audio, sample_rate, settings)
    channels, frames = audio.shape[-2:]
    return each(_Convolution(impulse_response(settings, sample_rate, channels).to(audio)[..., :frames], frames), audio)


def _convolved(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Audio [..., C, T] plus its reverberation, each item by its own settings."""
    frames = checked(audio, sample_rate).shape[-1]
    response = impulse_response(settings, sample_rate, audio.shape[-2]).to(audio)[..., :frames]
    size = _size(frames, response)
    spectrum = torch.fft.rfft(audio, size) * torch.fft.rfft(response, size)
    return torch.add(audio, torch.fft.irfft(spectrum, size)[..., :frames], out=place())


_items_convolved = by_items(_convolved)


class _Convolution:
    """x [C, T] plus its convolution with one response [C, L] for all items, whose spectrum is computed once."""

    def __init__(self, response: torch.Tensor, frames: int) -> None:
        self.size = _size(frames, response)
        self.spectrum = torch.fft.rfft(response, self.size)

    def forward(self, _: int, x: torch.Tensor, __: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        self._add(x, y, adjoint=False)

    def backward(
        self, _: int, __: torch.Tensor, ___: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar: the adjoint convolves with the response reversed in time. Returns nothing: there are no coefficients."""
        assert not needed  # there are no coefficients
        self._add(bar, x_bar, adjoint=True)
        return ()

    def _add(self, audio: torch.Tensor, out: torch.Tensor, *, adjoint: bool) -> None:
        frames = audio.shape[-1]
        filtered = torch.fft.rfft(audio, self.size)
        filtered.mul_(self.spectrum.conj() if adjoint else self.spectrum)
        torch.add(audio, torch.fft.irfft(filtered, self.size)[..., :frames], out=out)


def _size(frames: int, response: torch.Tensor) -> int:
    """The length of transforms in which a convolution does not wrap around."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(frames + response.shape[-1] - 1, real=True))


def impulse_response(settings: Settings, sample_rate: int, channels: int = 2) -> torch.Tensor:
    """The response of the room without the direct sound: float64 [..., channels, length], with the leading dimensions of the settings."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64).cpu()[..., None, None]

    rt60_s, damping, wet_db, delay_ms = (
        number(value) for value in (settings.rt60_s, settings.damping, settings.wet_db, settings.pre_delay_ms)
    )
    length = math.ceil(LENGTH * float(rt60_s.detach().max()) * sample_rate)
    noise, centres_hz = _noise_bands(int(settings.seed), sample_rate, channels, length)
    time_s = torch.arange(length, dtype=torch.float64) / sample_rate
    tail: torch.Tensor = torch.zeros(1, 1, dtype=torch.float64)
    for band, centre_hz in zip(noise, centres_hz, strict=True):
        rate = -3.0 * math.log(10.0) * (1.0 + damping * (centre_hz / DAMPED_HZ)) / rt60_s
        tail = tail + torch.exp(rate * time_s) * band
    tail = tail * (time_s < LENGTH * rt60_s.detach())
    tail = tail * (10.0 ** (wet_db / 20.0) / tail.square().sum(-1, keepdim=True).mean(-2, keepdim=True).sqrt())
    return _delayed(tail, (delay_ms.detach() * (sample_rate / 1000.0)).round().to(torch.int64))


def _delayed(tail: torch.Tensor, delays: torch.Tensor) -> torch.Tensor:
    """The tail [..., C, L] with zeros in front, as many as its item's delay says."""
    most = int(delays.max())
    if delays.numel() == 1:
        return torch.nn.functional.pad(tail, (most, 0))
    tail, delays = tail.expand(*delays.shape[:-2], *tail.shape[-2:]), delays.expand(*tail.shape[:-2], 1, 1)
    places = torch.arange(tail.shape[-1] + most) - delays
    picked = torch.nn.functional.pad(tail, (0, most)).gather(-1, places.clamp(min=0).expand(*tail.shape[:-1], -1))
    return picked * (places >= 0)


@lru_cache(maxsize=2)
def _noise_bands(seed: int, sample_rate: int, channels: int, frames: int) -> tuple[tuple[torch.Tensor, ...], tuple[float, ...]]:
    """White noise split into octaves: one float64 [channels, frames] a band, summing to the noise, and the centre of each band in Hz.

    The splitting filters have linear phase, so that their differences are clean bands, and are given what they need of the noise before
    and after: a longer response begins like a shorter one.
    """
    from scipy.fft import next_fast_len
    from scipy.signal import firwin

    half = round(SPLIT_S * sample_rate)
    noise = np.random.default_rng(seed).standard_normal((frames + 2 * half, channels)).T
    size = next_fast_len(noise.shape[-1], real=True)
    edges = [edge for edge in EDGES_HZ if edge < 0.45 * sample_rate]
    centres = [EDGES_HZ[0] / 2.0**1.5, *(edge * math.sqrt(2.0) for edge in edges)]
    with torch.inference_mode(False):  # a tensor of that mode could not be used for a gradient later
        spectrum = torch.fft.rfft(torch.from_numpy(noise.copy()), size)
        filters = torch.from_numpy(np.stack([firwin(2 * half + 1, edge, fs=sample_rate) for edge in edges]))
        below = torch.fft.irfft(torch.fft.rfft(filters, size)[:, None, :] * spectrum, size)[..., 2 * half : 2 * half + frames]
        whole = torch.from_numpy(noise[:, half : half + frames].copy())
        pairs = zip([*below, whole], [torch.zeros_like(whole), *below], strict=True)
        return tuple(upper - lower for upper, lower in pairs), tuple(centres)
