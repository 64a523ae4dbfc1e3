"""Fader gains and pans of a known mixture from its dry tracks: non-negative least squares, window by window, so that fader rides show.

In each window the mixture's channel c is modelled as a sum of the tracks' channel c, each times a factor that is not negative, so that the
K-weighted energy of the residual is smallest. That needs only the K-weighted products of tracks and mixture summed over the window, which
are the sums over frequency of their K-weighted cross-spectra (Parseval). The two factors of a track are a gain and a constant-power pan.

Conventions
    mixture is float32 [C, T], a track [C, T] or [1, T]; one or two channels. Gain and pan follow the fader effect: factors g sqrt(2)
    cos(a) and g sqrt(2) sin(a), a = (pan + 1) pi / 4, both 1 at the centre at 0 dB. A mono mixture has no pan: None. NaN means
    undetermined: the track is silent in the window, or cannot be distinguished from the others. -inf dB is a closed fader.

References
    Barchiesi and Reiss 2010 (levels from dry tracks by least squares). Lawson and Hanson 1974, ch. 23 (non-negative least squares).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.loudness.kweighting import hop_edges, hop_products

Array = NDArray[np.floating]

WINDOW_S = 10.0
SILENT_SHARE = 1e-5  # of a track's loudest window: in a quieter one (a filter still ringing) its gain is undetermined
COPY_SHARE = 1e-6  # of a track's energy that the other tracks cannot explain: below it, the split between them is arbitrary


@dataclass(frozen=True)
class ConsoleLevels:
    """Per track and window gain and pan, [W] each; windows start at ``start_s``; ``residual_db`` is the residual against the
    mixture."""

    start_s: Array
    gain_db: dict[str, Array]
    pan: dict[str, Array] | None
    residual_db: Array


def _check(mixture: Array, tracks: Mapping[str, Array]) -> None:
    if mixture.ndim != 2 or mixture.shape[0] not in (1, 2) or mixture.shape[1] == 0:
        raise ValueError(f"expected a mixture [1 or 2, T], got shape {mixture.shape}; a mono signal is audio[None]")
    if not tracks:
        raise ValueError("expected at least one dry track, got an empty dictionary")
    for name, track in tracks.items():
        if track.ndim != 2 or track.shape[1] != mixture.shape[1] or track.shape[0] not in (1, mixture.shape[0]):
            raise ValueError(
                f"expected track {name!r} as [1 or {mixture.shape[0]}, {mixture.shape[1]}] like its mixture, got {track.shape}; "
                "cut, pad or resample it to the mixture"
            )


def _window_products(mixture: Array, tracks: Mapping[str, Array], sample_rate: int, window_s: float) -> tuple[Array, Array]:
    """K-weighted products of the mixture (row 0) and the tracks, [C, N + 1, N + 1, W], and the windows' starts in seconds, [W]."""
    num_channels, count = mixture.shape[0], len(tracks) + 1
    rows = [mixture[c] if s is None else s[c % s.shape[0]] for c in range(num_channels) for s in (None, *tracks.values())]
    upper = [(i, j) for i in range(count) for j in range(i, count)]
    pairs = [(c * count + i, c * count + j) for c in range(num_channels) for i, j in upper]
    sums = hop_products(rows, pairs, sample_rate).reshape(num_channels, len(upper), -1)
    hops = max(1, round(window_s * 100))
    starts = np.arange(0, max(0, sums.shape[-1] - hops // 2) + 1, hops)  # a last window shorter than half joins the one before
    windows = np.add.reduceat(sums, starts, axis=-1)
    products = np.zeros((num_channels, count, count, starts.size))
    for k, (i, j) in enumerate(upper):
        products[:, i, j] = products[:, j, i] = windows[:, k]
    return products, hop_edges(mixture.shape[1], sample_rate)[starts] / sample_rate


def _factors(products: Array, floors: Array) -> tuple[Array, float]:
    """Non-negative factors [N] of the tracks in one channel and window, NaN where undetermined, and the energy of the residual.

    ``products`` is [N + 1, N + 1]; a track whose energy does not exceed its floor [N] is silent.
    """
    from scipy.optimize import nnls

    target, own, cross = products[0, 0], products[1:, 1:], products[1:, 0]
    energy = np.diag(own)
    heard = np.flatnonzero(energy > floors)
    factors = np.full(energy.size, np.nan)
    if heard.size == 0:
        return factors, target
    scale = np.sqrt(energy[heard])
    values, vectors = np.linalg.eigh(own[np.ix_(heard, heard)] / np.outer(scale, scale))
    kept = values > 1e-10
    root = np.sqrt(values[kept])
    matrix = root[:, None] * vectors[:, kept].T
    found, _ = nnls(matrix, (vectors[:, kept].T @ (cross[heard] / scale)) / root)
    unexplained = 1 / np.maximum((vectors**2 / np.maximum(values, 1e-12)).sum(1), 1.0)
    left = target - 2 * found @ (cross[heard] / scale) + np.sum((matrix @ found) ** 2)
    factors[heard] = np.where(unexplained > COPY_SHARE, found / scale, np.nan)
    return factors, max(float(left), 0.0)


def fit_console_levels(mixture: Array, tracks: Mapping[str, Array], sample_rate: int, *, window_s: float = WINDOW_S) -> ConsoleLevels:
    """Finds the fader gain and pan of every dry track in every window of the mixture.

    Raises ValueError for no tracks, tracks of another length or channel count, NaN, and a silent mixture.
    """
    _check(mixture, tracks)
    products, start_s = _window_products(mixture, tracks, sample_rate, window_s)
    if products[:, 0, 0].sum() <= 1e-20 * mixture.size:
        raise ValueError("expected an audible mixture, got silence; faders cannot be measured from it")
    num_channels, _, _, num_windows = products.shape
    factors = np.zeros((num_channels, len(tracks), num_windows))
    left = np.zeros((num_channels, num_windows))
    energies = np.einsum("ciiw->ciw", products)[:, 1:]
    floors = SILENT_SHARE * energies.max(axis=(0, 2))
    for c in range(num_channels):
        for w in range(num_windows):
            factors[c, :, w], left[c, w] = _factors(products[c, :, :, w], floors)
    power = np.mean(factors**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain_db = 10 * np.log10(power)
        residual_db = 10 * np.log10(left.sum(0) / products[:, 0, 0].sum(0))
    pan = None
    if num_channels == 2:
        angle = np.where(power > 0, np.arctan2(factors[1], factors[0]), np.nan)
        pan = dict(zip(tracks, angle * 4 / math.pi - 1, strict=True))
    return ConsoleLevels(start_s, dict(zip(tracks, gain_db, strict=True)), pan, residual_db)
