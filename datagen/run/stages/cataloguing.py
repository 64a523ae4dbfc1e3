"""The stage ``catalog``: songs -> tracks.

A limit, for a first try
    Of a large collection only so many songs are taken: those that the corpus has already, then others in the order of the SHA-256 of their
    paths in the songs folder. That order is the same on every machine, it mixes artists and so splits (the first ones by name would be
    of one artist, in one split), and a larger limit adds to a smaller one. The limit is an option and no part of the configuration: it
    takes nothing away, and the same command without it continues with all songs and ends as if it had never been given.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from stemwright.datagen.run import rates
from stemwright.datagen.run.config import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.runner import Outcome, Stage, shared
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.summary import Summary, finished
from stemwright.datagen.run.tasks import Do, Task, Workers
from stemwright.manifests import table
from stemwright.manifests.catalog import tracks as catalog
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Refused, Rejected, Track, seal
from stemwright.manifests.wording import counted


def run_catalog(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None, *, limit: int | None = None) -> Summary:
    """Finds the songs, decodes each once, and writes the table of tracks; with a limit, of no more than so many songs."""
    config = corpus.config
    every = found_songs(config)
    found = limited(corpus, every, limit)
    root, shares, longest_s = corpus.songs, config.songs.shares, config.songs.longest_s
    tasks, unreadable = _tasks(root, found, shares, longest_s)
    stage = Stage("catalog", corpus.folder, "tracks", Track)
    before = {row.id: row for row in corpus.rows("tracks", Track)} if corpus.table("tracks").exists() else {}
    began = time.monotonic()
    outcome, copies = _inspected(corpus, stage, tasks, shared(partial(_inspect, root, shares, longest_s), workers), on_progress)
    if not workers.dask:
        read_s = sum(row.audio.duration_s for row in outcome.rows if row.audio.path in outcome.fresh)
        rates.remember(rates.of_stage("catalog", workers.jobs), read_s, time.monotonic() - began)
    kept = outcome.rows
    if not kept:
        _refuse_to_forget(corpus, [*((row.subject, row.reason) for row in outcome.rejected), *unreadable])
    outcome.fresh = {row.id for row in kept if row.audio.path in outcome.fresh and not _is_as_before(row, before.get(row.id))}
    outcome.done, outcome.skipped = len(outcome.fresh), len(kept) - len(outcome.fresh)
    outcome.rejected += [seal(Rejected, stage="catalog", row_id=path, subject=path, reason=reason) for path, reason in unreadable]
    outcome.rejected += copies
    notes = _ignored(config.songs.ignore, found.ignored)
    if left := len(every.candidates) - len(found.candidates):
        notes += (f"{counted(left, 'song')} left for later because of --limit; the same command without it continues with all",)
    return finished(corpus, stage, outcome, notes=notes)


def found_songs(config: Config) -> catalog.FoundSongs:
    """What the songs folder of a configuration holds. Raises CorpusError if the place as a whole cannot be listed, or holds nothing."""
    songs = Path(config.songs.folder)
    try:
        found = catalog.find(songs, kind=config.songs.kind, ignore=config.songs.ignore)
    except ValueError as error:  # of the place, the kind or the list as a whole; one song that cannot be used is in ``found``
        raise CorpusError(str(error)) from error
    if not found.candidates and not found.refused:
        ignored = f", and {len(found.ignored)} ignored as songs.ignore says" if found.ignored else ""
        raise CorpusError(f"no recordings in {songs} (looked for kind {config.songs.kind!r}{ignored}). Is a drive not mounted?")
    return found


def limited(corpus: Corpus, found: catalog.FoundSongs, limit: int | None) -> catalog.FoundSongs:
    """The songs of a corpus among those that were found, and others up to a limit in an order that mixes artists; all without one."""
    if limit is None or len(found.candidates) <= limit:
        return found
    known = set(table.column(corpus.table("rejected"), "subject"))
    if corpus.table("tracks").exists():
        known |= {row.audio.path for row in corpus.rows("tracks", Track)}
    order = sorted(found.candidates, key=lambda song: (song.path not in known, hashlib.sha256(song.path.encode()).digest()))
    taken = {song.path for song in order[: max(limit, sum(song.path in known for song in order))]}
    return replace(found, candidates=tuple(song for song in found.candidates if song.path in taken))


def _inspected(
    corpus: Corpus, stage: Stage, tasks: Sequence[Task], work: Do, on_progress: OnProgress | None
) -> tuple[Outcome, list[Rejected]]:
    """What was looked at, with the rows of the recordings that are kept, and a row for each file that is a copy of one of them.

    What was found to be a copy before is decoded again only if the file that was kept in its place is missing or no longer the better one.
    """
    known = {row.cache_key: row for row in corpus.rejected() if row.stage == "catalog" and row.cache_key and row.same_as}
    outcome = run_tasks(stage, [task for task in tasks if task.id not in known], work, on_progress)
    kept, duplicates = catalog.drop_duplicates(outcome.rows)
    by_id = {row.id: row for row in kept}
    copies = [(task, by_id.get(str(known[task.id].same_as))) for task in tasks if task.id in known]
    doubtful = [task for task, first in copies if not _is_still_a_copy(task, first)]
    if doubtful:
        more = run_tasks(stage, doubtful, work, on_progress)
        outcome.rows, outcome.fresh, outcome.rejected = (
            outcome.rows + more.rows,
            outcome.fresh | more.fresh,
            outcome.rejected + more.rejected,
        )
        kept, duplicates = catalog.drop_duplicates(outcome.rows)
    outcome.rows, by_sound = kept, {row.sound: row for row in kept}
    rows = [_copy_of(first, track.audio.path, track.cache_key) for track, first in duplicates]
    untouched = [(task, first) for task, first in copies if first is not None and task not in doubtful]
    return outcome, rows + [_copy_of(by_sound[first.sound], task.subject, task.id) for task, first in untouched]


def _tasks(
    root: Path, found: catalog.FoundSongs, shares: catalog.SplitShares, longest_s: float
) -> tuple[list[Task], list[tuple[str, str]]]:
    """One task for each candidate, and (path, reason) of what cannot be one."""
    tasks, unreadable = [], list(found.refused)
    for candidate in found.candidates:
        try:
            sums = catalog.file_sums(root, candidate)
        except (Refused, OSError) as reason:
            unreadable.append((candidate.path, str(getattr(reason, "strerror", None) or reason)))
        else:
            tasks.append(
                Task(catalog.cache_key(root, candidate, shares, longest_s, sums), candidate.path, candidate.path, (candidate, sums))
            )
    return tasks, unreadable


def _is_still_a_copy(task: Task, kept: Track | None) -> bool:
    """Whether a file that was found to be a copy need not be decoded to know that it still is one, and not the one to keep."""
    return kept is not None and catalog.preference(kept.audio.path) < catalog.preference(task.subject)


def _copy_of(kept: Track, path: str, cache_key: str) -> Rejected:
    facts = {"stage": "catalog", "row_id": path, "subject": path, "same_as": kept.id, "cache_key": cache_key}
    return seal(Rejected, reason=f"the same recording as {kept.audio.path}", **facts)


def _ignored(patterns: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    """Notes about files that were ignored, and about patterns that match nothing."""
    idle = [pattern for pattern in patterns if not any(catalog.matches(path, (pattern,)) for path in paths)]
    notes = [f"{counted(len(paths), 'file')} ignored because of songs.ignore"] if paths else []
    return (*notes, *(f"the pattern {pattern!r} of songs.ignore matches no file" for pattern in idle))


def _is_as_before(row: Track, before: Track | None) -> bool:
    """Whether looking at a song again gave the row that was there: then nothing was done."""
    return before is not None and row.model_copy(update={"cache_key": before.cache_key}) == before


def _inspect(
    songs: Path, shares: catalog.SplitShares, longest_s: float, payload: tuple[catalog.Candidate, catalog.FileSums]
) -> list[Track]:
    candidate, sums = payload
    return [catalog.inspect(songs, candidate, shares, longest_s, sums)]


def _refuse_to_forget(corpus: Corpus, refused: Sequence[tuple[str, str]]) -> None:
    """Raises CorpusError if a corpus has tracks: going on without a single one would take every pair and its audio away, for what is
    nearly always the wrong folder.
    """
    corpus.journal("tracks").unlink(missing_ok=True)
    if corpus.table("tracks").exists() and (count := len(corpus.ids("tracks"))):
        songs, (subject, reason) = corpus.config.songs, refused[0]
        there = counted(count, "track")
        raise CorpusError(
            f"the corpus has {there}, and none of them can be read from {songs.folder} as kind {songs.kind!r} ({subject}: {reason}). "
            "The corpus is unchanged. Name the folder of its songs, or use a new corpus for other songs"
        )
