"""A separator that has heard the stems: posterior means in the time-frequency plane, at a signal-to-distortion ratio that can be chosen.

In every cell the sources are independent Gaussians whose variances are the stems' own power, averaged over neighbouring cells. The
separator sees their sum exactly and, to reach a higher ratio than that allows, each source through noise of ``noise`` times its variance.
Its estimate is the mean given both: the Wiener filter when the noise is infinite, the stem itself when there is none. The estimates
always sum to the mixture.

Conventions
    Stems are float32 [S, C, T]. The ratio is 10 log10 of stem energy over error energy, averaged over the stems of a song that sound.

References
    Vincent, Gribonval, Plumbley 2007 (oracle estimators). Conditioning of Gaussians on a linear observation, as in any textbook.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import istft, stft

SIZE, HOP = 4096, 2048
TINY = 1e-20


def sdr_db(stems: np.ndarray, estimates: np.ndarray) -> float:
    """Mean over stems [S, ...] of their ratio; silent stems are left out."""
    axes = tuple(range(1, stems.ndim))
    energy = (np.abs(stems) ** 2).sum(axes)
    error = (np.abs(stems - estimates) ** 2).sum(axes)
    sounds = energy > 0
    return float(np.mean(10 * np.log10(energy[sounds] / np.maximum(error[sounds], TINY))))


def smoothed(power: np.ndarray, width: int) -> np.ndarray:
    """Averages power [..., F, N] over a triangle of cells in time and frequency."""
    for axis in (-1, -2):
        for _ in range(2 if width > 1 else 0):
            power = np.maximum(uniform_filter1d(power, width, axis=axis, mode="nearest"), 0)  # a running sum can end below zero
    return power


def posterior_means(spectra: np.ndarray, variances: np.ndarray, unit_noise: np.ndarray, noise: float) -> np.ndarray:
    """Estimates [S, C, F, N] of the sources from their sum and from a view of each through noise."""
    share = variances / np.maximum(variances.sum(0), TINY)
    if np.isinf(noise):
        return share * spectra.sum(0)
    views = (spectra + np.sqrt(noise * variances) * unit_noise) / (1 + noise)
    return views + share * (spectra.sum(0) - views.sum(0))


def separate(stems: np.ndarray, target_db: float, rng: np.random.Generator) -> np.ndarray:
    """Separates the sum of the stems [S, C, T] at a mean ratio of ``target_db``, to about 0.1 dB."""
    spectra = stft(stems, nperseg=SIZE, noverlap=SIZE - HOP)[2].astype(np.complex64)
    power = np.abs(spectra) ** 2
    white = rng.standard_normal(stems.shape, dtype=np.float32)
    unit_noise = stft(white, nperseg=SIZE, noverlap=SIZE - HOP)[2].astype(np.complex64)  # consistent: overlap must not average it away
    unit_noise /= np.sqrt((np.abs(unit_noise) ** 2).mean())
    part = np.s_[..., :: max(1, spectra.shape[-1] // 120)]  # every few frames suffice to aim

    def reached(width: int, noise: float) -> float:
        variances = smoothed(power, width)
        return sdr_db(spectra[part], posterior_means(spectra[part], variances[part], unit_noise[part], noise))

    width, noise = 2, np.inf
    while width < 200 and reached(width, np.inf) > target_db:
        width = int(np.ceil(width * 1.6))
    variances = smoothed(power, width)
    low, high = -8.0, 12.0  # log2 of the noise; more noise, lower ratio
    for _ in range(8):
        middle = (low + high) / 2
        ratio = sdr_db(spectra[part], posterior_means(spectra[part], variances[part], unit_noise[part], 2.0**middle))
        low, high = (middle, high) if ratio > target_db else (low, middle)
    noise = 2.0 ** ((low + high) / 2)
    estimates = istft(posterior_means(spectra, variances, unit_noise, noise), nperseg=SIZE, noverlap=SIZE - HOP)[1]
    return estimates[..., : stems.shape[-1]].astype(np.float32)
