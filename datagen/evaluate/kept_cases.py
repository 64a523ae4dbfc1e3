"""The journal of an evaluation: which cases are finished, with their rows, and which one was being measured when the process ended.

Conventions
    A line is written when a case begins and another when it ends: with its rows, or without any if it was rejected or stopped. A case
    whose last line is its beginning ended the process: a crash, too little memory, a power cut.
    Rows are kept under a checksum of all rows of the case and its key: what was edited or damaged is never shown, it is measured again.
    The folder has one writer at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stemwright.datagen.evaluate.protocol import Row
from stemwright.manifests.disk.locks import LockedError, locked
from stemwright.manifests.records import Record, canonical_json, content_id
from stemwright.manifests.table import Journal
from stemwright.manifests.usage import UsageError


class State(StrEnum):
    """What is known of a case."""

    UNKNOWN = "unknown"  # never begun, rejected, or stopped by the user
    BEGUN = "begun"  # the process ended while it was measured
    DAMAGED = "damaged"  # its rows are not as they were written
    FINISHED = "finished"


class KeptCase(Record):
    """A case as it is in the journal."""

    state: State = Field(description="begun, finished, or unknown: rejected or stopped")
    rows: tuple[dict[str, Any], ...] = Field(default=(), description="what was measured, by name")
    checksum: str = Field(description="of the key of the case, its state and its rows")


class KeptCases:
    """The cases in an open journal, by their keys."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def state(self, key: str) -> State:
        """What is known of a case."""
        lines = self._journal.tasks.get(key)
        if lines is None:
            return State.UNKNOWN
        kept = lines[0] if len(lines) == 1 else None
        if not isinstance(kept, KeptCase) or kept.checksum != _checksum(key, kept.state, kept.rows):
            return State.DAMAGED
        return kept.state

    def rows(self, key: str) -> list[Row]:
        """The rows of a finished case."""
        return [row for kept in self._journal.tasks[key] if isinstance(kept, KeptCase) for row in kept.rows]

    def begin(self, key: str) -> None:
        """Notes that a case is being measured from now on."""
        self._write(key, State.BEGUN)

    def leave(self, key: str) -> None:
        """Notes that a case was rejected or stopped."""
        self._write(key, State.UNKNOWN)

    def finish(self, key: str, rows: Sequence[Row]) -> None:
        """Keeps the rows of a finished case, which are plain (``plain_rows``)."""
        self._write(key, State.FINISHED, rows)

    def _write(self, key: str, state: State, rows: Sequence[Row] = ()) -> None:
        self._journal.append(key, [KeptCase(state=state, rows=tuple(map(dict, rows)), checksum=_checksum(key, state, rows))])


@contextmanager
def kept_cases(folder: Path, name: str) -> Iterator[KeptCases]:
    """Opens the journal of a protocol in a folder, which is made. Raises UsageError if another process has it open."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl.part"
    try:
        with locked(path.with_suffix(".lock")), Journal(path, KeptCase) as journal:
            yield KeptCases(journal)
    except LockedError as error:
        raise UsageError(
            f"another evaluation by {name} keeps its cases in {folder} at this moment; wait for it, or give this one a folder of its own "
            "with --out FOLDER"
        ) from error


def plain_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows as JSON can hold them: NaN and infinity as None, numbers of numpy as those of Python. Raises TypeError for any other value."""
    found = [{key: _plain(value) for key, value in row.items()} for row in rows]
    canonical_json(found)
    return list(found)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checksum(key: str, state: str, rows: Sequence[Row]) -> str:
    return content_id({"key": key, "state": str(state), "rows": [dict(row) for row in rows]})
