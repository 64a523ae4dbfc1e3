"""BSS Eval version 4 of separated stems: SDR, ISR, SIR and SAR in frames of one second and their medians, as museval 0.4 has them.

An own implementation, which tests compare with museval: that package imports musdb, which raises where there is no ffmpeg program; it stops
with numpy 2 where references depend on each other (``linalg.linalg`` is gone); it loses a whole track for one silent stem; and it factors
the same matrix for each stem of each separator: 82 s and 3.3 GB for four stereo stems of 150 s, where this takes 8 s and 1.7 GB (measured,
one core). Here the matrix is factored once for all separators of a song, correlations are summed block by block, and projections are
multiplied in the spectrum.

    G c = d          normal equations of the filters c, FILTER_FRAMES taps a channel, that bring the references nearest to an estimate
    P all, P own     the references, and those of its own stem alone, through these filters
    SDR |s|² / |ŝ - s|²    ISR |s|² / |P own - s|²    SIR |P own|² / |P all - P own|²    SAR |P all|² / |ŝ - P all|²

Conventions
    Signals are float [C, T] of one shape; ratios are in dB. Filters are fitted to the whole song (version 4), energies are taken in frames
    of a second without overlap, with the tail of the filters; what is left at the end counts for nothing. Shorter audio is one frame.
    As in museval a signal is silent where the sum of its channels is zero throughout, and a frame in which any reference or estimate is
    silent counts for none of them; medians are over the frames that are left, whose number is returned.
    Other than in museval a reference that is silent in the whole song is left out, and a silent estimate is replaced by its reference while
    the others are scored (their ratios do not depend on it); neither has ratios.

References
    Stöter, Liutkus, Ito, The 2018 signal separation evaluation campaign (2018): version 4. Vincent, Gribonval, Févotte, Performance
    measurement in blind audio source separation (2006): the decomposition. Fabbro et al., The sound demixing challenge 2023 (2024): the SDR
    of a whole song, with the constant that demucs.evaluate has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects.deferred import Deferred

if TYPE_CHECKING:
    from scipy import fft
else:
    fft = Deferred("scipy.fft")

Array = NDArray[np.floating]
Signals = Mapping[str, Array]  # stem -> [C, T]
RATIOS = ("SDR", "SIR", "SAR", "ISR")
FILTER_FRAMES = 512  # museval's default, which all published figures have
BLOCK_FRAMES = 1 << 15  # of correlations
DEPENDENT = 1e-12  # of the mean energy of the references, added where these depend on each other
SOLVED = 1e-6  # what the equations may leave of their right-hand side; more was lost to rounding
CHALLENGE_DELTA = 1e-7  # added to both energies in the challenges' definition


def bss_medians(references: Signals, estimates: Mapping[str, Signals], sample_rate: int) -> dict[str, dict[str, dict[str, float]]]:
    """Medians over frames, {separator: {stem: {"SDR": dB, "SIR": dB, "SAR": dB, "ISR": dB, "frames": number}}}.

    ``estimates`` has the stems of each separator, with the names of ``references``. A stem without ratios has 0 frames. Raises ValueError
    where names or shapes differ.

    >>> import numpy as np
    >>> from stemwright.datagen.evaluate.bss_metrics import bss_medians
    >>> rng = np.random.default_rng(0)
    >>> references = {"vocals": rng.normal(0, 0.1, (1, 8000)), "other": rng.normal(0, 0.1, (1, 8000))}
    >>> found = bss_medians(references, {"softer": {name: 0.9 * audio for name, audio in references.items()}}, 4000)
    >>> round(found["softer"]["vocals"]["SDR"], 3), found["softer"]["vocals"]["frames"]
    (20.0, 2)
    """
    for stems in estimates.values():
        _check(references, stems)
    heard = [name for name in references if not _silent(references[name])]
    missing = {maker: [name for name in references if name not in heard or _silent(stems[name])] for maker, stems in estimates.items()}
    found: dict[str, dict[str, dict[str, float]]] = {maker: {name: {"frames": 0} for name in references} for maker in estimates}
    if not heard:
        return found
    wanted = np.stack([references[name] for name in heard])
    given = {
        maker: np.stack([(references if name in missing[maker] else stems)[name] for name in heard]) for maker, stems in estimates.items()
    }
    filters = _filters(wanted, np.stack(list(given.values())))
    for (maker, signals), fitted in zip(given.items(), filters, strict=True):
        frames = np.stack(list(_frames(wanted, signals, *fitted, sample_rate)), axis=-1)  # [S, 4, N]
        known = frames[:, :, ~np.isnan(frames[0, 0])]
        for name, values in zip(heard, known, strict=True):
            if name not in missing[maker] and values.size:
                medians = dict(zip(RATIOS, map(float, np.median(values, axis=-1)), strict=True))
                found[maker][name] = {**medians, "frames": values.shape[-1]}
    return found


def song_sdr(estimate: Array, reference: Array) -> float:
    """The challenges' SDR (uSDR) of a whole song in dB, over its channels together.

    >>> import numpy as np
    >>> from stemwright.datagen.evaluate.bss_metrics import song_sdr
    >>> reference = np.sin(np.arange(44_100) / 10.0)[None]
    >>> round(song_sdr(0.9 * reference, reference), 2)
    20.0
    """
    wanted = reference.astype(np.float64)
    return float(10 * np.log10((np.sum(wanted**2) + CHALLENGE_DELTA) / (np.sum((wanted - estimate) ** 2) + CHALLENGE_DELTA)))


def _filters(references: Array, estimates: Array) -> list[tuple[Array, Array]]:
    """The filters of each separator: from all references [S, C, L, S, C] to its stems, and from each stem's own [S, C, L, C].

    References are [S, C, T], estimates [M, S, C, T].
    """
    taps, (makers, stems, channels, num_frames) = min(FILTER_FRAMES, references.shape[-1]), estimates.shape
    flat, given = references.reshape(-1, num_frames), estimates.reshape(-1, num_frames)
    correlations = _correlations(flat, [*flat, *given], taps)
    lags = np.arange(taps)[:, None] - np.arange(taps)[None, :] + taps - 1
    count = len(flat)
    gram = correlations[:, :count, lags].transpose(0, 2, 1, 3)  # [R, p, R, q]
    right = correlations[:, count:, taps - 1 :].transpose(0, 2, 1).reshape(count, taps, makers, stems, channels)
    whole = _solved(gram, right.reshape(count, taps, -1)).reshape(stems, channels, taps, makers, stems, channels)
    own = np.zeros((stems, channels, taps, makers, channels))
    for stem in range(stems):
        rows = slice(stem * channels, (stem + 1) * channels)
        solved = _solved(gram[rows, :, rows], right[rows, :, :, stem].reshape(channels, taps, -1))
        own[stem] = solved.reshape(channels, taps, makers, channels)
    return [(whole[:, :, :, maker], own[:, :, :, maker]) for maker in range(makers)]


def _correlations(references: Array, signals: list[Array], taps: int) -> Array:
    """Sums over time of x(t) r(t - k) for each reference r and signal x at the lags k = 1 - taps to taps - 1, [R, X, 2 taps - 1]."""
    num_frames = references.shape[-1]
    size = fft.next_fast_len(BLOCK_FRAMES + 2 * taps - 2, real=True)
    sums = np.zeros((len(references), len(signals), size // 2 + 1), np.complex128)
    for start in range(0, num_frames, BLOCK_FRAMES):
        first, last = start - taps + 1, min(start + BLOCK_FRAMES, num_frames) + taps - 1
        around = references[:, max(first, 0) : last].astype(np.float64)
        around = np.pad(around, ((0, 0), (max(-first, 0), 0)))
        block = np.stack([signal[start : start + BLOCK_FRAMES] for signal in signals]).astype(np.float64)
        shifted, plain = fft.rfft(around, size), fft.rfft(block, size).conj()
        for number, spectrum in enumerate(shifted):
            sums[number] += spectrum * plain
    return np.ascontiguousarray(fft.irfft(sums, size)[..., 2 * taps - 2 :: -1])


def _solved(gram: Array, right: Array) -> Array:
    """The solution of the normal equations [R, L, R, L] for right-hand sides [R, L, N]; museval adds as much to the diagonal."""
    size = right.shape[0] * right.shape[1]
    matrix, sides = gram.reshape(size, size), right.reshape(size, -1)
    try:
        found = np.linalg.solve(matrix + np.finfo(float).eps * np.eye(size), sides)
    except np.linalg.LinAlgError:
        found = np.full_like(sides, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        left = np.linalg.norm(matrix @ found - sides) / max(np.linalg.norm(sides), np.finfo(float).tiny)
    if left < SOLVED:
        return found
    # Two channels are alike, or filtered copies: any of the many solutions gives the same projection, but they must not be huge.
    return np.linalg.solve(matrix + DEPENDENT * np.trace(matrix) / size * np.eye(size), sides)


def _frames(references: Array, estimates: Array, whole: Array, own: Array, sample_rate: int) -> Iterator[Array]:
    """SDR, SIR, SAR and ISR of the stems in each frame, [S, 4]; NaN where any signal is silent."""
    num_frames, taps = references.shape[-1], whole.shape[2]
    length = min(sample_rate, num_frames)
    size = fft.next_fast_len(length + taps - 1, real=True)
    through_all, through_own = fft.rfft(whole, size, axis=2), fft.rfft(own, size, axis=2)
    for start in range(0, num_frames - length + 1, length):
        wanted, given = (signals[..., start : start + length].astype(np.float64) for signals in (references, estimates))
        if any(map(_silent, (*wanted, *given))):
            yield np.full((len(references), len(RATIOS)), np.nan)
            continue
        spectrum = fft.rfft(wanted, size)
        p_all = fft.irfft(np.einsum("rcf,rcfsd->sdf", spectrum, through_all, optimize=True), size)[..., : length + taps - 1]
        p_own = fft.irfft(np.einsum("scf,scfd->sdf", spectrum, through_own, optimize=True), size)[..., : length + taps - 1]
        true, found = (np.pad(signals, ((0, 0), (0, 0), (0, taps - 1))) for signals in (wanted, given))
        pairs = ((true, found - true), (p_own, p_all - p_own), (p_all, found - p_all), (true, p_own - true))
        yield np.stack([_ratios_db(*pair) for pair in pairs], axis=-1)


def _ratios_db(signals: Array, errors: Array) -> Array:
    """Ratios of the energies of [S, C, T], [S]; infinite where there is no error."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(np.sum(signals**2, axis=(1, 2)) / np.sum(errors**2, axis=(1, 2))))


def _silent(audio: Array) -> bool:
    """Whether the sum of the channels of [C, T] is zero throughout, as museval decides it."""
    return not np.any(audio.sum(axis=0))


def _check(references: Signals, estimates: Signals) -> None:
    if not references or set(references) != set(estimates):
        raise ValueError(f"expected estimates of {', '.join(references) or 'at least one stem'}; got {', '.join(estimates) or 'none'}")
    first = next(iter(references.values())).shape
    for name, wanted in references.items():
        if wanted.shape != first or estimates[name].shape != first or len(first) != 2:
            raise ValueError(
                f"expected all signals of one shape [C, T]; {name} has {list(wanted.shape)}, its estimate {list(estimates[name].shape)}, "
                f"the first stem {list(first)}"
            )
