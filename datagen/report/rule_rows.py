"""Rules, verdicts and shares as rows of plain values: the same for a table, JSON and CSV.

Conventions
    Values and shares are rounded to 0.001; what is not known is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stemwright.separation.balance.basis import model_of
from stemwright.separation.rules.quantities import QUANTITIES, Measured
from stemwright.separation.rules.rule import Rule
from stemwright.separation.rules.verdicts import Kept, Song, Verdict, verdict

Row = dict[str, Any]
ALL = "all songs"


def rule_row(rule: Rule) -> Row:
    """A rule as it is in the table of rules."""
    return {
        "rule": rule.name,
        "statement": rule.statement,
        "quantity": rule.quantity or None,
        "measures": QUANTITIES[rule.quantity].description if rule.quantity else None,
        "low": rule.low,
        "high": rule.high,
        "unit": rule.unit,
        "range_from": rule.range_from,
        "against": rule.against or None,
        "genres": list(rule.genres),
        "first_year": rule.years[0],
        "last_year": rule.years[1],
        "certainty": rule.certainty,
        "source": rule.source.text(),
        "not_measured": rule.not_measured or None,
    }


def song_rows(rules: Sequence[Rule], songs: Sequence[Song]) -> list[Row]:
    """One row for each song and rule that is about songs by themselves."""
    return [_song_row(song, verdict(rule, song)) for song in songs for rule in rules if rule.quantity and not rule.against]


def _song_row(song: Song, found: Verdict) -> Row:
    rule = found.rule
    return {
        "track": song.title,
        "path": song.path,
        "basis": song.basis,
        "model": model_of(song.origin) or None,
        "year": song.year,
        "genre": song.genre,
        "rule": rule.name,
        "rule_certainty": rule.certainty,
        "quantity": rule.quantity,
        **_interval("", found.measured),
        "unit": rule.unit,
        "range_low": rule.low,
        "range_high": rule.high,
        "kept": found.kept,
        "why": found.why,
    }


def kept_rows(group: str | None, kept: Sequence[Kept]) -> list[Row]:
    """One row for each rule about all songs of a group, with None for it of all; of a trend the value is the slope, with no share."""
    return [
        {
            "group": ALL if group is None else group,
            "is_group": group is not None,
            "rule": each.rule.name,
            "rule_certainty": each.rule.certainty,
            "songs": each.songs,
            "songs_about": each.about,
            **_interval("share", each.share),
            **_interval("value", each.middle),
            "unit": each.rule.unit,
            "range_low": each.rule.low,
            "range_high": each.rule.high,
            "kept": each.kept,
            "why": each.why,
        }
        for each in kept
    ]


def _interval(name: str, measured: Measured, digits: int = 3) -> Row:
    names = (f"{name}", f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    values = (measured.value, measured.low, measured.high)
    return {key: None if value is None else round(value, digits) + 0.0 for key, value in zip(names, values, strict=True)}
