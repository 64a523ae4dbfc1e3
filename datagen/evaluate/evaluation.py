"""Runs an evaluation case by case, so that an interrupted one goes on where it was.

Conventions
    A journal for each protocol has the rows of every finished case under a key of all that they depend on: the case, the models with
    their versions, and the code of stemwright itself, so that a figure of an older version is never shown as one of this.
    A case that cannot be measured is rejected with the reason, and tried again the next time. Progress is that of the cases that are not
    finished, by their audio where it is known: what was kept took no time, and says nothing about the time that is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from stemwright.datagen.evaluate.kept_cases import KeptCases, State, kept_cases, plain_rows
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, table
from stemwright.datagen.evaluate.steps import OnStep, reported_to
from stemwright.datagen.run.runner import describe_error
from stemwright.manifests.disk.durable import is_full
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.foreign_code import foreign_code
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.records import content_id
from stemwright.manifests.usage import UsageError

OnRemark = Callable[[str], None]
Keyed = tuple[str, Case]


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
    on_remark: OnRemark | None = None,
    *,
    again: bool = False,
) -> Evaluated:
    """Measures the cases of a protocol that are not finished in ``folder``, and makes the table.

    ``on_remark`` gets sentences about what is kept there. Raises UsageError for data of another layout, for options that the protocol
    does not have, and while another evaluation works in the folder.
    """
    with foreign_code():  # all of it: threads of a model may print at any moment
        return _evaluated(protocol, request, folder, on_progress or (lambda *_: None), on_remark or (lambda _: None), again=again)


def _evaluated(
    protocol: EvaluationProtocol, request: EvaluationRequest, folder: Path | None, report: OnProgress, remark: OnRemark, *, again: bool
) -> Evaluated:
    check_request(protocol, request)
    nothing = request.data is None and not protocol.free
    cases = [] if nothing else list(protocol.cases(request))
    keys = [key_of(protocol, request, case) for case in cases]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two cases of the protocol {protocol.name} have one key; expected keys that distinguish them")
    rows: list[Row] = []
    rejected: dict[str, str] = {}
    before = 0
    if cases:
        with kept_cases(folder or evaluations_folder(), protocol.name) as kept:
            todo = _unfinished(cases, keys, kept, remark, again=again)
            before = len(cases) - len(todo)
            rejected = _measure(todo, kept, report)
            rows = [row for key in keys if key not in rejected for row in kept.rows(key)]
    reasons = tuple((case.title, rejected[key]) for case, key in zip(cases, keys, strict=True) if key in rejected)
    return Evaluated(protocol, tuple(rows), tuple(table(protocol, rows)), reasons, len(cases), before)


def _unfinished(cases: Sequence[Case], keys: Sequence[str], kept: KeptCases, remark: OnRemark, *, again: bool) -> list[Keyed]:
    """The cases that are to be measured: last those that ended the process, so that the others are finished before one does so again."""
    todo: list[Keyed] = []
    last: list[Keyed] = []
    for key, case in zip(keys, cases, strict=True):
        state = kept.state(key)
        if state == State.BEGUN:
            remark(
                f"{case.title}: the last run ended while it was measured (did a model crash, or memory run out?); it is measured last now"
            )
        elif state == State.DAMAGED:
            remark(f"{case.title}: what was kept of it is damaged or was edited; it is measured again")
        if again or state != State.FINISHED:
            (last if state == State.BEGUN else todo).append((key, case))
    return todo + last


def _measure(todo: Sequence[Keyed], kept: KeptCases, report: OnProgress) -> dict[str, str]:
    """Measures cases and keeps their rows; returns the reasons of those that are rejected, by their keys."""
    rejected: dict[str, str] = {}
    audio_s = [case.audio_s for _, case in todo]
    total_s = None if None in audio_s else sum(each or 0.0 for each in audio_s)
    done_s = 0.0

    def said(number: int, its_s: float, subject: str, share: float) -> None:
        audio = None if total_s is None else AudioDone(done_s + share * its_s, total_s)
        report(number + share, len(todo), subject, *(() if audio is None else (audio,)))

    for number, (key, case) in enumerate(todo):
        its_s = case.audio_s or 0.0
        said(number, its_s, case.title, 0.0)
        step = partial(_step, partial(said, number, its_s), case.title)
        kept.begin(key)
        try:
            measured = _measured(case, step)
        except Exception as error:  # one song in a hundred must not end the evaluation
            if isinstance(error, UsageError) or is_full(error):
                kept.leave(key)
                raise
            rejected[key] = describe_error(error)
            kept.leave(key)
        except SystemExit as left:  # of a model's code
            rejected[key] = f"the code of a model ended the program with {left.code!r}"
            kept.leave(key)
        except BaseException:  # stopped by the user
            kept.leave(key)
            raise
        else:
            kept.finish(key, measured)
        done_s += its_s
    report(len(todo), len(todo), "", *(() if total_s is None else (AudioDone(total_s, total_s),)))
    return rejected


def _measured(case: Case, step: OnStep) -> list[Row]:
    """The rows of a case; models are code of others, and standard output is for the result."""
    with foreign_code(), reported_to(step):
        return plain_rows(case.measure())


def _step(said: Callable[[str, float], None], title: str, text: str, share: float) -> None:
    """Reports a step of a case: a fraction of it is done."""
    said(f"{title}: {text}", min(max(share, 0.0), 1.0))


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
