"""Models that are given to an evaluation: a callable of the user's, the name of a separator, or a folder of finished results.

Conventions
    ``package.module:object`` is imported; anything else is what the protocol takes it for. What a callable returns is checked before it is
    scored: the shape and kind that are expected, without NaN; whatever it raises is a reason for which this song is rejected.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError
from stemwright.separation.choosing import imported_object, other_separator, version_of
from stemwright.separation.separator import Separator, names_other


@dataclass(frozen=True)
class HowToSeparate:
    """How separators are loaded: the folder of their weights, the device, and whether the network may be used."""

    model_folder: Path | None = None
    device: str = "auto"
    offline: bool = False
    trust_pickle: bool = False


@dataclass(frozen=True)
class GivenModel:
    """A model as it was named: ``package.module:object``, a separator's name, or a folder."""

    text: str

    def __post_init__(self) -> None:
        """Raises UsageError for a text that names nothing."""
        is_path = "://" in self.text or "/" in self.text or self.folder is not None
        if not self.text.strip() or (":" in self.text and not is_path and not names_other(self.text)):
            raise UsageError(f"--model {self.text!r} names nothing; expected package.module:callable, the name of a model, or a folder")

    @cached_property
    def folder(self) -> Path | None:
        """The folder that it is; None if it is none."""
        path = Path(self.text).expanduser()
        return path if self.text.strip() and is_folder(path) else None

    @property
    def is_callable(self) -> bool:
        """Whether it names an object in a module."""
        return self.folder is None and ":" in self.text and names_other(self.text)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The callable that it names; a class is made without arguments. Raises UsageError if there is none."""
        if not self.is_callable:
            raise UsageError(f"--model {self.text}: expected package.module:callable")
        found = imported_object(self.text, "model")
        try:
            found = found() if isinstance(found, type) else found
        except (Exception, SystemExit) as error:  # whatever another package's code does
            raise UsageError(f"--model {self.text} cannot be made: {type(error).__name__}: {error}") from error
        if not callable(found):
            raise UsageError(f"--model {self.text} is {type(found).__name__}; expected a callable")
        return found

    @cached_property
    def version(self) -> str:
        """What a result of it depends on: its ``version``, or that of its package, and the checksums of the modules beside its own.

        Of others it is the name. What else a callable loads, such as weights, is not known.
        """
        if not self.is_callable:
            return self.text
        version = str(getattr(self.function, "version", "")) or version_of(self.function, self.text)
        return f"{version} {_modules_digest(self.text.partition(':')[0])}"

    @property
    def states_version(self) -> bool:
        """Whether it says itself which version it is, or is no callable."""
        return not self.is_callable or bool(getattr(self.function, "version", ""))

    def separator(self, how: HowToSeparate) -> Separator:
        """The separator that it names. Raises UsageError for a folder or a name that is none, ModelError if its weights cannot be had."""
        from stemwright.separation.demucs.separator import DemucsSeparator

        if self.folder is not None:
            raise UsageError(f"--model {self.text} is a folder; expected the name of a separation model or package.module:callable")
        separator: Separator
        if names_other(self.text):
            separator = other_separator(self.text, how.device)
        else:
            separator = DemucsSeparator(self.text, how.model_folder, how.device, "fp32", offline=how.offline, trust_pickle=how.trust_pickle)
        separator.check()
        return separator


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a text too long for a name is none."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def given_models(texts: Sequence[str]) -> tuple[GivenModel, ...]:
    """The models of several texts, each once: one folder that is written in two ways is one. Raises UsageError as ``GivenModel``."""
    found: dict[str, GivenModel] = {}
    for model in map(GivenModel, texts):
        found.setdefault(str(model.folder.resolve()) if model.folder else model.text, model)
    return tuple(found.values())


def shown_names(texts: Sequence[str]) -> dict[str, str]:
    """The names of models in a table, by their texts: the last part of a path, or as many parts as distinguish them.

    >>> from stemwright.datagen.evaluate.given_models import shown_names
    >>> list(shown_names(["a/stems", "b/stems", "c/other", "my.module:call"]).values())
    ['a/stems', 'b/stems', 'other', 'my.module:call']
    """
    every = list(dict.fromkeys(texts))
    parts = {text: [*filter(None, text.split("/"))] or [text] for text in every}
    names = {text: its[-1] for text, its in parts.items()}
    for count in range(2, max(map(len, parts.values()), default=1) + 1):
        repeated = [name for name in names.values() if list(names.values()).count(name) > 1]
        names = {text: "/".join(parts[text][-count:]) if name in repeated else name for text, name in names.items()}
    return {text: name if list(names.values()).count(name) == 1 else text for text, name in names.items()}


def _modules_digest(module: str) -> str:
    """The checksum of the modules of a package, or of those in the folder of a module: it changes when one of them is edited."""
    digest = hashlib.sha256()
    top = sys.modules.get(module.partition(".")[0])
    if file := getattr(top, "__file__", None):
        place = Path(file).parent
        files = place.rglob("*.py") if Path(file).name == "__init__.py" else place.glob("*.py")
        for path in sorted(files):
            digest.update(f"{path.relative_to(place)} {file_sha256(path)}".encode())
    return digest.hexdigest()[:16]


def call(model: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a callable returns. Raises Refused, naming the model, for whatever it raises."""
    try:
        return function(*(each.copy() if isinstance(each, np.ndarray) else each for each in arguments))
    except (KeyboardInterrupt, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # whatever another package's code does
        raise Refused(f"the model {model} failed: {type(error).__name__}: {error}") from error


def checked_audio(found: Any, shape: tuple[int, ...], model: str, what: str = "audio") -> Audio:
    """What a model returned as float32 of the shape that was expected. Raises Refused for another shape, no audio, and NaN."""
    found = found.detach().cpu().numpy() if hasattr(found, "detach") else found
    if not isinstance(found, np.ndarray) or not (np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)):
        kind = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
        raise Refused(f"the model {model} returned {kind}; expected {what}, an array of floats {list(shape)}")
    if found.shape != shape:
        raise Refused(f"the model {model} returned {what} of the shape {list(found.shape)}; expected {list(shape)}, that of its input")
    if not np.isfinite(found).all():
        raise Refused(f"the model {model} returned {what} with NaN or infinite samples")
    return found.astype(np.float32)


def checked_stems(found: Any, shape: tuple[int, ...], model: str) -> dict[str, Audio]:
    """Stems {name: [C, T]} that a model returned, each as ``checked_audio``. Raises Refused for what is no mapping of stems."""
    if not isinstance(found, Mapping) or not found:
        raise Refused(f"the model {model} returned {type(found).__name__}; expected a dict of stems {{name: [C, T]}}")
    return {str(name): checked_audio(audio, shape, model, f"the stem {name}") for name, audio in found.items()}
