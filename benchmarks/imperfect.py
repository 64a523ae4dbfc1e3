"""Imperfect separators that have heard the stems: masks of several kinds on the mixture, for songs whose levels are known.

Every separator multiplies the mixture's spectrum by a mask for each stem that is made of the stems' own spectra, as networks that
estimate masks do. They differ in what goes wrong: how a mask divides a cell between stems (its exponent; 2 is the Wiener filter, 1 the
ratio of magnitudes), what leaks, what is left to no stem, and errors of the powers themselves.

Conventions
    Stems are float32 [S, C, T]. A separator is a name of KINDS; those of one family (the first word) have the same kind of fault.

References
    Liutkus and Badeau 2015 (exponents of masks). Vincent, Gribonval, Plumbley 2007 (oracle masks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from oracle import HOP, SIZE, TINY, smoothed
from scipy.ndimage import uniform_filter1d
from scipy.signal import istft, stft


class Mask(NamedTuple):
    """A mask: the exponent of the magnitudes, the cells over which power is averaged, the share of the mixture that leaks into all stems,
    the exponent of the mask (above 1 it leaves a part of the mixture), and the standard deviation of errors of the power in dB."""

    exponent: float
    cells: int
    leak: float = 0.0
    sharpened: float = 1.0
    error_db: float = 0.0


KINDS = {
    "wiener": Mask(2.0, 3),
    "wiener, coarse": Mask(2.0, 8),
    "ratio": Mask(1.0, 3),
    "ratio, soft": Mask(0.7, 2),
    "ratio, 1.5": Mask(1.5, 4),
    "leaks 10 %": Mask(2.0, 3, leak=0.1),
    "leaks 25 %": Mask(2.0, 2, leak=0.25),
    "errors 5 dB": Mask(2.0, 3, error_db=5.0),
    "shrinks": Mask(2.0, 3, sharpened=1.5),
}


def family(kind: str) -> str:
    """What goes wrong in a kind of separator: the first word of its name."""
    return kind.split(",")[0].split()[0]


def separate(stems: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """The stems [S, C, T] that a kind of separator makes of their sum."""
    mask = KINDS[kind]
    spectra = stft(stems, nperseg=SIZE, noverlap=SIZE - HOP)[2].astype(np.complex64)
    powers = smoothed(np.abs(spectra) ** 2, mask.cells)
    if mask.error_db:
        noise = rng.standard_normal(powers.shape, dtype=np.float32)
        for axis in (-1, -2):
            noise = uniform_filter1d(noise, 8, axis=axis, mode="nearest")
        powers = powers * 10 ** (noise * (mask.error_db / noise.std()) / 10)
    shares = powers ** (mask.exponent / 2)
    shares = (shares / np.maximum(shares.sum(0), TINY)) ** mask.sharpened
    shares = (1 - mask.leak) * shares + mask.leak / len(stems)
    return istft(shares * spectra.sum(0), nperseg=SIZE, noverlap=SIZE - HOP)[1][..., : stems.shape[-1]].astype(np.float32)
