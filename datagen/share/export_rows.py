"""The rows that an export contains: those of the tables of a corpus that [rights] admits, and marks by which the songs are recognised.

Conventions
    No row is in memory longer than it is used: which rows are admitted is decided by columns, and the marks are in journals in a temporary
    folder until their tables are written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from stemwright.datagen.pairs.rights import RightsConfig, RightsOfPairs, check_any_admitted, renders_everything, use_of
from stemwright.datagen.pairs.section import ConfigError
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.runner import shared
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.datagen.share.sound_marks import FingerprintRow, SketchRow, sound_marks
from stemwright.manifests import table
from stemwright.manifests.id_numbers import Ids, among
from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.pair_columns import sources_of_pairs
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Record, Stem, Track
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.wording import counted

R = TypeVar("R", bound=Record)
OPTIONAL = ("parts", "part_estimates")  # tables that an export has only where they have rows
OF_TRACKS = (*OPTIONAL, "stems", "estimates", "track_estimates", "normalisations", "pairs", "redraws")  # tables whose rows carry a track_id
MARKS: dict[str, type[Record]] = {"fingerprints": FingerprintRow, "sketches": SketchRow}
TYPES: dict[str, type[Record]] = {
    **{name: kind for name, kind in ROW_TYPES.items() if name in ("tracks", "examples", *OF_TRACKS)},
    **MARKS,
}


@dataclass(frozen=True)
class ExportRows:
    """The rows of a corpus that [rights] admits, by the names of their tables; tracks are made ``anonymous`` when they are written."""

    of_tables: dict[str, SelectedRows[Any]]
    marks: dict[str, Mapping[str, tuple[Record, ...]]] = field(default_factory=dict)  # table -> of each track's id
    num_marks: Counter[str] = field(default_factory=Counter)

    def __getitem__(self, name: str) -> SelectedRows[Any]:
        return self.of_tables[name]

    def columns(self, name: str, *columns: str) -> Iterator[tuple[Any, ...]]:
        """The values of some columns of a table, row by row."""
        for batch in self.of_tables[name].columns(*columns):
            yield from zip(*(batch.column(column).to_pylist() for column in columns), strict=True)

    def written(self, name: str) -> Iterable[Record]:
        """The rows of a table as an export has them; marks in the order of their tracks."""
        if name in MARKS:
            of_track = self.marks.get(name, {})
            return (row for (track_id,) in self.columns("tracks", "id") for row in of_track.get(track_id, ()))
        return map(anonymous, self.of_tables[name]) if name == "tracks" else self.of_tables[name]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each table of the export has."""
        return {name: self.num_marks[name] if name in MARKS else len(self.of_tables[name]) for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """The tables that are written."""
        return tuple(name for name in TYPES if name not in OPTIONAL or len(self.of_tables[name]))


def allowed_rows(corpus: Corpus) -> ExportRows:
    """The rows of a corpus that [rights] admits. Raises ConfigError if more was rendered or planned than it
    allows now, CorpusError if the examples are of an earlier plan.
    """
    rows: dict[str, JoinedRows[Any]] = {}
    for name, kind in ROW_TYPES.items():
        if name in TYPES:
            wanted = name in ("tracks", "stems", "pairs", "examples")  # the others may never have been made
            rows[name] = JoinedRows(corpus.table_rows(name, kind)) if wanted or corpus.table(name).exists() else JoinedRows()
    planned = np.unique(np.concatenate([rows[name].ids() for name in ("pairs", "redraws")]))
    of_examples = rows["examples"].ids("pair_id")
    if stale := int((~among(of_examples, planned)).sum()):
        raise CorpusError(
            f"{stale} of {len(of_examples)} examples are of pairs that are no longer planned; bring the dataset up to date with: "
            f"stemwright render {corpus.folder}"
        )
    policy = corpus.config.rights
    if wrong := [] if renders_everything(policy) else _forbidden(policy, rows):
        raise ConfigError(
            f"[rights] does not allow {len(wrong)} of {len(rows['pairs'])} pairs as they are in the corpus (the first is {wrong[0]}); "
            f"bring it up to date with: stemwright plan {corpus.folder} and stemwright render {corpus.folder}"
        )
    return ExportRows(_selected(rows, policy))


def _selected(rows: dict[str, JoinedRows[Any]], policy: RightsConfig) -> dict[str, SelectedRows[Any]]:
    """Of each table the rows of tracks that are not excluded."""
    rights = [name for batch in rows["tracks"].columns("rights") for name in batch.column("rights").to_pylist()]
    check_any_admitted(policy, Counter(rights))
    excluded = {name for name in set(rights) if use_of(policy, name) == "excluded"}
    admitted = np.array([name not in excluded for name in rights], np.bool_)
    kept = np.unique(rows["tracks"].ids()[admitted])
    chosen = {
        name: among(every.ids("track_id"), kept) if name in OF_TRACKS else np.ones(len(every), np.bool_) for name, every in rows.items()
    }
    return {name: SelectedRows(every, admitted if name == "tracks" else chosen[name]) for name, every in rows.items()}


def _forbidden(policy: RightsConfig, rows: dict[str, JoinedRows[Any]]) -> list[str]:
    """The ids of the pairs that are planned or rendered though the policy now says otherwise."""
    uses = RightsOfPairs(policy, rows["tracks"], JoinedRows(*rows["stems"].tables, *rows["parts"].tables))
    rendered = np.unique(rows["examples"].ids("pair_id"))
    found = []
    for name in ("pairs", "redraws"):
        for pair_id, track_id, _, sources in sources_of_pairs(rows[name]):
            use = uses.of(track_id, sources)
            if use == "excluded" or (use == "recipes" and among(_number(pair_id), rendered).all()):
                found.append(pair_id)
    return found


def _number(row_id: str) -> Ids:
    return np.array([int(row_id, 16)], np.uint64)


def anonymous(track: Track) -> Track:
    """The track with file names that reveal no path of a disk; its id is a hash of their content and stays."""
    named: dict[str, str] = {}

    def renamed(file: AudioFile, name: str) -> AudioFile:
        suffix = ".stem.mp4" if file.path.lower().endswith(".stem.mp4") else PurePosixPath(file.path).suffix.lower()
        return file.model_copy(update={"path": named.setdefault(file.path, f"{track.id}/{name}{suffix}")})

    mixture = renamed(track.audio, "mixture") if track.mixture == "file" else track.audio.model_copy(update={"path": track.id})
    references = tuple(stem.model_copy(update={"audio": renamed(stem.audio, stem.name)}) for stem in track.references)
    return track.model_copy(update={"audio": mixture, "references": references})


class _MarkTasks(Sequence[Task]):
    """A task for each song that has stems, made when it is used."""

    def __init__(self, rows: ExportRows) -> None:
        self._stems: SelectedRows[Stem] = rows["stems"]
        self._of: dict[str, list[int]] = defaultdict(list)
        for number, (track_id,) in enumerate(rows.columns("stems", "track_id")):
            self._of[track_id].append(number)
        tracks = rows.columns("tracks", "id", "title", "audio")
        self._songs = [
            (track_id, title, audio["num_frames"] / audio["sample_rate"]) for track_id, title, audio in tracks if track_id in self._of
        ]

    def __len__(self) -> int:
        return len(self._songs)

    def __getitem__(self, number: Any) -> Any:
        track_id, title, duration_s = self._songs[number]
        return Task(track_id, title, track_id, list(self._stems.take(self._of[track_id])), duration_s)


def add_sound_marks(
    corpus: Corpus, rows: ExportRows, folder: Path, workers: Workers, on_progress: OnProgress | None = None
) -> tuple[str, ...]:
    """Adds fingerprints and sketches of all songs whose stems are there, kept in a folder; a note counts the others."""
    tasks, songs = _MarkTasks(rows), 0
    with ExitStack() as stack:
        journals = {name: stack.enter_context(table.Journal(folder / f"{name}{table.JOURNAL}", kind)) for name, kind in MARKS.items()}
        for count, result in enumerate(shared(partial(sound_marks, corpus.folder), workers)(tasks, lambda _: None), 1):
            songs += bool(result.rows)
            for name, kind in MARKS.items() if result.rows else ():
                of_kind = [row for row in result.rows if isinstance(row, kind)]
                journals[name].append(result.task.id, of_kind)
                rows.num_marks[name] += len(of_kind)
            if on_progress:
                on_progress(count, len(tasks), result.task.subject)
        rows.marks.update({name: journal.tasks for name, journal in journals.items()})
    without = len(rows["tracks"]) - songs
    phrase = counted(without, "song has", "songs have")
    note = f"{phrase} no fingerprint, since their stems are not in the corpus: only the identical file will be recognised"
    return (note,) if without else ()
