"""The audit of label truth: is what a row records of an effect's settings true of the audio?

For each effect, ours and those that are given as a model, each setting is measured back from audio, at several values, in mono and stereo,
at 44.1 and 48 kHz (``stemwright.datagen.evaluate.label_audit``). No such table is published, so there are no published figures.

Conventions
    A row is one value of one setting. A figure is one setting: the greatest error over its rows, in the unit of the measure or in percent,
    with the judgement as its author. Numbered settings of one judgement (``gain_01_db`` to ``gain_32_db``) are one figure.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from stemwright.datagen.evaluate.given_models import GivenModel, call
from stemwright.datagen.evaluate.label_audit import VERDICTS, AuditedEffect, Extent, Judgement, audit, judge
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row
from stemwright.manifests.records import Refused
from stemwright.manifests.usage import UsageError

QUICK = Extent((44_100,), (1, 2), 2)


def cases(request: EvaluationRequest) -> list[Case]:
    """One case an effect: the registered ones, or those that the given models return."""
    if request.data is not None:
        raise UsageError(f"labels takes no DATA: it makes its test signals; got {request.data}")
    if request.duration_s is not None:
        raise UsageError(
            "labels takes no --seconds: each test signal has the length that its measure needs; for a first try --set extent=quick"
        )
    extent = _extent(request.options.get("extent", "full"))
    effects = _chosen(_effects(request), request.options.get("effects", ""))
    return [_case(effect, extent) for effect in effects[: request.num_songs]]


def _case(effect: AuditedEffect, extent: Extent) -> Case:
    key = {"library": effect.library, "version": effect.version, "effect": effect.name}
    return Case(key, f"{effect.library}: {effect.name}", lambda: audit(effect, extent))


def _extent(text: str) -> Extent:
    if text not in ("full", "quick"):
        raise UsageError(f"--set extent={text}: expected full or quick")
    return Extent() if text == "full" else QUICK


def _effects(request: EvaluationRequest) -> list[AuditedEffect]:
    if request.models:
        return [effect for model in request.models for effect in given_effects(model)]
    from stemwright.datagen.evaluate.label_probes import registered

    return list(registered().values())


def given_effects(model: GivenModel) -> list[AuditedEffect]:
    """What a given model returns. Raises UsageError unless it is a mapping of names to audited effects."""
    try:
        found = call(model.text, model.function)
    except Refused as error:
        raise UsageError(str(error)) from error
    if not isinstance(found, Mapping) or not found:
        raise UsageError(f"--model {model.text} returned {type(found).__name__}; expected a dict of effects {{name: AuditedEffect}}")
    for name, effect in found.items():
        if not isinstance(effect, AuditedEffect):
            raise UsageError(f"--model {model.text} returned {type(effect).__name__} as {name}; expected an AuditedEffect")
    return list(found.values())


def _chosen(effects: list[AuditedEffect], text: str) -> list[AuditedEffect]:
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    there = {effect.name for effect in effects}
    if unknown := [name for name in wanted if name not in there]:
        raise UsageError(f"--set effects={text}: there is no effect {unknown[0]}; the effects: {', '.join(sorted(there))}")
    return [effect for effect in effects if not wanted or effect.name in wanted]


def figures(rows: Sequence[Row]) -> list[Figure]:
    """How many settings of each library are true, then each setting with its judgement and its greatest error."""
    judgements = judge(dict(row) for row in rows)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    versions = {str(row["library"]): str(row["version"]) for row in rows}
    for each in judgements:
        counts[each.library][each.verdict] += 1
    found = []
    for library, verdicts in counts.items():
        who = f"{library} {versions[library]}".strip()
        found += [
            Figure(who, "settings", f"of {verdicts.total()}", verdict, float(verdicts[verdict]))
            for verdict in VERDICTS
            if verdicts[verdict]
        ]
    single = len(counts) == 1
    return found + [_figure(group, single) for group in merged(judgements)]


def merged(judgements: Sequence[Judgement]) -> list[list[Judgement]]:
    """Neighbours that differ in a number of their name and are judged alike, together."""
    groups: list[list[Judgement]] = []
    for each in judgements:
        if groups and _stem(groups[-1][-1]) == _stem(each):
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _stem(each: Judgement) -> tuple[Any, ...]:
    return each.library, each.effect, re.sub(r"\d+", "#", each.setting), each.verdict, each.same_shape, each.note


def _figure(group: Sequence[Judgement], single: bool) -> Figure:
    first, last = group[0], group[-1]
    worst = [each.worst for each in group if each.worst is not None]
    name = first.setting if len(group) == 1 else f"{first.setting} to {last.setting}"
    value = None if not worst else 100.0 * max(worst) if first.relative else max(worst)
    wrong = sum(each.wrong for each in group)
    notes = [first.note] if first.note else []
    if wrong:
        notes.append(f"{wrong} of {sum(each.count for each in group)} not within the tolerance")
    if first.latency:
        notes.append(f"latency {first.latency} samples")
    if not first.same_shape:
        notes.append("the output has another shape than the input")
    return Figure(
        group=first.effect if single else f"{first.library}: {first.effect}",
        name=name,
        unit="%" if first.relative else first.unit,
        who=first.verdict,
        value=value,
        count=sum(each.count for each in group),
        note="; ".join(notes),
    )


PROTOCOL = EvaluationProtocol(
    name="labels",
    title="Are recorded settings of effects true of the audio? The greatest error of each setting, measured back",
    source="no publication; methods after BS.1770-5, ISO 3382-2 and Giannoulis et al. 2012, as each measure says",
    data="no data",
    free="test signals through each registered effect, ours and those of other packages",
    model="package.module:callable that returns effects of another library, {name: stemwright.datagen.evaluate.label_audit.AuditedEffect}",
    published=(),
    cases=cases,
    figures=figures,
    needs_data=False,
    options={
        "effects": "names of effects, separated by commas; all by default",
        "extent": "full, or quick: two values of each setting at 44.1 kHz alone",
    },
)
