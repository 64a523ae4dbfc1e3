"""Which split each recording is in: the same for all that share an artist, a sound, or what the configuration groups by.

Conventions
    Recordings that are tied (``stemwright.manifests.catalog.artists``) form a component, and a component is in one split, drawn by a hash
    of its artists' names against the shares; where no artist is known, of the recording. So adding songs moves no others, unless
    they tie what was not tied. Then
    - what is in the corpus stays where it is, and the new songs join it;
    - a new song that would tie components in different splits is refused: one of them would have to move, or an artist be in two splits.
      A new corpus of the same songs has all of them in one split.
    A split that a CSV or a data set states takes precedence, and the rest of the component joins it.
    Grouped songs (``songs.group_by``: an album, a genre) are tied like those of one artist, and their split is drawn by the group.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import Field, model_validator

from stemwright.manifests.catalog.artists import Credit, Ties, artist_key, groups, nodes_of
from stemwright.manifests.names import split_name
from stemwright.manifests.records import Record, Split

SHARE: dict[str, Any] = {"since": "0.1", "unit": "fraction"}  # shown in the reference of the configuration
LARGE_SHARE = 0.5  # of the recordings: a component beyond it leaves the shares no choice
FEWEST_FOR_SHARES = 20
TWO_SPLITS = (
    "ties {}, which are in different splits of this corpus: with it an artist or a recording would be in two. Leave it out, state one "
    "split for all of them in a CSV, or build a new corpus, in which they are in one split"
)


class SplitShares(Record):
    """How the artists are divided over the splits; the three sum to 1."""

    train: float = Field(0.8, ge=0, le=1, description="share of the artists in the training split", json_schema_extra=SHARE)
    valid: float = Field(0.1, ge=0, le=1, description="share of the artists in the validation split", json_schema_extra=SHARE)
    test: float = Field(0.1, ge=0, le=1, description="share of the artists in the test split", json_schema_extra=SHARE)

    @model_validator(mode="before")
    @classmethod
    def _split_names(cls, values: Any) -> Any:
        return with_split_names(values)

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitShares:
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must sum to 1; they sum to {total:g}")
        return self


def with_split_names(shares: Any) -> Any:
    """A table of shares with the names of its splits as rows have them (``split_name``). Raises ValueError if one is named twice."""
    if not isinstance(shares, dict):
        return shares
    named = {split_name(key) if isinstance(key, str) else key: share for key, share in shares.items()}
    if len(named) < len(shares):
        raise ValueError("valid and validation are the same split; give one of them")
    return named


@dataclass(frozen=True)
class SplitMember:
    """What the split of one recording depends on: ``stated`` by a CSV or a data set, ``before`` in the corpus, ``ties`` besides artists,
    ``groups`` that the configuration asks for.
    """

    path: str
    recording: str
    credit: Credit
    stated: Split | None = None
    before: Split | None = None
    ties: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass
class Assignment:
    """The splits of recordings by path, why some are refused, and notes."""

    splits: dict[str, Split] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def split_of(artist: str | None, recording: str, shares: SplitShares) -> Split:
    """The split of an artist on its own, or where the artist is unknown of a recording (its id): a hash against the shares."""
    return _drawn(_text(artist, recording), shares)


def _drawn(text: str, shares: SplitShares) -> Split:
    draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    if draw < shares.test:
        return "test"
    return "valid" if draw < shares.test + shares.valid else "train"


def _text(artist: str | None, recording: str) -> str:
    """What is hashed: the artist's name in lower case without guests, as it always was, so that the splits of corpora do not change."""
    if artist is None or not artist_key(artist):
        return f"recording {recording}"
    plain = re.split(r"\s[(\[]?(?:feat|ft|featuring)\b", unicodedata.normalize("NFKC", artist).casefold())[0]
    return f"artist {' '.join(plain.split())}"


def _texts(members: Sequence[SplitMember]) -> set[str]:
    """What may be hashed for tied recordings: their groups, else their artists."""
    groups = {group for member in members for group in member.groups}
    return groups or {_text(member.credit.artist, member.recording) for member in members}


def group_of(column: str, value: str | None) -> tuple[str, ...]:
    """What ties the recordings that have a value in a column: it, whatever its case, accents' composition and space; nothing for none."""
    text = " ".join(unicodedata.normalize("NFKC", value or "").casefold().split())
    return (f"group {column} {text}",) if text else ()


def assign(members: Sequence[SplitMember], shares: SplitShares) -> Assignment:
    """The splits of recordings, in any order: it depends on what they are and on what was in the corpus before."""
    members = sorted(members, key=lambda member: member.path)
    nodes = [
        (*artists, *member.ties, *member.groups) for artists, member in zip(nodes_of([one.credit for one in members]), members, strict=True)
    ]
    components: dict[int, list[int]] = defaultdict(list)
    for number, first in enumerate(groups(nodes)):
        components[first].append(number)
    result = Assignment()
    for numbers in components.values():
        _assign([members[n] for n in numbers], [nodes[n] for n in numbers], shares, result)
    largest = max(components.values(), key=len, default=[])
    if len(members) >= FEWEST_FOR_SHARES and len(largest) > LARGE_SHARE * len(members):
        result.notes.append(
            f"{len(largest)} of {len(members)} songs are tied to {members[largest[0]].path} by shared artists, copies or songs.group_by, "
            "and so in one split; the shares of the splits cannot be kept"
        )
    return result


def _assign(members: Sequence[SplitMember], nodes: Sequence[Sequence[str]], shares: SplitShares, result: Assignment) -> None:
    """Gives the recordings of one component their splits."""
    stated = [member.stated for member in members if member.stated]
    if stated:
        common = _most(stated)
        result.splits |= {member.path: member.stated or common for member in members}
        return
    texts = _texts(members)
    if len(texts) == 1 and len(set(map(tuple, nodes))) == 1:  # one artist, always drawn alike: nothing to remember
        result.splits |= dict.fromkeys((member.path for member in members), _drawn(min(texts), shares))
        return
    _join(members, nodes, shares, result)


def _join(members: Sequence[SplitMember], nodes: Sequence[Sequence[str]], shares: SplitShares, result: Assignment) -> None:
    """Gives tied recordings their splits: those of before stay, those that would tie two splits are refused, the others join."""
    ties, splits = Ties(), defaultdict[Hashable, list[Split]](list)  # of what is tied, by its root: the splits of before
    who: dict[Hashable, str] = {}
    taken, mixed = [], set[int]()
    for number in sorted(range(len(members)), key=lambda n: not members[n].before):
        member, shared = members[number], [("item", number), *nodes[number]]
        known = [root for root in dict.fromkeys(map(ties.root, shared)) if splits[root]]
        if not member.before and len({_most(splits[root]) for root in known}) > 1:
            result.refused[member.path] = TWO_SPLITS.format(" and ".join(f"{who[root]} ({_most(splits[root])})" for root in known[:4]))
            continue
        before = [split for root in known for split in splits.pop(root)] + ([member.before] if member.before else [])
        root = ties.tie(shared)
        splits[root] = before
        who.setdefault(root, who[known[0]] if known else member.credit.artist or member.path)
        taken.append(number)
        mixed |= {number} if len(set(before)) > 1 else set()
    together: dict[Hashable, list[int]] = defaultdict(list)
    for number in taken:
        together[ties.root(("item", number))].append(number)
    for root, numbers in together.items():
        split = _most(splits[root]) if splits[root] else _first_draw([members[n] for n in numbers], shares)
        result.splits |= {members[n].path: split for n in numbers}
        if mixed & set(numbers):
            result.notes.append(f"the songs that share artists with {who[root]} were in different splits; all are in {split} now")


def _first_draw(members: Sequence[SplitMember], shares: SplitShares) -> Split:
    """The split of tied recordings that are all new: the draw of the first of their groups or artists, in the order of a hash."""
    texts = _texts(members)
    named = {text for text in texts if text.startswith("artist ")} or texts
    # In the order of another hash than the one that draws: the smallest draw of many would nearly always be the test split.
    return _drawn(min(named, key=lambda text: hashlib.sha256(f"order {text}".encode()).digest()), shares)


def _most(splits: Sequence[Split | None]) -> Split:
    """The most frequent split; of equally frequent ones train before valid before test."""
    counts = Counter(splits)
    return cast("Split", max(("train", "valid", "test"), key=lambda name: counts[cast("Split", name)]))
