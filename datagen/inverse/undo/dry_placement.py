"""The delay and the polarity of a dry reference in a recording, to a fraction of a frame; or that it is not in the recording.

How it is found
    The shorter of the two signals, at most ``TEMPLATE_S`` of it, is correlated with all of the other, whitened by its own spectrum. The
    share of the recording's energy that the reference explains is measured at the best delay and at none, whitened again. Filters shift
    phases: the phase of the minimum-phase filter between the two spectra is removed before, where more is explained without it. A delay
    is taken where it explains much more than none, and a fraction of a frame likewise. Where an effect is late by itself (a delay with
    more echo than direct sound), the direct sound counts.
    A reference that explains nearly nothing is of another recording; or of another clock, if its delays in short windows are on a line.

Conventions
    Audio is [C, T]. ``lag_frames`` is the delay of the reference in the recording: audio(t) contains dry(t - lag), as for stems.

References
    Knapp and Carter 1976 (correlation of whitened signals). Oppenheim and Schafer 2010, chapter 13 (minimum phase from the cepstrum).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from stemwright.datagen.inverse.undo.requests import Array
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Refused
from stemwright.manifests.stems.stem_alignment import CLEARLY, DOUBTFUL, FLOOR, HALF, LEAST_FRACTION, SMOOTHING_BINS
from stemwright.manifests.stems.stem_drift import drift_of
from stemwright.manifests.stems.stem_reading import fractional_delay

Spectra = NDArray[np.complex64]
Course = NDArray[np.float32]

SOUNDING_DBFS = -60.0
TEMPLATE_S = 12.0
COMPARED_S = 24.0  # of both that delays are compared on
WINDOW_FRAMES = 1 << 16  # of the delays that a clock is found by
MOST_WINDOWS = 12
NEAR_FRAMES = 256  # of the delay: where it may be in a window
FIRST = 0.3  # of the highest correlation: what the direct sound has at least beside its echoes
LONGEST_ECHO_S = 2.0
SHORTEST_FRAMES = 256
RESPONSE_BINS, LEAST_POWER = 4096, 1e-9  # of the response whose phase is removed
LEAST_SHARE = 0.02  # of the whitened energy: other recordings explain a tenth of it; heavy compression and filters leave a third


@dataclass(frozen=True)
class PlacedDry:
    """A dry reference [C, n] aligned with a recording from frame ``start`` on, in its polarity; and the delay that it had there."""

    audio: Array
    start: int = 0
    lag_frames: float = 0.0
    inverted: bool = False

    def of(self, recording: Array) -> Array:
        """The part of a recording [C, T] that it is aligned with."""
        return recording[:, self.start : self.start + self.audio.shape[1]]

    def sounding(self, num_frames: int) -> slice:
        """Its frames from the first that sounds on, at most so many."""
        start = int(np.argmax(np.abs(self.audio).max(axis=0) > db_to_gain(SOUNDING_DBFS)))
        return slice(start, start + num_frames)

    def notes(self, sample_rate: int) -> tuple[str, ...]:
        """What was done to it, in a sentence."""
        lag, done = self.lag_frames, list[str]()
        if lag:
            frames = "1 frame" if abs(lag) == 1 else f"{abs(lag):.2f}".rstrip("0").rstrip(".") + " frames"
            done.append(f"{frames} ({1000.0 * abs(lag) / sample_rate:.2f} ms) too {'early' if lag > 0 else 'late'}: it was aligned")
        if self.inverted:
            done.append("inverted against it: its polarity was reversed, that of the recording was not")
        return tuple(f"the dry reference is {each}" for each in done)

    def lacks_start(self, recording: Array) -> bool:
        """Whether the recording sounds before it."""
        return float(np.abs(recording[:, : self.start]).max(initial=0.0)) > db_to_gain(SOUNDING_DBFS)


def placed_dry(dry: Array, audio: Array, sample_rate: int, *, is_late: bool = False) -> PlacedDry:
    """The reference aligned with a recording, both [C, T]. ``is_late`` says that the effects give echoes after the direct sound.

    Raises Refused for a reference that is silent, sounds nowhere in the recording, or is of another clock.
    """
    if not float(np.abs(dry).max(initial=0.0)) > db_to_gain(SOUNDING_DBFS):
        raise Refused("the dry reference is silent; no settings follow from it")
    if not float(np.abs(audio).max(initial=0.0)) > db_to_gain(SOUNDING_DBFS):
        raise Refused("it is silent; no settings follow from it")
    if (shortest := min(dry.shape[1], audio.shape[1])) < SHORTEST_FRAMES:
        raise Refused(f"expected a dry reference and a recording of at least {SHORTEST_FRAMES} frames; got {shortest}")
    found = _best_lag(audio, dry, sample_rate, is_late=is_late)
    here = _compared(audio, dry, 0, sample_rate, is_late=is_late)
    there = here if abs(found) <= NEAR_FRAMES else _compared(audio, dry, found, sample_rate, is_late=is_late)
    lag, share, inverted = there.best(NEAR_FRAMES)
    if (lag or there.lag) and not _is_better(here.share(0.0)[0], share):
        (share, inverted), lag, there = here.share(0.0), 0, here
    placed = _moved(audio, dry, there.lag + there.between_frames(lag), inverted=inverted)
    if share < DOUBTFUL:
        check_clock(placed, audio, sample_rate)
    if share < LEAST_SHARE:
        raise Refused("the dry reference sounds nowhere in it, at any time: it is of another recording or another take")
    return placed


def _is_better(share: float, other: float) -> bool:
    """Whether another delay explains much more of the energy."""
    return other >= CLEARLY * share or other - share >= HALF * (1.0 - share)


def _best_lag(audio: Array, dry: Array, sample_rate: int, *, is_late: bool) -> int:
    """The delay in frames at which both are most alike, anywhere."""
    is_longer = dry.shape[1] > audio.shape[1]
    short, long = (audio, dry) if is_longer else (dry, audio)
    loud = np.abs(short).max(axis=0) > db_to_gain(SOUNDING_DBFS)
    first = int(np.argmax(loud))
    template = short[:, first : first + max(SHORTEST_FRAMES, round(TEMPLATE_S * sample_rate))]
    course = _correlation(template, long)
    best = int(np.argmax(np.abs(course)))
    if is_late and not is_longer:
        best = _direct(course, best, _correlation(template, dry), template.shape[1] - 1 + first, round(LONGEST_ECHO_S * sample_rate))
    at = best - template.shape[1] + 1
    return first - at if is_longer else at - first


def _direct(course: Course, best: int, own: Course, centre: int, most: int) -> int:
    """The place of the direct sound, where the loudest at ``best`` is an echo of it: earlier by at most so many frames.

    ``own`` is the correlation of the template with its own recording, from which it was cut at ``centre``: where a song repeats itself
    it is as high as where it echoes, so it is subtracted.
    """
    before = np.arange(max(0, best - most, best - centre), best - NEAR_FRAMES)
    if not before.size:
        return best
    left = np.abs(course[before] - course[best] / own[centre] * own[before - best + centre])
    return int(before[np.argmax(left)]) if left.max() >= FIRST * abs(course[best]) else best


def _correlation(template: Array, whole: Array) -> Course:
    """The whitened correlation [N + n - 1] of a template [C, n] at each place of the whole [C, N], from n - 1 frames before its start."""
    length = template.shape[1]
    size = fft.next_fast_len(min(4 * length, whole.shape[1] + 2 * length))
    step = size - length + 1
    spectrum = _spectra(template, size)
    weights = np.conj(spectrum) / _smooth_power(spectrum)
    padded = np.pad(whole.astype(np.float32), ((0, 0), (length - 1, length - 1)))
    parts = []
    for start in range(0, whole.shape[1] + length - 1, step):
        part = _spectra(padded[:, start : start + size], size)
        parts.append(np.real(fft.ifft(np.sum(part * weights, axis=0)))[:step])
    return np.concatenate(parts)[: whole.shape[1] + length - 1]


def _spectra(audio: Array, size: int) -> Spectra:
    """The spectra [P, F] of pairs of channels, each as one complex signal."""
    audio = audio.astype(np.float32)
    if audio.shape[0] % 2:
        audio = np.concatenate([audio, np.zeros_like(audio[:1])])
    return np.asarray(fft.fft((audio[0::2] + 1j * audio[1::2]).astype(np.complex64), size, axis=-1))


def _smooth_power(spectra: Spectra) -> NDArray[np.float32]:
    """The power [F] of spectra [P, F], smoothed, and no lower than codecs and rounding leave it."""
    power = np.sum(np.abs(spectra) ** 2, axis=0)
    bins = min(SMOOTHING_BINS, (power.size - 1) // 2)
    sums = np.cumsum(np.concatenate([[0.0], power[power.size - bins :], power, power[:bins]]), dtype=np.float64)
    smooth = (sums[2 * bins + 1 :] - sums[: -2 * bins - 1]) / (2 * bins + 1)
    return np.asarray(smooth + FLOOR * smooth.max() + 1e-30, np.float32)


class _Compared(NamedTuple):
    """Both at one delay in frames: their correlation as a spectrum [F], and the energy of one times that of the other."""

    lag: int
    cross: Spectra
    energies: float

    def share(self, further: float) -> tuple[float, bool]:
        """The share of the recording's energy that is explained at a further delay in frames, and whether it is inverted there."""
        frequencies = np.fft.fftfreq(self.cross.size).astype(np.float32)
        value = float(np.real(np.sum(self.cross * np.exp(2j * np.pi * further * frequencies))))
        return (value * value / self.energies if self.energies else 0.0), value < 0.0

    def best(self, most: int) -> tuple[int, float, bool]:
        """The whole further delay of at most so many frames that explains most, its share, and whether it is inverted there."""
        course = np.abs(np.real(fft.ifft(self.cross)))
        most = min(most, course.size // 2 - 1)
        lag = int(np.argmax(np.concatenate([course[-most:], course[: most + 1]]))) - most if most > 0 else 0
        return lag, *self.share(lag)

    def between_frames(self, lag: int) -> float:
        """The further delay by fractions of a frame, where one explains half of what the whole one leaves."""
        low, high = lag - 1.0, lag + 1.0
        for _ in range(14):  # golden section on the one peak between the neighbours
            inner = [high - 0.618034 * (high - low), low + 0.618034 * (high - low)]
            low, high = (low, inner[1]) if self.share(inner[0])[0] > self.share(inner[1])[0] else (inner[0], high)
        best, whole = round((low + high) / 2, 2), self.share(lag)[0]
        better = abs(best - lag) > LEAST_FRACTION and self.share(best)[0] - whole >= HALF * (1.0 - whole)
        return best if better else float(lag)


def _compared(audio: Array, dry: Array, lag: int, sample_rate: int, *, is_late: bool) -> _Compared:
    """The recording and the reference at a delay, whitened by the recording's spectrum: without the phase of filters, if that is better."""
    placed = _moved(audio, dry, lag)
    wet, ref = placed.of(audio), placed.audio
    if wet.shape[1] < SHORTEST_FRAMES or not np.any(ref) or not np.any(wet):
        return _Compared(lag, np.zeros(1, np.complex64), 0.0)
    part = placed.sounding(round(COMPARED_S * sample_rate))
    taper = np.hanning(wet[:, part].shape[1]).astype(np.float32)
    size = 2 * fft.next_fast_len(taper.size)
    both = _spectra(wet[:, part] * taper, size), _spectra(ref[:, part] * taper, size)
    power = _smooth_power(both[0])
    cross = np.sum(both[0] * np.conj(both[1]), axis=0) / power
    energies = [float(np.sum(np.sum(np.abs(each) ** 2, axis=0) / power, dtype=np.float64)) for each in both]
    plain = _Compared(lag, cross, energies[0] * energies[1])
    if is_late:
        return plain
    without_filter = plain._replace(cross=cross * np.exp(-1j * _minimum_phase(*both)).astype(np.complex64))
    return max(plain, without_filter, key=lambda each: each.best(NEAR_FRAMES)[1])


def _minimum_phase(wet: Spectra, ref: Spectra) -> NDArray[np.float32]:
    """The phase [F] of the minimum-phase filter whose gain is that between the spectra [P, F]."""
    powers = [np.sum(np.abs(each) ** 2, axis=0)[: each.shape[1] // 2] for each in (wet, ref)]
    bins = min(RESPONSE_BINS, powers[0].size)
    edges = np.linspace(0, powers[0].size, bins + 1).astype(int)[:-1]
    summed = [np.add.reduceat(each, edges, dtype=np.float64) for each in powers]
    gains = np.log(np.divide(*((each + LEAST_POWER * each.max() + 1e-30) for each in summed))) / 2.0
    cepstrum = fft.irfft(np.concatenate([gains, gains[-1:]]))
    cepstrum[1:bins] *= 2.0
    cepstrum[bins + 1 :] = 0.0
    phase = np.imag(fft.rfft(cepstrum))
    frequencies = np.fft.fftfreq(wet.shape[1])
    return np.asarray(np.sign(frequencies) * np.interp(np.abs(frequencies), np.linspace(0.0, 0.5, bins + 1), phase), np.float32)


def _moved(audio: Array, dry: Array, lag: float, *, inverted: bool = False) -> PlacedDry:
    """The reference at a delay, cut to where both are."""
    whole = int(np.floor(lag + 0.5))
    moved = dry
    if lag != whole:
        moved = np.stack([np.convolve(each, fractional_delay(lag - whole), "same") for each in dry])
    moved = moved[:, max(0, -whole) :]
    start = max(0, whole)
    moved = moved[:, : max(0, audio.shape[1] - start)]
    return PlacedDry(-moved if inverted else moved, start, lag, inverted)


def check_clock(placed: PlacedDry, audio: Array, sample_rate: int) -> None:
    """Raises Refused for a reference of another clock than the recording [C, T]."""
    wet, ref = placed.of(audio), placed.audio
    starts = _loudest(ref)
    windows = [slice(start, start + WINDOW_FRAMES) for start in starts]
    found = [_compared(wet[:, each], ref[:, each], 0, sample_rate, is_late=True).best(NEAR_FRAMES) for each in windows]
    delays = np.array([lag for lag, _, _ in found], float)
    energies = np.array([share if share > LEAST_SHARE else 0.0 for _, share, _ in found])
    if drift := drift_of(np.array(starts), delays, energies):
        raise Refused(
            f"the dry reference is of another clock, which runs {abs(drift):.0f} ppm too {'fast' if drift > 0 else 'slow'}. "
            "Resample it to the recording's clock"
        )


def _loudest(ref: Array) -> list[int]:
    """Where the windows begin that hold most of the reference, in order of time."""
    begins = range(0, ref.shape[1] - WINDOW_FRAMES + 1, WINDOW_FRAMES)
    energies = {start: float(np.sum(np.square(ref[:, start : start + WINDOW_FRAMES], dtype=np.float64))) for start in begins}
    return sorted(sorted(energies, key=energies.__getitem__, reverse=True)[:MOST_WINDOWS])
