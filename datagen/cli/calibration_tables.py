"""The tables of ``stemwright calibrate``: how good a calibration is for songs that are left out, and which ones are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.separation.balance.kept_calibrations import KeptCalibration
    from stemwright.separation.balance.level_estimators import Calibration
    from stemwright.separation.calibrating.songs_left_out import SongsLeftOut


def left_out_table(origin: str, songs: int, judged: SongsLeftOut) -> Table:
    """Error, largest error and coverage of each stem, before and after."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import lines_cell

    said = f"each of {songs} songs by the others: generic, then calibrated"
    table = Table(title=lines_cell("bold", f"calibration to {origin}", said), title_justify="left")
    table.add_column("stem", overflow="fold", min_width=len("windows"))
    for heading in (("stems",), ("RMSE", "LU"), ("worst", "LU"), ("80 % range", "holds"), ("range", "LU wide")):
        table.add_column(lines_cell("table.header", *heading), justify="right", no_wrap=True)
    for row in judged.rows():
        if row["stem"] == "all":
            table.add_section()
        pairs = [
            _pair(row, "rmse_lu", "{:.2f}"),
            _pair(row, "worst_lu", "{:+.1f}"),
            _pair(row, "coverage", "{:.0%}"),
            _pair(row, "width_lu", "{:.1f}"),
        ]
        table.add_row(row["stem"], str(row["count"]), *pairs)
    return table


def left_out_lines(judged: SongsLeftOut) -> list[str]:
    """The lines below the table."""
    from stemwright.manifests.wording import counted

    lost = judged.after.figures()["lost"]
    missing = [f"{counted(int(lost), 'stem')} of these would be called not present"] if lost else []
    return ["windows: of three seconds, as levels over time are", *missing]


def _pair(row: dict[str, float | None], name: str, shape: str) -> str:
    """A figure before and after."""
    both = [row[f"{name}_{when}"] for when in ("before", "after")]
    return " -> ".join("-" if each is None else shape.format(each).replace("%", " %") for each in both)


def pan_line(judged: SongsLeftOut, kept: Calibration, base: Calibration) -> str:
    """The pan's mean error, and the coverage and mean width of its ranges, before and after; and which of them are kept."""
    if judged.pan_before is None or judged.pan_after is None:
        return "pan: not measured, since the songs are mono"
    before, after = judged.pan_before, judged.pan_after
    held = f"{before.coverage:.0%} -> {after.coverage:.0%}".replace("%", " %")
    return (
        f"pan: mean error {before.error:.3f} -> {after.error:.3f}, 80 % range holds {held}, {before.width:.3f} -> {after.width:.3f} wide; "
        f"kept: {kept_pan(kept, base, judged)}"
    )


def kept_pan(kept: Calibration, base: Calibration, judged: SongsLeftOut) -> str:
    """Which pans and ranges of them a calibration has: its own, or those of its base."""
    if kept.image != base.image:
        return "calibrated"
    return "generic" if judged.pan_holds else "generic, since the calibrated range holds less"


def calibrations_table(found: Sequence[KeptCalibration]) -> Table:
    """The calibrations that are kept: of which separator, on how many songs, how good."""
    from rich.table import Table

    table = Table(title=f"calibrations ({len(found)})", title_justify="left", title_style="bold")
    table.add_column("separator", overflow="fold")
    for heading in ("id", "songs", "RMSE LU", "holds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        total = next((row for row in each.left_out if row.get("stem") == "all"), {})
        rmse, held = total.get("rmse_lu_after"), total.get("coverage_after")
        figures = ["-" if rmse is None else f"{rmse:.2f}", "-" if held is None else f"{held:.0%}".replace("%", " %")]
        table.add_row(each.origin, each.id, str(len(each.songs)), *figures)
    return table
