"""Planning: everything that is random about a corpus, drawn and written down before any audio is touched.

Conventions
    The random generator of a pair is keyed by (seed, track id, kind, number), so neither the order of the tracks, nor the number of
    workers, nor a resume changes a pair. Nor does an added song, but where a recipe takes stems of other songs: there it may be drawn.
    A pair takes sources of the tracks of one split only.
    What a track cannot give becomes a ``Rejected`` row with the reason, once for each kind; what no track can give is a note besides.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeVar, cast, get_args

import numpy as np

from stemwright.datagen.pairs.pairs_config import PairsConfig
from stemwright.datagen.pairs.partners import Partner, PartnerTracks
from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.pairs.recipes.base import Draft, RecipeConfig, TrackMaterial
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import (
    Estimate,
    Normalisation,
    Part,
    Record,
    Refused,
    Rejected,
    Split,
    Stem,
    Track,
    TrackEstimate,
    canonical_json,
    seal,
)
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.wording import below, counted

R = TypeVar("R", bound=Record)
STAGE = "plan"
PARTNERS = 1024  # tracks of which what is known is kept for pairs of other tracks: 40 MB
SHORTER = "shorter than one excerpt"


class PlanConfig(Protocol):
    """What of a configuration planning reads."""

    @property
    def seed(self) -> int:
        """What all random numbers are drawn from."""
        ...

    @property
    def pairs(self) -> PairsConfig:
        """The section ``[pairs]``."""
        ...


def generator(seed: int, track_id: str, kind: str, number: int, attempt: int = 0) -> np.random.Generator:
    """The random generator of one pair; ``attempt`` counts how often it was drawn again."""
    named = [seed, track_id, kind, number] + ([attempt] if attempt else [])
    key = _Key(hashlib.sha256(canonical_json(named).encode()).digest())
    return np.random.Generator(np.random.PCG64(key))  # type: ignore[arg-type]  # the stubs leave out the interface that it asks for


class _Key(np.random.bit_generator.ISeedSequence):
    """A digest as the state of a bit generator: it is as well mixed as what numpy would make of it, in a sixth of the time."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The first words of the digest, the same on every machine. Raises ValueError if there are fewer."""
        words = np.frombuffer(self._digest, np.dtype(dtype).newbyteorder("<"))
        if n_words > len(words):
            raise ValueError(f"a digest of {len(self._digest)} bytes has {len(words)} words of {np.dtype(dtype)}; {n_words} were requested")
        return words[:n_words].astype(dtype)


@dataclass(frozen=True)
class RecipeRows:
    """The rows that some recipes need besides stems and estimates; tables that no recipe needs are not made."""

    normalisations: Sequence[Normalisation] = ()
    track_estimates: Sequence[TrackEstimate] = ()
    parts: Sequence[Part] = ()
    part_estimates: Sequence[Estimate] = ()

    @cached_property
    def tempos(self) -> Mapping[str, Sequence[TrackEstimate]]:
        """Track id -> tempo, beats and key."""
        return grouped(self.track_estimates, "track_id")

    @cached_property
    def _by_stem(self) -> Mapping[str, Sequence[Normalisation]]:
        return grouped(self.normalisations, "stem_id")

    @cached_property
    def _parts(self) -> Mapping[str, Sequence[Part]]:
        return grouped(self.parts, "track_id")

    @cached_property
    def _of_parts(self) -> Mapping[str, Sequence[Estimate]]:
        return grouped(self.part_estimates, "track_id")

    def parts_of(self, track_id: str) -> dict[str, tuple[tuple[Part, ...], dict[str, Estimate]]]:
        """Name of a stem -> its parts and their estimates by name; none of a stem of which an estimate is missing."""
        known = {row.stem_id: row for row in self._of_parts.get(track_id, ())}
        found: dict[str, list[Part]] = {}
        for part in self._parts.get(track_id, ()):
            found.setdefault(part.part_of, []).append(part)
        whole = {name: tuple(parts) for name, parts in found.items() if all(part.id in known for part in parts)}
        return {name: (parts, {part.name: known[part.id] for part in parts}) for name, parts in whole.items()}

    def tempo_of(self, track_id: str) -> TrackEstimate | None:
        """Tempo, beats and key of a track, where they are known."""
        found = self.tempos.get(track_id)
        return found[-1] if found else None

    def chains_of(self, stems: Sequence[Stem]) -> dict[str, Normalisation]:
        """Stem name -> normalisation, for those stems of a track that have one."""
        return {stem.name: self._by_stem[stem.id][-1] for stem in stems if stem.id in self._by_stem}


def grouped(rows: Sequence[R], name: str) -> Mapping[str, Sequence[R]]:
    """Rows by a column of ids; those of a table are made when they are used."""
    if isinstance(rows, TableRows):
        return GroupedRows(rows, name)
    found: dict[str, list[R]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), []).append(row)
    return found


class PlannedPairs:
    """The pairs of all tracks that have stems and estimates, in the order of the tracks: iterate over it, once.

    Pairs are made lazily, so that no more of them are in memory than the caller keeps. Once all are made, ``rejected`` holds
    what was refused, ``given`` how many pairs of each kind there are, and ``repeated`` how many drafts were left out as equal to another of
    their track.
    """

    def __init__(
        self,
        config: PlanConfig,
        tracks: Sequence[Track],
        stems: Sequence[Stem],
        estimates: Sequence[Estimate],
        *,
        optional_rows: RecipeRows = RecipeRows(),
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.config, self._on_progress = config, on_progress
        self.rejected: list[Rejected] = []
        self.given: Counter[str] = Counter()
        self.repeated = 0
        self._materials = Materials(config.pairs, tracks, stems, estimates, optional_rows=optional_rows)

    def __iter__(self) -> Iterator[Pair]:
        for number, material in self._materials.numbered(self.rejected):
            for kind in RECIPES:
                for pair in self._of_kind(kind, material):
                    self.given[kind] += 1
                    yield pair
            if self._on_progress:
                self._on_progress(number + 1, len(self._materials))

    def _of_kind(self, kind: str, material: TrackMaterial) -> list[Pair]:
        """The pairs of one kind of one track: all of them, or none and the reason why."""
        recipe, section, track = RECIPES[kind], cast("RecipeConfig", getattr(self.config.pairs, kind)), material.track
        material = replace(material)  # what a recipe holds for its own pairs is not another's
        drafts: list[tuple[int, Draft]] = []
        alike: dict[int, list[Draft]] = defaultdict(list)
        try:
            for number in range(section.per_track):
                draft = recipe.draft(material, section, generator(self.config.seed, track.id, kind, number))
                earlier = alike[_hash(draft)]
                if draft in earlier:
                    self.repeated += 1
                else:
                    earlier.append(draft)
                    drafts.append((number, draft))
        except Refused as reason:
            self.rejected.append(_rejected(track, f"{kind}: {reason}"))
            return []
        return [_pair(kind, number, self.config, track, draft) for number, draft in drafts]

    def notes(self) -> list[str]:
        """Notes to show once all pairs are planned: which kinds have no pairs, and why. One sentence each."""
        notes = []
        reasons = [row.reason for row in self.rejected]
        for kind in RECIPES:
            of_kind = Counter(reason.removeprefix(f"{kind}: ") for reason in reasons if reason.startswith(f"{kind}: "))
            if of_kind and not self.given[kind]:
                notes.append(f"{kind}: no track can give a pair; {_most_common(of_kind)}")
        if not self.given.total() and any(reason.startswith(SHORTER) for reason in reasons):
            wanted_s = self.config.pairs.duration_s
            longest = below(self._materials.longest_s, wanted_s)
            wanted = f"no track is as long as an excerpt of {wanted_s:g} s; the longest lasts {longest} s"
            notes.append(f"{wanted}. Lower pairs.duration_s")
        empty = [split for split in get_args(Split) if split not in self._materials.splits]
        if empty and len(self._materials):
            notes.append(f"no track is in the split {' or '.join(empty)}, so no pairs there (see songs.shares)")
        if self.repeated:
            left_out = counted(self.repeated, "pair was", "pairs were")
            notes.append(f"{left_out} left out: each equals another pair of the same track")
        return notes


@dataclass(frozen=True)
class Planned:
    """What a planning gave, all at once."""

    pairs: list[Pair]
    rejected: list[Rejected]
    repeated: int
    notes: list[str]


def plan_pairs(
    config: PlanConfig,
    tracks: Sequence[Track],
    stems: Sequence[Stem],
    estimates: Sequence[Estimate],
    *,
    optional_rows: RecipeRows = RecipeRows(),
) -> Planned:
    """Plans the pairs of all tracks that have stems and estimates, and keeps them in memory."""
    planning = PlannedPairs(config, tracks, stems, estimates, optional_rows=optional_rows)
    return Planned(list(planning), planning.rejected, planning.repeated, planning.notes())


def _hash(draft: Draft) -> int:
    """One number for equal drafts. Records of settings hold dicts, which have no hash of their own."""
    return hash(tuple(map(_hashable, vars(draft).values())))


def _hashable(value: Any) -> Any:
    """What is equal for equal values and has a hash: the values of a record, those of a dict in any order."""
    if isinstance(value, Record):
        return tuple(map(_hashable, vars(value).values()))
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))
    return frozenset(value.items()) if isinstance(value, dict) else value


def _most_common(reasons: Counter[str]) -> str:
    (reason, count), *rest = reasons.most_common(2)
    return f"{reason} ({count} of {counted(reasons.total(), 'track')})" if rest else reason


def redraw_pair(pair: Pair, attempt: int, material: TrackMaterial, config: PlanConfig) -> Pair:
    """The pair that is drawn in the place of one that rendering refused. Raises Refused as the recipe does."""
    section = cast("RecipeConfig", getattr(config.pairs, pair.kind))
    draft = RECIPES[pair.kind].draft(replace(material), section, generator(config.seed, pair.track_id, pair.kind, pair.number, attempt))
    return _pair(pair.kind, pair.number, config, material.track, draft, redraw_of=pair.id)


def _rejected(track: Track, reason: str) -> Rejected:
    return seal(Rejected, stage=STAGE, row_id=track.id, subject=track.audio.path, reason=reason)


class Materials:
    """What is known about each track that has stems and estimates, and the rest of its split: made when it is used.

    Rows of tables stay on the disk. Once ``numbered`` has gone through all tracks, ``longest_s`` and ``splits`` are of all of them.
    """

    def __init__(
        self,
        pairs: PairsConfig,
        tracks: Sequence[Track],
        stems: Sequence[Stem],
        estimates: Sequence[Estimate],
        *,
        optional_rows: RecipeRows = RecipeRows(),
    ) -> None:
        self._pairs, self._tracks, self._optional_rows = pairs, tracks, optional_rows
        self._stems, self._estimates = grouped(stems, "track_id"), grouped(estimates, "track_id")
        self.longest_s, self.splits = 0.0, set[str]()
        self._at = lru_cache(PARTNERS)(self._partner)

    def __len__(self) -> int:
        """How many tracks there are, also of those about which nothing is known."""
        return len(self._tracks)

    def numbered(self, rejected: list[Rejected]) -> Iterator[tuple[int, TrackMaterial]]:
        """(number of the track, what is known of it); a track that is too short is added to ``rejected``."""
        others = self._partners() if self._optional_rows.tempos else {}
        none: PartnerTracks[TrackMaterial] = PartnerTracks((), self._at)
        for number, material in self._each(rejected):
            yield number, replace(material, others=others.get(material.track.split, none))

    def _each(self, rejected: list[Rejected]) -> Iterator[tuple[int, TrackMaterial]]:
        stems, estimates = _from_the_start(self._stems), _from_the_start(self._estimates)
        for number, track in enumerate(self._tracks):
            self.longest_s = max(self.longest_s, track.audio.num_frames / track.audio.sample_rate)
            self.splits.add(track.split)
            own = stems.get(track.id, ())
            by_stem = {estimate.stem_id: estimate for estimate in estimates.get(track.id, ())}
            if not own or any(stem.id not in by_stem for stem in own):
                continue
            try:
                yield number, material_of(track, own, by_stem, self._pairs, optional_rows=self._optional_rows)
            except Refused as reason:
                rejected.append(_rejected(track, str(reason)))

    def _partners(self) -> dict[str, PartnerTracks[TrackMaterial]]:
        """Split -> its tracks as partners of one another."""
        by_split: dict[str, list[Partner]] = defaultdict(list)
        for number, material in self._each([]):
            if (tempo := material.tempo) and tempo.tempo_bpm and tempo.key:
                by_split[material.track.split].append(Partner(material.track.id, tempo.tempo_bpm, tempo.key, number))
        return {split: PartnerTracks(partners, self._at) for split, partners in by_split.items()}

    def _partner(self, number: int) -> TrackMaterial:
        track = self._tracks[number]
        by_stem = {estimate.stem_id: estimate for estimate in self._estimates[track.id]}
        return material_of(track, self._stems[track.id], by_stem, self._pairs, optional_rows=self._optional_rows)


def _from_the_start(rows: Mapping[str, Sequence[R]]) -> Mapping[str, Sequence[R]]:
    return rows.forward() if isinstance(rows, GroupedRows) else rows


def materials_of(
    pairs: PairsConfig,
    tracks: Sequence[Track],
    stems: Sequence[Stem],
    estimates: Sequence[Estimate],
    *,
    optional_rows: RecipeRows = RecipeRows(),
) -> tuple[list[TrackMaterial], list[Rejected]]:
    """``Materials`` of all tracks in memory, and the tracks that are too short."""
    rejected: list[Rejected] = []
    found = Materials(pairs, tracks, stems, estimates, optional_rows=optional_rows)
    return [material for _, material in found.numbered(rejected)], rejected


def material_of(
    track: Track,
    stems: Sequence[Stem],
    by_stem: Mapping[str, Estimate],
    pairs: PairsConfig,
    *,
    optional_rows: RecipeRows = RecipeRows(),
) -> TrackMaterial:
    """What is known about a track by itself. Raises Refused when it is shorter than an excerpt."""
    shape, tempo = (pairs.sample_rate, pairs.num_frames), optional_rows.tempo_of(track.id)
    parts = {name: TrackMaterial(track, *rows, *shape, tempo=tempo) for name, rows in optional_rows.parts_of(track.id).items()}
    estimates = {stem.name: by_stem[stem.id] for stem in stems}
    material = TrackMaterial(track, tuple(stems), estimates, *shape, optional_rows.chains_of(stems), tempo, parts=parts)
    if material.track_frames < pairs.num_frames:
        lasts_s = material.track_frames / pairs.sample_rate
        raise Refused(f"{SHORTER} ({below(lasts_s, pairs.duration_s)} s of {pairs.duration_s:g} s)")
    return material


def _pair(kind: str, number: int, config: PlanConfig, track: Track, draft: Draft, *, redraw_of: str | None = None) -> Pair:
    return seal(
        Pair,
        kind=kind,
        number=number,
        track_id=track.id,
        split=track.split,
        start_frame=draft.start_frame,
        num_frames=config.pairs.num_frames,
        sample_rate=config.pairs.sample_rate,
        inputs=draft.inputs,
        targets=draft.targets,
        text=draft.text,
        seed=config.seed,
        redraw_of=redraw_of,
        redraw_below=draft.redraw_below,
        min_change_db=draft.min_change_db,
    )
