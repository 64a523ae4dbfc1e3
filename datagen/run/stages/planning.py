"""The stage ``plan``: stems and estimates -> pairs; touches no audio."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from stemwright.datagen.pairs import rights
from stemwright.datagen.pairs.plan import PlannedPairs, RecipeRows, materials_of
from stemwright.datagen.pairs.recipes import RECIPES, any_needs
from stemwright.datagen.pairs.recipes.base import TrackMaterial
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages.summary import Summary
from stemwright.manifests import __version__, table
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Estimate, Rejected, Stem, Track, content_id
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.wording import counted

ON_DEMAND: dict[str, Literal["tempo", "normalisations"]] = {"track_estimates": "tempo", "normalisations": "normalisations"}  # table -> need


def run_plan(corpus: Corpus, on_progress: OnProgress | None = None) -> Summary:
    """Draws and writes down every pair. Skipped as a whole when nothing it depends on has changed."""
    config = corpus.config
    needed = _made_on_demand(corpus)
    made_from = content_id(
        {
            "pairs": config.pairs.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "seed": config.seed,
            "tables": {name: corpus.digest(name) for name in ("tracks", "stems", "estimates", *needed)},
            "version": __version__,
            **_packages(config),
        }
    )
    if table.made_from(corpus.table("pairs")) == made_from and corpus.table("rejected").exists():
        refused = sum(row.stage == "plan" for row in corpus.rejected())
        return Summary("plan", 0, len(table.column(corpus.table("pairs"), "id")), refused)
    stems, estimates = corpus.table_rows("stems", Stem), corpus.table_rows("estimates", Estimate)
    tracks, excluded = rights.admitted(config.rights, JoinedRows(corpus.table_rows("tracks", Track)))
    optional_rows = optional_rows_of(corpus, needed)
    report = (lambda done, total: on_progress(done, total, "")) if on_progress else None
    planning = PlannedPairs(config, tracks, stems, estimates, optional_rows=optional_rows, on_progress=report)
    with _without_collector():
        count = table.write(corpus.table("pairs"), _then_rejected(corpus, planning, excluded), Pair, made_from=made_from)
    notes = planning.notes()
    if waiting := len(tracks) - len(np.intersect1d(JoinedRows(estimates).ids("track_id"), tracks.ids())):
        notes.append(f"{counted(waiting, 'track has', 'tracks have')} no stems or estimates yet: stemwright separate, then estimate")
    return Summary("plan", count, 0, len(planning.rejected) + len(excluded), tuple(notes))


def materials_by_track(corpus: Corpus, config: Config) -> dict[str, TrackMaterial]:
    """Track id -> what its pairs are drawn from: the same as in planning, as long as tables and configuration are the same."""
    tracks, _ = rights.admitted(config.rights, JoinedRows(corpus.table_rows("tracks", Track)))
    needed = [name for name in _needed(config) if corpus.table(name).exists()]
    rows = corpus.table_rows("stems", Stem), corpus.table_rows("estimates", Estimate)
    found, _ = materials_of(config.pairs, tracks, *rows, optional_rows=optional_rows_of(corpus, needed))
    return {material.track.id: material for material in found}


def optional_rows_of(corpus: Corpus, names: Sequence[str]) -> RecipeRows:
    """The rows of the tables that only some recipes need."""
    return RecipeRows(**{name: corpus.table_rows(name, ROW_TYPES[name]) for name in names})  # type: ignore[arg-type]  # fields have the tables' names


def _needed(config: Config) -> list[str]:
    """The tables that recipes of the configuration need besides estimates."""
    apart = ["parts", "part_estimates"] if config.separation.drums.model is not None and any_needs(config.pairs, "parts") else []
    return [*(name for name, need in ON_DEMAND.items() if any_needs(config.pairs, need)), *apart]


def _packages(config: Config) -> dict[str, Any]:
    """The packages of the kinds of pairs that are not our own: their other version may plan other pairs. Nothing where there are none."""
    found = RECIPES.packages(kind for kind in RECIPES if getattr(config.pairs, kind).per_track)
    return {"packages": found} if found else {}


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keeps Python's cycle collector from walking over all rows again and again: a third of the time, and rows have no cycles."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _then_rejected(corpus: Corpus, planning: PlannedPairs, excluded: Sequence[Rejected]) -> Iterator[Pair]:
    """The pairs, and after the last of them the table of what was refused: it must be written before the table of pairs."""
    yield from planning
    corpus.replace_rejected("plan", [*planning.rejected, *excluded])


def _made_on_demand(corpus: Corpus) -> list[str]:
    """Like ``_needed``. Raises CorpusError if one was not made."""
    needed = _needed(corpus.config)
    for name in needed:
        if not corpus.table(name).exists():
            raise CorpusError(
                f"{corpus.table(name)} is missing, which the recipes of this configuration need; make it with: "
                f"stemwright estimate {corpus.folder} --config FILE, with the same FILE"
            )
    return needed
