"""The verb ``calibrate``: levels that allow for the separator in use. ``datagen/cli/app.py`` puts it on the command line.

What it does with the calibrations that are kept is in ``stemwright.datagen.cli.kept_calibration_files``, how it makes one in
``stemwright.datagen.cli.calibration_run``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.kept_calibration_files import check_corpus, list_calibrations, remove_calibrations
from stemwright.datagen.cli.listening import separator_for
from stemwright.datagen.cli.options import (
    OUTPUT,
    DeviceOption,
    EngineOption,
    JsonOption,
    KindOption,
    ModelFolderOption,
    OfflineOption,
    OneModelOption,
    OtherSeparatorOption,
    PrecisionOption,
    SongStemsOption,
    StemsOfOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.manifests.catalog.candidates import FoundSongs
    from stemwright.separation.calibrating.ready_stems import ReadyStems


def calibrate(
    multitracks: Annotated[
        Path | None,
        typer.Argument(metavar="MULTITRACKS", help="Folder of songs with stems of their own, in any layout, or a CSV.", show_default=False),
    ] = None,
    kind: KindOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    stems: SongStemsOption = None,
    stems_of: StemsOfOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", metavar="CORPUS", help="Also use the calibration in this corpus.", rich_help_panel=OUTPUT)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how good it is; keep no calibration.", rich_help_panel=OUTPUT)] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Keep it in place of one that was made with more songs.", rich_help_panel=OUTPUT)
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the calibrations that are kept; make none.")] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="ID", help="Delete this calibration of yours; may be given several times. Corpora keep their copies."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit levels, pans and their 80 % ranges to one separator, on multitracks whose stems are known.

    The mixtures are separated and compared with the stems. Balance and rules then use it; a corpus does if its configuration names it.

    Example: stemwright calibrate multitracks/ --model htdemucs_ft
    """
    terminal = Terminal(as_json)
    if remove:
        remove_calibrations(terminal, remove, {"MULTITRACKS": multitracks, "--list": show_list or None, "--corpus": corpus})
    if show_list:
        list_calibrations(terminal, multitracks, corpus)
    if multitracks is None:
        raise UsageError(
            "expected MULTITRACKS, songs with stems of their own; for the calibrations that are kept: stemwright calibrate --list"
        )
    how = {"device": device, "engine": engine, "precision": precision, "separator": separator}
    check_ready(stems, stems_of, {"model": model, "model_folder": model_folder, **how})
    check_corpus(corpus)
    from stemwright.datagen.cli.calibration_run import CalibrationRun, songs_in

    songs = songs_in(multitracks, kind)
    separating: Any
    if stems is not None and stems_of is not None:
        separating = ready_stems(stems, stems_of, songs)
    else:
        separating = separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
    run = CalibrationRun(terminal, songs, separating, corpus, keeps=not dry_run, replaces=replace)
    run.check()
    run.measure()
    run.fit()
    run.finish()


def check_ready(stems: str | None, stems_of: str | None, separation: Mapping[str, Any]) -> None:
    """Raises UsageError where ready stems come without a name, a name without stems, or either with a separation."""
    from stemwright.datagen.cli.balance_inputs import check_stems_alone

    check_stems_alone(stems, separation)
    if stems is not None and stems_of is None:
        raise UsageError(
            "--stems: expected --stems-of NAME with it, a name for what separated them, by which balance finds the calibration"
        )
    if stems_of is not None and stems is None:
        raise UsageError("--stems-of names the separator of ready stems; expected --stems FOLDER with it, with {song} in it")


def ready_stems(stems: str, stems_of: str, songs: FoundSongs) -> ReadyStems:
    """What reads stems that another program made of these songs. Raises UsageError where there are none."""
    from stemwright.separation.calibrating.ready_stems import ReadyStems

    try:
        found = ReadyStems(stems_of, stems, tuple(songs.songs / song.path for song in songs.candidates))
        found.check()
    except ValueError as error:
        raise UsageError(f"--stems {stems} --stems-of {stems_of}: {error}") from error
    return found
