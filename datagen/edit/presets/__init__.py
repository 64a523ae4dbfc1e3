"""Presets: the console of a mix as a file, applied to other stems, and written for other programs.

preset               the preset itself: chains by stem, the chain of the bus; read, written, applied
reaper               a Reaper project
pedalboard_script    a Python script that renders the mix with pedalboard

Conventions
    A program gets what it can hold: ``PresetText.left_out`` names what it cannot, and so does the file. To add one, write its module
    with ``text(preset, files) -> PresetText`` and its line in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.registry import load

FORMATS = {
    ".json": "stemwright.datagen.edit.presets.preset:text",
    ".rpp": "stemwright.datagen.edit.presets.reaper:text",
    ".py": "stemwright.datagen.edit.presets.pedalboard_script:text",
}


def write_preset(preset: object, files: Mapping[str, Path], path: Path) -> tuple[str, ...]:
    """Writes a preset in the format of a file's suffix; returns what that format cannot hold. ``files`` are the stems it is of."""
    exported = load(FORMATS[path.suffix.lower()])(preset, files)
    remove_earlier(path)
    write_bytes(path, exported.text.encode("utf-8"))
    left_out: tuple[str, ...] = exported.left_out
    return left_out
