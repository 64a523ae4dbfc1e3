"""How far the stages of a corpus are, with what its shares have in their journals: read at any time, without a lock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests import table
from stemwright.manifests.records import Rejected
from stemwright.manifests.row_types import ROW_TYPES

COUNTED = (
    ("separate", "stems", "tracks", "track_id"),
    ("estimate", "estimates", "tracks", "track_id"),
    ("render", "examples", "pairs", "pair_id"),
)


@dataclass(frozen=True)
class StageStatus:
    """Of one stage: for how many of its tracks (or pairs) there are rows, how many it has rejected, also in shares that are not merged yet,
    and whether its table is written and no journal waits for it.
    """

    stage: str
    done: int
    of: int
    rejected: int
    finished: bool


def status_of(corpus: Corpus) -> list[StageStatus]:
    """The stages whose tracks or pairs are known, in their order. What was rejected has no rows, and is not counted as done."""
    refusals = [*corpus.rejected(), *chain(*table.journalled(corpus.journal("rejected"), Rejected).values())]
    found = []
    for stage, name, whose, column in COUNTED:
        if not corpus.table(whose).exists():
            continue
        wanted = set(corpus.ids(whose))
        done = set(table.column(corpus.table(name), column))
        journals = table.journals(corpus.journal(name))
        done |= {getattr(row, column) for rows in table.journalled(corpus.journal(name), ROW_TYPES[name]).values() for row in rows}
        rejected = {row.row_id for row in refusals if row.stage == stage and row.replaced_by is None} - done
        found.append(
            StageStatus(stage, len(done & wanted), len(wanted), len(rejected & wanted), corpus.table(name).exists() and not journals)
        )
    return found
