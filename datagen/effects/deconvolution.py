"""Finding a room from a dry and a wet signal: deconvolution, then decay by bands.

Conventions
    What the room added is wet minus dry; its response is the regularised quotient of the spectra. The noise of the response itself cannot
    be named (``seed`` stays 0): decay, damping, pre-delay and level are what a room with other noise can share. Signals are [C, T].

References
    Schroeder 1965: decay from the energy integrated backwards.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, sosfiltfilt

from datagen.effects import room
from datagen.effects.signal import NotIdentifiableError, pair

REGULARISATION = 1e-5  # of the mean power of the dry signal
BANDS_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
LONGEST_S = 10.0


def fit_room(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> room.Settings:
    """Decay, damping, pre-delay and level of the room that turns dry into wet."""
    wet, dry = pair(wet, dry)
    added = (wet - dry).numpy()
    if not float((added**2).sum()) > 1e-10 * float(dry.square().sum()):
        raise NotIdentifiableError("wet is dry: there is no room between them")
    size = next_fast_len(2 * dry.shape[-1], real=True)
    spectrum, target = rfft(dry.numpy(), size), rfft(added, size)
    power = np.abs(spectrum) ** 2
    response = irfft(target * spectrum.conj() / (power + REGULARISATION * power.mean(-1, keepdims=True)), size)
    # Negative times hold what deconvolution makes of noise and of missing frequencies: the floor.
    tail, before = response[:, : size // 2], response[:, size // 2 :]
    start = _onset(tail, before, sample_rate)
    rates, weights, places = _decays(tail[:, start:], before, sample_rate)
    # 1 / T_b = (1 + damping f_b / 4 kHz) / rt60 is a line over the frequency of the band.
    if len(rates) > 1 and max(places) > 2.0 * min(places):
        slope, level = np.polyfit(np.array(places) / room.DAMPED_HZ, rates, 1, w=weights)
    else:
        slope, level = 0.0, float(np.average(rates, weights=weights))
    level = max(level, 1.0 / LONGEST_S)
    rt60_s, damping = 1.0 / level, min(max(slope / level, 0.0), 4.0)
    # White noise that decays within T(f) has the energy T(f) at f, against its mean over all frequencies.
    hz = np.arange(power.shape[-1]) * sample_rate / size
    profile = 1.0 / (1.0 + damping * hz / room.DAMPED_HZ)
    ratio = float((np.abs(target) ** 2).sum() / (power * (profile / profile.mean())).sum())
    return room.Settings(
        rt60_s=min(max(rt60_s, 0.05), LONGEST_S),
        pre_delay_ms=min(1000.0 * start / sample_rate, 200.0),
        damping=damping,
        wet_db=min(max(10.0 * math.log10(ratio), -60.0), 12.0),
    )


def _onset(tail: np.ndarray, before: np.ndarray, sample_rate: int) -> int:
    """The first sample of the response: where its energy within a millisecond first comes near its early maximum."""
    width = max(round(0.001 * sample_rate), 4)
    energy = np.cumsum(np.concatenate([[0.0], (tail[:, : round(0.5 * sample_rate)] ** 2).sum(0)]))
    smooth = energy[width:] - energy[:-width]
    floor = float((before**2).sum(0).mean()) * width
    level = floor + 0.2 * (float(np.quantile(smooth, 0.98)) - floor)
    # A window passes a fifth of the level when a fifth of it lies inside.
    return max(int(np.argmax(smooth > level)) + round(0.8 * width), 0)


def _decays(tail: np.ndarray, before: np.ndarray, sample_rate: int) -> tuple[list[float], list[float], list[float]]:
    """1 / T of each octave band that decays by at least ten dB before its floor, with a weight and the band's centre in Hz."""
    rates, weights, places = [], [], []
    for centre_hz in BANDS_HZ:
        if centre_hz * 1.5 > sample_rate / 2:
            break
        sos = butter(3, (centre_hz / 1.41, centre_hz * 1.41), "bandpass", fs=sample_rate, output="sos")
        energy = (sosfiltfilt(sos, tail) ** 2).sum(0)
        floor = float((sosfiltfilt(sos, before[:, before.shape[-1] // 2 :]) ** 2).sum(0).mean())
        width = max(round(0.02 * sample_rate), 1)
        smooth = np.convolve(energy, np.full(width, 1.0 / width), "same")
        below = np.flatnonzero(smooth < 4.0 * floor)
        stop = int(below[0]) if len(below) else len(energy)
        if stop < 2 * width:
            continue
        integral = np.cumsum((energy[:stop] - floor)[::-1])[::-1]
        level = 10.0 * np.log10(np.maximum(integral, 1e-30) / max(float(integral[0]), 1e-30))
        # The integral bends down where it was cut: the last part of its range is left out.
        bottom_db = -min(10.0 * math.log10(max(float(smooth[:width].mean()) / max(floor, 1e-30), 1.0)) - 10.0, 35.0)
        inside = np.flatnonzero((level <= -1.0) & (level >= bottom_db))
        if bottom_db > -10.0 or len(inside) < width:
            continue
        slope = float(np.polyfit(inside / sample_rate, level[inside], 1)[0])
        if slope < 0.0:
            rates.append(-slope / 60.0)
            weights.append(math.sqrt(centre_hz * -1.0 / slope))
            places.append(centre_hz)
    if not rates:
        raise NotIdentifiableError(
            "the response between dry and wet does not decay: dry is too short or too narrow, or no room lies between them"
        )
    return rates, weights, places
