"""Which of several files with one recording is kept, and which recordings have to share a split because they sound alike.

Conventions
    Files whose samples or packets are the same are one recording, wherever they are found; of others the fingerprint decides
    (``stemwright.manifests.deduplication.copies``). Copies of a recording are dropped, or, on request, kept in its split.
    Versions (remastered, edited, without or with other parts, such as an instrumental or a stem) are kept, in the split of what they sound
    like.
    Kept is a multitrack before its mixture alone, one whose stems fit as they are before one whose stems are mended, a whole recording
    before an excerpt, lossless before lossy, many bits before few, a name that does not look like a copy's, and then the first path. It
    does not depend on which was found first.
    A long recording that contains several others (an album in one file, a DJ's set) is dropped, and not the songs in it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from stemwright.manifests.catalog.artists import Ties
from stemwright.manifests.catalog.song_names import title_key
from stemwright.manifests.deduplication.copies import COPY_SHARE, Alike, find_alike
from stemwright.manifests.sound.kept_fingerprint import KeptFingerprint

Copies = Literal["drop", "same_split"]
SOUNDS_AS = "sounds as "  # how every note begins that is made here
WHOLE_SHARE = 0.97  # of the longest copy: a shorter one is an excerpt
COLLECTION_S = 900.0  # a longer recording that contains at least two others is a collection of them
# How systems name a copy: "x (1)", "Copy of x", "x copy 2", "x - Copy (2)", and the same in German, French, Spanish and Italian.
COPY = re.compile(
    r"^(copy|kopie|copie|copia)( \(?\d+\)?)? (of|von|de|di) |[ _.-](copy|kopie|copie|copia)([ _]?\(?\d+\)?)?$| ?\(\d{1,2}\)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Recording:
    """What is known about the recording in a file without decoding it again."""

    path: str
    sound: str
    duration_s: float
    num_bytes: int
    lossless: bool
    multitrack: bool = False
    mended: int = 0  # how many of its stems do not fit as they are
    title: str = ""


@dataclass
class Duplicates:
    """By path: of what is dropped the path that is kept and the reason; of what is kept its ties to others, and a note."""

    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    ties: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def kept(self, path: str) -> str:
        """The path that is kept in the end of a dropped one: what it is a copy of may be one itself."""
        while path in self.dropped:
            path = self.dropped[path][0]
        return path


def preference(path: str) -> tuple[bool, str]:
    """Sort key by which one of several files with the same sound is kept, the least: names that do not look like a copy before those that
    do ("x (1).wav", "Copy of x.wav", "x copy 2.wav", "x - Kopie.wav", or such a folder name), then the order of paths. It does not
    depend on which was found first.
    """
    return any(COPY.search(PurePosixPath(part).stem) for part in PurePosixPath(path).parts), path


def find_duplicates(
    recordings: Sequence[Recording], fingerprint: Callable[[Recording], KeptFingerprint], copies: Copies = "drop", *, by_title: bool = False
) -> Duplicates:
    """What is dropped and what is tied among recordings, in any order. ``by_title``: versions of a song by their titles are tied, too."""
    result = Duplicates()
    one_each = _same_sound(recordings, result)
    alike = find_alike(len(one_each), lambda number: fingerprint(one_each[number]))
    alike = _without_collections(one_each, alike, result)
    _sort_out(one_each, alike, copies, result)
    if by_title:
        titles: dict[str, list[str]] = defaultdict(list)
        for one in one_each:
            if one.path not in result.dropped and (key := title_key(one.title)):
                titles[key].append(one.path)
        for key, paths in titles.items():
            for path in paths if len(paths) > 1 else ():
                result.ties[path] = (*result.ties.get(path, ()), f"title {key}")
    return result


def _same_sound(recordings: Sequence[Recording], result: Duplicates) -> list[Recording]:
    """One recording of each sound; the other files of it are dropped."""
    kept: dict[str, Recording] = {}
    for one in sorted(recordings, key=lambda one: (not one.multitrack, one.mended, preference(one.path))):
        first = kept.setdefault(one.sound, one)
        if first is not one:
            result.dropped[one.path] = (first.path, f"the same recording as {first.path}")
    return sorted(kept.values(), key=lambda one: one.path)


def _without_collections(recordings: Sequence[Recording], alike: Sequence[Alike], result: Duplicates) -> list[Alike]:
    """Drops recordings that contain several others, and returns what is alike without them."""
    parts: dict[int, set[int]] = defaultdict(set)
    for pair in alike:
        for whole, part in ((pair.first, pair.second), (pair.second, pair.first)):
            long_s = recordings[whole].duration_s
            if pair.is_copy and long_s > COLLECTION_S and recordings[part].duration_s < long_s / 2 and not recordings[whole].multitrack:
                parts[whole].add(part)
    apart = {(pair.first, pair.second) for pair in alike}
    gone = {
        whole: sorted(songs)
        for whole, songs in parts.items()
        if any((min(a, b), max(a, b)) not in apart for a in songs for b in songs if a != b)
    }
    for whole, songs in gone.items():
        first = recordings[songs[0]].path
        result.dropped[recordings[whole].path] = (first, f"contains {len(songs)} of the other recordings, {first} among them, by its sound")
    return [pair for pair in alike if pair.first not in gone and pair.second not in gone]


def _sort_out(recordings: Sequence[Recording], alike: Sequence[Alike], copies: Copies, result: Duplicates) -> None:
    """Drops or ties those that are alike, and says of which and how far."""
    pairs: dict[tuple[int, int], Alike] = {}
    for pair in alike:
        pairs[pair.first, pair.second], pairs[pair.second, pair.first] = pair, pair.reversed()
    kept = _kept_of(recordings, pairs)
    for number, best in sorted(kept.items()):
        if number == best:
            continue
        path, words = recordings[best].path, _how(recordings, pairs, number, best)
        if copies == "drop":
            result.dropped[recordings[number].path] = (path, f"the same recording as {path} by its sound: {words}")
        else:
            result.notes[recordings[number].path] = f"{SOUNDS_AS}{path} does: {words}; in the same split"
            _tie(result, recordings, number, best)
    for (one, other), pair in sorted(pairs.items()):
        if kept[one] != kept[other] and kept[one] < kept[other]:
            first, second = recordings[kept[one]], recordings[kept[other]]
            result.notes.setdefault(second.path, f"{SOUNDS_AS}another version of {first.path}: {pair.words()}; in the same split")
            _tie(result, recordings, kept[one], kept[other])


def _kept_of(recordings: Sequence[Recording], pairs: Mapping[tuple[int, int], Alike]) -> dict[int, int]:
    """Of each recording that is alike another the one kept for it: it is a copy of that, or of a whole copy of that, and no version.

    What an excerpt is like does not count: a part without voices is in a song and in its instrumental.
    """
    copies_of: dict[int, set[int]] = defaultdict(set)
    for one, other in (both for both, pair in pairs.items() if pair.is_copy):
        copies_of[one].add(other)
    kept: dict[int, int] = {}
    for best in _by_preference(recordings, sorted({number for both in pairs for number in both}), copies_of):
        reached = [best] if best not in kept else []
        while reached:
            number = reached.pop()
            kept[number] = best
            if recordings[number].duration_s >= COPY_SHARE * recordings[best].duration_s:
                fresh = [other for other in copies_of[number] if other not in kept and other not in reached]
                reached += [other for other in fresh if (best, other) not in pairs or pairs[best, other].is_copy]
    return kept


def _tie(result: Duplicates, recordings: Sequence[Recording], one: int, other: int) -> None:
    names = sorted((recordings[one].sound, recordings[other].sound))
    for number in (one, other):
        path = recordings[number].path
        result.ties[path] = tuple(dict.fromkeys([*result.ties.get(path, ()), f"sound {names[0][:16]} {names[1][:16]}"]))


def _by_preference(recordings: Sequence[Recording], numbers: Sequence[int], copies_of: Mapping[int, set[int]]) -> list[int]:
    """Recordings in the order in which they are kept rather than their copies."""
    ties = Ties()
    for one in numbers:
        ties.tie([one, *copies_of[one]])
    longest_s: dict[object, float] = defaultdict(float)
    for one in numbers:
        longest_s[ties.root(one)] = max(longest_s[ties.root(one)], recordings[one].duration_s)

    def order(number: int) -> tuple[bool, int, bool, bool, float, tuple[bool, str]]:
        one = recordings[number]
        bits_per_second = 0.0 if one.lossless else -one.num_bytes / max(one.duration_s, 1e-3)
        is_excerpt = one.duration_s < WHOLE_SHARE * longest_s[ties.root(number)]
        return not one.multitrack, one.mended, is_excerpt, not one.lossless, bits_per_second, preference(one.path)

    return sorted(numbers, key=order)


def _how(recordings: Sequence[Recording], pairs: Mapping[tuple[int, int], Alike], number: int, best: int) -> str:
    """How far a copy is from the one that is kept, or from a third one through which it is known to be a copy."""
    if (direct := pairs.get((best, number))) is not None:
        return direct.words()
    near = min((pair for (first, second), pair in pairs.items() if second == number and pair.is_copy), key=lambda pair: pair.error_rate)
    return f"so is {recordings[near.first].path}, from which {near.words()}"
