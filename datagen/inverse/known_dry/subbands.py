"""Narrow bands of a convolution, and the likelihood that its response is decaying noise.

    observed   y = h * x, both known until the excerpt ends; h unknown
    prior      h Gaussian noise, independent from sample to sample, of variance v 10^(-6 (t - start) / T) after ``start``, 0 before
    likelihood y is then Gaussian with covariance X diag(variance) X^H + noise: h is integrated out, and never has to be estimated

Conventions
    A narrow band is a slice of the spectrum of the whole excerpt under a Kaiser window, moved to 0 Hz and sampled at its width: other
    frequencies are rejected, and a sound is smeared by six samples of the band at most, so that whatever is further from the cut end of the
    excerpt is exact. White noise stays white in it. Time is cut into cells, each with one value of h; cells are fine where h begins, since
    no combination of coarse ones begins at a time between them.
    Noise of -60 dB is added to y: weaker sound says little about a decay and much about the cells. It is drawn from a fixed
    seed, so that the same signals give the same answer.
    Whitening is by one causal filter for x and y, which changes neither h nor what the cut end cuts.

References
    Rasmussen and Williams 2006, chapter 5: hyperparameters by the marginal likelihood of a Gaussian process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import ifft, ifftshift, next_fast_len, rfft
from scipy.linalg import cholesky, qr, solve_triangular
from scipy.signal import lfilter

from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.inverse.known_dry.response import predictor

WINDOW_BETA = 14.0  # side lobes of the smear in time below -100 dB
SMEAR = 6  # samples of the band: half of the main lobe is sqrt(1 + (14 / pi)^2) = 4.6
ADDED_NOISE = 1e-6  # of the power of y
FINEST = 0.03  # of a sample of the band: the first cell of a response
GROWTH = 1.3  # from cell to cell, until there are two a sample


@dataclass(frozen=True)
class NarrowBand:
    """One band of one channel: y [D] = columns [D, J] times the square roots of the variances of h in the cells, and what no h can explain.

    ``spare`` is the energy of y outside the D dimensions, ``number`` how many samples y has in all; ``noise`` what was added to each.
    """

    columns: np.ndarray
    y: np.ndarray
    spare: float
    number: int
    left_s: np.ndarray
    right_s: np.ndarray
    noise: float
    width_hz: float


@dataclass(frozen=True)
class Decay:
    """The assumed h: the time in which it falls by 60 dB, when it begins, and its noise over its variance v in a band's unit."""

    time_s: float
    noise: float
    start_s: float


class Splitter:
    """The spectra of x and of y = h * x, float64 [C, T], from which narrow bands are cut.

    Samples of y before ``skip_s`` are not used: they may contain sound from before x begins.
    """

    def __init__(self, y: np.ndarray, x: np.ndarray, sample_rate: int, *, skip_s: float = 0.0) -> None:
        """Whitens both by the linear predictor of x."""
        taps = predictor(torch.from_numpy(x), order=64, floor_db=-100.0)
        self.frames, self.sample_rate, self.skip_s = x.shape[-1], sample_rate, skip_s
        # A second of zeros keeps the smear of the beginning apart from that of the end.
        self.size = next_fast_len(self.frames + sample_rate, real=True)
        self.x, self.y = (rfft(lfilter(taps, [1.0], signal), self.size) for signal in (x, y))
        self.rng = np.random.default_rng(0)

    @property
    def duration_s(self) -> float:
        """Duration of the excerpt."""
        return self.frames / self.sample_rate

    def narrow(self, channel: int, centre_hz: float, width_hz: float, edges_s: np.ndarray) -> NarrowBand:
        """One band with its cells; NotIdentifiableError if either signal has no energy in it."""
        bins = next_fast_len(2 * round(width_hz * self.size / self.sample_rate / 2.0))
        bins += bins % 2
        width_hz = bins * self.sample_rate / self.size
        first = max(round(centre_hz * self.size / self.sample_rate) - bins // 2, 0)
        window = np.kaiser(bins + 1, WINDOW_BETA)[:bins]
        cycles = (np.arange(bins) - bins // 2) / bins
        rows = slice(math.ceil(self.skip_s * width_hz) + (2 * SMEAR if self.skip_s else 0), int(self.duration_s * width_hz))

        def later(spectrum: np.ndarray, samples: np.ndarray) -> np.ndarray:
            turned = spectrum[first : first + bins] * window * np.exp(-2j * np.pi * cycles * samples[:, None])
            return np.asarray(ifft(ifftshift(turned, axes=-1), axis=-1)[:, rows])

        # Everything is SMEAR samples late, so that the smear before the beginning is kept and that after the end is cut.
        edges_s = edges_s[edges_s * width_hz < rows.stop - SMEAR]
        y = later(self.y[channel], np.array([float(SMEAR)]))[0]
        middles = (edges_s[1:] + edges_s[:-1]) / 2.0 * width_hz
        columns = later(self.x[channel], middles + SMEAR) * np.sqrt(np.diff(edges_s) * width_hz)[:, None]
        columns = (columns * (np.arange(rows.start, rows.stop) > middles[:, None])).T
        power = float((np.abs(y) ** 2).mean()) if len(y) > 2 * SMEAR else 0.0
        if not (power > 0.0 and len(middles) > 2 and float(np.abs(columns).max()) > 0.0):
            raise NotIdentifiableError(f"the signals have no energy around {centre_hz:.0f} Hz")
        noise = ADDED_NOISE * power
        y = y + math.sqrt(noise / 2.0) * (self.rng.standard_normal(len(y)) + 1j * self.rng.standard_normal(len(y)))
        small, seen = _compressed(columns, y)
        spare = max(float((np.abs(y) ** 2).sum() - (np.abs(seen) ** 2).sum()), 0.0)
        return NarrowBand(small, seen, spare, len(y), edges_s[:-1], edges_s[1:], noise, width_hz)


def _compressed(columns: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in an orthonormal basis of the columns' span; directions weaker than the added noise are left out."""
    basis, triangle = qr(columns, mode="economic", check_finite=False)
    values, vectors = np.linalg.eigh(triangle @ triangle.conj().T)
    kept = vectors[:, values > 1e-11 * values[-1]].conj().T
    return kept @ triangle, kept @ (basis.conj().T @ y)


def cells(start_s: float, *, fine_s: float, step_s: float, span_s: float, width_hz: float) -> np.ndarray:
    """Edges of cells: steps of one size for ``fine_s``, then growing ones for ``span_s``."""
    edges = list(start_s + step_s * np.arange(max(round(fine_s / step_s), 1)))
    while edges[-1] < start_s + fine_s + span_s:
        edges.append(edges[-1] + step_s)
        if edges[-1] >= start_s + fine_s:
            step_s = min(step_s * GROWTH, max(0.5 / width_hz, step_s))
    return np.array(edges)


def terms(bands: Sequence[NarrowBand], decay: Decay) -> tuple[float, float, int]:
    """Σ y^H S^-1 y, Σ log det S and the number of samples over several bands, for v = 1 and the covariance S of y."""
    rate = 6.0 * math.log(10.0) / decay.time_s
    square, volume, number = 0.0, 0.0, 0
    for band in bands:
        # A cell in which h begins counts with its later part.
        left = np.maximum(band.left_s, decay.start_s)
        variance = np.clip((band.right_s - left) / (band.right_s - band.left_s), 0.0, 1.0)
        variance = variance * np.exp(-rate * np.maximum((left + band.right_s) / 2.0 - decay.start_s, 0.0))
        scaled = band.columns * np.sqrt(variance)
        covariance = scaled @ scaled.conj().T
        noise = decay.noise * band.noise
        covariance[np.diag_indices(len(band.y))] += noise + 1e-13 * float(np.trace(covariance).real)
        root = cholesky(covariance, lower=True, check_finite=False, overwrite_a=True)
        solved = solve_triangular(root, band.y, lower=True, check_finite=False)
        square += float((np.abs(solved) ** 2).sum()) + band.spare / noise
        volume += 2.0 * float(np.log(np.diag(root).real).sum()) + (band.number - len(band.y)) * math.log(noise)
        number += band.number
    return square, volume, number


def deviance(bands: Sequence[NarrowBand], decay: Decay) -> float:
    """Minus twice the log likelihood of several bands with the most likely variance v, up to a constant."""
    square, volume, number = terms(bands, decay)
    return number * math.log(square / number) + volume
