"""The report's section of findings: what is remarkable about the songs and was handled (``stemwright.datagen.run.findings``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from stemwright.datagen.report import charts, rows
from stemwright.datagen.report.page_charts import many
from stemwright.datagen.report.rows import Rows
from stemwright.datagen.run.findings import Finding, findings

FEWEST_FOR_CHART = 5  # multitracks: of fewer the table says it


def section(found: Rows, most: int) -> dict[str, Any] | None:
    """What the section shows, at most so many rows of each table; None if there is nothing."""
    each = findings(found.folder, found.tracks, found.stems, found.rejected)
    by_kind = {kind: [one for one in each if one.kind == kind] for kind in ("stems", "copy", "clipping", "offset", "note")}
    charted = _closure_chart(found)
    if not each and not charted:
        return None
    return {
        "stems": [_of_stem(found, one) for one in by_kind["stems"][:most]],
        "copies": [(rows.without_folders(found, one.file), rows.without_folders(found, one.what)) for one in by_kind["copy"][:most]],
        "sound": [_of_sound(found, one) for one in (*by_kind["clipping"], *by_kind["offset"])[:most]],
        "notes": _notes(by_kind["note"])[:most],
        "closure": charted,
        "counts": {kind: len(ones) for kind, ones in by_kind.items()},
    }


def _title(found: Rows, one: Finding) -> str:
    track = found.track.get(one.track_id)
    return track.title if track else rows.without_folders(found, one.file)


def _of_stem(found: Rows, one: Finding) -> dict[str, Any]:
    """A stem as cells; what does not apply is empty."""
    facts, track = one.details, found.track[one.track_id]
    lag, fit, gain = (facts.get(name) for name in ("lag_frames", "fit_gain_db", "gain_db"))
    return {
        "song": track.title,
        "stem": one.stem or "all",
        "lag": f"{charts.fixed(facts['lag_ms'], 2)} ms" if lag else "",
        "fit": f"{charts.fixed(fit, 2)} dB" if fit else "",
        "gain": f"{charts.fixed(gain, 2)} dB" if gain else "",
        "values": ["" if each is None else each for each in (facts.get("lag_ms"), fit, gain, track.closure_db)],
        "sides": ", ".join(name for name in ("inverted", "swapped") if facts.get(name)),
        "closure": "exact" if track.closure_db is None else f"{charts.fixed(track.closure_db)} dB",
        "what": one.what,
    }


def _of_sound(found: Rows, one: Finding) -> dict[str, Any]:
    values = [100 * value for value in one.details["channels"]] if one.kind == "clipping" else one.details["channels"]
    digits, unit = (2, " %") if one.kind == "clipping" else (4, "")
    return {
        "song": _title(found, one),
        "what": "clipped samples" if one.kind == "clipping" else "constant offset",
        "values": values if len(values) > 1 else [*values, *values],
        "channels": [f"{charts.fixed(value, digits)}{unit}" for value in (values if len(values) > 1 else [*values, *values])],
    }


def _notes(found: Sequence[Finding]) -> list[tuple[str, int, str]]:
    """(note, songs, the first of them) with the most frequent note first."""
    counted = Counter(one.what for one in found)
    first: dict[str, str] = {}
    for one in found:
        first.setdefault(one.what, one.file)
    return [(note, count, first[note]) for note, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def _closure_chart(found: Rows) -> tuple[str, Markup] | None:
    """How well multitracks' own stems sum to their mixtures, with a caption; None for few."""
    own = [track for track in found.tracks if track.references]
    values = [track.closure_db for track in own if track.closure_db is not None]
    if len(values) < FEWEST_FOR_CHART:
        return None
    axis = charts.rounded(charts.around("closure (dB)", values, least=10.0))
    exact = len(own) - len(values)
    caption = f"Closure of {many(len(values), 'multitrack')} after mending, lower is better" + (
        f"; {exact} more sum exactly" if exact else ""
    )
    return caption, charts.histogram("Closure of multitracks", values, axis, what="songs")
