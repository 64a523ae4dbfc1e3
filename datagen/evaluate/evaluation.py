"""Runs an evaluation case by case, so that an interrupted one goes on where it was.

Conventions
    A journal for each protocol has the rows of every finished case under a key of all that they depend on: the case, the models with
    their versions, and the code of stemwright itself, so that a figure of an older version is never shown as one of this.
    A case that cannot be measured is rejected with the reason, and tried again the next time.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import Field

from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, table
from stemwright.datagen.evaluate.steps import reported_to
from stemwright.datagen.run.runner import describe_error
from stemwright.manifests.disk.durable import is_full
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.disk.locks import locked
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Record, content_id
from stemwright.manifests.table import Journal
from stemwright.manifests.usage import UsageError


class MeasuredCase(Record):
    """One row of a finished case, as it is in the journal."""

    values: dict[str, Any] = Field(description="what was measured, by name")


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found: its rows, the table of figures, and what was rejected with the reason."""

    protocol: EvaluationProtocol
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]
    rejected: tuple[tuple[str, str], ...]
    cases: int
    finished_before: int


def evaluations_folder() -> Path:
    """Where finished cases are kept if no folder is named: in the user's cache, safe to delete."""
    return cache_folder() / "evaluations"


def evaluate(
    protocol: EvaluationProtocol,
    request: EvaluationRequest,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
    *,
    again: bool = False,
) -> Evaluated:
    """Measures the cases of a protocol that are not finished in ``folder``, and makes the table. Raises UsageError for data of another
    layout and for options that the protocol does not have.
    """
    check_request(protocol, request)
    report: OnProgress = on_progress or (lambda *_: None)
    nothing = request.data is None and not protocol.free
    with redirect_stdout(sys.stderr):  # models are code of others, and standard output is for the result
        cases = [] if nothing else list(protocol.cases(request))
        keys = [key_of(protocol, request, case) for case in cases]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two cases of the protocol {protocol.name} have one key; expected keys that distinguish them")
    rows: list[Row] = []
    rejected: list[tuple[str, str]] = []
    before = 0
    for done, (case, key, journal) in enumerate(_open(cases, keys, (folder or evaluations_folder()) / f"{protocol.name}.jsonl.part")):
        report(done, len(cases), case.title)
        finished = None if again else journal.tasks.get(key)
        if finished is not None:
            before += 1
        else:
            try:
                with redirect_stdout(sys.stderr), reported_to(partial(_step, report, done, len(cases), case.title)):
                    measured = [_finite(row) for row in case.measure()]
            except UsageError:
                raise
            except SystemExit as left:  # of a model's code
                rejected.append((case.title, f"the code of a model ended the program with {left.code!r}"))
                continue
            except Exception as error:  # one song in a hundred must not end the evaluation
                if is_full(error):
                    raise
                rejected.append((case.title, describe_error(error)))
                continue
            journal.append(key, [MeasuredCase(values=row) for row in measured])
            finished = journal.tasks[key]
        rows += [row.values for row in finished if isinstance(row, MeasuredCase)]
    report(len(cases), len(cases), "")
    return Evaluated(protocol, tuple(rows), tuple(table(protocol, rows)), tuple(rejected), len(cases), before)


def _step(report: OnProgress, done: int, total: int, title: str, text: str, share: float) -> None:
    """Reports a step of a case: a fraction of it is done."""
    report(done + min(max(share, 0.0), 1.0), total, f"{title}: {text}")


def _open(cases: Sequence[Case], keys: Sequence[str], path: Path) -> Iterator[tuple[Case, str, Journal]]:
    """Each case with its key and the journal, which only one process writes at a time."""
    if not cases:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")), Journal(path, MeasuredCase) as journal:
        for case, key in zip(cases, keys, strict=True):
            yield case, key, journal


def check_request(protocol: EvaluationProtocol, request: EvaluationRequest) -> None:
    """Raises UsageError for models and options that a protocol does not take."""
    if request.models and not protocol.model:
        raise UsageError(f"--model {request.models[0].text}: the protocol {protocol.name} evaluates no model")
    if unknown := sorted(set(request.options) - set(protocol.options)):
        there = ", ".join(protocol.options) or "none"
        raise UsageError(f"--set {unknown[0]}: the protocol {protocol.name} has no such option; its options: {there}")
    if request.data is not None and not request.data.exists():
        raise UsageError(f"{request.data} does not exist; the protocol {protocol.name} needs {protocol.data}")


def key_of(protocol: EvaluationProtocol, request: EvaluationRequest, case: Case) -> str:
    """What the rows of a case depend on, as an id."""
    how = {"models": [each.version for each in request.models], "options": dict(request.options), "seed": request.seed}
    how |= {"duration_s": request.duration_s, "separation": _plain(asdict(request.separation))}
    return content_id({"protocol": protocol.name, "case": dict(case.key), **how, "code": code_digest()})


def _finite(row: Row) -> dict[str, Any]:
    """A row without NaN and infinity, which JSON cannot hold: they are None."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


@cache
def code_digest() -> str:
    """The checksum of all modules of stemwright: figures that other code measured are measured again."""
    import stemwright.datagen
    import stemwright.manifests
    import stemwright.separation

    digest = hashlib.sha256()
    for room in (stemwright.manifests, stemwright.separation, stemwright.datagen):
        place = Path(str(room.__file__)).parent
        for path in sorted(place.rglob("*.py")):
            digest.update(path.relative_to(place).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
