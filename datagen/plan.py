"""Planning: everything that is random about a corpus, drawn and written down before any audio is touched.

Conventions
    The random generator of a pair is keyed by (seed, track id, kind, number), so neither the order of the tracks, nor the number of
    workers, nor a
    resume, nor an added song changes a pair.
    What a track cannot give becomes a ``Rejected`` row with the reason, once for each kind.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from datagen.config import Config, PairsBase
from datagen.recipes import RECIPES
from datagen.recipes.base import Draft, Material, RecipeConfig
from manifests.records import Estimate, Pair, Refused, Rejected, Stem, Track, canonical_json, seal

STAGE = "plan"


def generator(seed: int, track_id: str, kind: str, number: int, attempt: int = 0) -> np.random.Generator:
    """The random generator of one pair; ``attempt`` counts how often it was drawn again."""
    named = [seed, track_id, kind, number] + ([attempt] if attempt else [])
    key = hashlib.sha256(canonical_json(named).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big")))


@dataclass
class Planned:
    """The pairs in the order of the tracks, what was refused, and how many drafts were left out as equal to another of their track."""

    pairs: list[Pair] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    repeated: int = 0


def plan_pairs(
    config: Config,
    tracks: Sequence[Track],
    stems: Sequence[Stem],
    estimates: Sequence[Estimate],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Planned:
    """Plans the pairs of all tracks that have stems and estimates."""
    by_track: dict[str, list[Stem]] = defaultdict(list)
    for stem in stems:
        by_track[stem.track_id].append(stem)
    by_stem = {estimate.stem_id: estimate for estimate in estimates}
    planned = Planned()
    ready = [track for track in tracks if by_track[track.id] and all(stem.id in by_stem for stem in by_track[track.id])]
    for done, track in enumerate(ready, 1):
        try:
            material = material_of(track, by_track[track.id], by_stem, config.pairs)
        except Refused as reason:
            planned.rejected.append(_rejected(track, str(reason)))
        else:
            for kind in RECIPES:
                _plan_kind(kind, material, config, planned)
        if on_progress:
            on_progress(done, len(ready))
    return planned


def _plan_kind(kind: str, material: Material, config: Config, planned: Planned) -> None:
    """Adds the pairs of one kind of one track, all of them or the reason why there are none."""
    recipe, section, track = RECIPES[kind], cast("RecipeConfig", getattr(config.pairs, kind)), material.track
    material = replace(material)  # what a recipe holds for its own pairs is not another's
    drafts: list[tuple[int, Draft]] = []
    try:
        for number in range(section.per_track):
            draft = recipe.draft(material, section, generator(config.seed, track.id, kind, number))
            if any(draft == earlier for _, earlier in drafts):
                planned.repeated += 1
            else:
                drafts.append((number, draft))
    except Refused as reason:
        planned.rejected.append(_rejected(track, f"{kind}: {reason}"))
    else:
        planned.pairs += [_pair(kind, number, config, track, draft) for number, draft in drafts]


def redraw_pair(pair: Pair, attempt: int, material: Material, config: Config) -> Pair:
    """The pair that is drawn in the place of one that rendering refused. Raises Refused as the recipe does."""
    section = cast("RecipeConfig", getattr(config.pairs, pair.kind))
    draft = RECIPES[pair.kind].draft(replace(material), section, generator(config.seed, pair.track_id, pair.kind, pair.number, attempt))
    return _pair(pair.kind, pair.number, config, material.track, draft, redraw_of=pair.id)


def _rejected(track: Track, reason: str) -> Rejected:
    return seal(Rejected, stage=STAGE, row_id=track.id, subject=track.audio.path, reason=reason)


def material_of(track: Track, stems: list[Stem], by_stem: dict[str, Estimate], pairs: PairsBase) -> Material:
    """What is known about a track. Raises Refused when it is shorter than an excerpt."""
    material = Material(track, tuple(stems), {stem.name: by_stem[stem.id] for stem in stems}, pairs.sample_rate, pairs.num_frames)
    if material.track_frames < pairs.num_frames:
        lasts_s = material.track_frames / pairs.sample_rate
        raise Refused(f"shorter than one excerpt ({lasts_s:.2f} s of {pairs.duration_s:g} s)")
    return material


def _pair(kind: str, number: int, config: Config, track: Track, draft: Draft, *, redraw_of: str | None = None) -> Pair:
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
    )
