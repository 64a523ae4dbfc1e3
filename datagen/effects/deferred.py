"""PyTorch, imported when an effect first computes, so that settings and ranges are available without it.

Planning, checking and listing look at settings only, and PyTorch takes a second to import. An effect's file takes ``torch`` from here, and
imports its kernels (``stemwright.datagen.effects.dsp``), which need PyTorch and numba to be defined, in the functions that call them.
An effect of another package may import what it likes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Deferred:
    """A proxy of a module, which is imported when an attribute of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)  # later uses find the attribute directly
        return found


if TYPE_CHECKING:
    import torch as torch
else:
    torch = Deferred("torch")
