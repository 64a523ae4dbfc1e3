"""The charts of the report's page: what is drawn of which rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from stemwright.datagen.report import chain_text, charts, rows
from stemwright.datagen.report.charts import Strip
from stemwright.datagen.report.effect_spreads import EffectSpreads, SettingValues
from stemwright.datagen.report.rows import Rows
from stemwright.datagen.report.spooled import Spool
from stemwright.manifests.id_numbers import flags_in_arrow, flags_of, numbers_of, places_among, plain

if TYPE_CHECKING:
    import pyarrow

MAX_STRIPS = 16  # signals of one kind of pair


def balance_charts(found: Rows) -> list[Markup]:
    """Level, place and width of every stem name."""
    drawn = []
    for label, title, column, keep, digits in (
        ("level against the mixture (LU)", "Level", "level_lu", (0.0,), 1),
        ("pan (−1 left, 1 right)", "Pan", "pan", (-0.5, 0.5), 2),
        ("width (0 a point, 1 two unrelated channels)", "Width", "width", (0.0, 0.5), 2),
    ):
        values = rows.values_of_stems(found, column)
        if values:
            ends = charts.ends_of(*values.values())
            axis = charts.around(label, ends, keep=keep, lowest=0.0 if column == "width" else -math.inf)
            strips = [Strip(name, values.get(name, ()), f"stem-{name}") for name in found.stem_names]
            drawn.append(charts.strips(f"{title} of each stem", strips, axis, digits=digits, zero=0.0 if column != "width" else None))
    return drawn


def loudness_charts(found: Rows) -> list[tuple[str, Markup]]:
    """Loudness of stems and of rendered signals, and closure of the sums, each with a caption."""
    drawn = []
    loudness = rows.values_of_stems(found, "loudness_lufs")
    if loudness:
        axis = charts.around("integrated loudness (LUFS)", charts.ends_of(*loudness.values()))
        strips = [Strip(name, loudness.get(name, ()), f"stem-{name}") for name in found.stem_names]
        drawn.append(("Stems, on the scale of their mixture", charts.strips("Loudness of the stems", strips, axis)))
    closure = dict(rows.columns(found.stems, "track_id", "closure_db"))
    values = [value for value in closure.values() if value is not None]
    exact = len(closure) - len(values)
    if values:
        axis = charts.around("closure (dB)", values, least=4.0)
        more = f"; in {many(exact, 'track')} the stems sum exactly" if exact else ""
        drawn.append((f"Closure of each track, lower is better{more}", charts.strips("Closure", [Strip("tracks", values)], axis)))
    elif exact:
        drawn.append((f"Closure: the stems of every track sum exactly to its mixture ({many(exact, 'track')}).", Markup("")))
    with Spool() as spool:
        groups = _signal_loudness(found, spool)
        every = (spool.values(name) for _, names in groups for name in names)  # one at a time
        axis = charts.around("integrated loudness (LUFS)", [end for values in every for end in charts.ends_of(values)])
        for kind, names in groups:
            strips = [Strip(name, spool.values((kind, role, name)), role) for _, role, name in names]
            drawn.append((f"Signals of {kind} pairs, as written", charts.strips(f"Loudness of the signals of {kind} pairs", strips, axis)))
    return drawn


def _signal_loudness(found: Rows, spool: Spool) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """For each kind of pair its signals (kind, role, name), inputs first; the loudness of each as written is in the spool."""
    import pyarrow.compute as pc

    ids = found.pairs.ids()
    order = np.argsort(ids)
    codes = (_codes(batch.column(0), found.kinds) for batch in found.pairs.columns("kind"))
    ids, kind_of = ids[order], np.concatenate([np.zeros(0, np.int8), *codes])[order]
    for batch in found.examples.columns("pair_id", "signals.role", "signals.name", "signals.loudness_lufs"):
        pairs = places_among(numbers_of(batch.column("pair_id")), ids)[plain(pc.list_parent_indices(batch.column("signals")))]
        files = pc.list_flatten(batch.column("signals"))
        loudness = pc.struct_field(files, "loudness_lufs")
        roles, names = (pc.struct_field(files, each).dictionary_encode() for each in ("role", "name"))
        measured = (pairs >= 0) & flags_of(loudness.is_valid())
        values = plain(loudness.filter(flags_in_arrow(measured)))
        signals = np.stack([kind_of[pairs], plain(roles.indices), plain(names.indices)])[:, measured]
        found_here, places = np.unique(signals, axis=1, return_inverse=True)
        for number, (kind, role, name) in enumerate(found_here.T.tolist()):
            series = (found.kinds[kind], roles.dictionary[role].as_py(), names.dictionary[name].as_py())
            spool.add(series, values[places.reshape(-1) == number])
    groups: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for kind, role, name in spool.names:
        groups[kind].append((kind, role, name))
    return [(kind, _in_order(groups[kind])[:MAX_STRIPS]) for kind in sorted(groups)]


def _codes(texts: pyarrow.StringArray, names: Sequence[str]) -> npt.NDArray[np.int8]:
    """The numbers of texts [N] among a few names."""
    coded = texts.dictionary_encode()
    return np.array([names.index(name) for name in coded.dictionary.to_pylist()], np.int8)[plain(coded.indices)]


def _in_order(signals: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    first = {name: index for index, name in enumerate(rows.ordered({name for *_, name in signals}))}
    return sorted(signals, key=lambda signal: (signal[1], first[signal[2]]))


def effect_use(found: Rows, spreads: EffectSpreads) -> list[tuple[str, Markup]]:
    """How often each kind of pair uses each effect, in the input only and elsewhere; each with a caption."""
    drawn = []
    for kind in found.kinds:
        counted = [(each.name, each.counts["removed"], each.counts["kept"] + each.counts["added"]) for each in spreads.of_kind(kind)]
        if counted:
            title = f"Uses in {many(found.counts.total(kind=kind), f'{kind} pair')}"
            drawn.append((title, charts.bars(f"Effects in {kind} pairs", counted)))
    return drawn


def effects(spreads: EffectSpreads) -> list[dict[str, Any]]:
    """For each effect its counts and a chart for each setting."""
    shown = []
    for effect in spreads.together():
        known, used = chain_text.declared(effect.name), spreads.settings(effect.name)
        order = (*(name for name in known if name in used), *sorted(set(used) - set(known)))
        drawn = [_setting_chart(effect.name, name, spreads.values(effect.name, name)) for name in order]
        counts = [(chain_text.ROLE_WORDS[role], effect.counts[role]) for role in chain_text.ROLES if effect.counts[role]]
        varied = [chart for chart in drawn if isinstance(chart, dict)]
        fixed = [text for text in drawn if isinstance(text, str)]
        shown.append({"name": effect.name, "total": effect.counts.total(), "counts": counts, "charts": varied, "fixed": fixed})
    return shown


def _setting_chart(effect: str, name: str, values: SettingValues) -> dict[str, Any] | str:
    """A histogram of numbers or bars of choices; a sentence for a setting that is the same in every use."""
    label = chain_text.label_of(effect, name)
    if (only := values.only) is not None:
        ((_, text),) = chain_text.written(effect, {name: only})
        return f"{label.split(' (')[0]} {text}"
    if not values.texts:
        axis = chain_text.axis_of(effect, name, np.concatenate([values.removed, values.others]))
        chart = charts.histogram(f"{effect} {label}", values.removed, axis, second=values.others)
    else:
        counted = values.choices()
        options = sorted({option for option, _ in counted})
        chart = charts.bars(f"{effect} {label}", [(option, counted[option, True], counted[option, False]) for option in options])
    return {
        "label": chain_text.label_of(effect, name, unit_in_brackets=False),
        "meaning": chain_text.meaning(effect, name),
        "chart": chart,
    }


KEYS = tuple(
    f"{tonic} {mode}" for tonic in ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B") for mode in ("major", "minor")
)


def tempo_charts(found: Rows) -> list[tuple[str, Markup]]:
    """Tempi and keys of the tracks, where they were estimated."""
    drawn = []
    tempi = [tempo for (tempo,) in rows.columns(found.track_estimates, "tempo_bpm") if tempo is not None]
    if tempi:
        axis = charts.around("tempo (beats per minute)", tempi, least=20.0)
        drawn.append(
            (
                f"Tempo, found in {len(tempi)} of {many(len(found.track_estimates), 'track')}",
                charts.histogram("Tempo", tempi, axis, what="tracks"),
            )
        )
    keys = Counter(key for (key,) in rows.columns(found.track_estimates, "key") if key is not None)
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
