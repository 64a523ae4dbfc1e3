"""When the stems of a mixture sound in it, and whether they sound in it at all, from a few excerpts.

The delays
    The mixture is modelled as the sum of its stems, each with a delay and a gain of its own. All signals are whitened by the mixture's
    spectrum, so that the treble, which tells time, counts as much as the bass. The stems are found one after another, the one that explains
    most first (matching pursuit), each by its correlation with what is left; then each is fitted again against the mixture without all
    others, until no delay changes. One delay of all stems together is tried first. A delay is taken only where it explains much more than
    none: mastering turns phases, and no turned phase may move a stem.

The presence of a stem
    Not the closure of the sum decides, which a mastered mixture does not have, but the partial coherence of stem and mixture given the
    other stems, in each frequency over all frames: equalisers keep it, and compressors and limiters nearly. A stem of another recording
    has what chance gives: it exceeds the threshold in a thousandth of its frequencies, more where both are tonal or play in few places. So
    a doubtful share is compared with the one that the stem has at other times, where it certainly is not in the mixture.

Conventions
    Excerpts are float32 [W, N, C, L]: windows, signals (the mixture first), channels, frames. Two channels become one complex signal.

References
    Knapp and Carter 1976 (correlation of whitened signals). Mallat and Zhang 1993 (matching pursuit). Bendat and Piersol 2010, chapter 7
    (partial coherence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.stems.stem_drift import FEWEST_EXCERPTS, drifts

Array = NDArray[np.floating]
Spectra = NDArray[np.complexfloating]

WINDOW_FRAMES = 1 << 16
LONGEST_LAG_S = 0.5
FLOOR = 1e-5  # of the largest power: what is below is silence, or a codec's noise
SMOOTHING_BINS = 64  # of the spectrum that whitens
MOST_SWEEPS = 8
CLEARLY = 2.0  # times the energy that a stem explains without a delay
HALF = 0.5  # of the energy that is left: what a change of delay must take away, where all else is in place
LEAST_FRACTION = 0.05  # of a frame: less is not to be heard, nor certain
SINC_TAPS, SINC_BETA = 48, 8.0  # of the interpolation between frames, on either side
CLOSES = 1e-3  # of the whitened energy of the mixture: stems that leave less have no drift
COHERENCE_FRAMES = 4096
DOUBTFUL, TIMES_CHANCE = 0.5, 3.0
CHANCE = 1e-3  # probability that a frequency is coherent by chance


@dataclass(frozen=True)
class StemAlignment:
    """For each stem: its delay in the mixture in frames, its gain there, and the share of its energy that is coherent with the mixture;
    None where the excerpts are too short to say; and its drift in parts per million, of which no delay is right.
    """

    lags: tuple[float, ...]
    gains: tuple[float, ...]
    coherent: tuple[float, ...] | None
    drifts: tuple[float, ...]


def align(excerpts: Array, starts: Array, sample_rate: int) -> StemAlignment:
    """Finds delays, gains and presence of the stems in excerpts [W, N, C, L] that begin at frames [W], the mixture first."""
    most = min(round(LONGEST_LAG_S * sample_rate), excerpts.shape[-1] // 2)
    found = _found(excerpts, most)
    whole = [round(lag) for lag in found.lags]
    if any(whole):  # again from there: the windows are the same part of all signals now
        found = _found(moved(excerpts, found.lags), most)
    found.place_between_frames()
    lags = [frames + further for frames, further in zip(whole, found.lags, strict=True)] if any(whole) else found.lags
    in_time = moved(excerpts, lags)
    shares = coherent_shares(in_time)
    present = shares and tuple(_beyond_chance(in_time, n, share) for n, share in enumerate(shares))
    return StemAlignment(tuple(lags), tuple(found.gains), present, _drifts(excerpts, starts, found, most))


def _drifts(excerpts: Array, starts: Array, at_one: _Alignment, most: int) -> tuple[float, ...]:
    """The drift of each stem, from its delays in each of the excerpts by itself."""
    if len(excerpts) < FEWEST_EXCERPTS or at_one.left < CLOSES * at_one.energy:
        return (0.0,) * (excerpts.shape[1] - 1)
    alone = [_found(excerpts[number : number + 1], most) for number in range(len(excerpts))]
    share = sum(search.left for search in alone) / max(sum(search.energy for search in alone), 1e-30)
    delays, energies = np.array([search.lags for search in alone]), np.stack([search.energies for search in alone])
    return drifts(starts, delays, energies, share, at_one.left / max(at_one.energy, 1e-30))


def _beyond_chance(excerpts: Array, number: int, share: float) -> float:
    """A stem's coherent share; zero if it has nearly as much at other times."""
    if share > DOUBTFUL or share < CHANCE:
        return share
    length = excerpts.shape[-1]
    by_chance = []
    for turn in (length // 3, length // 2, 2 * length // 3):
        elsewhere = excerpts.copy()
        elsewhere[:, number + 1] = np.roll(excerpts[:, number + 1], turn, axis=-1)
        by_chance.append((coherent_shares(elsewhere) or (0.0,) * (number + 1))[number])
    return share if share > TIMES_CHANCE * max(by_chance) else 0.0


def _found(excerpts: Array, most: int) -> _Alignment:
    search = _Alignment(_whitened(excerpts), most)
    search.shift_all()
    search.pursue()
    search.refine()
    return search


def _whitened(excerpts: Array) -> Spectra:
    """The whitened spectra [W, N, F] of all windows, tapered, since edges would be alike in all signals, and twice as long as these, so
    that shifts do not wrap into them.
    """
    from scipy import fft

    excerpts = excerpts * np.hanning(excerpts.shape[-1]).astype(np.float32)

    second = excerpts[:, :, 1] if excerpts.shape[2] == 2 else np.zeros_like(excerpts[:, :, 0])
    joined = (excerpts[:, :, 0] + 1j * second).astype(np.complex64)
    spectra = fft.fft(joined, 2 * excerpts.shape[-1], axis=-1)
    power = np.mean(np.abs(spectra[:, 0]) ** 2, axis=0)
    smooth = np.convolve(np.concatenate([power[-SMOOTHING_BINS:], power, power[:SMOOTHING_BINS]]), np.ones(2 * SMOOTHING_BINS + 1), "valid")
    spectra *= (1.0 / np.sqrt(smooth + FLOOR * smooth.max() + 1e-30)).astype(np.float32)
    return np.asarray(spectra)


class _Alignment:
    """Delays and gains of stems by coordinate descent on the energy of what they leave of the mixture."""

    def __init__(self, spectra: Spectra, most: int) -> None:
        self._mixture, self._stems = spectra[:, 0], spectra[:, 1:]
        self._frequencies = np.fft.fftfreq(spectra.shape[-1]).astype(np.float32)
        self.energies = np.asarray(np.sum(np.abs(self._stems) ** 2, axis=(0, 2), dtype=np.float64))
        self.energy = float(np.sum(np.abs(self._mixture) ** 2, dtype=np.float64))
        self._most = most
        self._left = self._mixture.copy()
        count = self._stems.shape[1]
        self.lags, self.gains = [0.0] * count, [0.0] * count

    @property
    def left(self) -> float:
        """The energy that is left of the whitened mixture."""
        return float(np.sum(np.abs(self._left) ** 2, dtype=np.float64))

    def shift_all(self) -> None:
        """Starts from one delay of all stems, if it leaves half of what none leaves: the gains that fit best with it are known for every
        delay at once.
        """
        from scipy import fft

        sounding = np.flatnonzero(self.energies > 0)
        if not sounding.size:
            return
        flat = self._stems[:, sounding].transpose(1, 0, 2).reshape(sounding.size, -1)
        gram = np.real(flat @ np.conj(flat.T)).astype(np.float64)
        gram += 1e-6 * np.diag(np.diag(gram))
        courses = np.stack([np.real(fft.ifft(self._cross(int(number)))) for number in sounding])[:, self._places()] * self._left.shape[-1]
        explained = np.einsum("sd,sd->d", courses, np.linalg.solve(gram, courses))
        best = int(np.argmax(explained))
        total = self.left
        if total - explained[best] < HALF * (total - explained[0]):
            self.lags = [float(self._places()[best])] * len(self.lags)

    def _places(self) -> NDArray[np.int64]:
        return np.concatenate([np.arange(0, self._most + 1), np.arange(-self._most, 0)])

    def pursue(self) -> None:
        """Takes the stems one after another, the one that explains most of what is left first."""
        waiting = [number for number in range(len(self.lags)) if self.energies[number] > 0]
        while waiting:
            found = {number: self._best(number, HALF if len(waiting) == 1 else None) for number in waiting}
            explained = {number: gain * gain * self.energies[number] for number, (_, gain) in found.items()}
            first = max(waiting, key=explained.__getitem__)
            for number in sorted(waiting, key=explained.__getitem__, reverse=True)[: 1 if len(waiting) <= 12 else 4]:
                self._put(number, *(found[number] if number == first else self._best(number, None)))
                waiting.remove(number)

    def refine(self) -> None:
        """Fits each stem against the mixture without all others, until no delay changes."""
        sounding = [number for number in range(len(self.lags)) if self.energies[number] > 0]
        for _ in range(MOST_SWEEPS):
            before = list(self.lags)
            for number in sounding:
                self._take(number)
                self._put(number, *self._best(number, HALF))
            if self.lags == before:
                break

    def place_between_frames(self) -> None:
        """Finds delays by parts of a frame."""
        for number in range(len(self.lags)):
            if self.energies[number] > 0:
                self._take(number)
                self._put(number, *self._between_frames(number))

    def _at(self, number: int, lag: float) -> Spectra:
        if not lag:
            return self._stems[:, number]
        return self._stems[:, number] * np.exp(-2j * np.pi * lag * self._frequencies).astype(np.complex64)

    def _put(self, number: int, lag: float, gain: float) -> None:
        self.lags[number], self.gains[number] = lag, gain
        self._left -= np.float32(gain) * self._at(number, lag)

    def _take(self, number: int) -> None:
        self._left += np.float32(self.gains[number]) * self._at(number, self.lags[number])
        self.gains[number] = 0.0

    def _cross(self, number: int) -> Spectra:
        return np.asarray(np.sum(self._left * np.conj(self._stems[:, number]), axis=0))

    def _best(self, number: int, share: float | None) -> tuple[float, float]:
        """The delay and the gain that explain most of what is left; the present delay unless another explains clearly more, or, with a
        ``share``, takes away so much of what is left with the present one.
        """
        from scipy import fft

        energy = self.energies[number]
        course = np.real(fft.ifft(self._cross(number))) * self._left.shape[-1]
        places = self._places()
        values = course[places]
        best = int(np.argmax(np.abs(values)))
        now, there = float(np.real(course[round(self.lags[number])])), float(values[best])
        left = float(np.sum(np.abs(self._left) ** 2, dtype=np.float64)) - now * now / energy
        better = (there * there - now * now) / energy
        clear = there * there >= CLEARLY * now * now or (share is not None and better >= share * left)
        return (float(places[best]), there / energy) if clear and better > 0 else (self.lags[number], now / energy)

    def _between_frames(self, number: int) -> tuple[float, float]:
        """The delay by a part of a frame, if it takes away most of what is left without one."""
        from scipy import fft

        energy, lag, cross = self.energies[number], self.lags[number], self._cross(number)
        course = np.real(fft.ifft(cross)) * cross.size
        near = np.arange(-SINC_TAPS, SINC_TAPS + 1)
        around = course[(round(lag) + near) % cross.size] * np.kaiser(near.size, SINC_BETA)

        def value(place: float) -> float:
            return float(around @ np.sinc(place - round(lag) - near))

        low, high = lag - 1.0, lag + 1.0
        for _ in range(24):  # golden section on the one peak between the neighbours
            inner = [high - 0.618034 * (high - low), low + 0.618034 * (high - low)]
            low, high = (low, inner[1]) if abs(value(inner[0])) > abs(value(inner[1])) else (inner[0], high)
        place = round((low + high) / 2, 3)
        now, there = (float(np.real(np.sum(cross * np.exp(2j * np.pi * each * self._frequencies)))) for each in (lag, place))
        left = float(np.sum(np.abs(self._left) ** 2, dtype=np.float64)) - now * now / energy
        better = (there * there - now * now) / energy
        return (place, there / energy) if better > HALF * left and abs(place - lag) > LEAST_FRACTION else (lag, now / energy)


def moved(excerpts: Array, lags: Sequence[float]) -> Array:
    """The excerpts with every stem at its delay, to the frame."""
    if not any(round(lag) for lag in lags):
        return excerpts
    in_time = excerpts.copy()
    for number, lag in enumerate(map(round, lags), 1):
        in_time[:, number] = np.roll(excerpts[:, number], lag, axis=-1)
        if lag > 0:
            in_time[:, number, :, :lag] = 0
        elif lag < 0:
            in_time[:, number, :, lag:] = 0
    return in_time


def coherent_shares(excerpts: Array) -> tuple[float, ...] | None:
    """For each stem, the share of its energy in frequencies where it is coherent with the mixture given the other stems."""
    windows, count, channels, length = excerpts.shape
    frames = length // COHERENCE_FRAMES
    cut = excerpts[..., : frames * COHERENCE_FRAMES].reshape(windows, count, channels, frames, COHERENCE_FRAMES)
    taper = np.hanning(COHERENCE_FRAMES).astype(np.float32)
    spectra = np.fft.rfft(cut * taper, axis=-1).astype(np.complex64)
    spectra = spectra.transpose(4, 1, 0, 2, 3).reshape(spectra.shape[-1], count, -1)  # [F, N, frames]
    num_frames = int(np.count_nonzero(np.abs(spectra[:, 0]).sum(axis=0) > 0))
    if num_frames < 4 * count + 8:
        return None
    products = np.matmul(spectra, np.conj(spectra.transpose(0, 2, 1))).astype(np.complex128)  # [F, N, N]
    power = np.real(np.einsum("fii->fi", products))
    scale = 1.0 / np.sqrt(power + 1e-12 * power.max() + 1e-30)
    scaled = products * scale[:, :, None] * scale[:, None, :] + 1e-6 * np.eye(count)
    inverse = np.linalg.inv(scaled)
    diagonal = np.real(np.einsum("fii->fi", inverse))
    partial = np.abs(inverse[:, 0, 1:]) ** 2 / (diagonal[:, :1] * diagonal[:, 1:])
    threshold = 1.0 - CHANCE ** (1.0 / (num_frames - count))
    weights = np.sqrt(power[:, 1:])
    heard = np.sum(weights * (partial > threshold), axis=0) / np.maximum(weights.sum(axis=0), 1e-30)
    return tuple(float(share) for share in heard)
