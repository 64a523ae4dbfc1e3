"""The options of a separation as keys of the configuration, and that of the model which takes drums apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.options import SEPARATION, absolute
from stemwright.manifests.usage import UsageError

DrumsModelOption = Annotated[
    str | None,
    typer.Option(
        "--drums-model",
        metavar="NAME",
        help="Model that takes the drums apart (kick, snare ...): a name, a path FOLDER/NAME of local files, hf://OWNER/NAME, or another "
        "separator.",
        autocompletion=completion.models,
        rich_help_panel=SEPARATION,
    ),
]


def absolute_separator(reference: str | None) -> str | None:
    """A reference to a separator; the path of an ONNX model is made absolute, so that it stays valid in another folder."""
    from stemwright.datagen.run.configuration import placed_reference

    return None if reference is None else placed_reference(reference, Path.cwd())


def drums_changes(model: str | None) -> dict[str, str]:
    """The model of drums as keys of its section; the place of local files, which are given with their folder, is made absolute.

    Raises UsageError for a place without such files.
    """
    if model is None:
        return {}
    if not model.strip():
        raise UsageError("--drums-model: expected the name of a model, or FOLDER/NAME of local files; got ''")
    path = Path(model.removesuffix(".yaml")).expanduser()
    if path.name and path.with_name(f"{path.name}.yaml").is_file():
        return {"model": path.name, "model_folder": str(path.parent.resolve())}
    if path.is_absolute() or model.startswith((".", "~")):
        raise UsageError(f"--drums-model: {path}.yaml does not exist; expected FOLDER/NAME of local files, with NAME.yaml in FOLDER")
    return {"model": str(absolute_separator(model))}


def separation_changes(given: Mapping[str, Any], drums_model: str | None = None) -> dict[str, Any]:
    """The options of a separation as keys of the configuration, with absolute paths."""
    given = {**given, "drums": drums_changes(drums_model) or None}
    return {**given, "model_folder": absolute(given["model_folder"]), "separator": absolute_separator(given["separator"])}


def calibration_changes(name: str | None) -> dict[str, str | None]:
    """A calibration as a key of the configuration; a file with an absolute path."""
    from stemwright.separation.balance.calibration_names import placed

    return {"calibration": None if name is None else placed(name, Path.cwd())}


def apart(separator: Any, drums_model: str | None, how: Mapping[str, str | None], make: Callable[..., Any]) -> Any:
    """A separator with a model that takes its drums apart, if one is given; ``make(model, folder, how)`` gives that model's separator."""
    if drums_model is None:
        return separator
    from stemwright.separation.part_separator import ApartSeparator, PartSeparator
    from stemwright.separation.separator import names_other

    found = drums_changes(drums_model)
    model, other = found["model"], names_other(found["model"])
    folder = Path(found["model_folder"]) if "model_folder" in found else None
    further = make(None if other else model, folder, {**how, "separator": model if other else None})
    both = ApartSeparator(separator, PartSeparator(further))
    both.check()
    return both
