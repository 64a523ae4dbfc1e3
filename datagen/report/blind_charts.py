"""The report's section on blind estimates: what was estimated of the effects of stems, and what such estimates are worth.

Conventions
    Any effect's estimates are shown, by the quantity that their rows state; rows of earlier versions state none and are left out.
    Risk against coverage is that of the songs of the corpus's profile, each left out (``stemwright.datagen.inverse.blind.left_out``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from markupsafe import Markup

from stemwright.datagen.report import charts, rows
from stemwright.datagen.report.charts import Axis, Strip
from stemwright.datagen.report.curves import Curve, curves
from stemwright.datagen.report.rows import Rows
from stemwright.datagen.run.corpus import Corpus

FEWEST = 4  # trials of the surest part whose mean error is shown


@dataclass
class _Estimated:
    """The estimates of one effect of stems of one name."""

    values: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    nothing: int = 0


def section(found: Rows) -> list[dict[str, Any]]:
    """For each effect that was estimated: its quantity, a row for each stem name, and the charts; nothing where none was."""
    estimated: dict[tuple[str, str, str], dict[str, _Estimated]] = defaultdict(lambda: defaultdict(_Estimated))
    tried: dict[str, int] = defaultdict(int)
    for name, effects, profile in rows.columns(found.estimates, "name", "effects", "profile"):
        tried[name] += profile is not None
        for each in effects:
            if each.get("quantity"):
                of_stem = estimated[each["effect"], each["quantity"], each["unit"]][name]
                of_stem.values.append(each["value"])
                of_stem.confidences.append(each["confidence"])
                of_stem.nothing += each["settings"] == "{}"
    if not estimated:
        return []
    risks = _risks(found)
    names = [name for name in rows.ordered(tried) if tried[name]]
    return [
        {
            "effect": effect,
            "quantity": quantity,
            "unit": unit,
            "digits": _digits(unit),
            "rows": [_row(name, by_stem.get(name), tried[name]) for name in names],
            "charts": [
                (f"{quantity.capitalize()} of each stem", _spread(effect, (quantity, unit), by_stem, names)),
                *risks.get(effect, ()),
            ],
        }
        for (effect, quantity, unit), by_stem in sorted(estimated.items())
    ]


def _row(name: str, known: _Estimated | None, tried: int) -> dict[str, Any]:
    """What was estimated of one stem name: how often, how often nothing was found, and the medians."""
    if known is None:
        return {"name": name, "tried": tried, "answered": 0, "nothing": 0, "quartiles": None, "confidence": None}
    return {
        "name": name,
        "tried": tried,
        "answered": len(known.values),
        "nothing": known.nothing,
        "quartiles": rows.quartiles(known.values),
        "confidence": median(known.confidences),
    }


def _digits(unit: str) -> int:
    """Decimals of values of a unit: seconds have two."""
    return 2 if unit == "s" else 1


def _spread(effect: str, quantity: tuple[str, str], by_stem: dict[str, _Estimated], names: list[str]) -> Markup:
    """The values of every stem name on one axis; ``quantity`` is its name and its unit."""
    values = {name: by_stem[name].values if name in by_stem else [] for name in names}
    label, ends = "{} ({})".format(*quantity), charts.ends_of(*values.values())
    axis = charts.around(label, ends, keep=(0.0,), lowest=0.0 if min(ends, default=0.0) >= 0.0 else -math.inf)
    strips = [Strip(name, values[name], f"stem-{name}") for name in names]
    return charts.strips(f"Estimates of {effect}", strips, axis, digits=_digits(quantity[1]), zero=0.0)


def _risks(found: Rows) -> dict[str, list[tuple[str, Markup]]]:
    """Risk against coverage for each effect with trials on the songs of the profile, with a caption."""
    from stemwright.datagen.inverse.blind.left_out import LEFT_OUT, left_out
    from stemwright.datagen.inverse.blind.profile import Profile

    path = Corpus(found.folder).table("profile")
    if not path.exists():
        return {}
    profile, drawn = Profile.load(path), dict[str, list[tuple[str, Markup]]]()
    for effect in LEFT_OUT:
        trials = {name: known for name in rows.ordered(profile) if (known := left_out(effect, profile[name]))}
        if not trials:
            continue
        lines, highest = [], 0.0
        for name, known in trials.items():
            coverage, risk = known.risk()
            first = min(FEWEST, len(risk)) - 1
            share = float(known.answered.mean())
            lines.append(
                Curve(name, (100.0 * coverage[first:]).tolist(), risk[first:].tolist(), f"stem-{name}", 100.0 * share if share else None)
            )
            highest = max(highest, float(np.max(risk[first:])))
        unit = next(iter(trials.values())).unit
        x_axis = Axis("coverage: most confident part of the trials (%)", 0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0))
        y_axis = Axis(f"mean error ({unit})", 0.0, max(highest, 1e-3) * 1.05, charts.nice_ticks(0.0, max(highest, 1e-3) * 1.05, 4))
        caption = f"Risk: mean error ({unit}) of the most confident trials, each song left out; the dot marks the part that is answered"
        drawn[effect] = [(caption, curves(f"Risk against coverage of {effect}", lines, x_axis, y_axis))]
    return drawn
