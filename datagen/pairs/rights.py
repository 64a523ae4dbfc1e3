"""Rights: what each track's owner allows, and what a corpus therefore does with it.

A track's row keeps its rights as its tags, the CSV or the data set state them, since these often contain a name that must be credited.
A policy in the configuration, ``[rights]``, decides by that text, or by the licence that it names (``stemwright.datagen.pairs.licences``):

    render        pairs are planned and rendered to audio
    recipes       pairs are planned, so that anyone who has the song can render them, but their audio is not written
    excluded      no pair is planned, and nothing of the track is exported

Conventions
    A pattern is a shell pattern, whatever its case: "CC-BY-*", "*all rights reserved*", "unknown". The pattern with the most letters that
    are not wildcards decides; at a tie the stricter use does. What matches no pattern is excluded.
    A pair made of several tracks is treated as the strictest of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from stemwright.datagen.pairs.licences import normalise
from stemwright.datagen.pairs.section import ConfigError, Section, since
from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Rejected, Stem, Track, seal

Use = Literal["render", "recipes", "excluded"]
STRICTNESS: tuple[Use, ...] = ("render", "recipes", "excluded")


class RightsConfig(Section):
    """The section ``[rights]``: what may be done with a track, by its rights."""

    render: tuple[str, ...] = Field(
        ("*",),
        description="shell patterns of rights: pairs of tracks with matching rights are rendered to audio",
        json_schema_extra=since("0.1"),
    )
    recipes_only: tuple[str, ...] = Field(
        (),
        description="shell patterns of rights: pairs of tracks with matching rights are planned and written to the tables, but "
        "not rendered to audio",
        json_schema_extra=since("0.1"),
    )


def use_of(policy: RightsConfig, rights: str) -> Use:
    """What a policy does with a track of some rights."""
    best: tuple[int, int] = (-1, 0)
    for strictness, patterns in enumerate((policy.render, policy.recipes_only)):
        for pattern in patterns:
            if _matches(pattern, rights):
                best = max(best, (len(re.sub(r"[*?]", "", pattern)), strictness))
    return "excluded" if best[0] < 0 else STRICTNESS[best[1]]


def _matches(pattern: str, rights: str) -> bool:
    wanted = pattern.casefold()
    return any(fnmatch.fnmatchcase(name.casefold(), wanted) for name in (rights, normalise(rights)))


def admitted(policy: RightsConfig, tracks: JoinedRows[Track]) -> tuple[SelectedRows[Track], list[Rejected]]:
    """The tracks that may be planned, and rows that say why the others may not.

    Raises ConfigError if the policy leaves not one.
    """
    rights = [name for batch in tracks.columns("rights") for name in batch.column(0).to_pylist()]
    counts = Counter(rights)
    allowed = {name: use_of(policy, name) != "excluded" for name in counts}
    chosen = np.array([allowed[name] for name in rights], np.bool_)
    refused = [
        seal(Rejected, stage="plan", row_id=track.id, subject=track.audio.path, reason=_excluded(policy, track))
        for track in tracks.few(np.flatnonzero(~chosen).tolist())
    ]
    check_any_admitted(policy, counts)
    return SelectedRows(tracks, chosen), refused


def check_any_admitted(policy: RightsConfig, rights: Mapping[str, int]) -> None:
    """Raises ConfigError if there are tracks, which ``rights`` counts by their rights, and the policy admits none of them."""
    if rights and all(use_of(policy, name) == "excluded" for name in rights):
        there = ", ".join(f"{name!r} ({count})" for name, count in _normalised(rights).items())
        raise ConfigError(
            f"[rights] leaves none of {sum(rights.values())} tracks: their rights are {there}; the policy takes {_patterns(policy)}. "
            'Add a pattern to render or recipes_only ("*" takes all), or state the rights in the tags or the CSV'
        )


def _excluded(policy: RightsConfig, track: Track) -> str:
    return f"its rights are {normalise(track.rights)!r}, which [rights] excludes: it takes {_patterns(policy)}"


def _patterns(policy: RightsConfig) -> str:
    named = [
        f"{key} = {list(patterns)}" for key, patterns in (("render", policy.render), ("recipes_only", policy.recipes_only)) if patterns
    ]
    return " and ".join(named) or "nothing"


def summary(tracks: Iterable[Track]) -> dict[str, int]:
    """How many tracks have which rights, normalised; the most frequent first."""
    return _normalised(Counter(track.rights for track in tracks))


def _normalised(rights: Mapping[str, int]) -> dict[str, int]:
    counts = Counter[str]()
    for name, count in rights.items():
        counts[normalise(name)] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class RightsOfPairs:
    """What a policy does with pairs: the strictest of what it does with their tracks."""

    def __init__(self, policy: RightsConfig, tracks: Iterable[Track], stems: Iterable[Stem]) -> None:
        self.of_track: dict[str, Use] = {}
        known: dict[str, Use] = {}  # few rights, many tracks
        for track in tracks:
            if track.rights not in known:
                known[track.rights] = use_of(policy, track.rights)
            self.of_track[track.id] = known[track.rights]
        self._track_of = {stem.id: stem.track_id for stem in stems}

    def of_pair(self, pair: Pair) -> Use:
        """What is done with a pair. A source that is in no table counts as excluded."""
        return self.of(pair.track_id, sources_of(pair))

    def of(self, track_id: str, sources: Iterable[str]) -> Use:
        """What is done with a pair of a track, made of these sources."""
        tracks = {track_id, *(self._track_of.get(source, source) for source in sources)}
        return max((self.of_track.get(track, "excluded") for track in tracks), key=STRICTNESS.index)


def sources_of(pair: Pair) -> set[str]:
    """The ids of the stems and tracks that a pair is made of."""
    return {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}


def renders_everything(policy: RightsConfig) -> bool:
    """Whether a policy keeps nothing back, so that no row need be asked."""
    return "*" in policy.render and not policy.recipes_only
