"""What a configuration would separate again: stems are the most expensive part of a corpus, so a typo must not replace them.

Conventions
    A track is separated again if the corpus has stems of it, and none that were made as the configuration says. New songs, and songs
    whose stems are kept beside, do not count.
"""

from __future__ import annotations

from stemwright.datagen.run.config_changes import differences
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.kept_stems import STEMS
from stemwright.datagen.run.stages.separating import tasks_of
from stemwright.datagen.run.stages.separation_work import Separation
from stemwright.datagen.run.stages.separator_order import SeparationOrder, separator_for
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.records import Stem


def count_to_separate_again(corpus: Corpus, order: SeparationOrder, workers: Workers | None = None) -> int:
    """How many tracks of a corpus have stems, but none made with the configured settings. Loads no network, and no weights unless it must.

    Stems that the table names and whose files are missing are made again without a warning: that changes nothing.
    """
    if not corpus.table("tracks").exists():
        return 0
    stems = corpus.table("stems")
    finished, separated = set(table.column(stems, "cache_key")), set(table.column(stems, "track_id"))
    separated |= {file.parent.name for file in (corpus.folder / STEMS).glob(f"*/*/{KEPT_STEMS}")}
    if not separated.intersection(corpus.ids("tracks")):
        return 0
    separator = separator_for(order, workers or Workers())
    separation = Separation(corpus, separator, order.config)
    open_tasks = (task for task in tasks_of(corpus, separator, order.config) if task.row_id in separated and task.id not in finished)
    return sum(separation.kept(task) is None for task in open_tasks)


def reason_to_separate_again(corpus: Corpus, before: Config, after: Config) -> str:
    """Why the stems of a corpus would differ, as text: the settings that changed, else what the stems were made with."""
    if changes := differences(before, after, "separation"):
        return ", ".join(changes)
    origins = sorted({row.origin for row in corpus.rows("stems", Stem)}) if corpus.table("stems").exists() else []
    return f"made by {', '.join(origins) or 'an interrupted run'}, and not as configured now"
