"""Rules and what keeps them as tables of 80 columns. Prints nothing itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from stemwright.datagen.report.rules_plot import figure_text, share_text
from stemwright.manifests.wording import counted
from stemwright.separation.balance.basis import sentence
from stemwright.separation.rules.quantities import FLOOR_DB, Measured
from stemwright.separation.rules.rule import Rule
from stemwright.separation.rules.verdicts import ELSEWHERE, NOT_MEASURED, TREND_ALONE, Kept, Song, Verdict

if TYPE_CHECKING:
    from rich.table import Table

REFUTED = "refuted"
MARK = "*"  # behind the name of a rule that its source refutes


def rules_table(rules: Sequence[Rule]) -> Table:
    """Every rule: its statement and source, its range, how certain it is."""
    from rich.table import Table

    table = Table(title=f"published rules of mixing ({len(rules)})", title_justify="left", title_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("statement, and where it is from", overflow="fold")
    table.add_column("range", overflow="fold")
    table.add_column("certainty", no_wrap=True)
    for rule in rules:
        table.add_section()
        conditions = rule.conditions_text()
        span = "\n".join(filter(None, [rule.range_text(), rule.unit, conditions])) or "not measured"
        table.add_row(rule.name, f"{rule.statement}\n{rule.source.text()}", span, rule.certainty)
    return table


def verdicts_table(song: Song, verdicts: Sequence[Verdict]) -> Table:
    """What one song keeps; the title says what its values rest on; what could not be measured is below, by its reason."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import lines_cell

    table = Table(title=lines_cell("bold", song.title, sentence(song.basis, song.origin)), title_justify="left")
    table.add_column("rule", no_wrap=True)
    for heading in ("value", "80 % range", "rule"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    shown = [each for each in verdicts if each.kept not in (NOT_MEASURED, ELSEWHERE)]
    for each in shown:
        cells = [_with_unit(each.measured.value, each.rule), _interval(each.measured), each.rule.range_text()]
        table.add_row(_name(each.rule), *cells, each.kept, style="dim" if each.rule.certainty == REFUTED else None)
    if not shown:
        table.add_row("none could be measured", "", "", "", "")
    left = [(each.rule.name, each.why) for each in verdicts if each.kept == NOT_MEASURED and each.why != TREND_ALONE]
    table.caption, table.caption_justify = "\n".join([*_refuted(shown), *reasons(left)]) or None, "left"
    return table


def kept_table(title: str, kept: Sequence[Kept], songs: Sequence[Song]) -> Table:
    """What several songs keep: median or trend, and the share of songs; the title says what the values of these songs rest on."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import lines_cell

    table = Table(title=lines_cell("bold", title, *bases(songs)), title_justify="left")
    table.add_column("rule", no_wrap=True)
    for heading in ("median", "rule", "kept by", "songs"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = [each for each in kept if each.kept != NOT_MEASURED]
    for each in shown:
        share = f"trend: {each.kept}" if each.rule.against else share_text(each)
        cells = [_with_unit(each.middle.value, each.rule), each.rule.range_text(), share, str(each.songs)]
        table.add_row(_name(each.rule), *cells, style="dim" if each.rule.certainty == REFUTED else None)
    if not shown:
        table.add_row("none could be measured", "", "", "", "")
    left = [(each.rule.name, each.why) for each in kept if each.kept == NOT_MEASURED]
    table.caption, table.caption_justify = "\n".join([*_refuted(shown), *reasons(left)]) or None, "left"
    return table


def bases(songs: Sequence[Song]) -> list[str]:
    """What the values of songs rest on, a line for each, with the number of songs where they differ."""
    found = Counter(sentence(song.basis, song.origin) for song in songs)
    return list(found) if len(found) == 1 else [f"{counted(number, 'song')}: {text}" for text, number in found.items()]


def _name(rule: Rule) -> str:
    return rule.name + (MARK if rule.certainty == REFUTED else "")


def _refuted(shown: Iterable[Verdict] | Iterable[Kept]) -> list[str]:
    return [f"{MARK} refuted by its source"] if any(each.rule.certainty == REFUTED for each in shown) else []


def reasons(left: Iterable[tuple[str, str]]) -> list[str]:
    """What could not be measured, by the reason: a line each."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, why in left:
        by_reason[why.rstrip(".")].append(name)
    return [f"not measured: {', '.join(names)}: {why}" for why, names in by_reason.items()]


def _with_unit(value: float | None, rule: Rule) -> str:
    floor = "<= " if value is not None and value <= FLOOR_DB and rule.unit == "dB" else ""  # such levels are not below it
    return f"{floor}{figure_text(value)} {rule.unit}".strip()


def _interval(measured: Measured) -> str:
    return "" if measured.low == measured.high else f"{figure_text(measured.low)} to {figure_text(measured.high)}"
