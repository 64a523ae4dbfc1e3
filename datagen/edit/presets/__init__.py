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
from typing import TYPE_CHECKING

from stemwright.datagen.edit.presets.preset import response_path
from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.registry import load

if TYPE_CHECKING:
    from stemwright.datagen.edit.presets.preset import Preset
    from stemwright.datagen.inverse.console.shared_room import SharedRoom

FORMATS = {
    ".json": "stemwright.datagen.edit.presets.preset:text",
    ".rpp": "stemwright.datagen.edit.presets.reaper:text",
    ".py": "stemwright.datagen.edit.presets.pedalboard_script:text",
}


def write_preset(preset: Preset, files: Mapping[str, Path], path: Path) -> tuple[str, ...]:
    """Writes a preset in the format of a file's suffix; returns what that format cannot hold. ``files`` are the stems it is of.

    The response of a room that stems share is written beside it, ``NAME.room.wav``, float. A program that needs one of a room without a
    response gets that of its settings.
    """
    exported = load(FORMATS[path.suffix.lower()])(preset, files)
    remove_earlier(path)
    write_bytes(path, exported.text.encode("utf-8"))
    if exported.response and preset.send is not None:
        _write_response(preset.send, preset.sample_rate, response_path(path))
    left_out: tuple[str, ...] = exported.left_out
    return left_out


def _write_response(room: SharedRoom, sample_rate: int, path: Path) -> None:
    from stemwright.datagen.effects.room import impulse_response
    from stemwright.manifests.sound.writing import save

    response = room.response_at(sample_rate)
    if response is None:
        response = impulse_response(room.settings, sample_rate)
    remove_earlier(path)
    save(path, response.float().numpy(), sample_rate, encoding="wav32f")
