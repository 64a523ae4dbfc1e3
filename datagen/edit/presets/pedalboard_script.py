"""A Python script that renders the mix of a preset with pedalboard, which the user has installed: equalisers, filters, gains and pans.

Conventions
    Peaks and shelves of pedalboard are the same filters; high- and low-passes are scipy's Butterworth sections, since pedalboard's are of
    first order. A room that stems share is a convolution with its response, which is read from the file beside the script. Every other
    effect is left out, and named in the script: pedalboard's differ. pedalboard is never imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemwright.datagen.edit.presets.preset import RESPONSE, Preset, PresetText, Use

HEAD = '''"""Renders a mix with pedalboard and scipy: python THIS.py FOLDER_OF_STEMS OUT.wav. Written by stemwright.
{left_out}"""

import sys
from pathlib import Path

import numpy as np
import soundfile
from pedalboard import HighShelfFilter, LowShelfFilter, Pedalboard, PeakFilter
from scipy.signal import butter, oaconvolve, sosfilt


def gained(audio, left, right):
    return audio * np.array([[left], [right]])[: len(audio)]


def eq(audio, rate, *bands):
    return Pedalboard(list(bands))(audio.astype(np.float32), rate, reset=True).astype(float)


def passed(audio, rate, kind, hz, order):
    return sosfilt(butter(order, hz, kind, fs=rate, output="sos"), audio)


def late(audio, frames):
    moved = np.zeros_like(audio)
    start, stop = max(0, frames), min(audio.shape[1], audio.shape[1] + frames)
    moved[:, start:stop] = audio[:, start - frames : stop - frames]
    return moved


def read(path):
    if not path.is_file():
        sys.exit(f"{path}: no such file; this mix needs a file of that name")
    audio, rate = soundfile.read(path, always_2d=True)
    if rate != {sample_rate} or audio.shape[1] > 2:
        sys.exit(f"{path}: expected {sample_rate} Hz, mono or stereo, got {rate} Hz and {audio.shape[1]} channels")
    return np.repeat(audio.T, 2 // audio.shape[1], axis=0) if audio.shape[1] == 1 else audio.T

'''


def text(preset: Preset, files: Mapping[str, Path]) -> PresetText:
    """The script; the names of the stems' files are those of ``files``."""
    left_out = list[str]()
    functions = [_function(name, chain, preset, left_out) for name, chain in preset.stems.items()]
    functions.append(_function("mix bus", preset.bus, preset, left_out))
    table = "".join(f"    {(files[name].name if name in files else name + '.wav')!r}: {_called(name)},\n" for name in preset.stems)
    body = (
        f"\nSTEMS = {{\n{table}}}\n\n"
        "if len(sys.argv) != 3:\n"
        '    sys.exit(f"expected a folder of stems and a file to write: python {sys.argv[0]} FOLDER OUT.wav")\n'
        "folder, out = map(Path, sys.argv[1:])\n"
        "wet = [chain(read(folder / name), "
        f"{preset.sample_rate}) for name, chain in STEMS.items()]\n"
        "length = max(audio.shape[1] for audio in wet)\n"
        "wet = [np.pad(audio, ((0, 0), (0, length - audio.shape[1]))) for audio in wet]\n"
        "mix = sum(wet)\n"
        f"{_shared(preset)}"
        f'soundfile.write(out, {_called("mix bus")}(mix, {preset.sample_rate}).T, {preset.sample_rate}, subtype="FLOAT")\n'
    )
    said = "".join(f"Left out: {each}.\n" for each in left_out)
    head = HEAD.replace("{left_out}", said).replace("{sample_rate}", str(preset.sample_rate))
    return PresetText(head + "\n".join(functions) + body, tuple(left_out), response=preset.send is not None)


def _shared(preset: Preset) -> str:
    """The lines that add the sound of the shared room."""
    room = preset.send
    if room is None:
        return ""
    gains = [10.0 ** (room.gains_db[name] / 20.0) if name in room.gains_db else 0.0 for name in preset.stems]
    fed = "sent" if room.feed.value == "each" else "sent.mean(0, keepdims=True)"
    return (
        f"sent = sum(gain * audio for gain, audio in zip({gains!r}, wet))\n"
        f'response = read(Path(__file__).with_suffix("{RESPONSE}"))\n'
        f"mix = mix + oaconvolve({fed}, response, axes=-1)[:, :length]\n"
    )


def _called(name: str) -> str:
    """The name of a stem's function."""
    return "chain_" + "".join(character if character.isascii() and character.isalnum() else f"_{ord(character):x}_" for character in name)


def _function(name: str, chain: Sequence[Use], preset: Preset, left_out: list[str]) -> str:
    lines = [f"\ndef {_called(name)}(audio, rate):"]
    if lag := preset.lags.get(name, 0):
        lines.append(f"    audio = late(audio, {lag})")
    for effect, settings in chain:
        if effect in STEPS:
            lines += [f"    audio = {step}" for step in STEPS[effect](settings)]
        elif not settings.is_neutral():
            left_out.append(f"{name}: {effect}")
    return "\n".join([*lines, "    return audio", ""])


def _fader(settings: Any) -> Iterator[str]:
    angle, gain = (settings.pan + 1.0) * math.pi / 4.0, 10.0 ** (settings.gain_db / 20.0)
    left, right = (gain * math.sqrt(2.0) * part for part in (math.cos(angle), math.sin(angle)))
    if not settings.is_neutral():
        yield f"gained(audio, {left!r}, {right!r})"


def _eq(settings: Any) -> Iterator[str]:
    bands = []
    for band, kind in BANDS.items():
        gain_db, hz, q = (getattr(settings, f"{band}_{name}") for name in ("gain_db", "hz", "q"))
        if gain_db:
            bands.append(f"{kind}(cutoff_frequency_hz={hz!r}, gain_db={gain_db!r}, q={q!r})")
    if bands:
        yield f"eq(audio, rate, {', '.join(bands)})"


def _passed(kind: str) -> Callable[[Any], Iterator[str]]:
    def step(settings: Any) -> Iterator[str]:
        if not settings.is_neutral():
            yield f"passed(audio, rate, {kind!r}, {settings.cutoff_hz!r}, {int(settings.order)})"

    return step


BANDS = {"low_shelf": "LowShelfFilter", **{f"peak{number}": "PeakFilter" for number in range(1, 5)}, "high_shelf": "HighShelfFilter"}
STEPS: dict[str, Callable[[Any], Iterator[str]]] = {
    "fader": _fader,
    "eq": _eq,
    "lowpass": _passed("lowpass"),
    "highpass": _passed("highpass"),
}
