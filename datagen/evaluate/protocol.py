"""What a published evaluation is: the data that it needs, what it measures of each case, the table of figures that it gives.

    PROTOCOLS["musdb"].cases(request) -> cases;  case.measure() -> rows;  PROTOCOLS["musdb"].figures(rows) -> figures

A protocol is one file in ``stemwright/datagen/evaluate/protocols/``, or in another package, which names it by an entry point of the group
``stemwright.protocols``.

Conventions
    A case is the unit of work: what is finished of an interrupted evaluation is kept by case. Mostly it is a song. Its ``measure`` returns
    rows of plain JSON values (text, numbers, bool, None), from which alone the figures are computed.
    Published figures stand beside those that are measured, each with its source; they are never mixed with them.
    Intervals of figures are 95 %, by a bootstrap over songs (``stemwright.datagen.evaluate.scores``), unless the note says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stemwright.datagen.evaluate.given_models import GivenModel, HowToSeparate
from stemwright.manifests.registry import NAME, Registry

Row = Mapping[str, Any]
Origin = Literal["published", "measured"]


@dataclass(frozen=True)
class EvaluationRequest:
    """What an evaluation is asked to do. ``data`` None: what is free is evaluated, the excerpt that ships or what the protocol makes.

    ``num_songs`` and ``duration_s`` limit a first try; ``options`` are those that the protocol declares, as text.
    """

    data: Path | None = None
    models: tuple[GivenModel, ...] = ()
    num_songs: int | None = None
    duration_s: float | None = None
    seed: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    separation: HowToSeparate = field(default_factory=HowToSeparate)


@dataclass(frozen=True)
class Case:
    """One unit of work. ``key`` holds all that the rows depend on beside the code, as JSON values; ``title`` is for a person.

    ``audio_s`` is how much audio it has, in s, where its time follows from that; None: cases take about as long as each other.
    """

    key: Mapping[str, Any]
    title: str
    measure: Callable[[], Sequence[Row]]
    audio_s: float | None = None


@dataclass(frozen=True)
class Figure:
    """One figure of the table: of what (``group``: a stem, an effect), what (``name``, with ``unit``), of whom, and how much.

    ``low`` and ``high`` are its interval, ``count`` the number of songs. A published figure has its source in ``note``.
    """

    group: str
    name: str
    unit: str
    who: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    origin: Origin = "measured"
    note: str = ""


def published(group: str, name: str, unit: str, who: str, value: float, source: str) -> Figure:
    """A published figure with its source."""
    return Figure(group, name, unit, who, value, origin="published", note=source)


@dataclass(frozen=True)
class EvaluationProtocol:
    """A published evaluation.

    ``title`` says in a line what is measured, ``source`` where it is published, ``data`` what it needs, in which layout, and from where;
    ``free`` what is evaluated without it, empty: nothing. ``model`` says what ``--model`` may be and what a callable receives and
    returns; empty: no model is given. ``options`` describes those of ``--set NAME=VALUE``.
    ``cases`` raises UsageError, naming what it looked for, where the data is of another layout; ``figures`` makes the measured part of
    the table, in the order in which it is shown. ``needs_data`` False: there is no data that it was published on, what is free is all.
    ``draw(rows, path)`` makes a picture; None: that of the figures.
    """

    name: str
    title: str
    source: str
    data: str
    free: str
    model: str
    published: tuple[Figure, ...]
    cases: Callable[[EvaluationRequest], Sequence[Case]]
    figures: Callable[[Sequence[Row]], Sequence[Figure]]
    options: Mapping[str, str] = field(default_factory=dict)
    needs_data: bool = True
    draw: Callable[[Sequence[Row], Path], None] | None = None


def table(protocol: EvaluationProtocol, rows: Sequence[Row]) -> list[Figure]:
    """All figures: what was measured, and beside each group and name what is published of it; what is published alone comes last.

    Raises ValueError as ``check_interval`` for a figure that a protocol made.
    """
    measured = list(protocol.figures(rows)) if rows else []
    for each in measured:
        check_interval(each)
    order = list(dict.fromkeys((each.group, each.name) for each in [*measured, *protocol.published]))
    both = [*protocol.published, *measured]
    return sorted(both, key=lambda each: order.index((each.group, each.name)))  # stable: published before measured


def check_interval(figure: Figure) -> None:
    """Raises ValueError for a figure with one end of an interval only, or with ends in the wrong order; for a published one also where the
    value is not between them.
    """
    low, high = figure.low, figure.high
    if low is None and high is None:
        return
    what = f"the {figure.origin} figure {figure.group} {figure.name} has the interval {low} to {high}"
    if low is None or high is None or not low <= high:  # NaN is in no order
        raise ValueError(f"{what}; expected a low end and a high end, or none")
    if figure.origin == "published" and (figure.value is None or not low <= figure.value <= high):
        raise ValueError(f"{what} and the value {figure.value}; expected the value between the ends")


def check_protocol(name: str, protocol: Any) -> None:
    """The contract of a protocol. Raises TypeError or ValueError, saying what is wrong and what was expected."""
    if not isinstance(protocol, EvaluationProtocol):
        raise TypeError(f"expected a stemwright.datagen.evaluate.protocol.EvaluationProtocol; got {type(protocol).__name__}")
    if protocol.name != name or not NAME.fullmatch(protocol.name):
        raise ValueError(f"its name is {protocol.name!r}; expected {name!r}, of lower-case letters, digits and _")
    if empty := [each for each in ("title", "source", "data") if not getattr(protocol, each).strip()]:
        raise ValueError(f"it has no {' and no '.join(empty)}; expected what is measured, where it is published and which data it needs")
    for each in protocol.published:
        if each.origin != "published" or not each.note.strip() or not each.who.strip():
            raise ValueError(f"the published figure {each.group} {each.name} has no source or no name; expected both")
        if each.value is None or not math.isfinite(each.value):
            raise ValueError(f"the published figure {each.group} {each.name} is {each.value}; expected a finite number")
        check_interval(each)
    if wrong := [each for each, text in protocol.options.items() if not NAME.fullmatch(each) or not text.strip()]:
        raise ValueError(f"its option {wrong[0]!r} has no description, or is no name of lower-case letters, digits and _")


OURS = "stemwright.datagen.evaluate.protocols"
PROTOCOLS: Registry[EvaluationProtocol] = Registry(
    "protocol",
    "stemwright.protocols",
    {
        "balance": f"{OURS}.balance:PROTOCOL",
        "blind": f"{OURS}.blind:PROTOCOL",
        "declip": f"{OURS}.declip:PROTOCOL",
        "edit": f"{OURS}.edit:PROTOCOL",
        "fit": f"{OURS}.fit:PROTOCOL",
        "labels": f"{OURS}.labels:PROTOCOL",
        "limit": f"{OURS}.limit:PROTOCOL",
        "musdb": f"{OURS}.musdb:PROTOCOL",
        "removal": f"{OURS}.removal:PROTOCOL",
    },
    check=check_protocol,
)
