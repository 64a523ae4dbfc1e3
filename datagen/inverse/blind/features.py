"""What is measured of one stem, so that stems of one name can be compared over songs: spectrum, onset peaks, dynamics, image, decay.

    spectrum     mean power in third-octave bands a sixth of an octave apart, after the stem is brought to -30 LUFS
    onset peaks  highest sample after each onset, with the stem's peak at -10 dBFS; mean and deviation of those above their 75th percentile
    dynamics     numbers that a compressor changes (``DYNAMICS``): how levels spread, rise and fall, and the mean course after an onset
    image        per octave, the energy of the side against the mid signal, and the similarity 2|LR*| / (|L|² + |R|²)
    decay        time in which the sound falls by 60 dB once it is no longer excited: a quantile over its free decays

Conventions
    audio is float32 [C, T], full scale 1.0. All but ``loudness_lufs`` are independent of the level. What cannot be measured is None.
    Dynamics and decay are those of the loudest excerpt of 30 s, so that their cost hardly grows with the song.
    These are facts about a signal; ``stemwright.datagen.inverse.blind.profile`` gathers them, and only relative to a profile is anything
    estimated.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): the spectrum, onset peaks and similarity that an effect normalisation compares.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

from stemwright.manifests.feature_rows import Features
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.balance.panorama import OCTAVE_CENTRES_HZ
from stemwright.separation.loudness.meter import integrated_loudness, loudness_range

Array = NDArray[np.floating]
T = TypeVar("T", float, NDArray[np.floating])

SPECTRUM_HZ = tuple(round(40.0 * 2.0 ** (n / 6), 2) for n in range(53))  # 40 Hz to 16.3 kHz
SPECTRUM_LUFS = -30.0  # FxNorm
WINDOW_S = 0.37
MAX_WINDOWS = 400  # a long stem is sampled evenly
ONSET_PEAK_DBFS, ONSET_QUANTILE = -10.0, 75.0  # FxNorm
EXCERPT_S = 30.0
BLOCK_S = 0.005
FLOOR_DB = 40.0  # below the loud level (the 95th percentile), where a stem no longer sounds
EMPTY_DB = -90.0  # a band this far below the total is treated as empty
MONO_DB = -45.0  # a side signal this far below the mid: treated as mono
COURSE_MS = (10, 20, 30, 50, 80, 120, 200, 300, 400)
QUANTILES, QUANTILES_MS = (2.0, 10.0, 25.0, 50.0, 75.0, 90.0), (5, 20, 100)
BAND_EDGES_HZ = (200.0, 400.0, 2000.0, 5000.0)
DYNAMICS = (
    *("mean", "median", "quarter", "tenth", "top", "spread"),  # of the level in 50 ms against its 95th percentile, dB
    *("change_50ms", "change_200ms", "change_1s", "rise", "fall", "steepest_rise", "fast_fall"),  # of that level, dB
    *("peak_in_10ms", "peak_in_400ms", "crest", "onset_peak", "onset_spread"),  # dB
    *(f"after_{ms}ms" for ms in COURSE_MS),  # median level after an onset against its peak, dB
    *("low_mid", "low_high", "mid_high", "low_spread", "mid_spread", "high_spread"),  # bands: correlation of changes, spread in dB
    *("low_crest", "mid_crest", "high_crest"),  # bands: highest sample over the mean square where the band sounds, dB
    *(f"level_{ms}ms_{what}" for ms in QUANTILES_MS for what in (*(f"{quantile:.0f}" for quantile in QUANTILES), "most")),  # dB
)


def measure_features(audio: Audio, sample_rate: int) -> Features | None:
    """Every feature of a stem [C, T]; None where it is silent or shorter than half a second. Raises ValueError on NaN."""
    loudness = integrated_loudness(audio, sample_rate)
    if not math.isfinite(loudness) or audio.shape[1] < 0.5 * sample_rate:
        return None
    excerpt = loudest(audio, sample_rate)
    dynamics = measure_dynamics(excerpt, sample_rate)
    if dynamics is None:
        return None
    crest_db, peak_db, deviation_db = onset_peaks(audio, sample_rate)
    side, similarity, whole = measure_image(audio, sample_rate)
    return Features(
        loudness_lufs=round(loudness, 3),
        range_lu=round(loudness_range(audio, sample_rate), 3),
        crest_db=crest_db,
        onset_peak_db=peak_db,
        onset_deviation_db=deviation_db,
        spectrum_db=measure_spectrum(audio, sample_rate, loudness),
        side_db=side,
        similarity=similarity,
        whole_side_db=whole,
        decay_s=measure_decay(excerpt, sample_rate),
        dynamics=dynamics,
    )


def loudest(audio: Array, sample_rate: int) -> Array:
    """The excerpt of at most ``EXCERPT_S`` with the most energy."""
    wanted, step = round(EXCERPT_S * sample_rate), sample_rate
    if audio.shape[1] <= wanted:
        return audio
    parts = audio[:, : audio.shape[1] // step * step].reshape(len(audio), -1, step)
    seconds = np.einsum("cns,cns->n", parts, parts, dtype=np.float64)  # no copy of a long song
    energy = np.convolve(seconds, np.ones(round(EXCERPT_S)), mode="valid")
    start = int(energy.argmax()) * step
    return audio[:, start : start + wanted]


def measure_spectrum(audio: Array, sample_rate: int, loudness_lufs: float) -> tuple[float | None, ...]:
    """Mean power in dB in each band of ``SPECTRUM_HZ``, of the stem at -30 LUFS; None above half the sample rate and in empty bands."""
    level, hz = fine_spectrum(audio, sample_rate)
    shapes, sizes = triangles(hz, sample_rate)
    total, energies = level.sum(), shapes @ level
    found: list[float | None] = []
    for size, energy in zip(sizes, energies, strict=True):
        empty = energy * size <= total * 10.0 ** (EMPTY_DB / 10.0)
        found.append(None if empty else round(10.0 * math.log10(energy) + SPECTRUM_LUFS - loudness_lufs, 3))
    return tuple(found)


def measure_image(audio: Array, sample_rate: int) -> tuple[tuple[float | None, ...], tuple[float | None, ...], float | None]:
    """Side over mid energy in dB and similarity per octave of ``OCTAVE_CENTRES_HZ``, and side over mid of the whole.

    None for a mono signal, an empty band, and where the side is more than 45 dB below the mid (or the mid below the side).
    """
    nothing = (None,) * len(OCTAVE_CENTRES_HZ)
    if audio.shape[0] != 2:
        return nothing, nothing, None
    spectra, hz = _spectra(audio, sample_rate)
    power = np.abs(spectra) ** 2
    cross = 2.0 * np.abs(spectra[0] * spectra[1].conj()).sum(0)
    both = power.sum((0, 1))
    ms = np.abs(np.stack([spectra[0] + spectra[1], spectra[0] - spectra[1]])) ** 2
    middle, sides = ms.sum(1) / 4.0
    sides_db: list[float | None] = []
    similar: list[float | None] = []
    for centre in OCTAVE_CENTRES_HZ:
        band = (hz >= centre * 10**-0.15) & (hz < centre * 10**0.15)
        energy = float(both[band].sum())
        empty = energy <= both.sum() * 10.0**-6.0
        similar.append(None if empty else round(float(cross[band].sum()) / energy, 4))
        sides_db.append(None if empty else _ratio_db(float(sides[band].sum()), float(middle[band].sum())))
    return tuple(sides_db), tuple(similar), whole_side(audio)


def whole_side(audio: Array) -> float | None:
    """Side over mid energy in dB of [C, T]; None where it is mono, or within 45 dB of it."""
    if audio.shape[0] != 2:
        return None
    mid, side = 0.5 * (audio[0].astype(np.float64) + audio[1]), 0.5 * (audio[0].astype(np.float64) - audio[1])
    return _ratio_db(float(side @ side), float(mid @ mid))


def _ratio_db(side: float, mid: float) -> float | None:
    if side <= 0.0 or mid <= 0.0:
        return None
    ratio = 10.0 * math.log10(side / mid)
    return round(ratio, 3) if abs(ratio) < -MONO_DB else None


def _spectra(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Windowed spectra [C, N, F] spread evenly over the audio, and their frequencies [F] in Hz."""
    size = next_fast_len(round(WINDOW_S * sample_rate), real=True)
    if audio.shape[1] < size:
        audio = np.pad(audio, ((0, 0), (0, size - audio.shape[1])))
    count = max(1, min(MAX_WINDOWS, 2 * (audio.shape[1] - size) // size + 1))
    starts = np.linspace(0, audio.shape[1] - size, count).astype(int)
    window = np.hanning(size).astype(np.float32)
    frames = np.stack([audio[:, start : start + size] for start in starts], axis=1) * window
    return rfft(frames), np.arange(size // 2 + 1) * sample_rate / size


def fine_spectrum(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Mean power per bin [F] of audio [C, T], its channels added, on the scale of a mean square per bin, and the bins' frequencies [F]."""
    spectra, hz = _spectra(audio, sample_rate)
    size = 2 * (spectra.shape[-1] - 1)
    return (np.abs(spectra).astype(np.float64) ** 2).mean(1).sum(0) * (2.0 / (0.375 * size * size)), hz


def triangles(hz: Array, sample_rate: int) -> tuple[Array, Array]:
    """The weight of each of the bins [F] in each band of ``SPECTRUM_HZ``, [B, F], and the width of the bands in bins [B].

    A triangle, a third of an octave each way; each sums to 1, or is 0 where the band lies above half the sample rate.
    """
    centres = np.array(SPECTRUM_HZ)
    shapes = np.maximum(0.0, 1.0 - np.abs(np.log2(np.maximum(hz, 1e-3) / centres[:, None])) * 3.0)
    shapes[centres * 2.0 ** (1 / 6) > sample_rate / 2] = 0.0
    sizes = shapes.sum(1)
    return shapes / np.maximum(sizes, 1e-9)[:, None], sizes


def blocks(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Mean square and highest sample of every 5 ms of the loudest channel: both float64 [K]."""
    size = round(BLOCK_S * sample_rate)
    count = audio.shape[1] // size
    parts = audio[:, : count * size].reshape(audio.shape[0], count, size)
    return np.einsum("ckn,ckn->ck", parts, parts, dtype=np.float64).max(0) / size, np.abs(parts).max(2).max(0).astype(np.float64)


def level_of(energy: Array, num_blocks: int) -> Array:
    """Level in dB of block energies [K], averaged over a number of blocks."""
    return 10.0 * np.log10(np.maximum(uniform_filter1d(energy, num_blocks), 0.0) + 1e-14)


def sounding(level_db: Array, below_db: float = FLOOR_DB) -> tuple[NDArray[np.bool_], float]:
    """Which levels [K] lie less than ``below_db`` under the loud level, and that level: the 95th percentile of what is not silence."""
    loud = float(np.percentile(level_db[level_db > level_db.max() - 50.0], 95.0))
    return level_db > loud - below_db, loud


def onsets_of(level_db: Array, sounds: NDArray[np.bool_], *, least_db: float = 4.0) -> NDArray[np.int64]:
    """Blocks where a level [K] of 20 ms rises fastest, by at least ``least_db`` in 20 ms, one in 50 ms either way."""
    rise = np.zeros_like(level_db)
    rise[4:] = np.maximum(level_db[4:] - level_db[:-4], 0.0)
    return np.flatnonzero((rise == maximum_filter1d(rise, 21)) & (rise > least_db) & sounds)


def onset_peaks(audio: Array, sample_rate: int) -> tuple[float, float | None, float | None]:
    """Crest in dB (highest sample over the mean square where the stem sounds), and mean and deviation of the onset peaks above their 75th
    percentile, with the stem's peak at -10 dBFS: None without onsets.
    """
    energy, peak = blocks(audio, sample_rate)
    level = level_of(energy, 4)
    sounds, _ = sounding(level)
    crest = 20.0 * math.log10(peak.max()) - 10.0 * math.log10(energy[sounds].mean())
    at = onsets_of(level, sounds)
    if len(at) < 4:
        return round(crest, 3), None, None
    peaks = 20.0 * np.log10(np.array([peak[start : start + 20].max() for start in at]) / peak.max() + 1e-9) + ONSET_PEAK_DBFS
    top = peaks[peaks >= np.percentile(peaks, ONSET_QUANTILE)]
    return round(crest, 3), round(float(top.mean()), 3), round(float(top.std()), 3)


def onset_height(crest_db: T, onset_peak_db: T) -> T:
    """Level of the loud onsets above the mean level of the stem, in dB: what a compressor lowers, whatever the gain after it."""
    return crest_db + onset_peak_db - ONSET_PEAK_DBFS


def measure_dynamics(audio: Array, sample_rate: int) -> tuple[float, ...] | None:
    """The numbers that ``DYNAMICS`` names, of an excerpt [C, T]; None if it is silent or active for less than half a second."""
    energy, peak = blocks(audio, sample_rate)
    if not energy.max(initial=0.0) > 1e-12:
        return None
    level = level_of(energy, 10)
    sounds, loud = sounding(level)
    if sounds.sum() < 0.5 / BLOCK_S:
        return None
    relative = level[sounds] - loud
    mean_square = energy[sounds].mean()
    values = [
        *(relative.mean(), *np.percentile(relative, (50.0, 25.0, 10.0, 99.0)), relative.std()),
        *_changes(level, sounds),
        *_crests(energy, peak, sounds),
        20.0 * math.log10(peak.max()) - 10.0 * math.log10(mean_square),
        *_onset_levels(energy, peak, sounds),
        *_course(energy),
        *_bands(audio, sample_rate),
        *_quantiles(energy),
    ]
    return tuple(round(float(value), 3) for value in values)


def _changes(level: Array, sounds: NDArray[np.bool_]) -> list[float]:
    def change(num_blocks: int) -> Array:
        both = sounds[num_blocks:] & sounds[:-num_blocks]
        moved = (level[num_blocks:] - level[:-num_blocks])[both]
        return moved if moved.size else np.zeros(1)

    short = change(10)
    sizes = (
        [float(np.abs(change(num_blocks)).mean()) for num_blocks in (10, 40, 200)]
        if len(level) > 220
        else [float(np.abs(short).mean())] * 3
    )
    return [*sizes, *np.percentile(short, (95.0, 5.0, 99.0)), float(np.percentile(change(4), 10.0))]


def _crests(energy: Array, peak: Array, sounds: NDArray[np.bool_]) -> list[float]:
    """Median of peak over mean square, in dB, in windows of 10 and of 400 ms."""
    crests = []
    for num_blocks in (2, 80):
        highest = 20.0 * np.log10(maximum_filter1d(peak, num_blocks) + 1e-7)
        crests.append(float(np.median((highest - level_of(energy, num_blocks))[sounds])))
    return crests


def _onset_levels(energy: Array, peak: Array, sounds: NDArray[np.bool_]) -> list[float]:
    at = onsets_of(level_of(energy, 4), sounds)
    peaks = 20.0 * np.log10(np.array([peak[start : start + 20].max() for start in at] or [peak.max()]) / peak.max() + 1e-9)
    top = peaks[peaks >= np.percentile(peaks, ONSET_QUANTILE)]
    return [float(top.mean()), float(top.std())]


def _course(energy: Array) -> Array:
    """Median level against the onset's peak at the times of ``COURSE_MS`` after it; zeros without onsets."""
    level, fine = level_of(energy, 4), level_of(energy, 1)
    at = onsets_of(level, sounding(level, 30.0)[0])
    steps = np.array([round(ms / 1000.0 / BLOCK_S) for ms in COURSE_MS])
    at = at[(at >= 2) & (at < len(level) - steps[-1] - 10)]
    if len(at) < 4:
        return np.zeros(len(steps))
    peaks = np.array([fine[start - 2 : start + 6].max() for start in at])
    return np.asarray(np.median(level[at[:, None] + steps] - peaks[:, None], axis=0))


def _bands(audio: Array, sample_rate: int) -> list[float]:
    """Correlation of the changes of low, mid and high level, pair by pair, the spread of each, and the crest of each: a compressor moves
    all at once, and the loudest band lowers the others with it.
    """
    mono = audio.mean(0)
    low, first, second, high = (min(edge, 0.45 * sample_rate) for edge in BAND_EDGES_HZ)
    filters = [butter(2, low, "low", fs=sample_rate, output="sos")]
    filters += [butter(2, (first, min(second, 0.44 * sample_rate)), "band", fs=sample_rate, output="sos")]
    filters += [butter(2, high, "high", fs=sample_rate, output="sos")]
    levels, crests = [], []
    for sections in filters:
        energy, peak = blocks(sosfilt(sections, mono)[None], sample_rate)
        level = level_of(energy + 1e-12, 4)
        sounds, _ = sounding(level)
        crests.append(20.0 * math.log10(peak.max() + 1e-6) - 10.0 * math.log10(energy[sounds].mean() + 1e-12))
        levels.append(np.maximum(level, np.percentile(level, 95.0) - FLOOR_DB))
    moved = [level[4:] - level[:-4] for level in levels]
    return [*(_correlation(moved[a], moved[b]) for a, b in ((0, 1), (0, 2), (1, 2))), *(float(level.std()) for level in levels), *crests]


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    energy = float(a @ a) * float(b @ b)
    return float(a @ b) / math.sqrt(energy) if energy > 0.0 else 0.0


def _quantiles(energy: Array) -> list[float]:
    """Quantiles of the level, and the most of it, against its 99th percentile: in windows of 5 ms, what passes before a compressor's attack
    is visible; in longer ones, what it has reduced.
    """
    found = list[float]()
    for ms in QUANTILES_MS:
        level = level_of(energy, round(ms / 1000.0 / BLOCK_S))
        level = level[sounding(level)[0]]
        found += [*(np.percentile(level, (*QUANTILES, 100.0)) - np.percentile(level, 99.0))]
    return found


def measure_decay(audio: Array, sample_rate: int) -> float | None:
    """Time in s of a fall by 60 dB at the rate of the slower free decays of the middle frequencies; None if there are too few."""
    first, second = BAND_EDGES_HZ[1], min(2.0 * BAND_EDGES_HZ[2], 0.44 * sample_rate)
    band = sosfilt(butter(2, (first, second), "band", fs=sample_rate, output="sos"), audio.mean(0))
    level = level_of(blocks(band[None], sample_rate)[0], 8)
    sounds, _ = sounding(level, 50.0)
    length = round(0.12 / BLOCK_S)
    if len(level) <= length:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(level, length)
    falling = (np.diff(windows[:, ::4], axis=1) < 0.0).all(1) & sounds[length - 1 :]
    rates = (windows[falling, 0] - windows[falling, -1]) / ((length - 1) * BLOCK_S)
    rates = rates[rates > 6.0]
    return round(60.0 / float(np.percentile(rates, 25.0)), 3) if len(rates) >= 20 else None
