"""The charts of stems that were taken apart: how loud each part is, in the mixture and within its stem."""

from __future__ import annotations

from collections import defaultdict

from markupsafe import Markup

from stemwright.datagen.report import charts, rows
from stemwright.datagen.report.charts import Strip
from stemwright.datagen.report.rows import RESIDUAL, Rows


def part_charts(found: Rows) -> list[Markup]:
    """The level of every part against the mixture, and its loudness minus that of its stem; empty where no stem was taken apart."""
    stem_of = dict(rows.columns(found.parts, "id", "stem_id"))
    loudness = dict(rows.columns(found.estimates, "stem_id", "loudness_lufs")) if stem_of else {}
    in_mixture, in_stem = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    names: dict[str, None] = {}
    for part_id, name, own, level in rows.columns(found.part_estimates, "stem_id", "name", "loudness_lufs", "level_lu"):
        names |= {name: None} if name != RESIDUAL else {}
        whole = loudness.get(stem_of.get(part_id, ""))
        if level is not None:
            in_mixture[name].append(level)
        if own is not None and whole is not None:
            in_stem[name].append(own - whole)
    drawn = []
    for label, title, values in (
        ("level against the mixture (LU)", "Level of each part in the mixture", in_mixture),
        ("loudness against the stem (LU)", "Level of each part within its stem", in_stem),
    ):
        if any(values[name] for name in names):
            axis = charts.around(label, charts.ends_of(*(values[name] for name in names)), keep=(0.0,))
            drawn.append(charts.strips(title, [Strip(name, values[name], "stem-drums") for name in names], axis, zero=0.0))
    return drawn
