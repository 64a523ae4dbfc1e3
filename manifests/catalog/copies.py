"""Which recordings are copies of one another by their sound: in another encoding, cut, shifted, or a little faster.

Found in two steps. An index of the fingerprints' keys gives pairs that have keys in common at consistent offsets; each such pair is then
compared along its whole length, two seconds at a time, each laid on the other where it fits best near where the one before did. So the
error rate is of what sounds at the same time, whatever the speed, and a shared sample or intro does not make a copy.

Conventions
    A time is in steps of 32 ms. An offset is the time in the second recording minus that in the first.
    Of a long recording only KEYS keys are in the index, chosen by their value, so that the same are chosen in a copy; of a short one all.
    Recordings that have a key in common are paired with their neighbours in the list only, since a copy shares many keys: so the number of
    pairs, the time and the memory grow in proportion to the recordings.
    Below the error rates here: copies up to 0.25 (see tests/manifests/test_copies.py), other recordings from 0.40 on.

References
    Haitsma, Kalker, ISMIR 2002 (see ``stemwright.manifests.sound.fingerprint``). Broder, On the resemblance and containment of
    documents (1997), for the choice of keys by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stemwright.manifests.sound.fingerprint import NUM_BITS, RATE, SAME_ERROR_RATE, Words
from stemwright.manifests.sound.kept_fingerprint import BLOCK, FLOOR_DB, STEP, KeptFingerprint

Ints = npt.NDArray[np.int64]
Steps = npt.NDArray[np.int32]

STEP_S = STEP / RATE
KEYS = 512  # of a recording, in the index
MIXING = 2_654_435_761  # Knuth's multiplier: spreads keys evenly, so that their product chooses among them
NEIGHBOURS = 3  # in the list of those that share a key
SAME_PLACE = 8  # steps: offsets of two shared keys that differ by less are consistent
SHORT_KEYS = 400  # about 15 s: a recording with fewer keys is compared after a single one that it shares
SEEDS = 3  # places from which a pair is compared
REACH = 3  # steps of search around where the last two seconds fitted: a speed up to 4.7 % off
FEWEST_WORDS = 64  # about 2.5 s: fewer may agree by chance
FEWEST_DIFFERENT = 24  # words: steady tones and loops say too little
HOPELESS = 0.4  # error rate of the first two seconds
COPY_SHARE = 0.75  # of the shorter recording that must be alike for a copy
VERSION_SHARE = 0.35  # and for a version, in which something else is different
VERSION_ERROR_RATE = 0.33
REMASTERED_DB = 2.0  # of the spectra of two recordings, between their bands, beyond which one is another version; codecs stay below 1.6
REMASTERED_S, SAME_SPEED = 20.0, 0.004  # spectra are compared only of that much shared sound, at the same speed
CACHED = 256  # fingerprints in memory while pairs are compared


@dataclass(frozen=True)
class Alike:
    """How two recordings, by their numbers, are alike.

    ``error_rate`` of the words that they share, ``offset_s`` the time in the second minus that in the first where the shared part begins,
    ``speed`` that of the second over that of the first, ``share`` how much of the shorter is alike, ``spectrum_db`` how far their spectra
    differ there.
    """

    first: int
    second: int
    error_rate: float
    offset_s: float
    speed: float
    share: float
    spectrum_db: float

    @property
    def is_copy(self) -> bool:
        """Whether they are one recording; otherwise two versions of one song."""
        return self.error_rate <= SAME_ERROR_RATE and self.share >= COPY_SHARE and self.spectrum_db <= REMASTERED_DB

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
        return ", ".join(parts)

    def reversed(self) -> Alike:
        """The same, from the other side."""
        return Alike(self.second, self.first, self.error_rate, -self.offset_s, 1 / self.speed, self.share, self.spectrum_db)


def find_alike(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> list[Alike]:
    """All pairs of ``count`` recordings that are alike, first below second; ``fingerprint`` gives one by its number."""
    cached = lru_cache(CACHED)(fingerprint)
    found = []
    for first, second, seeds in _candidates(count, fingerprint):
        alike = compare(cached(first), cached(second), seeds)
        if alike is not None:
            found.append(Alike(first, second, *alike))
    return found


def _candidates(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Pairs that share keys at consistent offsets, with the times of some of these keys in each."""
    keys, songs, times, number_of_keys = _index(count, fingerprint)
    first, second = _neighbours(keys)
    pair = songs[first].astype(np.int64) * count + songs[second]
    begins, offset = times[first].astype(np.int64), times[second].astype(np.int64) - times[first]
    order = np.lexsort((offset, pair))
    pair, begins, offset = pair[order], begins[order], offset[order]
    starts = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]])) if len(pair) else np.zeros(0, np.int64)
    near = np.zeros(len(pair), bool)
    near[1:] = (pair[1:] == pair[:-1]) & (np.diff(offset) <= SAME_PLACE)
    consistent = np.maximum.reduceat(near, starts) if len(starts) else near
    short = np.minimum(number_of_keys[pair[starts] // count], number_of_keys[pair[starts] % count]) < SHORT_KEYS
    ends = np.concatenate([starts[1:], [len(pair)]])
    for which in np.flatnonzero(consistent | short):
        here = slice(starts[which], ends[which])
        yield int(pair[here][0] // count), int(pair[here][0] % count), _seeds(begins[here], offset[here])


def _index(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> tuple[Words, Steps, Steps, Ints]:
    """All chosen keys in order, with the number of their recording and the first time at which they occur in it."""
    all_keys: list[Words] = []
    all_songs: list[Steps] = []
    all_times: list[Steps] = []
    sizes = np.zeros(count, np.int64)
    for number in range(count):
        made = fingerprint(number)
        if not is_telling(made):
            continue
        different, first = np.unique(made.keys, return_index=True)
        different, first = different[different != 0], first[different != 0]
        mixed = (different * np.uint64(MIXING)).astype(np.uint32)
        sizes[number] = len(mixed)
        shift = max(0, int(np.ceil(np.log2(max(1, len(mixed)) / KEYS))))
        chosen = mixed < (1 << (32 - shift))
        all_keys.append(mixed[chosen])
        all_songs.append(np.full(int(chosen.sum()), number, np.int32))
        all_times.append(first[chosen].astype(np.int32))
    if not all_keys:
        return np.zeros(0, np.uint32), np.zeros(0, np.int32), np.zeros(0, np.int32), sizes
    keys, songs, times = np.concatenate(all_keys), np.concatenate(all_songs), np.concatenate(all_times)
    order = np.argsort(keys, kind="stable")  # so that those who share a key are in the order of their numbers
    return keys[order], songs[order], times[order], sizes


def is_telling(made: KeptFingerprint) -> bool:
    """Whether a fingerprint is long and varied enough to be compared."""
    audible = made.words[made.words != 0]
    return len(audible) >= FEWEST_WORDS and len(np.unique(audible)) >= FEWEST_DIFFERENT


def _neighbours(keys: Words) -> tuple[Ints, Ints]:
    """Places in sorted keys of those that have the same key and at most two others between them."""
    firsts = [np.flatnonzero(keys[apart:] == keys[:-apart]) for apart in range(1, NEIGHBOURS + 1)]
    seconds = [first + apart for apart, first in enumerate(firsts, 1)]
    return np.concatenate(firsts), np.concatenate(seconds)


def _seeds(begins: Ints, offset: Ints) -> list[tuple[int, int]]:
    """The times in both recordings of some shared keys: of those whose offsets are the most frequent ones."""
    edges = np.flatnonzero(np.diff(offset) > SAME_PLACE) + 1
    runs = sorted(pairwise([0, *edges.tolist(), len(offset)]), key=lambda run: run[0] - run[1])
    middles = [(start + stop) // 2 for start, stop in runs[:SEEDS]]
    return [(int(begins[middle]), int(begins[middle] + offset[middle])) for middle in middles]


def compare(
    one: KeptFingerprint, other: KeptFingerprint, seeds: Sequence[tuple[int, int]]
) -> tuple[float, float, float, float, float] | None:
    """How two recordings are alike, as in ``Alike``, from the seed that fits best; None if they are not."""
    best: tuple[float, float, float, float, float] | None = None
    shorter = min(np.count_nonzero(one.words), np.count_nonzero(other.words))
    for seed in seeds:
        rows = _along(one, other, *seed)
        if not len(rows):
            continue
        begins, offset, wrong, counted = rows.T
        fits = wrong <= VERSION_ERROR_RATE * NUM_BITS * counted
        share = float(counted[fits].sum()) / shorter
        error_rate = float(wrong[fits].sum() / (NUM_BITS * max(1, counted[fits].sum())))
        if share < VERSION_SHARE or counted[fits].sum() < FEWEST_WORDS / 2:
            continue
        drift = float(np.polyfit(begins[fits], offset[fits], 1)[0]) if fits.sum() > 2 else 0.0
        spectrum_db = _spectrum_db(one, other, rows[fits]) if abs(drift) < SAME_SPEED else 0.0
        found = (error_rate, float(offset[fits][0]) * STEP_S, 1 / (1 + drift), min(1.0, share), spectrum_db)
        if best is None or (share, -error_rate) > (best[3], -best[0]):
            best = found
    return best


def _along(one: KeptFingerprint, other: KeptFingerprint, begin: int, other_begin: int) -> npt.NDArray[np.float64]:
    """Rows (time in the first, offset, wrong bits, words) of the two recordings, in order of time, from a shared place to both ends."""
    rows: list[tuple[float, ...]] = []
    for ahead in (True, False):
        offset, start = other_begin - begin, begin if ahead else begin - BLOCK
        while start > -BLOCK and start < len(one.words) and -BLOCK < start + offset < len(other.words):
            found = _laid(one, other, start, offset)
            if found is not None:
                offset, wrong, counted = found
                rows.append((start, offset, wrong, counted))
                if len(rows) == 1 and wrong > HOPELESS * NUM_BITS * counted:
                    return np.zeros((0, 4))
            start += BLOCK if ahead else -BLOCK
    return np.array(sorted(rows), np.float64).reshape(-1, 4)


def _laid(one: KeptFingerprint, other: KeptFingerprint, start: int, about: int) -> tuple[int, int, int] | None:
    """(offset, wrong bits, words) at which two seconds of the first fit the second best, near an offset; None if too little sounds."""
    times = np.arange(max(0, start), min(start + BLOCK, len(one.words)))
    offsets = np.arange(about - REACH, about + REACH + 1)
    there = times[None] + offsets[:, None]
    inside = (there >= 0) & (there < len(other.words))
    ours, theirs = one.words[times][None], other.words[np.where(inside, there, 0)]
    both = inside & (ours != 0) & (theirs != 0)
    counted = both.sum(axis=1)
    wrong = np.where(both, np.bitwise_count(ours ^ theirs), 0).sum(axis=1)
    if counted.max(initial=0) < BLOCK // 4:
        return None
    rate = np.where(counted >= counted.max() // 2, wrong / np.maximum(counted, 1), NUM_BITS) + 1e-6 * np.abs(offsets - about)
    best = int(rate.argmin())
    return int(offsets[best]), int(wrong[best]), int(counted[best])


def _spectrum_db(one: KeptFingerprint, other: KeptFingerprint, rows: npt.NDArray[np.float64]) -> float:
    """Standard deviation between bands of how the mean spectra of what two recordings share differ, in dB; 0 if they share little."""
    ours = np.round(rows[:, 0] / BLOCK).astype(int)
    theirs = np.round((rows[:, 0] + rows[:, 1]) / BLOCK).astype(int)
    inside = (ours >= 0) & (theirs >= 0) & (ours < len(one.spectrum)) & (theirs < len(other.spectrum))
    if inside.sum() * BLOCK * STEP_S < REMASTERED_S:
        return 0.0
    powers = [(10 ** (spectrum / 10)).mean(axis=0) for spectrum in (one.spectrum[ours[inside]], other.spectrum[theirs[inside]])]
    floor = 10 ** (FLOOR_DB / 10)
    heard = np.all([power > power.max() * 1e-4 for power in powers], axis=0)  # bands that a codec may leave out do not count
    return float(np.std(10 * np.log10((powers[0][heard] + floor) / (powers[1][heard] + floor)))) if heard.any() else 0.0
