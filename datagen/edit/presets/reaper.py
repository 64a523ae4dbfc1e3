"""A Reaper project of a preset: a track a stem with its file, volume and pan, ReaEQ for equalisers and filters, ReaComp for compressors.

Conventions
    Volume and pan are exact under the pan law that the project states: stereo balance of 0 dB, where the louder channel keeps the volume
    and the other one is lowered. ReaEQ's bands have the same centre, gain and bandwidth; its curves near half the sample rate differ.
    ReaComp has another detector and ballistics: an approximation, and called so in the name of its track and in the project's notes.
    A room that stems share is a track with a send of each stem, after its fader; the reverb on it is left to the user.
    Not tried in Reaper itself: the text and the states of plug-ins follow their published layouts.

References
    Reaper's project files are nested text, ``<TAG arguments ... >``. The state of ReaEQ is a version, the number of bands, and for each its
    type, switch, frequency, linear gain and bandwidth in octaves, as converters of Room EQ Wizard's filters write it. ReaComp's
    parameters are floats from 0 to 1 in the order of its panel.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.edit.presets.preset import RESPONSE, Preset, PresetText, Use
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.manifests.decibels import db_to_gain

if TYPE_CHECKING:
    from stemwright.datagen.inverse.console.shared_room import SharedRoom

LOW_SHELF, HIGH_SHELF, LOWPASS, HIGHPASS, BELL = 0, 1, 3, 4, 8  # ReaEQ's types of bands
FLAT_DB = 0.005
LINE = 96  # bytes of a plug-in's state in one line of base64
Band = tuple[int, float, float, float]  # type, Hz, gain dB, bandwidth in octaves


def text(preset: Preset, files: Mapping[str, Path]) -> PresetText:
    """The project: one track a stem, and the chain of the bus on the master track."""
    lines, left_out = ['<REAPER_PROJECT 0.1 "7.0"', f"  SAMPLERATE {preset.sample_rate} 1 0", "  PANLAW 1", "  PANMODE 3"], list[str]()
    tracks = [line for name, chain in preset.stems.items() for line in _track(name, chain, files.get(name), preset, left_out)]
    volume, effects = _volume(preset.bus)[0], _effects("mix bus", preset.bus, left_out)
    if preset.send is not None:
        tracks += _room_track(preset.send, list(preset.stems), left_out)
    lines += ["  <NOTES 0 2", *(f"    |{note}" for note in _notes(left_out)), "  >"]
    lines += [f"  MASTER_VOLUME {volume:.9f} 0 -1 -1 1", *_chain_lines("MASTERFXLIST", effects, "  "), *tracks, ">"]
    return PresetText("\n".join(lines) + "\n", tuple(left_out), response=preset.send is not None)


def _room_track(room: SharedRoom, names: Sequence[str], left_out: list[str]) -> list[str]:
    """A track that every stem is sent to after its fader; its response has to be loaded by hand."""
    left_out.append(
        f"shared room: the track has its sends, but no reverb; load the file *{RESPONSE} beside this project into ReaVerb, dry at -inf"
    )
    lines = ["  <TRACK", f"    NAME {_quoted('shared room (add ReaVerb)')}", "    VOLPAN 1.000000000 0.000000000 -1 -1 1", "    NCHAN 2"]
    for number, name in enumerate(names):
        if name in room.gains_db:
            lines.append(f"    AUXRECV {number} 0 {db_to_gain(room.gains_db[name]):.9f} 0 0 0 0 0 0 -1:U 0 -1 ''")
    return [*lines, "  >"]


def _notes(left_out: Sequence[str]) -> list[str]:
    return [
        "Written by stemwright. Volume and pan are those of the preset; ReaEQ and ReaComp approximate its equalisers and compressors.",
        *(f"Not in this project: {each}" for each in left_out),
    ]


def _track(name: str, chain: Sequence[Use], file: Path | None, preset: Preset, left_out: list[str]) -> list[str]:
    volume, pan = _volume(chain)
    effects = _effects(name, chain, left_out)
    title = name + (" (approximate)" if any(kind == "ReaComp" for kind, *_ in effects) else "")
    lines = ["  <TRACK", f"    NAME {_quoted(title)}", f"    VOLPAN {volume:.9f} {pan:.9f} -1 -1 1", "    PANMODE 3", "    NCHAN 2"]
    lines += _chain_lines("FXCHAIN", effects, "    ")
    if file is not None:
        lines += [f"    {line}" for line in _item(file, preset.lags.get(name, 0) / preset.sample_rate)]
    return [*lines, "  >"]


def _item(file: Path, late_s: float) -> list[str]:
    """The file of a stem on its track, at the place that it has in the mix."""
    return [
        "<ITEM",
        f"  POSITION {max(0.0, late_s):.9f}",
        f"  LENGTH {_duration_s(file):.9f}",
        f"  NAME {_quoted(file.name)}",
        f"  SOFFS {max(0.0, -late_s):.9f}",
        f"  <SOURCE {_kind(file)}",
        f"    FILE {_quoted(str(file.resolve()))}",
        "  >",
        ">",
    ]


def _duration_s(file: Path) -> float:
    from stemwright.manifests.sound.decoding import probe

    info = probe(file)
    return info.num_frames / info.sample_rate


def _kind(file: Path) -> str:
    return {".flac": "FLAC", ".mp3": "MP3", ".ogg": "VORBIS"}.get(file.suffix.lower(), "WAVE")


def _quoted(name: str) -> str:
    """A text as Reaper quotes it: in whichever quotation mark it does not contain."""
    plain = "".join(character if character.isprintable() else " " for character in name)
    mark = next((mark for mark in "\"'`" if mark not in plain), "`")
    return f"{mark}{plain.replace('`', chr(39)) if mark == '`' else plain}{mark}"


def _volume(chain: Sequence[Use]) -> tuple[float, float]:
    """(linear volume, balance from -1 to 1) of all faders of a chain together."""
    left = right = 1.0
    for name, settings in chain:
        if name in FADERS:
            plain: Any = settings
            angle = (plain.pan + 1.0) * math.pi / 4.0
            left *= db_to_gain(plain.gain_db) * math.sqrt(2.0) * math.cos(angle)
            right *= db_to_gain(plain.gain_db) * math.sqrt(2.0) * math.sin(angle)
    louder = max(left, right)
    pan = 1.0 - left / right if right > left else right / left - 1.0 if left > right else 0.0
    return louder, pan


def _effects(place: str, chain: Sequence[Use], left_out: list[str]) -> list[tuple[str, int, bytes]]:
    """(plug-in, its number, its state) of each effect that Reaper's own plug-ins have; the others are named."""
    found = list[tuple[str, int, bytes]]()
    for name, settings in chain:
        if name in PLUGINS:
            found += PLUGINS[name](settings)
        elif name not in FADERS and not settings.is_neutral():
            left_out.append(f"{place}: {name}")
    return found


def _eq(settings: EffectSettings) -> Iterator[tuple[str, int, bytes]]:
    plain: Any = settings
    bands = list[Band]()
    for band, kind in BANDS.items():
        gain_db, hz, q = (getattr(plain, f"{band}_{each}") for each in ("gain_db", "hz", "q"))
        if abs(gain_db) >= FLAT_DB:
            bands.append((kind, hz, gain_db, bandwidth_of(q)))
    if bands:
        yield ("ReaEQ", REAEQ, _reaeq(bands))


def _filter(kind: int) -> Callable[[EffectSettings], Iterator[tuple[str, int, bytes]]]:
    def bands(settings: EffectSettings) -> Iterator[tuple[str, int, bytes]]:
        plain: Any = settings
        if not settings.is_neutral():  # sections of 12 dB an octave
            sections = max(1, round(plain.order / 2.0))
            yield ("ReaEQ", REAEQ, _reaeq([(kind, plain.cutoff_hz, 0.0, bandwidth_of(math.sqrt(0.5)))] * sections))

    return bands


def _compressor(settings: EffectSettings) -> Iterator[tuple[str, int, bytes]]:
    plain: Any = settings
    if settings.is_neutral():
        return
    values = [
        min(1.0, db_to_gain(plain.threshold_db) / 2.0),
        min(1.0, (min(plain.ratio, 101.0) - 1.0) / 100.0),
        min(1.0, plain.attack_ms / 500.0),
        min(1.0, plain.release_ms / 5000.0),
        0.0,  # pre-comp
        0.0,
        1.0,  # low-pass and high-pass of the detector: open
        0.0,
        0.0,
        0.0,
        0.0,
        db_to_gain(plain.makeup_db) / 2.0,  # wet, 0.5 is 0 dB
        0.0,  # dry
    ]
    yield ("ReaComp", REACOMP, struct.pack("<II", 0xDEADBEEF, 0xDEADF00D) + struct.pack(f"<{len(values)}f", *values))


def bandwidth_of(q: float) -> float:
    """Bandwidth in octaves of a peak's Q."""
    return 2.0 / math.log(2.0) * math.asinh(1.0 / (2.0 * q))


def _reaeq(bands: Sequence[Band]) -> bytes:
    parts = [struct.pack("<ii", 33, len(bands))]
    parts += [struct.pack("<iidddB", kind, 1, hz, db_to_gain(gain_db), octaves, 1) for kind, hz, gain_db, octaves in bands]
    return b"".join(parts) + struct.pack("<iidi", 1, 1, 1.0, 0)


def _chain_lines(tag: str, effects: Sequence[tuple[str, int, bytes]], indent: str) -> list[str]:
    """A list of plug-ins with their states."""
    if not effects:
        return []
    lines = [f"{indent}<{tag}", f"{indent}  SHOW 0", f"{indent}  LASTSEL 0", f"{indent}  DOCKED 0"]
    for name, number, state in effects:
        head = struct.pack("<II", number, 0xFEED5EEE) + 2 * struct.pack("<iqq", 2, 1, 2) + struct.pack("<iiI", len(state), 1, 0x00100000)
        lines += [f"{indent}  BYPASS 0 0 0", f'{indent}  <VST "VST: {name} (Cockos)" {name.lower()}.dll 0 "" {number}']
        for part in (head, *(state[start : start + LINE] for start in range(0, len(state), LINE)), b"\x00\x00\x10\x00\x00\x00"):
            lines.append(f"{indent}    {base64.b64encode(part).decode()}")
        lines += [f"{indent}  >", f"{indent}  WAK 0 0"]
    return [*lines, f"{indent}>"]


REAEQ, REACOMP = 1919247729, 1919247213  # what Reaper calls its plug-ins by: "reeq", "recm"
BANDS = {"low_shelf": LOW_SHELF, **{f"peak{number}": BELL for number in range(1, 5)}, "high_shelf": HIGH_SHELF}
FADERS = ("fader",)
PLUGINS: dict[str, Callable[[Any], Iterator[tuple[str, int, bytes]]]] = {
    "eq": _eq,
    "lowpass": _filter(LOWPASS),
    "highpass": _filter(HIGHPASS),
    "compressor": _compressor,
}
