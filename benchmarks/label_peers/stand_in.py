"""An empty module in place of torchaudio, so that a library that imports it only for some of its effects can be imported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def has_torchaudio() -> bool:
    """Whether torchaudio is installed."""
    return importlib.util.find_spec("torchaudio") is not None


@contextmanager
def without_torchaudio() -> Iterator[None]:
    """While it is open, ``import torchaudio`` succeeds: with torchaudio if it is installed, else with an empty module."""
    if has_torchaudio():
        yield
        return
    names = ("torchaudio", "torchaudio.functional", "torchaudio.transforms")
    modules = {name: ModuleType(name) for name in names}
    modules["torchaudio"].functional = modules["torchaudio.functional"]  # type: ignore[attr-defined]
    modules["torchaudio"].transforms = modules["torchaudio.transforms"]  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
