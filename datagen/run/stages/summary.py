"""What all stages share: their summary, and how they end."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Outcome, Stage, finish
from stemwright.datagen.run.tasks import Share
from stemwright.manifests import table
from stemwright.manifests.id_set import IdSet


@dataclass(frozen=True)
class Summary:
    """What a stage did with what it looked at, each counted once: ``done`` is new or other than before, ``skipped`` is as it was, and
    ``rejected`` is missing now. ``songs`` are the ids of the tracks for which something was done; ``notes`` what else a person should know.

    It counts songs, but for ``plan`` and ``render``, which count pairs.
    """

    stage: str
    done: int
    skipped: int
    rejected: int
    notes: tuple[str, ...] = ()
    songs: Set[str] = frozenset()
    share: str = ""  # which share of the stage it is of; "" for all of it


def of_share(share: Share, name: str, outcomes: Sequence[Outcome], notes: tuple[str, ...] = ()) -> Summary:
    """The summary of one share of a stage, whose rows stay in its journals. A track counts once, however many tables it is in."""
    refused = {row.row_id for outcome in outcomes for row in outcome.rejected}
    done = IdSet(row_id for outcome in outcomes for row_id in outcome.fresh) - refused
    looked_at = max((outcome.done + outcome.skipped + len(outcome.rejected) for outcome in outcomes), default=0)
    refusals = tuple(f"rejected {row.subject}: {row.reason}" for outcome in outcomes for row in outcome.rejected)
    notes = (*notes, *refusals, "when all shares have ended, the same command without --share writes the table and does what is left")
    return Summary(name, len(done), looked_at - len(done) - len(refused), len(refused), notes, done, str(share))


def finished(corpus: Corpus, stage: Stage, outcome: Outcome, *, made_from: str = "", notes: tuple[str, ...] = ()) -> Summary:
    """Writes the table of a stage that has come to its end, with what it refused."""
    corpus.replace_rejected(stage.name, outcome.rejected)  # first: once the table exists, the stage counts as finished
    table.remove_journals(corpus.journal("rejected"))  # of its shares
    finish(stage, outcome.rows, made_from=made_from)
    return Summary(stage.name, outcome.done, outcome.skipped, len(outcome.rejected), notes, outcome.fresh)
