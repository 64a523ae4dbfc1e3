"""How far the stages of a corpus are, with what its shares have in their journals: read at any time, without a lock."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from itertools import chain

import numpy as np

from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests import table
from stemwright.manifests.id_numbers import Ids, among
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.records import Rejected
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.table_rows import TableRows

ID = re.compile(r"[0-9a-f]{16}")
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
        wanted, journals = np.unique(_ids(corpus, whose, "id")), table.journals(corpus.journal(name))
        written = table.journalled(corpus.journal(name), ROW_TYPES[name]).values()
        in_journals = array("Q", (int(getattr(row, column), 16) for rows in written for row in rows))
        done = np.unique(np.concatenate([_ids(corpus, name, column), np.array(in_journals, np.uint64)]))
        refused = {row.row_id for row in refusals if row.stage == stage and row.replaced_by is None}
        rejected = np.array([int(row_id, 16) for row_id in refused if ID.fullmatch(row_id)], np.uint64)  # others are paths of files
        counts = among(done, wanted).sum(), (among(rejected, wanted) & ~among(rejected, done)).sum()
        found.append(StageStatus(stage, int(counts[0]), len(wanted), int(counts[1]), corpus.table(name).exists() and not journals))
    return found


def _ids(corpus: Corpus, name: str, column: str) -> Ids:
    """A column of ids of a finished table; none where there is no such table."""
    path = corpus.table(name)
    return JoinedRows(*([TableRows(path, ROW_TYPES[name])] if path.exists() else [])).ids(column)
