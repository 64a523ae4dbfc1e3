"""Which recordings are copies of one another by their sound: in another encoding, cut, shifted, or a little faster.

Found in two steps. An index of the fingerprints' keys (``stemwright.manifests.deduplication.key_index``) gives pairs that have keys in
common at consistent offsets; each such pair is then compared along its whole length, two seconds at a time, each laid on the other where
it fits best near where the one before did. So the error rate is of what sounds at the same time, whatever the speed, and a shared sample
or intro does not make a copy.

Versions
    A recording is a copy if nothing but its encoding, level, speed, place or length differs. With other parts, without some of them (an
    instrumental, a stem, a remix), with other levels of its parts, or remastered it is another version of one song. Those are found by the
    error rate and by the spectra of what both share: a codec, a gain and an equaliser change the level of a band alike at all times, other
    parts do not (``mix_db``).

Conventions
    A time is in steps of 32 ms. An offset is the time in the second recording minus that in the first.
    Below the error rates here: copies up to 0.14 (see tests/manifests/test_copies.py), a mixture without one of its instruments from 0.16
    on, other recordings from 0.40 on. Copies have a ``mix_db`` up to 0.9, a mixture without an instrument from 1.1 on.

References
    Haitsma, Kalker, ISMIR 2002 (see ``stemwright.manifests.sound.fingerprint``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stemwright.manifests.deduplication.key_index import FEWEST_WORDS, CandidatePair, candidates
from stemwright.manifests.sound.fingerprint import NUM_BITS, RATE, Words
from stemwright.manifests.sound.kept_fingerprint import FLOOR_DB, ROW, STEP, KeptFingerprint

Floats = npt.NDArray[np.float64]

STEP_S = STEP / RATE
BLOCK = 64  # steps that are laid on the other recording at a time: 2 s
REACH = 3  # steps of search around where the last two seconds fitted: a speed up to 4.7 % off
HOPELESS = 0.4  # error rate of the first two seconds
COPY_ERROR_RATE = 0.17
COPY_SHARE = 0.75  # of the shorter recording that must be alike for a copy
VERSION_SHARE = 0.35  # and for a version, in which something else is different
VERSION_ERROR_RATE = 0.33
REMASTERED_DB = 2.0  # of the spectra of two recordings, between their bands, beyond which one is another version; codecs stay below 1.6
MIX_DB = 1.1
COMPARED_S, SAME_SPEED = 12.0, 0.004  # spectra are compared only of that much shared sound, at the same speed
SMOOTH = 8  # rows of spectra that are averaged before: 4 s
SCALE_PAIRS = ((0, 0), (0, 1), (1, 0))  # of the bands of two recordings; both higher: as both are
CACHED = 256  # fingerprints in memory while pairs are compared


@dataclass(frozen=True)
class Alike:
    """How two recordings, by their numbers, are alike.

    ``error_rate`` of the words that they share, ``offset_s`` the time in the second minus that in the first where the shared part begins,
    ``speed`` that of the second over that of the first, ``share`` how much of the shorter is alike, ``spectrum_db`` how far their spectra
    differ there, and ``mix_db`` how much that difference changes in time.
    """

    first: int
    second: int
    error_rate: float
    offset_s: float
    speed: float
    share: float
    spectrum_db: float
    mix_db: float = 0.0

    @property
    def is_copy(self) -> bool:
        """Whether they are one recording; otherwise two versions of one song."""
        alike = self.error_rate <= COPY_ERROR_RATE and self.share >= COPY_SHARE
        return alike and self.spectrum_db <= REMASTERED_DB and self.mix_db <= MIX_DB

    def words(self) -> str:
        """How far the second is from the first, for a person."""
        parts = [f"{self.error_rate:.0%} of its fingerprint differs"]
        if abs(self.offset_s) >= 2 * STEP_S:
            parts.append(f"{abs(self.offset_s):.1f} s {'later' if self.offset_s > 0 else 'earlier'}")
        if abs(self.speed - 1) >= 0.002:
            parts.append(f"{abs(self.speed - 1):.1%} {'faster' if self.speed > 1 else 'slower'}")
        if self.share < COPY_SHARE:
            parts.append(f"{self.share:.0%} of it shared")
        if self.spectrum_db > REMASTERED_DB:
            parts.append(f"its spectrum by {self.spectrum_db:.1f} dB")
        if self.mix_db > MIX_DB:
            parts.append(f"its parts by {self.mix_db:.1f} dB")
        return ", ".join(parts)

    def reversed(self) -> Alike:
        """The same, from the other side."""
        return replace(self, first=self.second, second=self.first, offset_s=-self.offset_s, speed=1 / self.speed)


def find_alike(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> list[Alike]:
    """All pairs of ``count`` recordings that are alike, first below second; ``fingerprint`` gives one by its number."""
    cached = lru_cache(CACHED)(fingerprint)
    found: dict[tuple[int, int], Alike] = {}
    for candidate in candidates(count, fingerprint):
        both = candidate.first, candidate.second
        alike = _compare_at_all_scales(cached(both[0]), cached(both[1]), candidate)
        if alike is not None and (both not in found or _fits_better(alike, found[both])):
            found[both] = alike
    return list(found.values())


def _compare_at_all_scales(one: KeptFingerprint, other: KeptFingerprint, candidate: CandidatePair) -> Alike | None:
    """How two recordings are alike, at the scales that fit best: not only at those by whose keys they were paired.

    Where many recordings share a key, not every two of them are paired by it.
    """
    best = compare(one, other, candidate)
    for scales in SCALE_PAIRS:
        if best is None or best.is_copy:
            break
        if scales != candidate.scales:
            again = compare(one, other, replace(candidate, scales=scales))
            best = again if again is not None and _fits_better(again, best) else best
    return best


def _fits_better(one: Alike, other: Alike) -> bool:
    if one.is_copy != other.is_copy:  # the bands of another scale can share more of it, and fit worse
        return one.is_copy
    if abs(one.share - other.share) > 0.1:
        return one.share > other.share
    return one.error_rate < other.error_rate


def compare(one: KeptFingerprint, other: KeptFingerprint, candidate: CandidatePair) -> Alike | None:
    """How two recordings are alike, from the place that fits best; None if they are not."""
    best: Alike | None = None
    words = one.words[candidate.scales[0]], other.words[candidate.scales[1]]
    shorter = min(int(np.count_nonzero(row)) for row in words)
    for seed in candidate.seeds:
        rows = _along(*words, *seed)
        rows = rows[_fit(rows)]
        share = float(rows[:, 3].sum()) / shorter
        if share < VERSION_SHARE or rows[:, 3].sum() < FEWEST_WORDS / 2:
            continue
        error_rate = float(rows[:, 2].sum() / (NUM_BITS * rows[:, 3].sum()))
        drift = float(np.polyfit(rows[:, 0], rows[:, 1], 1)[0]) if len(rows) > 2 else 0.0
        same_speed = abs(drift) < SAME_SPEED and candidate.scales == (0, 0)
        spectra = _spectra(one, other, rows) if same_speed else (0.0, 0.0)
        begins_s = float(rows[0, 1]) * STEP_S
        found = Alike(candidate.first, candidate.second, error_rate, begins_s, 1 / (1 + drift), min(1.0, share), *spectra)
        if best is None or _fits_better(found, best):
            best = found
    return best


def _fit(rows: Floats) -> npt.NDArray[np.bool_]:
    return rows[:, 2] <= VERSION_ERROR_RATE * NUM_BITS * rows[:, 3]


def _along(one: Words, other: Words, begin: int, other_begin: int) -> Floats:
    """Rows (time in the first, offset, wrong bits, words) of the two recordings, in order of time, from a shared place to both ends."""
    rows: list[tuple[float, ...]] = []
    for ahead in (True, False):
        fitted = [(begin, other_begin - begin)]  # (time, offset) where it did
        start = begin if ahead else begin - BLOCK
        while start > -BLOCK and start < len(one):
            about = _expected(fitted, start)
            if not -BLOCK < start + about < len(other):
                break
            found = _laid(one, other, start, about, known=bool(rows))
            if found is not None:
                rows.append((start, *found))
                if len(rows) == 1 and found[1] > HOPELESS * NUM_BITS * found[2]:
                    return np.zeros((0, 4))
                if found[1] <= VERSION_ERROR_RATE * NUM_BITS * found[2]:
                    fitted.append((start, found[0]))
            start += BLOCK if ahead else -BLOCK
    return np.array(sorted(rows), np.float64).reshape(-1, 4)


def _expected(fitted: list[tuple[int, int]], start: int) -> int:
    """The offset at a time, if the speed is as it was where the recordings fitted."""
    (first, first_offset), (last, offset) = fitted[0], fitted[-1]
    drift = (offset - first_offset) / (last - first) if abs(last - first) >= 4 * BLOCK else 0.0
    return offset + round(drift * (start - last))


def _laid(one: Words, other: Words, start: int, about: int, *, known: bool) -> tuple[int, int, int] | None:
    """(offset, wrong bits, words) at which two seconds of the first fit the second best, near an offset; None if too little sounds.

    Where it is too little for a search, at the ends of a recording, the offset is as given if that is ``known`` from elsewhere.
    """
    times = np.arange(max(0, start), min(start + BLOCK, len(one)))
    offsets = np.arange(about - REACH, about + REACH + 1)
    there = times[None] + offsets[:, None]
    inside = (there >= 0) & (there < len(other))
    ours, theirs = one[times][None], other[np.where(inside, there, 0)]
    both = inside & (ours != 0) & (theirs != 0)
    counted = both.sum(axis=1)
    wrong = np.where(both, np.bitwise_count(ours ^ theirs), 0).sum(axis=1)
    if counted.max(initial=0) < BLOCK // 4:
        return (about, int(wrong[REACH]), int(counted[REACH])) if known and counted[REACH] else None
    rate = np.where(counted >= counted.max() // 2, wrong / np.maximum(counted, 1), NUM_BITS) + 1e-6 * np.abs(offsets - about)
    best = int(rate.argmin())
    return int(offsets[best]), int(wrong[best]), int(counted[best])


def _spectra(one: KeptFingerprint, other: KeptFingerprint, rows: Floats) -> tuple[float, float]:
    """(spectrum_db, mix_db) of what two recordings share; 0 if they share little.

    The first is the standard deviation between bands of how their mean spectra differ; the second that of the differences at all times and
    bands that remain without each time's mean (a gain, a limiter) and each band's (an equaliser, a codec).
    """
    powers = _shared_powers(one, other, rows)
    if len(powers[0]) < COMPARED_S / (SMOOTH * ROW * STEP_S):
        return 0.0, 0.0
    means = [power.mean(axis=0) for power in powers]
    heard = np.all([mean > mean.max() * 1e-4 for mean in means], axis=0)  # bands that a codec may leave out do not count
    if not heard.any():
        return 0.0, 0.0
    judged = heard & (np.arange(len(heard)) >= len(heard) - NUM_BITS - 1)  # a high-pass or a bass control makes no version
    spectrum_db = float(np.std(10 * np.log10(means[0][judged] / means[1][judged]))) if judged.any() else 0.0
    difference = 10 * np.log10(powers[0] / powers[1])
    weight = np.where(powers[0] > powers[0].max(axis=1, keepdims=True) * 1e-3, 1.0, 0.0) * heard
    weight[powers[0] < powers[0].max() * 1e-5] = 0
    for _ in range(10):  # alternately, since not every band is heard at every time
        for axis in (0, 1):
            difference -= (difference * weight).sum(axis, keepdims=True) / np.maximum(weight.sum(axis, keepdims=True), 1)
    return spectrum_db, float(np.sqrt((difference**2 * weight).sum() / max(1.0, weight.sum())))


def _shared_powers(one: KeptFingerprint, other: KeptFingerprint, rows: Floats) -> tuple[Floats, Floats]:
    """The energies [N, 36] of what two recordings share, in 4 s each, at the same times."""
    times = np.arange(len(one.spectrum)) * ROW
    there = (times + np.interp(times + ROW / 2, rows[:, 0] + BLOCK / 2, rows[:, 1])) / ROW
    places = np.floor(there).astype(np.int64)
    inside = (places >= 0) & (places + 1 < len(other.spectrum))
    for ends in (times, times + ROW - 1):  # in what fits, be it of one block or of two
        block = rows[np.searchsorted(rows[:, 0], ends, side="right") - 1, 0]
        inside &= (ends >= block) & (ends < block + BLOCK)
    ours, theirs = (10 ** (made.spectrum.astype(np.float64) / 10) + 10 ** (FLOOR_DB / 10) for made in (one, other))
    places, part = places[inside], (there - places)[inside, None]
    both = (ours[inside], theirs[places] * (1 - part) + theirs[places + 1] * part)
    count = int(inside.sum()) // SMOOTH
    first, second = (power[: count * SMOOTH].reshape(count, SMOOTH, power.shape[1]).mean(axis=1) for power in both)
    return first, second
