"""Which songs of an evaluation are one recording, in whatever encoding: copies would count as songs, and make intervals too narrow.

Conventions
    Only recordings of nearly one length are compared, since a fingerprint takes the whole recording to be read: encodings differ in
    length by the padding of their frames. Copies are those that a corpus finds (``stemwright.manifests.deduplication.copies``): other
    versions of a song, remastered or without some of its parts, are songs of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import blocks, probe

if TYPE_CHECKING:
    from stemwright.manifests.sound.kept_fingerprint import KeptFingerprint

SAME_LENGTH_S = 0.2  # MP3 and AAC add up to 0.1 s of padding


def length_s(path: Path) -> float | None:
    """The length of a sound file in s, by its header; None if it cannot be read."""
    try:
        info = probe(path)
    except (Refused, OSError):
        return None
    return info.num_frames / info.sample_rate


def copied_titles(paths: Sequence[Path], titles: Sequence[str]) -> list[str]:
    """For each recording the title of the first one that is the same; "" where it is itself the first."""
    return ["" if first == number else titles[first] for number, first in enumerate(first_of_copies(paths))]


def check_no_copy(copy_of: str) -> None:
    """Raises Refused for a recording that is a copy of another, which is named by its title."""
    if copy_of:
        raise Refused(f"it is the same recording as {copy_of}, by its sound; each counts once")


def first_of_copies(paths: Sequence[Path]) -> list[int]:
    """For each recording the number of the first one that is the same: mostly its own."""
    from stemwright.manifests.deduplication.copies import find_alike

    lengths = [length_s(path) for path in paths]
    doubtful = [number for number in range(len(paths)) if _shares_length(number, lengths)]
    fingerprints = cache(lambda number: _fingerprint(paths[doubtful[number]]))
    first = list(range(len(paths)))
    alike = find_alike(len(doubtful), fingerprints) if doubtful else []
    for one, other in sorted((doubtful[each.first], doubtful[each.second]) for each in alike if each.is_copy):
        first[other] = min(first[other], first[one])
    return first


def _shares_length(number: int, lengths: Sequence[float | None]) -> bool:
    own = lengths[number]
    return own is not None and any(
        each is not None and abs(each - own) <= SAME_LENGTH_S for other, each in enumerate(lengths) if other != number
    )


def _fingerprint(path: Path) -> KeptFingerprint:
    """The fingerprint of a recording; of one that cannot be read an empty one, which is like no other."""
    from stemwright.manifests.sound.formats import BLOCK_FRAMES
    from stemwright.manifests.sound.kept_fingerprint import EMPTY, FingerprintMaker

    try:
        maker = FingerprintMaker(probe(path))
        for block in blocks(path, BLOCK_FRAMES):
            maker.add(block)
        return maker.fingerprint()
    except (Refused, OSError):
        return EMPTY
