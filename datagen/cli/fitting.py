"""The verb ``fit``: the console that made a mixture, from the mixture and its dry stems. ``datagen/cli/app.py`` puts it on the command
line.

Conventions
    MIXTURE is a recording beside --stems FOLDER, a STEM file that holds its own stems, or a folder with mixture.wav and the stems.
    Stems are brought to the mixture's rate, channels and length, and moved where they are late; their levels stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.options import WRITTEN, JsonOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.records import Refused
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import with_unit

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.inverse.console import Console
    from stemwright.separation.balance.own_stems import OwnStems

EMPTY = "the chain is empty: expected the effects of every stem in order, such as eq,compressor,fader; `stemwright effects` lists them"
LEAST_SHOWN = 5e-4  # of a setting: smaller values are shown as 0


def fit(
    mixture: Annotated[
        Path, typer.Argument(metavar="MIXTURE", help="A mixture, a STEM file, or a folder with mixture.wav and stems.", show_default=False)
    ],
    stems: Annotated[Path | None, typer.Option("--stems", metavar="FOLDER", help="Folder with the dry stems (vocals.wav ...).")] = None,
    chain: Annotated[
        str, typer.Option(metavar="EFFECTS", help="Effects of every stem, in order.", autocompletion=completion.chain)
    ] = "eq,compressor,fader",
    bus: Annotated[
        str, typer.Option(metavar="EFFECTS", help="Effects of the mix bus, in order; none by default.", autocompletion=completion.chain)
    ] = "",
    send: Annotated[
        str,
        typer.Option(
            metavar="EFFECT", help="room or reverb: find one reverb that all stems are sent to, each with its own gain. Without --bus."
        ),
    ] = "",
    rides: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Find gain rides (volume automation) with a point every so many seconds, e.g. 10. Without --bus.",
            show_default=False,
        ),
    ] = 0.0,
    console: Annotated[
        Path | None, typer.Option(metavar="FILE", help=r'TOML file instead, e.g. \[stems] vocals = ["eq", "fader"], bus = [...].')
    ] = None,
    excerpt: Annotated[
        str | None, typer.Option(metavar="START:END", help="Part to fit, in seconds; by default the most informative parts, together.")
    ] = None,
    render: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Write the mix through the fitted console to this file: {WRITTEN}.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the console: preset (.json), Reaper project (.rpp) or pedalboard script (.py)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot levels and equalisers to this file (.png, .svg, .pdf or .jpg).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the console behind a mix: effects and settings of every stem, from the mixture and its dry stems.

    Each setting has a confidence; what the audio does not determine is marked.

    Example: stemwright fit mix.wav --stems dry --chain eq,compressor,fader --render again.wav
    """
    from stemwright.datagen.inverse.console import fit_console

    terminal = Terminal(as_json)
    _check_outputs([mixture, *([stems] if stems else [])], render, plot, save)
    own = load_multitrack(mixture, stems)
    for note in own.findings.all_notes:
        terminal.warn(note)
    if send and bus:
        raise UsageError("a shared room is found only without effects on the mix bus: leave out --send or --bus")
    if rides and bus:
        raise UsageError("gain rides are found only without effects on the mix bus: leave out --rides or --bus")
    chains, bus_chain = read_console(console, list(own.stems)) if console else (_names(chain), _names(bus))
    if not (console or chains or bus_chain or send or rides):
        raise UsageError(EMPTY)
    span = _span(excerpt, own.sample_rate, own.mixture.shape[1])
    part = {name: stem[:, span] for name, stem in own.stems.items()}
    with terminal.progress("fit") as report:
        found = fit_console(own.mixture[:, span], part, own.sample_rate, chains, bus=bus_chain, on_progress=report, send=send, ride_s=rides)
    _show(terminal, found, own, span.start or 0)
    _write(terminal, found, own, render, plot)
    if save:
        _save(terminal, found, own, mixture, stems, save)
    terminal.finish(0)


def _check_outputs(inputs: Sequence[Path], render: Path | None, plot: Path | None, save: Path | None) -> None:
    """Raises UsageError for files that cannot be written, before the fit, which takes minutes."""
    from stemwright.datagen.edit.presets import FORMATS
    from stemwright.manifests.disk.outputs import PICTURES, check_output
    from stemwright.manifests.sound.song_writing import SONG_SUFFIXES

    for out, suffixes in ((render, SONG_SUFFIXES), (plot, PICTURES), (save, tuple(FORMATS))):
        if out:
            check_output(out, suffixes, inputs)


def _show(terminal: Terminal, found: Console, own: OwnStems, offset: int) -> None:
    """The table of the console, and what is below it; ``offset`` is the first frame of the excerpt."""
    for name, reason in found.left_out.items():
        terminal.warn(f"{name}: {reason}; it has no chain")
    terminal.show("console", console_table(found), found.rows())
    terminal.collected |= summary(found, own.sample_rate, offset) | {"notes": list(own.findings.all_notes)}
    for name, stem in own.findings.mending.items():  # moved before the fit
        lags_ms = terminal.collected["lags_ms"]
        lags_ms[name] = lags_ms.get(name, 0.0) + 1000.0 * stem.lag_frames / own.sample_rate
    for line in lines(found, own.sample_rate, offset):
        terminal.say(line)


def _write(terminal: Terminal, found: Console, own: OwnStems, render: Path | None, plot: Path | None) -> None:
    """Writes the mix through the console and the picture, if they were requested."""
    if render:
        from stemwright.datagen.edit.song_output import OutputOptions

        output = OutputOptions().to(render)
        mix = found.mix(own.stems, own.sample_rate).numpy().astype(np.float32)
        level = output.write(output.levelled(mix, own.sample_rate, "the mix"), own.sample_rate)
        for line in (*level.notes, *level.lines("the mix")):
            terminal.say(line)
        terminal.collected |= {"render": {"out": str(render), **level.plain(), "notes": list(level.notes)}}
        terminal.say(f"mix of the console: {render}")
    if plot:
        from stemwright.datagen.report.plots import plot_console

        plot_console(found, own.sample_rate, plot)
        terminal.say(f"picture: {plot}")


def _save(terminal: Terminal, found: Console, own: OwnStems, mixture: Path, stems: Path | None, path: Path) -> None:
    """Writes the console as a preset or for another program, and says what that cannot hold."""
    from stemwright.datagen.edit.presets import write_preset
    from stemwright.datagen.edit.presets.preset import Preset
    from stemwright.manifests.disk.regular import file_sha256
    from stemwright.separation.balance.own_stems import multitrack_files

    song, files = multitrack_files(mixture, stems)
    preset = Preset(dict(found.chains), tuple(found.bus), own.sample_rate, dict(found.lags), file_sha256(song), found.send)
    left_out = write_preset(preset, {name: file for name, (file, stream) in files.items() if name in found.chains and not stream}, path)
    terminal.collected |= {"saved": str(path), "not_saved": list(left_out)}
    for each in left_out:
        terminal.warn(f"not in {path.name}: {each}, which it cannot hold")
    terminal.say(f"console: {path}")


def load_multitrack(path: Path, stems: Path | None) -> OwnStems:
    """A mixture and its stems, in time with it and in its shape, at their own levels. Raises UsageError where there are none.

    Raises Refused, with the name of the mixture, where a file cannot be read, or none of the stems is of this mixture.
    """
    from stemwright.separation.balance.own_stems import load_own, multitrack_files

    try:
        files = multitrack_files(path, stems)
    except ValueError as error:
        raise UsageError(str(error)) from error
    try:
        return load_own(*files, undo_gains=False)
    except Refused as reason:
        raise Refused(f"{path}: {reason}") from reason


def read_console(path: Path, names: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Chains by stem and that of the bus from a TOML file; ``default`` is the chain of stems without one of their own."""
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # UnicodeDecodeError and TOMLDecodeError among them
        raise UsageError(f"--console {path} cannot be read: {error}") from error
    if unknown := set(table) - {"stems", "bus", "default"}:
        raise UsageError(f"{path}: expected stems, default and bus, got {', '.join(sorted(unknown))}")
    from stemwright.datagen.inverse.console import DEFAULT

    stems = table.get("stems", {})
    if not isinstance(stems, dict):
        raise UsageError(f'{path}: expected stems as a table, such as [stems] vocals = ["eq", "fader"], got {stems!r}')
    if unknown := set(stems) - set(names):
        raise UsageError(f"{path}: there is no stem {', '.join(sorted(unknown))}; the stems are {', '.join(names)}")
    default = _listed(table.get("default", list(DEFAULT)), "default", path)
    return {name: _listed(stems.get(name, list(default)), name, path) for name in names}, _listed(table.get("bus", []), "bus", path)


def _listed(chain: Any, name: str, path: Path) -> tuple[str, ...]:
    """A chain of a TOML file. Raises UsageError for what is no list of names."""
    if not isinstance(chain, list) or not all(isinstance(effect, str) for effect in chain):
        raise UsageError(f'{path}: expected a list of effects for {name}, such as ["eq", "fader"], got {chain!r}')
    return tuple(chain)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _span(text: str | None, sample_rate: int, frames: int) -> slice:
    if text is None:
        return slice(0, frames)
    try:
        start, stop = (round(float(part) * sample_rate) for part in text.split(":"))
    except (ValueError, OverflowError):  # of what is infinite
        raise UsageError(f"expected --excerpt START:END in seconds such as 30:36, got {text!r}") from None
    if start < 0 or min(stop, frames) - start < sample_rate:
        raise UsageError(f"expected an excerpt of at least a second within 0:{frames / sample_rate:.1f}, got {text}")
    return slice(start, min(stop, frames))


def console_table(found: Console) -> Table:
    """One line for each effect: its settings with units, what is undetermined in brackets; their confidence, and the effect's share."""
    from rich.table import Table

    table = Table(title="The console", title_justify="left", title_style="bold")
    for heading in ("stem", "effect", "settings"):
        table.add_column(heading, no_wrap=heading != "settings")
    for heading in ("confidence", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = found.rows()
    for place in dict.fromkeys(row["stem"] for row in rows):
        mine = [row for row in rows if row["stem"] == place]
        for number, effect in enumerate(dict.fromkeys(row["effect"] for row in mine)):
            settings = [row for row in mine if row["effect"] == effect]
            name = (place or "mix bus") if number == 0 else ""
            share = settings[0]["effect_share"]
            table.add_row(name, effect, described(settings), _least(settings), "" if share is None else f"{100.0 * share:.0f} %")
    return table


def _least(settings: Sequence[Mapping[str, Any]]) -> str:
    """The least confidence of the settings outside brackets, and in brackets that of those within, as the settings are written."""
    known = [row for row in settings if row["confidence"] is not None]
    parts = [[row["confidence"] for row in known if row["determined"] is determined] for determined in (True, False)]
    texts = [_bracketed(f"{100.0 * min(part):.0f} %", determined) for part, determined in zip(parts, (True, False), strict=True) if part]
    return " ".join(texts)


def described(settings: Sequence[Mapping[str, Any]]) -> str:
    """The settings of one effect as text: an equaliser by its bands, others by name; undetermined ones in brackets."""
    from stemwright.datagen.effects import EFFECTS
    from stemwright.datagen.effects.settings import fields
    from stemwright.datagen.inverse.effect_roles import has, is_fader

    effect = settings[0]["effect"]
    if effect not in EFFECTS:  # a send
        return ", ".join(_bracketed(f"{_plain_name(row['setting'])} {_valued(row)}", row["determined"]) for row in settings)
    if bands := getattr(EFFECTS[effect], "BANDS", ()):
        values = {row["setting"]: row for row in settings}
        heard = [band for band in bands if abs(values[f"{band}_gain_db"]["value"]) >= 0.1]
        return ", ".join(_band(band, values) for band in heard) or "flat"
    if points := getattr(EFFECTS[effect], "POINTS", ()):
        return _ride(points, settings)
    declared = fields(EFFECTS[effect].Settings)
    hidden = {name for name, each in declared.items() if getattr(each, "gain", False) and not is_fader(effect)}  # 0: left to the fader
    noise = {"seed"} if has(effect, "stochastic") else set()
    shown = [row for row in settings if not (row["setting"] in hidden and row["value"] == 0.0) and row["setting"] not in noise]
    return ", ".join(_bracketed(f"{_plain_name(row['setting'])} {_valued(row)}", row["determined"]) for row in shown)


def _ride(points: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> str:
    """The points of a gain ride that are within the song, in dB, from the first on."""
    values = {row["setting"]: row for row in settings}
    shown = [_bracketed(f"{values[point]['value']:+.1f}", values[point]["determined"]) for point in points if _known(values[point])]
    return f"every {values['step_s']['value']:g} s: {' '.join(shown)} dB"


def _known(row: Mapping[str, Any]) -> bool:
    return row["confidence"] is not None


def _band(band: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    gain, hz, q = (values[f"{band}_{name}"] for name in ("gain_db", "hz", "q"))
    text = f"{band.replace('_', ' ')} {gain['value']:+.1f} dB at {hz['value']:.0f} Hz q {q['value']:.2f}"
    return _bracketed(text, gain["determined"] and hz["determined"])


def _bracketed(text: str, determined: bool) -> str:
    return text if determined else f"({text})"


def _plain_name(name: str) -> str:
    for suffix in ("_db", "_ms", "_s", "_hz"):
        name = name.removesuffix(suffix)
    return name.replace("_", " ")


def _valued(row: Mapping[str, Any]) -> str:
    value = row["value"]
    if isinstance(value, (bool, str)):
        return str(value).lower()
    unit = row["unit"] if row["unit"] in ("dB", "dBFS", "ms", "s", "Hz", ":1") else ""
    return with_unit(f"{value if abs(value) >= LEAST_SHOWN else 0.0:.3g}" if math.isfinite(value) else str(value), unit)


def summary(found: Console, sample_rate: int, offset: int = 0) -> dict[str, Any]:
    """Everything but the settings, as plain values for JSON."""
    chains = {**found.chains, **({"mix bus": found.bus} if len(found.bus) or found.bus.pruned else {})}
    return {
        "loss": found.loss,
        "gain_and_pan_loss": found.gain_and_pan_loss,
        "error_db": found.error_db,
        "gain_and_pan_error_db": found.gain_and_pan_error_db,
        "excerpts_s": [[(frame + offset) / sample_rate for frame in span] for span in found.spans],
        "lags_ms": {name: 1000.0 * lag / sample_rate for name, lag in found.lags.items()},
        "left_out": found.left_out,
        "pruned": {name: list(chain.pruned) for name, chain in chains.items() if chain.pruned},
        "unclear": {name: list(chain.unclear) for name, chain in chains.items() if chain.unclear},
        "undetermined": {name: list(chain.undetermined) for name, chain in chains.items() if chain.undetermined},
        "bus_compressor_helps_db": found.bus_compressor_helps_db,
        "gain_and_pan": {name: settings.plain() for name, settings in found.faders.items()},
    }


def lines(found: Console, sample_rate: int, offset: int = 0) -> list[str]:
    """The lines below the table."""
    spans = [f"{(start + offset) / sample_rate:.1f} to {(stop + offset) / sample_rate:.1f} s" for start, stop in found.spans]
    shown = [
        f"fitted from {', '.join(spans)}; settings in brackets are not determined by the audio",
        "confidence: the least probability of a setting to be within its tolerance, in brackets that of the settings in brackets",
        "share: what the residual would have of its energy from leaving out the effect; a fader is never left out",
    ]
    shown += [f"{name}: {1000.0 * lag / sample_rate:+.1f} ms against the mixture" for name, lag in found.lags.items()]
    chains = {**found.chains, "mix bus": found.bus}
    if found.is_gains_alone:
        shown.append("no closer than gains and pans alone, by loss or by residual: these are shown; effects may have been used")
        chains = {}
    for name, chain in chains.items():
        if clear := [effect for effect in chain.pruned if effect not in chain.unclear]:
            shown.append(f"{name}: no better with {', '.join(clear)}, left out")
        if chain.unclear:
            effects = ", ".join(dict.fromkeys(chain.unclear))
            shown.append(f"{name}: {effects} left out, but may be there: not audible above a residual of {found.error_db:.1f} dB")
    if found.send is not None and not found.send.is_found:
        shown.append("no shared room was found: nothing in the mixture is reverberation of these stems; its settings say nothing")
    if found.bus_compressor_helps_db:
        lower = f"one would lower the residual by {found.bus_compressor_helps_db:.1f} dB"
        shown.append(
            f"mix bus: a compressor or limiter is likely ({lower}): gains and thresholds may be wrong without it; try --bus compressor"
        )
    ratio = found.loss / found.gain_and_pan_loss if found.gain_and_pan_loss > 0.0 else math.nan
    shown.append(f"spectral loss {found.loss:.3f}; with gain and pan only {found.gain_and_pan_loss:.3f} (ratio {ratio:.2f})")
    shown.append(f"residual {found.error_db:.1f} dB; with gain and pan only {found.gain_and_pan_error_db:.1f} dB")
    return shown
