"""The verb ``evaluate``: published evaluations on the user's data, or on what is free. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    The table has a section for each figure: what is published of it, then what was measured here. What could not run says what it needs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.options import DeviceOption, JsonOption, ModelFolderOption, OfflineOption, TrustPickleOption, whole_number
from stemwright.datagen.cli.stopping import resumable
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.evaluate.evaluation import Evaluated
    from stemwright.datagen.evaluate.protocol import EvaluationProtocol, Figure


def evaluate(
    protocol: Annotated[
        str | None,
        typer.Argument(metavar="PROTOCOL", help="One that --list shows.", show_default=False, autocompletion=completion.protocols),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Folder of the data that it needs; without it what is free is evaluated.", show_default=False),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the protocols, or say all about one; measure nothing.")] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model to evaluate, as --list says: package.module:callable, a name or a folder; repeatable.",
        ),
    ] = None,
    songs: Annotated[int | None, typer.Option(parser=whole_number(1), metavar="N", help="Only the first N songs, for a first try.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="Only so many seconds from the middle of each song.")] = None,
    seed: Annotated[int, typer.Option(parser=whole_number(0), metavar="N", help="Seed of what the protocol draws.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Option of the protocol, as --list says; repeatable.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep finished cases here, for resuming, instead of in the user's cache.", show_default=False),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the figures to this CSV file.")] = None,
    rows: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write what was measured of each case to this CSV file.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also plot the figures (.png, .svg, .pdf or .jpg).")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure finished cases again.")] = False,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a published evaluation; show its published figures beside what is measured here. The same command resumes.

    Example: stemwright evaluate musdb /data/musdb18hq --model htdemucs
    """
    from stemwright.datagen.evaluate.evaluation import evaluate as run
    from stemwright.datagen.evaluate.given_models import HowToSeparate, given_models
    from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
    from stemwright.manifests.usage import UsageError
    from stemwright.manifests.wording import counted

    terminal = Terminal(as_json)
    if show_list:
        _list(terminal, [PROTOCOLS[name] for name in ([protocol] if protocol else PROTOCOLS)], fully=protocol is not None)
    if protocol is None:
        raise UsageError("expected a protocol; for what there is: stemwright evaluate --list")
    chosen = PROTOCOLS[protocol]
    if seconds is not None and not math.isfinite(seconds):
        raise UsageError(f"--seconds {seconds}: expected a number of seconds, 0.1 or more")
    models = given_models(model or ())
    options = _options(settings or ())
    read = [data, model_folder, *(each.folder for each in models), *(Path(value) for value in options.values() if value)]
    _check_outputs([path for path in read if path is not None and _exists(path)], csv, rows, plot, out)
    how = HowToSeparate(model_folder, device or "auto", offline, trust_pickle)
    request = EvaluationRequest(data, models, songs, seconds, seed, options, how)
    with resumable(), terminal.progress("evaluate") as report:
        found = run(chosen, request, out, report, terminal.warn, again=again)
    for each in models if found.finished_before else ():
        if not each.states_version:
            terminal.warn(f"--model {each.text}: finished cases are used; of what it loads beside its code nothing is known (--again)")
    for title, reason in found.rejected:
        terminal.warn(f"{title}: {reason}")
    _show(terminal, found, request.data is None)
    _write(terminal, found, csv, rows, plot)
    terminal.collected |= {"cases": found.cases, "finished_before": found.finished_before}
    terminal.collected["rejected"] = [{"case": title, "reason": reason} for title, reason in found.rejected]
    before = f" ({found.finished_before} of them before)" if found.finished_before else ""
    terminal.say(f"evaluate: {counted(found.cases - len(found.rejected), 'case')} done{before}, {len(found.rejected)} rejected")
    terminal.finish(3 if found.rejected and len(found.rejected) < found.cases else 1 if found.rejected else 0)


def _options(settings: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE as a mapping. Raises UsageError for what has no equals sign, and for a name that is given twice."""
    from stemwright.manifests.usage import UsageError

    found: dict[str, str] = {}
    for each in settings:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {each}: expected NAME=VALUE")
        if name.strip() in found:
            raise UsageError(f"--set {name.strip()} is given twice; expected once")
        found[name.strip()] = value.strip()
    return found


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; the value of an option may be a text too long for a name."""
    with suppress(OSError):
        return path.exists()
    return False


def _check_outputs(read: Sequence[Path], csv: Path | None, rows: Path | None, plot: Path | None, out: Path | None) -> None:
    """Raises UsageError for outputs that cannot be written, or would be written over what is read."""
    from stemwright.manifests.disk.outputs import PICTURES, TABLES, check_output
    from stemwright.manifests.usage import UsageError

    for path, suffixes in ((csv, TABLES), (rows, TABLES), (plot, PICTURES)):
        if path:
            check_output(path, suffixes, read)
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    if out is not None and any(out.resolve().is_relative_to(path.resolve()) for path in read if path.is_dir()):
        raise UsageError(f"--out {out} is in a folder that is read; name another one")
    if csv is not None and rows is not None and csv.resolve() == rows.resolve():
        raise UsageError(f"--csv and --rows both name {csv}; name two files")


def _list(terminal: Terminal, protocols: Sequence[EvaluationProtocol], *, fully: bool) -> None:
    """All protocols in a few lines each, or one with everything that it takes."""
    from rich.table import Table

    from stemwright.datagen.cli.cells import lines_cell

    table = Table(title=f"protocols ({len(protocols)})", title_justify="left", title_style="bold")
    table.add_column("protocol", no_wrap=True)
    table.add_column("what is measured, after which source, on which data", overflow="fold")
    for each in protocols:
        table.add_section()
        lines = [each.title, f"source: {each.source}", f"data: {each.data}"]
        lines += [f"without data: {each.free or 'what is published is shown'}"]
        if fully:
            lines += [f"--model: {each.model or 'none'}"]
            lines += [f"--set {name}=...: {text}" for name, text in each.options.items()]
        table.add_row(each.name, lines_cell("", *lines))
    terminal.show("protocols", table, [protocol_row(each) for each in protocols])
    if not fully:
        terminal.say("models and options of one: stemwright evaluate PROTOCOL --list")
    terminal.finish(0)


def protocol_row(protocol: EvaluationProtocol) -> dict[str, Any]:
    """A protocol as plain values."""
    text = {name: getattr(protocol, name) for name in ("name", "title", "source", "data", "free", "model")}
    return {**text, "options": dict(protocol.options), "published": [figure_row(each) for each in protocol.published]}


def figure_row(figure: Figure) -> dict[str, Any]:
    """A figure as plain values, rounded to 0.0001."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(figure).items()}


def _show(terminal: Terminal, found: Evaluated, is_free: bool) -> None:
    protocol = found.protocol
    terminal.collected |= {"protocol": protocol.name, "source": protocol.source, "data": protocol.free if is_free else "given"}
    terminal.show("figures", figures_table(found), [figure_row(each) for each in found.figures])
    if is_free and protocol.needs_data:
        ran = f"measured on {protocol.free}; " if protocol.free else ""
        terminal.collected["not_run"] = f"needs {protocol.data}"
        terminal.say(f"{ran}not run on the published data: needs {protocol.data}", wrap=True)


def figures_table(found: Evaluated) -> Table:
    """The figures: a section for each group, what is published before what was measured."""
    from rich.table import Table

    table = Table(title=found.protocol.title, title_justify="left", title_style="bold")
    for heading, least in (("of", 6), ("figure", 6), ("by", 11)):
        table.add_column(heading, overflow="fold", min_width=least)
    has_intervals = any(each.low is not None for each in found.figures)
    counted = "songs" if found.protocol.needs_data else "values"
    for heading in ("value", *(["95 % interval"] if has_intervals else []), counted):
        table.add_column(heading, justify="right", no_wrap=True)
    notes: dict[str, int] = {}
    last: tuple[str, str] | None = None
    for each in found.figures:
        is_new = last is None or last[0] != each.group
        if is_new:
            table.add_section()
        name = each.name if is_new or last is None or last[1] != each.name else ""
        mark = f" [{notes.setdefault(each.note, len(notes) + 1)}]" if each.note else ""
        interval = "" if each.low is None or each.high is None else f"{_text(each.low)} to {_text(each.high)}"
        value = "-" if each.value is None else f"{_text(each.value)} {each.unit}".strip()
        who = f"{'published: ' if each.origin == 'published' else ''}{each.who}{mark}"
        count = "" if each.count is None else str(each.count)
        cells = [each.group if is_new else "", name, who, value, *([interval] if has_intervals else []), count]
        table.add_row(*cells, style="dim" if each.origin == "published" else None)
        last = (each.group, each.name)
    if not found.figures:
        table.add_row("nothing")
    table.caption, table.caption_justify = "\n".join(f"[{number}] {note}" for note, number in notes.items()) or None, "left"
    return table


def _text(value: float) -> str:
    """A figure with three significant digits, at most three decimals."""
    digits = 3 if 0.0 < abs(value) < 0.1 else 2 if abs(value) < 100.0 else 1
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _write(terminal: Terminal, found: Evaluated, csv: Path | None, rows: Path | None, plot: Path | None) -> None:
    """Writes the tables and the picture that were requested."""
    from stemwright.manifests.disk.durable import remove_earlier, write_bytes
    from stemwright.manifests.spreadsheet import csv_text

    for path, lines in ((csv, [figure_row(each) for each in found.figures]), (rows, _rows(found))):
        if path is not None:
            remove_earlier(path)
            write_bytes(path, csv_text(lines).encode())
            terminal.say(f"table: {path}")
    if plot is not None and found.figures:
        from stemwright.datagen.evaluate.figures_plot import plot_figures

        if found.protocol.draw is not None and found.rows:
            found.protocol.draw(found.rows, plot)
        else:
            plot_figures(found.protocol.title, found.figures, plot)
        terminal.say(f"picture: {plot}")


def _rows(found: Evaluated) -> list[Mapping[str, Any]]:
    """The rows of all cases with the same columns."""
    names = list(dict.fromkeys(name for row in found.rows for name in row))
    return [{name: row.get(name) for name in names} for row in found.rows]
