"""The frequency response between a dry and a wet signal, and filters fitted to it.

Conventions
    wet and dry are [C, T] and aligned. The response is the cross-spectrum over the spectrum of the dry signal, averaged over windows and
    channels; its weight is the energy of the dry signal times the coherence, so that frequencies that were hardly excited, or that
    something else filled, count little.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.linalg import solve_toeplitz
from scipy.optimize import least_squares
from scipy.signal import lfilter

from stemwright.datagen.effects.dsp.biquads import butterworth, response
from stemwright.datagen.effects.signal import NotIdentifiableError, pair

WINDOW_S = 1.5  # against which the ringing of a sharp filter at a low frequency is short


BY_CHANCE = 1.0 / 400.0  # probability of a coherence between signals that have nothing in common: above, there is no response


@dataclass(frozen=True)
class Response:
    """Complex gain [F] at frequencies [F] in Hz, with a weight in [0, 1] and the standard error of its level in dB."""

    hz: np.ndarray
    gain: np.ndarray
    weight: np.ndarray
    error_db: np.ndarray


def measure_response(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, *, low_hz: float = 20.0) -> Response:
    """Measures the response that turns dry into wet, thinned to a quarter of a semitone.

    The error follows from the coherence within a semitone's quarter and over the windows: it covers everything that is no filtering of dry.
    """
    wet, dry = pair(wet, dry)
    size = min(round(WINDOW_S * sample_rate), dry.shape[-1])
    size -= size % 4
    window = torch.hann_window(size, dtype=torch.float64)
    spectra = [torch.stft(audio, size, size // 4, window=window, center=False, return_complex=True).numpy() for audio in (wet, dry)]
    cross = (spectra[0] * spectra[1].conj()).sum((0, 2))
    power, power_wet = ((np.abs(spectrum) ** 2).sum((0, 2)) for spectrum in (spectra[1], spectra[0]))
    hz = np.arange(len(power)) * sample_rate / size
    inside = (hz >= max(low_hz, sample_rate / size)) & (hz < 0.49 * sample_rate) & (power > 1e-12 * power.max())
    if not inside.any():
        raise NotIdentifiableError("the dry signal has no energy between 20 Hz and half the sample rate")
    edges = np.unique(np.round(np.geomspace(low_hz, 0.49 * sample_rate, 480) * size / sample_rate).astype(int))
    windows = dry.shape[0] * (1.0 + 2.0 * (dry.shape[-1] / size - 1.0))  # about as many as are independent
    rows = []
    for start, stop in itertools.pairwise(edges):
        picked = np.arange(start, stop)[inside[start:stop]]
        if len(picked):
            total = power[picked].sum()
            coherence = min(np.abs(cross[picked].sum()) ** 2 / max(total * power_wet[picked].sum(), 1e-300), 1.0)
            independent = len(picked) * windows
            error_db = 8.69 * np.sqrt((1.0 - coherence) / max(2.0 * independent * coherence, 1e-6))
            if (1.0 - coherence) ** max(independent - 1.0, 1.0) > BY_CHANCE:
                error_db = 60.0
            rows.append(
                ((hz[picked] * power[picked]).sum() / total, cross[picked].sum() / total, power[picked].mean(), coherence, error_db)
            )
    frequency, gain, energy, coherent, error = (np.array(column) for column in zip(*rows, strict=True))
    # The square root keeps a bass note from outweighing the treble by 60 dB.
    return Response(frequency.real, gain, np.sqrt(energy.real / energy.real.max()) * coherent.real, np.minimum(error.real, 60.0))


def fit_cutoff(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, *, high: bool) -> tuple[float, float]:
    """Cutoff in Hz and order of the Butterworth filter nearest to the response between dry and wet."""
    measured = measure_response(*whiten(*pair(wet, dry)), sample_rate)
    limit_hz = min(20_000.0, 0.49 * sample_rate)
    low_hz = 5.0 if high else 20.0

    def miss(log_hz: np.ndarray, order: int) -> np.ndarray:
        sections = butterworth(float(np.exp(log_hz[0])), order, sample_rate, high=high)
        error = (response(sections, measured.hz, sample_rate) - measured.gain) * measured.weight
        return np.concatenate([error.real, error.imag])

    best = None
    for order in range(1, 9):
        grid = np.log(np.geomspace(1.05 * low_hz, 0.95 * limit_hz, 25))
        start = min(grid, key=lambda value: float((miss(np.array([value]), order) ** 2).sum()))
        found = least_squares(
            miss, [start], args=(order,), bounds=(np.log([low_hz]), np.log([limit_hz])), xtol=1e-14, ftol=1e-14, gtol=1e-14
        )
        if best is None or found.cost < best[0]:
            best = (found.cost, float(np.clip(np.exp(found.x[0]), low_hz, limit_hz)), float(order))
    assert best is not None
    if best[0] > 0.1 * float((np.abs(measured.gain * measured.weight) ** 2).sum()):
        raise NotIdentifiableError("no Butterworth filter gives the response between these signals: there is another effect between them")
    return best[1], best[2]


def whiten(wet: torch.Tensor, dry: torch.Tensor, *, order: int = 48, floor_db: float = -70.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Both signals [C, T] through the linear predictor of the dry one: its spectrum becomes flat, and every frequency has the same weight.

    A filter between dry and wet stays the same filter, since filters commute. Frequencies below ``floor_db`` are not raised further.
    """
    taps = predictor(dry, order=order, floor_db=floor_db)
    return torch.from_numpy(lfilter(taps, [1.0], wet.numpy())), torch.from_numpy(lfilter(taps, [1.0], dry.numpy()))


def predictor(signal: torch.Tensor, *, order: int, floor_db: float) -> np.ndarray:
    """The taps [order + 1] of the linear predictor of a signal [C, T]: the residual has a flat spectrum."""
    power = (np.abs(np.fft.rfft(signal.numpy(), next_fast_len(2 * signal.shape[-1]))) ** 2).sum(0)
    lags = np.fft.irfft(power)[: order + 1]
    lags[0] *= 1.0 + 10.0 ** (floor_db / 10.0)
    return np.concatenate([[1.0], -solve_toeplitz(lags[:-1], lags[1:])])
