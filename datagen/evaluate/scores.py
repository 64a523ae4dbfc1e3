"""Scores of an estimate against its reference, and their mean over songs with an interval.

    SDR       10 log10(Σ s² / Σ (s - ŝ)²)
    SI-SDR    10 log10(Σ (a s)² / Σ (a s - ŝ)²),   a = Σ ŝ s / Σ s²
    MR-STFT   ``stemwright.datagen.effects.dsp.spectral_loss``, without the views of sum and difference

Conventions
    Estimate and reference are float [C, T] of one shape; a score is the mean of those of the channels. SI-SDR leaves every channel a gain
    of its own and, as auraloss does it, the mean of each is subtracted first; ``at_best_gain`` makes another score blind to one gain.
    As in auraloss 1e-8 is added to the energies: an exact estimate has a high finite score. Nothing can be said against silence: NaN.
    Intervals are 95 %, by a bootstrap that draws whole songs, since excerpts and stems of one song are alike. The quantiles of the draws
    are Hesterberg's expanded percentiles, since a plain bootstrap of few songs is too narrow: its 95 % intervals contain the mean of a
    normal distribution 75 % of the time for 3 values, 87 % for 6; expanded ones 93 % for 6. No draw is outside the lowest and the highest
    song, and the median of all songs is between these with a probability of 1 - 2^(1 - n): 75 % for 3 songs, 97 % for 6. Fewer than
    FEWEST_SONGS songs have no interval.

References
    Le Roux, Wisdom, Erdogan, Hershey 2019, "SDR - half-baked or well done?". auraloss (Steinmetz and Reiss 2020): ``SISDRLoss`` and
    ``MultiResolutionSTFTLoss`` with their defaults, the scores of RemFX. Efron and Tibshirani 1993, ch. 9 (drawing whole songs).
    Hesterberg 2015, "What teachers should know about the bootstrap", sec. 4.5 (expanded percentiles), cited from memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]
EPSILON = 1e-8  # auraloss's
SILENCE = 1e-12  # mean square of a reference, -120 dBFS, below which it is silent
DRAWS = 1000
COVERAGE = 0.95
FEWEST_SONGS = 6  # the fewest whose range contains the median of all songs at least 95 % of the time


def sdr_db(estimate: Array, reference: Array) -> float:
    """Signal-to-distortion ratio in dB of an estimate [C, T], the mean over the channels that sound in the reference; NaN if none does.

    Raises ValueError where the shapes differ.

    >>> from stemwright.datagen.evaluate.scores import sdr_db
    >>> import numpy as np
    >>> reference = np.sin(np.arange(44_100) / 10.0)[None]
    >>> round(sdr_db(0.9 * reference, reference), 2)
    20.0
    """
    return _mean_of_channels(estimate, reference, lambda found, wanted: _ratio_db(wanted, found - wanted))


def si_sdr_db(estimate: Array, reference: Array, *, zero_mean: bool = True) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of an estimate [C, T], the mean over the channels that sound in the reference.

    With ``zero_mean`` a constant offset counts for nothing. NaN if no channel sounds. Raises ValueError where the shapes differ.

    >>> from stemwright.datagen.evaluate.scores import si_sdr_db
    >>> import numpy as np
    >>> time = np.arange(44_100) / 44_100
    >>> tone, noise = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1000 * time)
    >>> round(si_sdr_db(3.0 * (tone + 0.1 * noise)[None], tone[None]), 2)
    20.0
    """

    def score(found: Array, wanted: Array) -> float:
        if zero_mean:
            found, wanted = found - found.mean(), wanted - wanted.mean()
        scaled = wanted * (found @ wanted) / (wanted @ wanted + EPSILON)
        return _ratio_db(scaled, found - scaled)

    return _mean_of_channels(estimate, reference, score)


def mr_stft_loss(estimate: Array, reference: Array) -> float:
    """Multi-resolution STFT loss of an estimate [C, T], 0 if it is exact, the mean over channels; NaN if the reference is silent.

    Raises ValueError where the shapes differ.
    """
    import torch

    from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss

    def score(found: Array, wanted: Array) -> float:
        with torch.inference_mode():
            return float(multi_resolution_loss(found.astype(np.float32)[None], wanted.astype(np.float32)[None]))

    return _mean_of_channels(estimate, reference, score)


def at_best_gain(estimate: Array, reference: Array) -> Array:
    """The estimate [C, T] times the one gain, of all channels, that brings it nearest to the reference."""
    found, wanted = _checked(estimate, reference)
    energy = float((found * found).sum())
    scaled: Array = (estimate * ((found * wanted).sum() / energy if energy > 0.0 else 0.0)).astype(estimate.dtype)
    return scaled


@dataclass(frozen=True)
class SongMean:
    """A statistic over values of songs, mostly their mean, with its interval; None: too few songs for one.

    ``count`` is the number of values, ``songs`` that of songs. ``value`` is NaN if there is none.
    """

    value: float
    low: float | None
    high: float | None
    count: int
    songs: int


def mean_over_songs(
    values: ArrayLike, songs: Sequence[Hashable], statistic: Callable[[NDArray[np.float64]], float | np.floating] = np.mean
) -> SongMean:
    """The mean (or another statistic) of values [N], of which NaN are left out, with a 95 % bootstrap interval over songs.

    ``songs`` says of which song each value is. The same values give the same interval. Raises ValueError where there are not as many.

    >>> from stemwright.datagen.evaluate.scores import mean_over_songs
    >>> found = mean_over_songs([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], ["a", "b", "c", "d", "e", "f", "f"])
    >>> found.value, found.songs, found.low < found.value < found.high
    (4.0, 6, True)
    """
    every = np.asarray(values, np.float64)
    if every.shape != (len(songs),):
        raise ValueError(f"expected one song for each value; got {len(songs)} songs and values of the shape {list(every.shape)}")
    parts: dict[Hashable, list[float]] = {}
    for song, value in zip(songs, every.tolist(), strict=True):
        if not math.isnan(value):
            parts.setdefault(song, []).append(value)
    known = [np.array(part) for part in parts.values()]
    if not known:
        return SongMean(math.nan, None, None, 0, 0)
    pooled = np.concatenate(known)
    low: float | None = None
    high: float | None = None
    if len(known) >= FEWEST_SONGS:
        picks = np.random.default_rng(0).integers(len(known), size=(DRAWS, len(known)))
        drawn = _drawn(known, picks, statistic)
        tail = _expanded_tail(len(known))
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1.0 - tail]))
    return SongMean(float(statistic(pooled)), low, high, len(pooled), len(known))


def _expanded_tail(songs: int) -> float:
    """The share of draws beyond each end of the interval: the normal probability of -sqrt(n / (n - 1)) times Student's quantile."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(-math.sqrt(songs / (songs - 1)) * stdtrit(songs - 1, (1.0 + COVERAGE) / 2.0)))


def _drawn(
    known: list[NDArray[np.float64]], picks: NDArray[np.int64], statistic: Callable[..., float | np.floating]
) -> NDArray[np.float64]:
    """The statistic of each draw of songs, [draws]; the mean from sums and counts, without copies of the values."""
    if statistic is np.mean:
        sums, counts = (np.array([measure(part) for part in known]) for measure in (np.sum, len))
        means: NDArray[np.float64] = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
        return means
    return np.array([float(statistic(np.concatenate([known[number] for number in pick]))) for pick in picks])


def _checked(estimate: Array, reference: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both in float64. Raises ValueError where their shapes differ."""
    if estimate.shape != reference.shape or estimate.ndim != 2:
        raise ValueError(
            f"expected estimate and reference of one shape [channels, time]; got {list(estimate.shape)} and {list(reference.shape)}"
        )
    return estimate.astype(np.float64), reference.astype(np.float64)


def _mean_of_channels(estimate: Array, reference: Array, score: Callable[[Array, Array], float]) -> float:
    """The mean score of the channels that sound in the reference."""
    scores = [
        score(found, wanted)
        for found, wanted in zip(*_checked(estimate, reference), strict=True)
        if wanted.size and np.mean(wanted * wanted) > SILENCE
    ]
    return float(np.mean(scores)) if scores else math.nan


def _ratio_db(wanted: Array, error: Array) -> float:
    return float(10.0 * np.log10((wanted @ wanted) / (error @ error + EPSILON) + EPSILON))
