"""Finds the separator for a name: of another package, as ``package.module:object``, or an ONNX model.

Conventions
    The cache key of stems contains what was requested: the name with a version, or the checksum of a model. A version is the object's own
    (``version``), else that of the installed package that it is in, else the checksum of the file that it is in: never nothing, since a
    changed separator must not be mistaken for finished work.
"""

from __future__ import annotations

import inspect
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.registry import load
from stemwright.manifests.usage import UsageError
from stemwright.separation.function_separator import FunctionSeparator
from stemwright.separation.separator import ONNX, SEPARATORS, Separator, checked_reference


def other_separator(reference: str, device: str = "auto") -> Separator:
    """The separator that a name, ``package.module:object`` or ``onnx:PATH`` names. Raises UsageError if there is none.

    The object is a callable, or has ``separate``, and has ``stem_names``
    (``stemwright.separation.separator.SeparationFunction``); a class is made without arguments, or with ``device`` if it takes one.
    """
    checked_reference(reference)
    if reference.startswith(ONNX):
        from stemwright.separation.onnx_separator import OnnxSeparator

        return OnnxSeparator(reference.removeprefix(ONNX), device)
    if reference in SEPARATORS:
        found, version = SEPARATORS[reference], (SEPARATORS.package(reference) or "").rpartition(" ")[2]
    else:
        found, version = imported_object(reference, "separator"), ""
    if isinstance(found, type) and not hasattr(found, "stem_names"):
        raise _no_separator(reference, found)
    if isinstance(found, type):
        found = _made(reference, found, device)
    names = getattr(found, "stem_names", None)
    if not callable(getattr(found, "separate", found)) or not isinstance(names, list | tuple):
        raise _no_separator(reference, found)
    return FunctionSeparator(found, reference, str(getattr(found, "version", "") or version or version_of(found, reference)))


def imported_object(reference: str, what: str) -> Any:
    """The object ``package.module:object`` of another package, which is called ``what`` in errors. Raises UsageError if there is none."""
    try:
        return load(reference)
    except (ImportError, AttributeError) as error:
        remedy = "Is its package installed, or its folder on PYTHONPATH?"
        raise UsageError(f"the {what} {reference} cannot be imported: {error}. {remedy}") from error
    except (Exception, SystemExit) as error:  # whatever another package's code does when it is imported
        raise UsageError(f"the {what} {reference} cannot be imported: {type(error).__name__}: {error}") from error


def _made(reference: str, found: type, device: str) -> Any:
    try:
        return found(device=device) if "device" in inspect.signature(found).parameters else found()
    except Exception as error:  # whatever another package's code does
        raise UsageError(f"the separator {reference} cannot be made: {type(error).__name__}: {error}") from error


def _no_separator(reference: str, found: Any) -> UsageError:
    return UsageError(
        f"{reference} is no separator: expected a callable (mixture [C, T], sample_rate) -> {{stem name: [C, T]}} with a tuple stem_names, "
        f"or a class of such; got {type(found).__name__}"
    )


def version_of(found: Any, reference: str) -> str:
    """The version of the package that an object is in, else the checksum of the file that it is in."""
    module = reference.partition(":")[0] if ":" in reference else getattr(found, "__module__", type(found).__module__)
    packages = metadata.packages_distributions().get(module.partition(".")[0], [])
    if packages:
        return metadata.version(packages[0])
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise UsageError(f"{reference} has no version, and no file whose checksum could replace it; give it a string `version`")
    return f"sha256-{file_sha256(Path(file))[:16]}"
