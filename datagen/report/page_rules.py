"""The section of the page on published rules of mixing: what the tables of a corpus can tell of them, without its audio.

Conventions
    Levels and pans are those of the estimates; rules of the spectrum, the width or the loudness need the audio, and ``stemwright rules``.
    A level against the rest is that of ``stemwright.separation.balance.song_values``.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from stemwright.datagen.report.rows import Rows
from stemwright.datagen.report.rules_plot import figure_text, share_text
from stemwright.separation.balance.measure import StemBalance
from stemwright.separation.balance.song_values import SongValues, Triple, songs_of_corpus
from stemwright.separation.loudness.meter import LoudnessReport
from stemwright.separation.rules.published import RULES
from stemwright.separation.rules.quantities import QUANTITIES, STEMS, Heard, measure_quantities
from stemwright.separation.rules.verdicts import NOT_MEASURED, Song, share_kept

SILENT = "not present"


def section(found: Rows) -> list[dict[str, str]]:
    """A row of text for each rule that is about levels or places of stems and could be measured; none without estimates."""
    if not found.estimates or not (found.folder / "estimates.parquet").exists():  # or that stage has not ended
        return []
    rules = [rule for rule in RULES.values() if QUANTITIES.own.get(rule.quantity, "").startswith(STEMS)]
    needed = sorted({rule.quantity for rule in rules})
    songs = [_song(each, needed) for each in songs_of_corpus(found.folder)]
    kept = [share_kept(rule, songs) for rule in rules]
    return [
        {
            "statement": each.rule.statement,
            "refuted": "refuted by its source" if each.rule.certainty == "refuted" else "",
            "range": f"{each.rule.range_text()} {each.rule.unit}".strip(),
            "median": f"{figure_text(each.middle.value)} {each.rule.unit}".strip(),
            "kept": f"trend: {each.kept}" if each.rule.against else share_text(each),
            "songs": str(each.songs),
            "source": f"{each.rule.source.authors} {each.rule.source.year}",
        }
        for each in kept
        if each.kept != NOT_MEASURED
    ]


def _song(values: SongValues, needed: list[str]) -> Song:
    balances = {name: _balance(stem) for name, stem in values.stems.items()}
    heard = Heard(np.zeros((2, 1)), 1, LoudnessReport(*[math.nan] * 5), balances)
    year = values.columns.get("year", "")
    return Song(values.title, measure_quantities(heard, needed), int(year) if year.isdigit() else None, values.columns.get("genre"))


def _balance(stem: Any) -> StemBalance:
    """What rules ask of a stem's balance, from the values of its estimate."""
    level, rest, pan = stem["level_lu"], stem["against_rest_lu"], stem["pan"]
    present = math.isfinite(level[0])
    names = {"level": level, "against_rest": rest}
    found: dict[str, Any] = {f"{name}{end}_lu": value for name, triple in names.items() for end, value in _ends(triple)}
    found |= {f"pan{end}": value if math.isfinite(pan[0]) else None for end, value in _ends(pan)}
    return cast("StemBalance", SimpleNamespace(**found, present=present, note="" if present else SILENT))


def _ends(triple: Triple) -> list[tuple[str, float]]:
    return list(zip(("", "_low", "_high"), triple, strict=True))
