"""Which recordings may be alike: those that have keys of their fingerprints in common, at times that fit together.

Conventions
    A time is in steps of 32 ms. An offset is the time in the second recording minus that in the first.
    Of a long recording only KEYS keys are in the index, chosen by their value, so that the same are chosen in a copy; of a short one all.
    The keys of the bands that are a little higher (``kept_fingerprint.SCALES``) find what is played faster or slower, fewer of them.
    Recordings that have a key in common are paired with their neighbours in the list only, since a copy shares many keys: so the number of
    pairs, the time and the memory grow in proportion to the recordings.
    A single shared key says little. Two count, if their offsets are nearly the same. To sort only such, the offsets of all pairs are first
    counted in a table of hashes: what is alone in its place there is passed over.

References
    Broder, On the resemblance and containment of documents (1997), for the choice of keys by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stemwright.manifests.sound.fingerprint import Words
from stemwright.manifests.sound.kept_fingerprint import SCALES, KeptFingerprint

Ints = npt.NDArray[np.int64]
Seeds = list[tuple[int, int]]

KEYS = (2048, 512)  # of a recording, in the index: of its bands as they are, and of the higher ones
MIXING = 2_654_435_761  # Knuth's multiplier: spreads keys evenly, so that their product chooses among them
SPREADING = -0x61C8864680B583EB  # 2^64 over the golden ratio, modulo 2^64
NEIGHBOURS = 3  # in the list of those that share a key
SAME_PLACE = 8  # steps: offsets of two shared keys that differ by less are consistent
SHORT_KEYS = 100  # about 4 s: a recording with fewer keys is compared after a single one that it shares
SEEDS = 3  # places from which a pair is compared
FEWEST_WORDS = 64  # about 2.5 s: fewer may agree by chance
FEWEST_DIFFERENT = 24  # words: steady tones and loops say too little
AT_A_TIME = 1 << 20  # keys
NUM_SCALES = len(SCALES)


@dataclass(frozen=True)
class CandidatePair:
    """Two recordings by their numbers, which of SCALES fits each, and (time, time) of some keys that they share."""

    first: int
    second: int
    scales: tuple[int, int]
    seeds: Seeds


@dataclass(frozen=True)
class _Index:
    """``keys``: sorted, in the upper half the key and in the lower the number of its entry; ``times`` by entry; ``ends`` of the entries of
    each recording and scale; ``sizes``: how many different keys a recording has.
    """

    keys: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int32]
    ends: Ints
    sizes: Ints


def is_telling(made: KeptFingerprint) -> bool:
    """Whether a fingerprint is long and varied enough to be compared."""
    audible = made.words[0][made.words[0] != 0]
    if len(audible) < FEWEST_WORDS:
        return False
    beginning = audible[: 8 * FEWEST_DIFFERENT]  # enough in nearly all
    return any(len(np.unique(words)) >= FEWEST_DIFFERENT for words in (beginning, audible))


def candidates(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> Iterator[CandidatePair]:
    """Pairs of ``count`` recordings, first below second, that share keys at consistent offsets; ``fingerprint`` gives one by its number."""
    index = _index(count, fingerprint)
    pair, begins, offset = _consistent(index, count)
    order = np.lexsort((offset, pair))
    pair, begins, offset = pair[order], begins[order], offset[order]
    starts = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]])) if len(pair) else np.zeros(0, np.int64)
    near = np.zeros(len(pair), bool)
    near[1:] = (pair[1:] == pair[:-1]) & (np.diff(offset) <= SAME_PLACE)
    together = np.logical_or.reduceat(near, starts) if len(starts) else near
    first, second, scales = _parts(pair[starts], count)
    ends = np.concatenate([starts[1:], [len(pair)]])
    for which in np.flatnonzero(together | _are_short(index, first, second)):
        here = slice(starts[which], ends[which])
        kind = int(scales[which])
        found = _seeds(begins[here], offset[here])
        yield CandidatePair(int(first[which]), int(second[which]), (kind // NUM_SCALES, kind % NUM_SCALES), found)


def _index(count: int, fingerprint: Callable[[int], KeptFingerprint]) -> _Index:
    """The chosen keys of all recordings, with the first time at which each occurs in a recording."""
    keys: list[Words] = []
    times: list[npt.NDArray[np.int32]] = []
    lengths, sizes = np.zeros(count * NUM_SCALES, np.int64), np.zeros(count, np.int64)
    for number in range(count):
        made = fingerprint(number)
        if not is_telling(made):
            continue
        for scale, wanted in enumerate(KEYS):
            chosen, first, size = _chosen(made.keys[scale], wanted)
            keys.append(chosen)
            times.append(first)
            lengths[number * NUM_SCALES + scale] = len(chosen)
            sizes[number] = size
    entries = np.concatenate([np.zeros(0, np.uint32), *keys]).astype(np.uint64)
    keys.clear()
    entries <<= np.uint64(32)
    entries |= np.arange(len(entries), dtype=np.uint32)
    entries.sort()  # in place; of those who share a key in the order of their numbers
    return _Index(entries, np.concatenate([np.zeros(0, np.int32), *times]), np.cumsum(lengths), sizes)


def _chosen(keys: Words, wanted: int) -> tuple[Words, npt.NDArray[np.int32], int]:
    """About ``wanted`` of the different keys, mixed, and when each occurs first; and how many different ones there are."""
    times = np.flatnonzero(keys).astype(np.uint64)
    mixed = keys[times] * np.uint32(MIXING)  # modulo 2^32; one to one, since the multiplier is odd
    both = mixed.astype(np.uint64) << np.uint64(32) | times  # sorted together: of equal keys the first time is the first
    both.sort()
    mixed = (both >> np.uint64(32)).astype(np.uint32)
    first = np.flatnonzero(np.concatenate([[True], mixed[1:] != mixed[:-1]])) if len(mixed) else np.zeros(0, np.int64)
    size, different = len(first), mixed[first]
    if (shift := max(0, int(np.ceil(np.log2(max(1, size) / wanted))))) > 0:
        lowest = np.searchsorted(different, np.uint32(0xFFFFFFFF) >> np.uint32(shift), side="right")
        different = different[:lowest].copy()  # so that the others need no memory
    return different, (both[first[: len(different)]] & np.uint64(0xFFFFFFFF)).astype(np.int32), size


def _pairs(index: _Index, count: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(pair, time in the first, offset) of every two neighbours that share a key, some at a time."""
    for start in range(0, len(index.keys), AT_A_TIME):
        part = index.keys[start : start + AT_A_TIME + NEIGHBOURS]
        keys, entry = (part >> np.uint64(32)).astype(np.uint32), (part & np.uint64(0xFFFFFFFF)).astype(np.int64)
        for apart in range(1, NEIGHBOURS + 1):
            here = np.flatnonzero(keys[apart:][:AT_A_TIME] == keys[: len(keys) - apart][:AT_A_TIME])
            one, other = entry[here], entry[here + apart]
            first, second = (np.searchsorted(index.ends, entries, side="right") for entries in (one, other))
            scales = first % NUM_SCALES * NUM_SCALES + second % NUM_SCALES
            first, second = first // NUM_SCALES, second // NUM_SCALES
            useful = (first != second) & (scales != NUM_SCALES**2 - 1)  # of both higher bands: the same as of both as they are
            pair = (first[useful] * count + second[useful]) * NUM_SCALES**2 + scales[useful]
            begins = index.times[one[useful]].astype(np.int64)
            yield pair, begins, index.times[other[useful]] - begins


def _parts(pair: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """The first and second recording of pairs, and which scales fit them."""
    both, scales = np.divmod(pair, NUM_SCALES**2)
    return both // count, both % count, scales


def _are_short(index: _Index, first: Ints, second: Ints) -> npt.NDArray[np.bool_]:
    return np.minimum(index.sizes[first], index.sizes[second]) < SHORT_KEYS


def _consistent(index: _Index, count: int) -> tuple[Ints, Ints, Ints]:
    """The shared keys that may not be alone with their offset, as ``_pairs`` has them: all that are not, and a few others."""
    size = 1 << max(10, len(index.keys).bit_length())
    tables = np.zeros((2, size), np.uint8)

    def places(pair: Ints, offset: Ints) -> Iterator[tuple[npt.NDArray[np.uint8], Ints]]:
        for number, table in enumerate(tables):  # in one of the two, offsets that differ by less than SAME_PLACE are in one place
            place = (offset + number * SAME_PLACE) // (2 * SAME_PLACE)
            yield table, (((pair << 20) + place) * SPREADING >> 20) & (size - 1)

    for pair, _, offset in _pairs(index, count):
        for table, place in places(pair, offset):
            seen, often = np.unique(place, return_counts=True)
            table[seen] = np.minimum(table[seen] + np.minimum(often, 2), 2)
    found = [(np.zeros(0, np.int64),) * 3]
    for pair, begins, offset in _pairs(index, count):
        kept = _are_short(index, *_parts(pair, count)[:2])
        for table, place in places(pair, offset):
            kept |= table[place] > 1
        found.append((pair[kept], begins[kept], offset[kept]))
    pairs, begins, offsets = map(np.concatenate, zip(*found, strict=True))
    return pairs, begins, offsets


def _seeds(begins: Ints, offset: Ints) -> Seeds:
    """The times in both recordings of some shared keys: of those whose offsets are the most frequent ones."""
    edges = np.flatnonzero(np.diff(offset) > SAME_PLACE) + 1
    runs = sorted(pairwise([0, *edges.tolist(), len(offset)]), key=lambda run: run[0] - run[1])
    middles = [(start + stop) // 2 for start, stop in runs[:SEEDS]]
    return [(int(begins[middle]), int(begins[middle] + offset[middle])) for middle in middles]
