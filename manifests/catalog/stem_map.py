"""Which stem each file of a multitrack is a part of: by patterns for the names that people and data sets give to files.

    rules = StemRules(patterns={"drums": ("kick*", "snare*", "oh*"), "vocals": ("vox*",)}, unmatched="refuse")
    rules.part_of(("01_Kick.In", "kick_in"))  # "drums"

Conventions
    A pattern is a shell pattern (``*`` any letters, ``?`` one, ``[ab]`` one of these), whatever the case. It is compared with each label of
    a file: its name without suffix as it is written, the same without a number in front ("01_Kick" is kick), and what the data set says
    about it (its instrument); and each of these with underscores for all but letters and digits ("Hi-Hat" is hi_hat).
    A file that two stems claim is refused with both patterns: nothing is decided by the order of a table.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stemwright.manifests.names import name_from
from stemwright.manifests.records import Refused

Unmatched = Literal["other", "own", "refuse"]
OTHER = "other"
NUMBER = re.compile(r"^(\d{1,3})[\s._-]+(?=.*[^\W\d_])")  # of a track, in front of a name with letters
MOST_NUMBERED = 300  # the largest multitracks have some hundred files; 303, 606, 707, 808 and 909 are drum machines


@dataclass(frozen=True)
class StemRules:
    """What becomes of a multitrack's files: ``patterns`` by stem; what is done with a file that none matches (``other``: it is a part of
    the stem other; ``own``: a stem of its own; ``refuse``: the song is refused); and whether a multitrack without a mixture is summed.

    Without patterns each file is the stem that its data set says, or one of its own.
    """

    patterns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unmatched: Unmatched = "other"
    sum_missing: bool = False

    def part_of(self, labels: Sequence[str]) -> str | None:
        """The stem whose patterns match any of the labels of a file; None if there is none. Raises Refused if two stems claim it."""
        forms = set(forms_of(labels))
        found = {stem: pattern for stem, patterns in self.patterns.items() if (pattern := _matching(patterns, forms)) is not None}
        if len(found) > 1:
            (one, first), (other, second) = list(found.items())[:2]
            raise Refused(
                f"{labels[0]} matches {first!r} of {one} and {second!r} of {other} in [songs.stems]; expected one. Make a pattern narrower"
            )
        return next(iter(found), None)

    def assign(self, files: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
        """The stem of each file, {name: labels} -> {name: stem}, for files that are not stems of their own; and those that none matches.

        Raises Refused if two stems claim a file, or, where unmatched files are refused, if none claims it.
        """
        found = {name: self.part_of(labels) for name, labels in files.items()}
        if self.unmatched == "refuse" and (lost := [files[name][0] for name, part in found.items() if part is None]):
            raise Refused(
                f"no pattern of [songs.stems] matches {', '.join(lost)}. Add patterns, or set songs.unmatched = 'other' (or 'own')"
            )
        rest = OTHER if self.unmatched == "other" else None
        parts = {name: stem for name, part in found.items() if (stem := part or rest) is not None}
        return parts, [name for name, part in found.items() if part is None]


def _matching(patterns: Iterable[str], forms: Iterable[str]) -> str | None:
    return next((pattern for pattern in patterns if any(fnmatch.fnmatchcase(form, pattern.casefold()) for form in forms)), None)


def forms_of(labels: Iterable[str]) -> list[str]:
    """All that a pattern is compared with, for the labels of a file."""
    plain = [form for label in labels for form in (label.casefold(), without_number(label).casefold())]
    return list(dict.fromkeys(form for text in plain for form in (text, name_from(text)) if form))


def spaced(name: str) -> str:
    """A name whose words are run together, with spaces: NightOwl is Night Owl, KickIn is Kick In."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def without_number(label: str) -> str:
    """A name without the number of a track in front of it: "01_Kick" is Kick, "808 Sub" stays as no number of a track is so high."""
    found = NUMBER.match(label)
    return label[found.end() :] if found and int(found[1]) < MOST_NUMBERED else label
