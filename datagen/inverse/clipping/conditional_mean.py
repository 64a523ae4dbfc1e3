"""The expected values of clipped samples, in frames whose spectrum is estimated together with them.

A frame, windowed, is a sample of a stationary Gaussian process: its Fourier coefficients are independent, of variance S[k]. The clipped
samples have a normal distribution given the others, cut off at the ceiling. Iterated:

    Q = first column of the circulant precision = ifft(1 / S)
    clipped samples: precision Q_cc + diag(tau), mean = (Q_cc + diag(tau))^-1 (nu - Q_cr x_r)         r: samples that are not clipped
    tau, nu: the bounds as Gaussian factors (expectation propagation)
    S = expected |X|^2 / N = (|fft(mean)|^2 + fft(lags of the covariance)) / N, averaged over neighbouring frames

The covariance in S is what plain iterations (Janssen's, or sparse ones that take the estimate for the truth) leave out: they shrink every
coefficient that the clipped samples could have carried, and underestimate peaks. The average over frames is a prior that sounds last
longer than a frame. S converges to a few coefficients, as sparse methods do; iterations end before it fits the noise.

Only the clipped samples in the middle of a frame are unknown there. Those in its outer parts (``OUTER``), where the window is low, are
taken from the other frames, as they were estimated in the last round: the matrices are smaller, and the spectrum does not fit errors there.

Expected of conditional means, from published comparisons: 1 to 2 dB beyond A-SPADE. Found: about 2 to 6 (``benchmarks/declipping.py``).
Tried on excerpts of 0.2 to 1 s: bounds enforced after the means instead of propagated, drums at an input SDR of 7 dB gain 1.8 instead of
7.7 dB. Without the average over frames voice and guitar gain 1 to 4 dB less, drums up to 0.7. Averages over frequency as well gave drums
0.5 and cost guitars up to 4; geometric means over frames gave one excerpt of drums 1 and cost another 0.5. Frames of 512 gave drums 0.3 and
cost tones 1 to 4; frames of 2048 besides those of 1024 gave most signals 0.5, and of 4096 at 18 dB voice 0.25, mix 0.4, drums nothing.
Tried for speed, seven excerpts of 0.7 s: outer parts of 3/16 were expected to cost up to 0.3 dB and to take a quarter of the time; the time
is that, mix lost 0.6 dB in frames of 1024, none in 2048, drums gained 0.3 and a guitar 2. Of 1/4: slower to converge. Beginning frames of
2048 with the estimate of those of 1024: two to five rounds instead of ten, no loss. Steps of 1.4 times the logarithm of the change in S:
a round fewer. A fixed number of rounds: seven are too many for a guitar at 12 dB (later ones cost 1.4 dB) and too few for a voice at 7 (2).
float32: hardly faster, and the floor of 1e-6 that it needs costs tones 0.5 to 2 dB. A hop of N / 2 with narrower outer parts: as fast as
this, voice 0.4 dB better, mix and drums 0.2 worse.

Conventions
    A block is float64 [T]. Frames are N samples in a square-root Hann window, a quarter apart; a frame without an unknown sample only gives
    its spectrum to its neighbours.

References
    Tipping 2001, "Sparse Bayesian learning and the relevance vector machine": variances by their expectation.
    Bilen, Ozerov, Perez 2015, "Audio declipping via nonnegative matrix factorization": conditional means of clipped frames; here S is
    smoothed over time where theirs has low rank, and bounds are propagated where theirs are tested.
    Janssen, Veldhuis, Vries 1986, IEEE TASSP 34(2): the autoregressive ancestor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.ndimage import convolve1d

from stemwright.datagen.inverse.clipping.truncated_kernels import fill_precisions, read_covariances, update_bounds

Array = NDArray[np.float64]
OVERLAP = 4  # frames that cover a sample
FLOOR = 1e-9  # of the largest S: below it a precision cannot be inverted in float64
NEIGHBOURS = 9  # frames that S is averaged over: their centres are up to N samples away
OUTER = 3 / 16  # of a frame, at either end
ROUNDS, LATER_ROUNDS, KEPT = 10, 5, 2  # at most, without and with an estimate to begin from; the result is the mean over the last ones
SETTLED = 1.25e-3  # the energy of the change in a round, of all change so far, at which rounds end
STEP = 1.4  # times the logarithm of the change of S in a round
BATCH = 2_000_000  # numbers in the matrices of one batch: 16 MB


@dataclass(frozen=True)
class Clipped:
    """A block and what is known of its clipped samples.

    samples [T]; signs [T]: +1 or -1 where a sample is clipped at the upper or lower ceiling, else 0; bounds [T]: what the magnitude of a
    clipped sample is at least.
    """

    samples: Array
    signs: NDArray[np.int8]
    bounds: Array


def conditional_mean(block: Clipped, num_samples: int, first: Array | None = None) -> Array:
    """The block [T] with its clipped samples estimated in frames of so many samples, a multiple of 16.

    ``first`` [T] is an estimate to begin from. Bounds are propagated, not enforced: an estimate may be below its bound by a fraction of its
    standard deviation.
    """
    hop, length = num_samples // OVERLAP, len(block.samples)
    window = np.sqrt(np.hanning(num_samples + 1)[:-1]) + 1e-3  # a clipped sample at the edge of a frame keeps a bound
    whole = _frames(block.samples if first is None else first, num_samples) * window
    signs, outer = _unknown(block.signs, num_samples)
    rows, borrowing = np.flatnonzero(signs.any(axis=1)), np.flatnonzero(outer.any(axis=1))
    unknown = _Unknown(whole[rows], signs[rows], _frames(block.bounds, num_samples)[rows] * window)
    weight = _added(np.broadcast_to(window * window, whole.shape), hop, length)
    spectra = _power(whole)
    spectra += (1e-3 if first is None else 3e-5) * spectra.mean(axis=1, keepdims=True) + 1e-300
    estimates = [block.samples if first is None else first]
    while len(estimates) <= (ROUNDS if first is None else LATER_ROUNDS) and not _settled(block.samples, estimates):
        before, found = spectra[rows], unknown.update(_smoothed(spectra)[rows])
        spectra[rows] = found * np.clip(found / before, 0.1, 10.0) ** (STEP - 1.0)
        whole[rows] = unknown.frames()
        estimates.append(_added(whole * window, hop, length) / weight)
        lent = _frames(estimates[-1], num_samples)[borrowing] * window
        whole[borrowing] = np.where(outer[borrowing], lent, whole[borrowing])
        unknown.know(whole[rows])
        waiting = np.setdiff1d(borrowing, rows, assume_unique=True)
        spectra[waiting] = _power(whole[waiting]) + 1e-300
    result: Array = np.mean(estimates[1:][-KEPT:], axis=0)
    return result


def _settled(samples: Array, estimates: list[Array]) -> bool:
    """Whether the last round changed little, after two rounds at least."""
    if len(estimates) <= KEPT:
        return False
    last, all_change = estimates[-1] - estimates[-2], estimates[-1] - samples
    return bool((last @ last) <= SETTLED * (all_change @ all_change))


def work(block: Clipped, num_samples: int) -> float:
    """The multiplications of a round: the cube of the number of unknown samples of every frame."""
    counts = np.count_nonzero(_unknown(block.signs, num_samples)[0], axis=1).astype(np.float64)
    return float((counts**3).sum())


def _unknown(signs: NDArray[np.int8], num_samples: int) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """The signs of the samples that each frame estimates [F, N], and where it takes clipped ones from other frames."""
    outer = round(OUTER * num_samples)
    clipped = _frames(signs, num_samples)
    inside = np.zeros_like(clipped)
    inside[:, outer : num_samples - outer] = clipped[:, outer : num_samples - outer]
    return inside, (clipped != 0) & (inside == 0)


class _Unknown:
    """The clipped samples of frames [F, N]: their means, variances and bounds, which each call of ``update`` improves."""

    def __init__(self, whole: Array, signs: NDArray[np.int8], bounds: Array) -> None:
        self.row, self.places = np.nonzero(signs)
        self.starts = np.concatenate([[0], np.cumsum(np.count_nonzero(signs, axis=1))])
        self.signs, self.bounds = signs[self.row, self.places].astype(np.float64), bounds[self.row, self.places]
        self.tau, self.nu = np.zeros(len(self.row)), np.zeros(len(self.row))
        self.mean, self.variance = whole[self.row, self.places], np.zeros(len(self.row))
        self.batches = _batches(np.diff(self.starts))
        self.know(whole)

    def know(self, whole: Array) -> None:
        """Takes the samples of frames [F, N] that are not unknown."""
        self.known = whole.copy()
        self.known[self.row, self.places] = 0.0
        self.known_spectra = rfft(self.known, axis=1)

    def frames(self) -> Array:
        """The frames [F, N] with their clipped samples at their means."""
        filled = self.known.copy()
        filled[self.row, self.places] = self.mean
        return filled

    def update(self, spectra: Array) -> Array:
        """Estimates the clipped samples under variances [F, N / 2 + 1]; returns the expected power of each coefficient."""
        size = self.known.shape[1]
        weights = 1.0 / np.maximum(spectra, FLOOR * spectra.max(axis=1, keepdims=True))
        inverse, lags = irfft(weights, size, axis=1), np.zeros_like(self.known)
        right = self.nu * self.signs - irfft(self.known_spectra * weights, size, axis=1)[self.row, self.places]
        for frames, count in self.batches:
            precisions = np.empty((len(frames), count, count))
            fill_precisions(frames, self.starts, self.places, inverse, self.tau, precisions)
            factors, _ = torch.linalg.cholesky_ex(torch.from_numpy(precisions))
            covariances = torch.cholesky_inverse(factors).numpy()
            read_covariances(frames, self.starts, self.places, covariances, right, self.mean, self.variance, lags)
        update_bounds(self.mean, self.variance, self.signs, self.bounds, self.tau, self.nu)
        return _power(self.frames()) + np.maximum(rfft(lags, axis=1).real, 0.0) / size


def _batches(counts: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
    """Frames in batches of nearly equal numbers of clipped samples, and the largest number of each."""
    order = np.argsort(counts, kind="stable")[::-1]
    batches, first = [], 0
    while first < len(order):
        largest = int(counts[order[first]])
        alike = int(np.count_nonzero(counts[order[first:]] >= 0.9 * largest - 2))
        taken = max(1, min(alike, BATCH // (largest * largest)))
        batches.append((order[first : first + taken], largest))
        first += taken
    return batches


def _power(frames: Array) -> Array:
    spectra = rfft(frames, axis=1)
    power: Array = (spectra.real**2 + spectra.imag**2) / frames.shape[1]
    return power


def _smoothed(spectra: Array) -> Array:
    """Spectra [F, K], each a mean over its neighbours in time, weighted by a Hann window."""
    weights = np.hanning(NEIGHBOURS + 2)[1:-1]
    smoothed: Array = convolve1d(spectra, weights / weights.sum(), axis=0, mode="nearest")
    return smoothed


def _frames(samples: NDArray[Any], num_samples: int) -> NDArray[Any]:
    """Frames [F, N] of samples [T], a hop apart, from where the first sample enters to where the last one leaves; mirrored at both ends."""
    hop = num_samples // OVERLAP
    padded = np.pad(samples, (num_samples - hop, num_samples - hop + (-len(samples)) % hop), mode="symmetric")
    return sliding_window_view(padded, num_samples)[::hop]


def _added(frames: Array, hop: int, length: int) -> Array:
    """The sum [T] of frames [F, N]."""
    count, size = frames.shape
    total = np.zeros((count + OVERLAP - 1) * hop)
    for part in range(OVERLAP):
        total[part * hop : (part + count) * hop] += frames[:, part * hop : (part + 1) * hop].ravel()
    return total[size - hop : size - hop + length]
