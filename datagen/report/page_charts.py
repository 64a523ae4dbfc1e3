"""The charts of the report's page: what is drawn of which rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from stemwright.datagen.report import chain_text, charts, rows
from stemwright.datagen.report.charts import Strip
from stemwright.datagen.report.rows import Rows

MAX_STRIPS = 16  # signals of one kind of pair


def balance_charts(found: Rows) -> list[Markup]:
    """Level, place and width of every stem name."""
    drawn = []
    for label, title, column, keep, digits in (
        ("level against the mixture (LU)", "Level", "level_lu", (0.0,), 1),
        ("pan (−1 left, 1 right)", "Pan", "pan", (-0.5, 0.5), 2),
        ("width (0 a point, 1 two unrelated channels)", "Width", "width", (0.0, 0.5), 2),
    ):
        values = _by_name(found, column)
        if any(values.values()):
            everything = [value for each in values.values() for value in each]
            axis = charts.around(label, everything, keep=keep, lowest=0.0 if column == "width" else -math.inf)
            strips = [Strip(name, values.get(name, []), f"stem-{name}") for name in found.stem_names]
            drawn.append(charts.strips(f"{title} of each stem", strips, axis, digits=digits, zero=0.0 if column != "width" else None))
    return drawn


def _by_name(found: Rows, column: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for row in found.estimates:
        value = getattr(row, column)
        if value is not None:
            values[row.name].append(value)
    return values


def loudness_charts(found: Rows) -> list[tuple[str, Markup]]:
    """Loudness of stems and of rendered signals, and closure of the sums, each with a caption."""
    drawn = []
    loudness = _by_name(found, "loudness_lufs")
    if loudness:
        axis = charts.around("integrated loudness (LUFS)", [value for each in loudness.values() for value in each])
        strips = [Strip(name, loudness.get(name, []), f"stem-{name}") for name in found.stem_names]
        drawn.append(("Stems, on the scale of their mixture", charts.strips("Loudness of the stems", strips, axis)))
    closure = {stem.track_id: stem.closure_db for stem in found.stems}
    values = [value for value in closure.values() if value is not None]
    exact = len(closure) - len(values)
    if values:
        axis = charts.around("closure (dB)", values, least=4.0)
        more = f"; in {many(exact, 'track')} the stems sum exactly" if exact else ""
        drawn.append((f"Closure of each track, lower is better{more}", charts.strips("Closure", [Strip("tracks", values)], axis)))
    elif exact:
        drawn.append((f"Closure: the stems of every track sum exactly to its mixture ({many(exact, 'track')}).", Markup("")))
    groups = _signal_loudness(found)
    axis = charts.around("integrated loudness (LUFS)", [value for _, strips in groups for strip in strips for value in strip.values])
    for kind, strips in groups:
        drawn.append((f"Signals of {kind} pairs, as written", charts.strips(f"Loudness of the signals of {kind} pairs", strips, axis)))
    return drawn


def _signal_loudness(found: Rows) -> list[tuple[str, list[Strip]]]:
    """For each kind of pair its signals with the loudness of each as written, inputs first."""
    kinds = {pair.id: pair.kind for pair in found.pairs}
    values: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for example in found.examples:
        for file in example.signals:
            if file.loudness_lufs is not None and example.pair_id in kinds:
                values[kinds[example.pair_id]][file.role, file.name].append(file.loudness_lufs)
    groups = []
    for kind, signals in sorted(values.items()):
        first = {name: index for index, name in enumerate(rows.ordered({name for _, name in signals}))}
        order = sorted(signals, key=lambda key: (key[0], first[key[1]]))
        colours = {"input": "input", "target": "target"}
        groups.append((kind, [Strip(name, signals[role, name], colours[role]) for role, name in order[:MAX_STRIPS]]))
    return groups


def effect_use(found: Rows, by_kind: Mapping[str, Sequence[chain_text.EffectSpread]]) -> list[tuple[str, Markup]]:
    """How often each kind of pair uses each effect, in the input only and elsewhere; each with a caption."""
    pairs = Counter(pair.kind for pair in found.pairs)
    drawn = []
    for kind, spreads in by_kind.items():
        counted = [(s.name, s.counts["removed"], s.counts["kept"] + s.counts["added"]) for s in spreads]
        if counted:
            drawn.append((f"Uses in {many(pairs[kind], f'{kind} pair')}", charts.bars(f"Effects in {kind} pairs", counted)))
    return drawn


def effects(spreads: Sequence[chain_text.EffectSpread]) -> list[dict[str, Any]]:
    """For each effect its counts and a chart for each setting."""
    shown = []
    for spread in spreads:
        known = chain_text.declared(spread.name)
        drawn = [_setting_chart(spread, name) for name in (*(n for n in known if n in spread.values), *(set(spread.values) - set(known)))]
        counts = [(chain_text.ROLE_WORDS[role], spread.counts[role]) for role in chain_text.ROLES if spread.counts[role]]
        varied = [chart for chart in drawn if isinstance(chart, dict)]
        fixed = [text for text in drawn if isinstance(text, str)]
        shown.append({"name": spread.name, "total": spread.counts.total(), "counts": counts, "charts": varied, "fixed": fixed})
    return shown


def _setting_chart(spread: chain_text.EffectSpread, name: str) -> dict[str, Any] | str:
    """A histogram of numbers or bars of choices; a sentence for a setting that is the same in every use."""
    pairs = spread.values[name]
    label = chain_text.label_of(spread.name, name)
    distinct = {str(value) for value, _ in pairs}
    if len(distinct) == 1:
        ((_, text),) = chain_text.written(spread.name, {name: pairs[0][0]})
        return f"{label.split(' (')[0]} {text}"
    first = chain_text.numeric([value for value, role in pairs if role == "removed"])
    second = chain_text.numeric([value for value, role in pairs if role != "removed"])
    if len(first) + len(second) == len(pairs):
        axis = chain_text.axis_of(spread.name, name, [*first, *second])
        chart = charts.histogram(f"{spread.name} {label}", first, axis, second=second)
    else:
        counted = Counter((str(value).lower(), role == "removed") for value, role in pairs)
        options = sorted({option for option, _ in counted})
        chart = charts.bars(f"{spread.name} {label}", [(option, counted[option, True], counted[option, False]) for option in options])
    return {
        "label": chain_text.label_of(spread.name, name, unit_in_brackets=False),
        "meaning": chain_text.meaning(spread.name, name),
        "chart": chart,
    }


KEYS = tuple(
    f"{tonic} {mode}" for tonic in ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B") for mode in ("major", "minor")
)


def tempo_charts(found: Rows) -> list[tuple[str, Markup]]:
    """Tempi and keys of the tracks, where they were estimated."""
    drawn = []
    tempi = [row.tempo_bpm for row in found.track_estimates if row.tempo_bpm is not None]
    if tempi:
        axis = charts.around("tempo (beats per minute)", tempi, least=20.0)
        drawn.append(
            (
                f"Tempo, found in {len(tempi)} of {many(len(found.track_estimates), 'track')}",
                charts.histogram("Tempo", tempi, axis, what="tracks"),
            )
        )
    keys = Counter(row.key for row in found.track_estimates if row.key is not None)
    if keys:
        order = sorted(keys, key=lambda key: (-keys[key], KEYS.index(key) if key in KEYS else len(KEYS), key))
        drawn.append(
            (
                f"Key, found in {keys.total()} of {many(len(found.track_estimates), 'track')}",
                charts.bars("Key", [(key, keys[key], 0) for key in order]),
            )
        )
    return drawn


def many(count: int, noun: str) -> str:
    """A count with its noun, thousands apart: 1 track, 12 000 tracks."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", "\u202f")
