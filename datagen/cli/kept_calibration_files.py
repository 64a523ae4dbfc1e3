"""The calibrations that are kept, on the command line: ``calibrate --list`` and ``calibrate --remove``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted


def check_corpus(corpus: Path | None) -> None:
    """Raises UsageError where the folder is no corpus."""
    if corpus is not None and not (corpus / "config.toml").exists():
        raise UsageError(f"--corpus {corpus} is no corpus; expected a folder that stemwright build or catalog made")


def list_calibrations(terminal: Terminal, multitracks: Path | None, corpus: Path | None) -> None:
    """Shows the calibrations of the user, or of a corpus."""
    from stemwright.datagen.cli.calibration_tables import calibrations_table
    from stemwright.separation.balance.kept_calibrations import damage, damaged_in, kept_calibrations, place_of_calibrations

    if multitracks is not None:
        raise UsageError(f"--list shows what is kept and measures nothing; leave out {multitracks}, or --list")
    check_corpus(corpus)
    place = place_of_calibrations(corpus)
    for path in damaged_in(place):
        terminal.warn(damage(path))
    found = kept_calibrations(place)
    plain = [{**each.model_dump(mode="json", exclude={"calibration"}), "path": str(place / f"{each.key}.json")} for each in found]
    terminal.show("calibrations", calibrations_table(found), plain)
    terminal.say(f"calibrate: {counted(len(found), 'calibration')} in {place}")
    terminal.finish(0)


def remove_calibrations(terminal: Terminal, ids: Sequence[str], others: Mapping[str, Any]) -> None:
    """Deletes calibrations of the user by their ids; none of them if one is unknown."""
    from stemwright.manifests.disk import deletion
    from stemwright.separation.balance.calibration_names import is_file
    from stemwright.separation.balance.kept_calibrations import named_calibration, place_of_calibrations

    if given := [name for name, value in others.items() if value is not None]:
        raise UsageError(f"--remove deletes calibrations and does nothing else; leave out {', '.join(given)}")
    place = place_of_calibrations()
    if wrong := [each for each in ids if is_file(each)]:
        raise UsageError(f"--remove: expected an id of stemwright calibrate --list; got {wrong[0]!r}")
    try:
        found = [named_calibration(each, [place]) for each in dict.fromkeys(ids)]
    except UsageError as error:
        raise UsageError(f"--remove: {error}. Nothing was removed") from error
    gone = [each for each in found if deletion.remove(place, place / f"{each.key}.json")]
    for each in gone:
        terminal.say(f"removed: {each.id}, to {each.origin}")
    terminal.collected["removed"] = [each.id for each in gone]
    terminal.finish(0 if len(gone) == len(found) else 1)
