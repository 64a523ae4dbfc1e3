"""What a configuration would separate again: stems are the dearest thing in a corpus, so nobody may lose them by a slip.

Conventions
    A track is separated again if the corpus has stems of it, and none that were made as the configuration says. New songs, and songs
    whose stems are kept beside, do not count.
"""

from __future__ import annotations

from datagen.changes import differences
from datagen.config import Config
from datagen.corpus import Corpus
from datagen.stages.separating import separator_of, tasks_of
from manifests import table
from manifests.records import Stem


def would_separate(corpus: Corpus, config: Config, *, offline: bool = False, trust_pickle: bool = False) -> int:
    """How many tracks of a corpus have stems, but none as the configuration asks for. Loads no network, and no weights unless it must."""
    if not corpus.table("tracks").exists():
        return 0
    there = table.journalled(corpus.journal("stems"), Stem).items()
    stems = [row for _, rows in there for row in rows] + (corpus.rows("stems", Stem) if corpus.table("stems").exists() else [])
    finished, tracks = {row.task_id for row in stems}, {row.track_id for row in stems}
    if not tracks:
        return 0
    separator = separator_of(config, offline=offline, trust_pickle=trust_pickle)
    return sum(task.row_id in tracks and task.id not in finished for task in tasks_of(corpus, separator, config))


def why(corpus: Corpus, before: Config, after: Config) -> str:
    """What makes the stems of a corpus other ones, in words: the settings that changed, else what the stems were made with."""
    if changes := differences(before, after, "separation"):
        return ", ".join(changes)
    origins = sorted({row.origin for row in corpus.rows("stems", Stem)}) if corpus.table("stems").exists() else []
    return f"made by {', '.join(origins) or 'an interrupted run'}, and not as asked now"
