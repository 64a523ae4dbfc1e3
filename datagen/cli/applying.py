"""The verb ``apply``: a preset on the stems of a song. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.options import WRITTEN, BitRateOption, BitsOption, JsonOption, KeepLevelOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.edit.presets.preset import Preset
    from stemwright.datagen.edit.presets.stem_mix import StemMix


def apply(
    preset: Annotated[Path, typer.Argument(metavar="PRESET", help="JSON file that stemwright fit or mix saved.", show_default=False)],
    stems: Annotated[Path, typer.Argument(metavar="STEMS", help="Folder with the dry stems (vocals.wav ...).", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help=f"Mix to write: {WRITTEN}.", show_default=False)],
    save_stems: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also write each stem as it is before the bus.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Mix the stems that are there, though the preset has others.")] = False,
    stem: Annotated[
        list[str] | None,
        typer.Option(metavar="STEM=FILE", help='A stem whose file has another name, e.g. "vocals=01 Lead Vox"; may be repeated.'),
    ] = None,
    bits: BitsOption = None,
    bit_rate: BitRateOption = None,
    keep_level: KeepLevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mix dry stems with a preset: its chains of effects, faders and pans, and the effects of its bus.

    Stems may have any sample rate, and be mono or stereo.

    Example: stemwright apply preset.json dry mix.wav
    """
    from stemwright.datagen.edit.presets.preset import Preset
    from stemwright.datagen.edit.presets.stem_mix import mix_stems
    from stemwright.datagen.edit.song_output import OutputOptions

    terminal = Terminal(as_json)
    output = OutputOptions(bits, bit_rate, keep_level).to(out, [preset, stems])
    read = Preset.read(preset)
    with terminal.progress("apply") as report:
        made = mix_stems(read, stems, output, save_stems=save_stems, partial=partial, renamed=_renamed(stem or ()), on_progress=report)
    terminal.show("chains", _table(read, made), made.plain(read))
    for note in made.notes:
        terminal.warn(note)
    terminal.collected |= {"out": str(out), **made.level.plain(), "notes": list(made.notes)}
    for line in made.level.lines("the mix"):
        terminal.say(line)
    terminal.say(f"mix: {out}" + (f", stems: {save_stems}" if save_stems else ""))
    terminal.finish(0)


def _renamed(texts: Sequence[str]) -> dict[str, str]:
    """The file of each stem, without its suffix. Raises UsageError for a text that is no pair."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, file = (part.strip() for part in text.partition("="))
        if not (name and equals and file):
            raise UsageError(f'expected --stem "STEM=FILE", such as "vocals=01 Lead Vox", got {text!r}')
        if name in found:
            raise UsageError(f"--stem: {name} has two files, {found[name]} and {file}; expected one")
        found[name] = file
    return found


def _table(preset: Preset, made: StemMix) -> Table:
    """The effects of each stem."""
    from rich.table import Table

    table = Table("stem", "effects", title_justify="left")
    for name, chain in preset.stems.items():
        used = ", ".join(effect for effect, _ in chain) or "none"
        table.add_row(name, used if name in made.stems else "there is no such stem")
    if preset.send:
        how = "found response" if preset.send.response is not None else "noise of its own"
        table.add_row("shared room", f"RT60 {preset.send.settings.rt60_s:.2f} s, {how}")
    if preset.bus:
        table.add_row("mix bus", ", ".join(effect for effect, _ in preset.bus))
    return table
