"""``folder``: one folder for each example, one sound file for each signal.

Conventions
    ``dataset/<split>/<kind>/<pair id>/<role>_<name>.flac`` (or .wav), beside the tables of pairs and examples.
"""

from __future__ import annotations

from dataclasses import dataclass

from stemwright.datagen.dataset.writers.packing import LooseWriter


@dataclass(frozen=True)
class FolderWriter(LooseWriter):
    """One folder for each example, one sound file for each signal."""

    format_name = "folder"
