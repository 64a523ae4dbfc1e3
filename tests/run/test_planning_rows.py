"""Planning over rows on disk: the pairs of rows in memory, of which none is kept."""

import pytest
from rows import corpus_rows, knowledge_of
from test_known_tasks import living

from stemwright.datagen.pairs import plan
from stemwright.datagen.pairs.plan import PlannedPairs, RecipeRows, plan_pairs
from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.pairs.rights import RightsConfig, admitted
from stemwright.datagen.run.configuration import check
from stemwright.manifests import table
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.records import Estimate, Normalisation, Stem, Track, TrackEstimate
from stemwright.manifests.table_rows import TableRows

COUNT = 24


def config_of(**kinds):
    sections = {kind: {"per_track": kinds.get(kind, 0)} for kind in RECIPES}
    return check({"seed": 5, "pairs": {"duration_s": 4.0, **sections}}, where="test")


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Tracks, stems, estimates and what some recipes need, as tables of batches of 8 rows."""
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 8)
    tracks, stems, estimates = corpus_rows(COUNT)
    known = knowledge_of(tracks, stems)
    tables = []
    for kind, rows in (
        (Track, tracks),
        (Stem, stems),
        (Estimate, estimates),
        (Normalisation, known.normalisations),
        (TrackEstimate, known.track_estimates),
    ):
        path = tmp_path / f"{kind.__name__}.parquet"
        table.write(path, rows, kind)
        tables.append(TableRows(path, kind))
    return tables


@pytest.mark.parametrize("kind", ["mix", "removal", "edit", "remix"])
def test_pairs_of_rows_on_disk_are_those_of_rows_in_memory(on_disk, monkeypatch, kind):
    monkeypatch.setattr(plan, "PARTNERS", 3)
    tracks, stems, estimates, normalisations, tempos = on_disk
    config = config_of(**{kind: 3})
    admitted_tracks, _ = admitted(RightsConfig(), JoinedRows(tracks))
    planning = PlannedPairs(config, admitted_tracks, stems, estimates, optional_rows=RecipeRows(normalisations, tempos))
    expected = plan_pairs(config, *corpus_rows(COUNT), optional_rows=knowledge_of(*corpus_rows(COUNT)[:2]))
    assert list(planning) == expected.pairs
    assert (planning.rejected, planning.notes()) == (expected.rejected, expected.notes)
    assert expected.pairs


def test_what_pairs_are_planned_from_is_dropped_once_it_is_used(on_disk, only_new_objects):
    tracks, stems, estimates, *_ = on_disk
    planning = PlannedPairs(config_of(mix=1), admitted(RightsConfig(), JoinedRows(tracks))[0], stems, estimates)
    kinds = (Track, Stem, Estimate)
    before, most = [living(kind) for kind in kinds], [0, 0, 0]
    for number, _ in enumerate(planning):
        if number % 4 == 0:
            most = [max(was, living(kind) - there) for was, kind, there in zip(most, kinds, before, strict=True)]
    assert max(most) <= 3 * 8 + 5
