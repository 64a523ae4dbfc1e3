"""Rows as rich tables for a terminal, and as plain values for ``--json``. Prints nothing itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.section_tables import in_short
from stemwright.manifests.records import RESIDUAL, Estimate, Rejected
from stemwright.manifests.wording import with_unit
from stemwright.separation.balance.basis import BASES, OF_STEM, Basis
from stemwright.separation.balance.panorama import in_words

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.findings import Finding
    from stemwright.manifests.check import CheckProblem
    from stemwright.separation.balance.measure import StemBalance
    from stemwright.separation.balance.track_balance import TrackBalance
    from stemwright.separation.demucs.checkpoints import ListedModel, Verified

NOT_PRESENT = "not present"
SHOWN_LU = 0.1  # of an interval: one below is not seen in a table with one decimal


def balance_table(title: str, estimates: Sequence[Estimate]) -> Table:
    """Levels of one track's stems with their intervals, loudness, place and width, and when they sound."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    ranged = any(row.level_low_lu != row.level_high_lu for row in estimates)
    table.add_column("stem", no_wrap=True)
    for heading in ("level LU", *(["80 % range"] if ranged else []), "LUFS", "pan", "width", "plays"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in estimates:
        cells = [row.name, _number(row.level_lu, NOT_PRESENT), *([_interval(row)] if ranged else []), _number(row.loudness_lufs)]
        plays = "-" if row.level_lu is None else f"{100 * sum(row.active) / max(1, len(row.active)):.0f} %"
        cells += [in_words(row.pan), _number(row.width, digits=2), plays]
        table.add_row(*cells, style="dim" if row.name == RESIDUAL else None)
    return table


def comparison_table(title: str, reference: Sequence[Estimate], separated: Mapping[str, StemBalance]) -> Table:
    """Levels from a multitrack's own stems beside those from separated ones, with their interval and error."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stem", no_wrap=True)
    for heading in ("reference LU", "separated LU", "80 % range", "error LU"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in reference:
        if (other := separated.get(row.name)) is None:
            continue
        level = other.level_lu if other.present else None
        error = None if level is None or row.level_lu is None else level - row.level_lu
        span = f"{other.level_low_lu:.1f} to {other.level_high_lu:.1f}" if other.present else "-"
        table.add_row(row.name, _number(row.level_lu, NOT_PRESENT), _number(level, NOT_PRESENT), span, _number(error, sign=True))
    return table


def track_balance_table(track: TrackBalance) -> Table:
    """One recording's stems: level with its interval, against the rest, place, width, when it plays; the title says what they rest on."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import lines_cell
    from stemwright.separation.balance.basis import sentence, sentence_on_calibration, sentence_on_parts
    from stemwright.separation.balance.image_words import DASH, image_in_words

    loudness = track.loudness
    title = f"{track.title}  {loudness.integrated_lufs:.1f} LUFS, range {_finite(loudness.range_lu)} LU"
    title += f", true peak {_finite(loudness.true_peak_dbtp, sign=True)} dBTP, PLR {_finite(track.plr_db)} dB"
    calibrated = sentence_on_calibration(track.basis, track.origin, track.calibration_songs, track.calibrated_without)
    said = filter(None, [sentence(track.basis, track.origin), calibrated, sentence_on_parts(track.parts_origin)])
    table = Table(title=lines_cell("bold", title, *said), title_justify="left")
    table.add_column("stem", overflow="fold", min_width=6)
    ranged = any(stem.present and stem.level_high_lu - stem.level_low_lu >= SHOWN_LU for stem in track.stems.values())
    span_heading = [("80 %", "range")] if ranged else []
    for heading in (("level", "LU"), *span_heading, ("to rest", "LU"), ("pan",), ("width",), ("plays",)):
        table.add_column(lines_cell("table.header", *heading), justify="right", no_wrap=True)
    notes = [in_short(track.music)] if track.music else []
    notes += [f"{name} {stem.note}" for name, stem in track.stems.items() if not stem.present]
    for name, stem in track.stems.items():
        if not stem.present:
            table.add_row(_beneath(name), *("-" * (len(table.columns) - 1)), style="dim")  # the reason is below
            continue
        span = [f"{stem.level_low_lu:.1f} to {stem.level_high_lu:.1f}"] if ranged else []
        table.add_row(_beneath(name), f"{stem.level_lu:.1f}", *span, _finite(stem.against_rest_lu, sign=True), *image_in_words(stem))
    if any(stem.pan is None and stem.present for stem in track.stems.values()):
        notes.append("mono: pan and width are not defined")
    if any(DASH in text for stem in track.stems.values() if stem.present for text in image_in_words(stem)):
        notes.append("pan, width and plays: 80 % ranges where these are wider than a tenth")
    table.caption, table.caption_justify = "\n".join(notes) or None, "left"  # a reason would be wider than the table
    return table


def _beneath(name: str) -> str:
    """The name of a stem; of a part, which is beneath its stem, its own with an indent."""
    return f"  {name.split(OF_STEM, 1)[1]}" if OF_STEM in name else name


def _finite(value: float | None, *, sign: bool = False) -> str:
    return _number(value if value is not None and math.isfinite(value) else None, sign=sign)


def summary_table(rows: Sequence[Mapping[str, Any]], bases: Sequence[Basis] = ()) -> Table:
    """Levels of several recordings: median, interquartile range and full range for each stem; how many were measured, if that is given."""
    from rich.table import Table

    counted = [f"{bases.count(basis)} {basis}" for basis in BASES if basis in bases]
    title = f"all tracks: level LU ({', '.join(counted)})" if counted else "all tracks: level LU"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("stem", no_wrap=True)
    for heading in ("median", "quartiles", "lowest, highest", "to rest", "found in"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        half, ends = (f"{_number(row[low])} to {_number(row[high])}" for low, high in SPREADS)
        table.add_row(
            row["stem"],
            _number(row["median_lu"]),
            half,
            ends,
            _number(row["against_rest_lu"]),
            f"{row['present']} of {row['tracks']}",
        )
    return table


SPREADS = (("q25_lu", "q75_lu"), ("min_lu", "max_lu"))


def percentile_table(corpus: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The percentile of each stem among those of a corpus: 0 is quieter than all of them, 100 louder."""
    from rich.table import Table

    table = Table(title=f"{rows[0]['track']} against {corpus}", title_justify="left", title_style="bold")
    table.add_column("stem", no_wrap=True)
    for heading in ("level LU", "percentile", "its range", "median LU", "stems"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        span = f"{_number(row['percentile_low'], digits=0)} to {_number(row['percentile_high'], digits=0)}"
        cells = [_number(row["level_lu"], NOT_PRESENT), _number(row["percentile"], digits=0), span, _number(row["corpus_median_lu"])]
        table.add_row(row["stem"], *cells, str(row["corpus_stems"]))
    return table


def models_table(models: Sequence[ListedModel]) -> Table:
    """The models: stems, networks, size, and where they are."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table()
    for heading in ("model", "stems", "networks", "MB", "here"):
        table.add_column(heading, justify="right" if heading in ("networks", "MB") else "left", overflow="fold")
    for model in models:
        table.add_row(
            model.name, ", ".join(model.stem_names), str(model.num_networks), _number(model.size_mb), path_cell(model.folder or "no")
        )
    return table


def verified_table(files: Sequence[Verified]) -> Table:
    """The files of a model and whether their checksums are right."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table()
    for heading in ("file", "sha256", "verdict"):
        table.add_column(heading, overflow="fold")
    for file in files:
        verdict = "no checksum known" if file.expected is None else "intact" if file.ok else f"DIFFERS, expected {file.expected}"
        table.add_row(path_cell(file.path.name), file.sha256[:16], verdict)
    return table


def balance_plain(estimates: Sequence[Estimate], compared: Mapping[str, StemBalance] | None = None) -> list[dict[str, Any]]:
    """The same as plain values."""
    rows = [row.model_dump(mode="json", exclude={"id", "cache_key", "active", "effects", "profile"}) for row in estimates]
    for row in rows:
        if compared is not None and row["name"] in compared:
            other = compared[row["name"]]
            row["separated_level_lu"] = round(other.level_lu, 3) if other.present else None
    return rows


def rejected_table(rejected: Sequence[Rejected], limit: int = 10) -> Table:
    """The first rejected rows with their reasons."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table(title=f"rejected ({len(rejected)})", title_justify="left", title_style="bold")
    for heading in ("stage", "what", "reason"):
        table.add_column(heading, overflow="fold")
    for row in rejected[:limit]:
        table.add_row(row.stage, path_cell(row.subject), row.reason)
    if len(rejected) > limit:
        table.add_row("", f"... and {len(rejected) - limit} more", "see rejected.parquet")
    return table


def problems_table(problems: Sequence[CheckProblem], limit: int = 20) -> Table:
    """What a check found."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table(title=f"problems ({len(problems)})", title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("where", "what"):
        table.add_column(heading, overflow="fold")
    for problem in problems[:limit]:
        table.add_row(problem.level, path_cell(_where(problem)), problem.what)
    if len(problems) > limit:
        table.add_row("", "", f"... and {len(problems) - limit} more; --json lists all")
    return table


def findings_table(found: Sequence[Finding], limit: int = 20) -> Table:
    """What is remarkable and was handled: mended stems, copies, clipping, offsets; without notes of the catalog, which many songs have."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table(title=f"findings ({len(found)}), no problems", title_justify="left", title_style="bold")
    for heading in ("kind", "song", "what"):
        table.add_column(heading, overflow="fold")
    for each in found[:limit]:
        table.add_row(each.kind, path_cell(each.file), each.what)
    if len(found) > limit:
        table.add_row("", "", f"... and {len(found) - limit} more; --json and the report list all")
    return table


def _where(problem: CheckProblem) -> str:
    """The file, and where there is none the table and its row."""
    return problem.file or " ".join(filter(None, (problem.table, problem.row_id)))


def effects_table(names: Sequence[str]) -> Table:
    """Every effect with its settings: range, unit, neutral value and meaning."""
    from rich.table import Table

    table = Table()
    table.add_column("setting", no_wrap=True)
    table.add_column("range", no_wrap=True)
    table.add_column("neutral", justify="right", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    for name in names:
        table.add_section()
        table.add_row(name, style="bold")
        for row in effects_rows([name]):
            span = row["unit"] if row["low"] is None else with_unit(f"{row['low']:g} to {row['high']:g}", row["unit"])
            table.add_row(f"  {row['setting']}", span.strip(), _plain(row["neutral"]), row["description"])
    return table


def effects_rows(names: Sequence[str]) -> list[dict[str, Any]]:
    """The same as plain values."""
    from stemwright.datagen.effects import EFFECTS
    from stemwright.datagen.effects.settings import describe

    return [
        {
            "effect": name,
            "setting": row.name,
            "low": row.low,
            "high": row.high,
            "unit": row.unit,
            "neutral": row.neutral,
            "off": row.off,
            "scale": row.scale,
            "description": row.description,
        }
        for name in names
        for row in describe(EFFECTS[name].Settings)
    ]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _number(value: float | None, missing: str = "-", *, digits: int = 1, sign: bool = False) -> str:
    if value is None:
        return missing
    shown = round(value, digits) + 0.0  # no -0.0
    return f"{shown:+.{digits}f}" if sign and shown else f"{shown:.{digits}f}"


def _interval(row: Estimate) -> str:
    if row.level_low_lu is None or row.level_high_lu is None:
        return "-"
    return f"{row.level_low_lu:.1f} to {row.level_high_lu:.1f}"
