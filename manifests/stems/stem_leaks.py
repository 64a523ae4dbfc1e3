"""How much of one stem is in the file of another, in time with it: what microphones of one room and careless exports leave.

Least squares cannot tell: where every stem holds a tenth of the next, all of them at 1 / 1.1 sum to the mixture exactly, and each is then
too soft. So the leaks are measured by themselves. In a frame and frequency where only stem j sounds, the spectrum of stem i over that of
j is the leak; where both sound it is anything. The leak is the place where the quotients are dense. Two stems without a leak are dense at
zero, whatever their music has in common.

Conventions
    Excerpts are float [W, N, C, L]: windows, stems at the gains at which they fit the mixture, channels, frames.
    ``leaks[i, j]`` is the factor by which stem i holds stem j; zero on the diagonal. A leak through a room, which comes later and coloured,
    is not found; nor does it bias gains much.

References
    Yilmaz and Rickard 2004 (quotients of spectra of sources that rarely sound in one cell).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

FRAMES = 2048
LOWEST_BIN, HIGHEST_BIN = 2, 740  # 40 Hz to 16 kHz at 44.1 kHz
LOUD = 0.1  # of a stem's own root mean square: softer cells are noise
BIN, MOST = 0.01, 0.5  # of the histogram of quotients
SURE = 0.0015  # share of cells: songs without leaks have 0.0005 more elsewhere than at zero at most
FEWEST_CELLS = 200
MOST_STEMS = 24


def leaks(excerpts: Array) -> Array:
    """The leaks [N, N] between stems in excerpts [W, N, C, L]; zero where none is sure."""
    windows, count, channels, length = excerpts.shape
    found = np.zeros((count, count))
    frames = length // FRAMES
    energies = np.sum(np.square(excerpts, dtype=np.float64), axis=(0, 2, 3))
    chosen = [int(number) for number in np.argsort(-energies)[:MOST_STEMS] if energies[number] > 0]
    if frames == 0 or len(chosen) < 2:
        return found
    taper = np.hanning(FRAMES).astype(np.float32)
    spectra = {}
    for number in chosen:
        cut = excerpts[:, number, :, : frames * FRAMES].reshape(windows, channels, frames, FRAMES) * taper
        spectra[number] = np.fft.rfft(cut, axis=-1)[..., LOWEST_BIN:HIGHEST_BIN].astype(np.complex64).ravel()
    for source in chosen:
        level = np.abs(spectra[source])
        loud = level > LOUD * np.sqrt(np.mean(np.square(level, dtype=np.float64)))
        below = 1.0 / spectra[source][loud]
        for number in chosen:
            if number != source:
                found[number, source] = _dense(spectra[number][loud] * below)
    return found


def _dense(quotients: NDArray[np.complexfloating]) -> float:
    """Where quotients are dense on the real line, if that is clearly not at zero; else zero."""
    near = np.real(quotients[(np.abs(np.imag(quotients)) < 2 * BIN) & (np.abs(np.real(quotients)) < MOST)])
    edges = np.arange(-MOST, MOST + BIN / 2, BIN)
    counts = np.convolve(np.histogram(near, edges)[0], np.ones(3), "same")
    best, zero = int(np.argmax(counts)), counts.size // 2
    at_zero = max(counts[zero - 1], counts[zero])
    if counts[best] - at_zero < max(SURE * quotients.size, FEWEST_CELLS):
        return 0.0
    place = float(edges[best]) + BIN / 2
    for _ in range(3):
        place = float(np.mean(near[np.abs(near - place) < 2 * BIN]))
    return place


def as_if_without(gains: Array, found: Array) -> Array:
    """The gains [N] of stems in the mixture, from those that leave least of it, and the leaks between the stems at these gains.

    With gains w and leaks b a stem is w f = u + b u', and the mixture is the sum of w f. So it holds stem j (1 + sum of b over i) times.
    """
    return np.asarray(gains * (1.0 + found.sum(axis=0)))
