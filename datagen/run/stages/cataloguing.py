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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from stemwright.datagen.run import rates
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.runner import Outcome, Stage, shared
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.former_rows import FormerRows, with_note
from stemwright.datagen.run.stages.kept_stems import STEMS
from stemwright.datagen.run.stages.summary import Summary, finished
from stemwright.datagen.run.tasks import Do, Task, Workers
from stemwright.manifests import table
from stemwright.manifests.catalog.descriptions import ARTIST_UNKNOWN, called
from stemwright.manifests.catalog.splits import SplitMember, assign, group_of
from stemwright.manifests.catalog.tracks import (
    EARLIER_RULES,
    MENDED,
    RULES,
    Candidate,
    FileSums,
    FoundSongs,
    SplitShares,
    cache_key,
    credit_of,
    file_sums,
    find,
    inspect,
    matches,
    songs_root,
    stems_key,
)
from stemwright.manifests.deduplication.duplicates import SOUNDS_AS, Duplicates, Recording, find_duplicates
from stemwright.manifests.disk import deletion
from stemwright.manifests.disk.mirror import here
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Record, Refused, Rejected, Split, Track, seal
from stemwright.manifests.sound import kept_fingerprint, writing
from stemwright.manifests.sound.kept_fingerprint import FINGERPRINTS
from stemwright.manifests.wording import counted

GROUP_COLUMNS = ("album", "artist", "title", "rights", "source")  # of a track, by which songs may be grouped besides those of a CSV

OF_TAGS = ("genre", "year")  # of its metadata, which the tags of a file may give


def run_catalog(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None, *, limit: int | None = None) -> Summary:
    """Finds the songs, decodes each once, and writes the table of tracks; with a limit, of no more than so many songs."""
    config = corpus.config
    every = found_songs(config)
    found = limited(corpus, every, limit)
    workers = workers.seeing(corpus.folder, corpus.songs)
    root, shares, longest_s = corpus.songs, config.songs.shares, config.songs.longest_s
    tasks, unreadable = _tasks(root, found, shares, longest_s)
    stage = Stage("catalog", corpus.folder, "tracks", Track)
    before = {row.id: row for row in corpus.rows("tracks", Track)} if corpus.table("tracks").exists() else {}
    began = time.monotonic()
    folder = corpus.folder / FINGERPRINTS
    writing.remove_leftovers(folder)
    work = shared(partial(_inspect, root, shares, longest_s, folder), workers)
    outcome, duplicates, copies = _inspected(corpus, stage, tasks, work, on_progress)
    if not workers.dask:
        read_s = sum(row.audio.duration_s for row in outcome.rows if row.audio.path in outcome.fresh)
        rates.remember(rates.of_stage("catalog", workers.jobs), read_s, time.monotonic() - began)
    former = FormerRows(before.values())
    notes = _assign_splits(config, found, tasks, former, outcome, duplicates)
    kept = list(outcome.rows)
    if not kept:
        _refuse_to_forget(corpus, [*((row.subject, row.reason) for row in outcome.rejected), *unreadable])
    outcome.fresh = {row.id for row in kept if row.audio.path in outcome.fresh and not _is_as_before(row, before.get(row.id))}
    outcome.done, outcome.skipped = len(outcome.fresh), len(kept) - len(outcome.fresh)
    outcome.rejected += [seal(Rejected, stage="catalog", row_id=path, subject=path, reason=reason) for path, reason in unreadable]
    outcome.rejected += copies
    notes += former.take_stems(corpus.folder / STEMS, kept)
    notes += (*_ignored(config.songs.ignore, found.ignored), *found.notes)
    notes += artist_notes(kept)
    if left := len(every.candidates) - len(found.candidates):
        notes += (f"{counted(left, 'song')} left for later because of --limit; the same command without it continues with all",)
    summary = finished(corpus, stage, outcome, notes=notes)
    _remove_unused(folder, tasks)
    return summary


def artist_notes(tracks: Sequence[Track]) -> tuple[str, ...]:
    """What songs without an artist mean for the splits; nothing where there are none."""
    lone = sum(ARTIST_UNKNOWN in track.notes for track in tracks)
    if not lone:
        return ()
    have = (
        "has no artist tag: it counts as an artist of its own" if lone == 1 else "have no artist tag: each counts as an artist of its own"
    )
    return (f"{lone} of {counted(len(tracks), 'song')} {have}, so an artist may be in several splits; name artists in tags or a CSV",)


def found_songs(config: Config) -> FoundSongs:
    """What the songs folder of a configuration holds. Raises CorpusError if the place as a whole cannot be listed, or holds nothing."""
    songs = Path(config.songs.folder)
    try:
        found = find(songs, kind=config.songs.kind, ignore=config.songs.ignore, rules=config.songs.rules)
    except ValueError as error:  # of the place, the kind or the list as a whole; one song that cannot be used is in ``found``
        raise CorpusError(str(error)) from error
    if not found.candidates and not found.refused:
        ignored = f", and {len(found.ignored)} ignored as songs.ignore says" if found.ignored else ""
        raise CorpusError(
            f"no recordings in {config.songs.folder} (looked for kind {config.songs.kind!r}{ignored}). Is a drive not mounted?"
        )
    others = sorted({*OF_TAGS, *(name for song in found.candidates for name in song.metadata)})
    for column in config.songs.group_by:
        if column not in (*GROUP_COLUMNS, *others):
            there = ", ".join((*GROUP_COLUMNS, *others))
            raise CorpusError(f"[songs] group_by: no song has a column {column!r}; expected one of {there}, or another column of the CSV")
    return found


def limited(corpus: Corpus, found: FoundSongs, limit: int | None) -> FoundSongs:
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
) -> tuple[Outcome, Duplicates, list[Rejected]]:
    """What was looked at, with the rows of the recordings that are kept, how these are alike, and a row for each file that is a copy.

    What was found to be a copy before is not decoded again as long as it still is one: its fingerprint is kept.
    """
    folder, songs = corpus.folder / FINGERPRINTS, corpus.config.songs
    known = {row.cache_key: row for row in corpus.rejected() if row.stage == "catalog" and row.cache_key and row.same_as}
    copies = [task for task in tasks if task.id in known and _recording(folder, task) is not None]
    skipped = {task.id for task in copies}
    heard, places = partial(_are_heard, folder), {task.subject: _place(folder, task) for task in tasks}
    outcome = run_tasks(stage, [task for task in tasks if task.id not in skipped], work, on_progress, heard)
    while True:
        by_path = {row.audio.path: row for row in outcome.rows}
        looked_at = [task for task in tasks if task.subject in by_path or task.id in skipped]
        recordings = [found for task in looked_at if (found := _recording(folder, task, by_path.get(task.subject)))]
        duplicates = find_duplicates(
            recordings, lambda one: kept_fingerprint.read(places[one.path]), songs.copies, by_title=songs.versions == "same_split"
        )
        needed = [task for task in copies if task.id in skipped and task.subject not in duplicates.dropped]
        if not needed:
            break
        skipped -= {task.id for task in needed}
        more = run_tasks(stage, needed, work, on_progress, heard)
        outcome.rows = [*outcome.rows, *more.rows]
        outcome.fresh |= more.fresh
        outcome.rejected += more.rejected
    ids = {row.audio.path: row.id for row in outcome.rows}
    outcome.rows = sorted((row for row in outcome.rows if row.audio.path not in duplicates.dropped), key=lambda row: row.audio.path)
    rows = [
        _copy_of(ids[duplicates.kept(path)], task, duplicates.dropped[path][1])
        for task in tasks
        if (path := task.subject) in duplicates.dropped
    ]
    return outcome, duplicates, rows


def _place(folder: Path, task: Task) -> Path:
    candidate, sums = task.payload
    return kept_fingerprint.place_of(folder, sums[candidate.path], candidate.stream)


def _recording(folder: Path, task: Task, row: Track | None = None) -> Recording | None:
    """What is known about the recording of a task from its row and its fingerprint; None if there is none."""
    facts = kept_fingerprint.read_facts(_place(folder, task))
    if facts is None:
        return None
    candidate, sums = task.payload
    if row is not None or not candidate.references:
        mended = sum(stem.mended for stem in row.references) if row else 0
    elif (mended := facts.get(MENDED, {}).get(stems_key(candidate, sums))) is None:
        return None  # these stems were not examined with the mixture
    title = candidate.title or facts["title"] or called(candidate)[1]
    known = {name: facts[name] for name in ("sound", "duration_s", "num_bytes", "lossless")}
    return Recording(path=candidate.path, multitrack=bool(candidate.references), mended=mended, title=title, **known)


def _are_heard(folder: Path, rows: Sequence[Record]) -> bool:
    """Whether the fingerprints of tracks are there: without its fingerprint a recording is read again."""
    files = [row.audio for row in rows if isinstance(row, Track)]
    return all(kept_fingerprint.read_facts(kept_fingerprint.place_of(folder, file.sha256, file.stream)) is not None for file in files)


def _remove_unused(folder: Path, tasks: Sequence[Task]) -> None:
    """Removes the fingerprints of files that are not among the songs any more."""
    used = {_place(folder, task) for task in tasks}
    for place in [place for place in folder.glob(f"*/*{kept_fingerprint.SUFFIX}") if place not in used]:
        deletion.remove(folder, place)
        deletion.remove_empty(folder, place.parent)


def _tasks(root: Path, found: FoundSongs, shares: SplitShares, longest_s: float) -> tuple[list[Task], list[tuple[str, str]]]:
    """One task for each candidate, and (path, reason) of what cannot be one."""
    tasks, unreadable = [], list(found.refused)
    for candidate in found.candidates:
        try:
            sums = file_sums(root, candidate)
        except (Refused, OSError) as reason:
            unreadable.append((candidate.path, str(getattr(reason, "strerror", None) or reason)))
        else:
            tasks.append(Task(cache_key(root, candidate, shares, longest_s, sums), candidate.path, candidate.path, (candidate, sums)))
    return tasks, unreadable


def _assign_splits(
    config: Config,
    found: FoundSongs,
    tasks: Sequence[Task],
    former: FormerRows,
    outcome: Outcome,
    duplicates: Duplicates,
) -> tuple[str, ...]:
    """Puts the recordings that share an artist into one split, refuses those that cannot be put anywhere, and says what is unusual."""
    songs = config.songs
    payloads = {task.subject: task.payload for task in tasks}
    drawn_by = {row.audio.path: former.drawn_by(row) for row in outcome.rows}
    stated = {candidate.path: candidate.split for candidate in found.candidates}
    members = [
        SplitMember(
            path=row.audio.path,
            recording=drawn_by[row.audio.path],
            credit=credit_of(row),
            stated=stated.get(row.audio.path),
            before=_split_before(config, former, row, *payloads[row.audio.path]) if former else None,
            ties=duplicates.ties.get(row.audio.path, ()),
            groups=tuple(group for column in songs.group_by for group in group_of(column, _value(row, column))),
        )
        for row in outcome.rows
    ]
    assigned = assign(members, songs.shares)
    outcome.rows = [
        _placed(with_note(row, drawn_by[row.audio.path]), split, duplicates.notes.get(row.audio.path))
        for row in outcome.rows
        if (split := assigned.splits.get(row.audio.path)) is not None
    ]
    outcome.rejected += [seal(Rejected, stage="catalog", row_id=path, subject=path, reason=why) for path, why in assigned.refused.items()]
    return tuple(assigned.notes)


def _value(row: Track, column: str) -> str | None:
    """What a song has in a column of its own or of its list."""
    return getattr(row, column) if column in GROUP_COLUMNS else row.metadata.get(column)


def _placed(row: Track, split: Split, note: str | None) -> Track:
    """A row with its split, and a note on what it sounds like; an earlier such note goes."""
    notes = (*(text for text in row.notes if not text.startswith(SOUNDS_AS)), *([note] if note else ()))
    return row if (row.split, row.notes) == (split, notes) else row.model_copy(update={"split": split, "notes": notes})


def _split_before(config: Config, former: FormerRows, row: Track, candidate: Candidate, sums: FileSums) -> Split | None:
    """The split in which a recording was, if nothing but the tags of its file and the rules of versions have changed since."""
    if (split := former.split(_keys(config, candidate, sums))) is not None:
        return split
    was = former.of_sound(row)
    if was is None or any(_value(was, column) != _value(row, column) for column in config.songs.group_by):
        return None
    files = (was.audio, *(stem.audio for stem in was.references))
    then = candidate if candidate.references else candidate.model_copy(update={"path": was.audio.path})
    return was.split if was.cache_key in _keys(config, then, {file.path: file.sha256 for file in files}) else None


def _keys(config: Config, candidate: Candidate, sums: FileSums) -> Iterator[str]:
    """The cache keys that this version and then earlier ones give a candidate whose files have these checksums."""
    songs, root = config.songs, songs_root(Path(config.songs.folder))
    every = (RULES, *EARLIER_RULES)
    # Other songs, added since, may show that its folder is named after an artist: that moves no song to another split.
    found = (candidate, *((candidate.model_copy(update={"folder_artist": ""}),) if candidate.folder_artist else ()))
    return (cache_key(root, one, songs.shares, songs.longest_s, sums, rules=rules) for one in found for rules in every)


def _copy_of(kept: str, task: Task, reason: str) -> Rejected:
    facts = {"stage": "catalog", "row_id": task.subject, "subject": task.subject, "same_as": kept, "cache_key": task.id}
    return seal(Rejected, reason=reason, **facts)


def _ignored(patterns: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    """Notes about files that were ignored, and about patterns that match nothing."""
    idle = [pattern for pattern in patterns if not any(matches(path, (pattern,)) for path in paths)]
    notes = [f"{counted(len(paths), 'file')} ignored because of songs.ignore"] if paths else []
    return (*notes, *(f"the pattern {pattern!r} of songs.ignore matches no file" for pattern in idle))


def _is_as_before(row: Track, before: Track | None) -> bool:
    """Whether looking at a song again gave the row that was there: then nothing was done."""
    return before is not None and row.model_copy(update={"cache_key": before.cache_key}) == before


def _inspect(songs: Path, shares: SplitShares, longest_s: float, fingerprints: Path, payload: tuple[Candidate, FileSums]) -> list[Track]:
    candidate, sums = payload
    return [inspect(here(songs), candidate, shares, longest_s, sums, fingerprints)]


def _refuse_to_forget(corpus: Corpus, refused: Sequence[tuple[str, str]]) -> None:
    """Raises CorpusError if a corpus has tracks: going on without a single one would take every pair and its audio away, for what is
    nearly always the wrong folder.
    """
    table.remove_journals(corpus.journal("tracks"))
    if corpus.table("tracks").exists() and (count := len(corpus.ids("tracks"))):
        songs, (subject, reason) = corpus.config.songs, refused[0]
        there = counted(count, "track")
        raise CorpusError(
            f"the corpus has {there}, and none of them can be read from {songs.folder} as kind {songs.kind!r} ({subject}: {reason}). "
            "The corpus is unchanged. Name the folder of its songs, or use a new corpus for other songs"
        )
