"""Tracker modules through libopenmpt: rendered with some of their channels or instruments, which are grouped as drums, bass and other.

Conventions
    Audio is float32 [T, 2] at RATE, interleaved as the player gives it: no limiter, no dither. Solos sum to the whole, unless the module
    draws at random. Amiga modules (.mod), whose channels are hard left and right, are rendered at 40 % of that width.
    Instruments and channels are counted from 0. Notes are libopenmpt's: 1 to 120 in semitones.

    An instrument is grouped by its name where that tells, else by measures, which agree with the names that tell in 89 % of cases. No one
    has listened to the result. By measures:
    drums     nearly always the same note, short, and noisy, bright or low
    bass      several notes, hardly ever two at a time, most of the energy below 200 Hz: the low part, whatever plays it
    other     several notes, little of the energy below 200 Hz
    tonal     several notes, else undecided: bass or other, and no drum
    unsorted  anything else

References
    libopenmpt's C interface, ``libopenmpt.h`` and ``libopenmpt_ext.h`` (version 0.6): the functions, and the interface "interactive".
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

Array = np.ndarray
RATE = 44_100
BLOCK = 1 << 16
NAMES = {
    "drums": r"kick|snar|hi-?hat|\bhats?\b|\bhh|hht|clap|\btoms?\b|cymb|\bcym\b|crash|\bride|\bbd|\bsd\b|drum|perc|conga|bongo|tabla"
    r"|shaker|tamb|rimshot",
    "bass": r"bass(?!oon|-oboe)|\bbas\b|tb-?303",
    "other": r"string|piano|flute|guitar|chord|choir|\bpad|vib|sax|trump|brass|bell|oboe|bassoon|chime|voc|lead",
}
# Shared library -> Debian's package of it, each after those that it needs.
LIBRARIES = {
    "mpg123.so.0": "libmpg123-0",
    "ogg.so.0": "libogg0",
    "vorbis.so.0": "libvorbis0a",
    "vorbisfile.so.3": "libvorbisfile3",
    "openmpt.so.0": "libopenmpt0",
}
POINTER, NUMBER, TEXT, SIZE = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_size_t
FUNCTIONS = {  # result, arguments
    "ext_create_from_memory": (POINTER, TEXT, SIZE, *[POINTER] * 7),
    "ext_get_module": (POINTER, POINTER),
    "ext_destroy": (None, POINTER),
    "ext_get_interface": (NUMBER, POINTER, TEXT, POINTER, SIZE),
    "get_duration_seconds": (ctypes.c_double, POINTER),
    "set_render_param": (NUMBER, POINTER, NUMBER, NUMBER),
    "get_metadata": (TEXT, POINTER, TEXT),
    "read_interleaved_float_stereo": (SIZE, POINTER, NUMBER, SIZE, POINTER),
    "get_num_channels": (NUMBER, POINTER),
    "get_num_instruments": (NUMBER, POINTER),
    "get_num_samples": (NUMBER, POINTER),
    "get_num_patterns": (NUMBER, POINTER),
    "get_num_orders": (NUMBER, POINTER),
    "get_instrument_name": (TEXT, POINTER, NUMBER),
    "get_sample_name": (TEXT, POINTER, NUMBER),
    "get_order_pattern": (NUMBER, POINTER, NUMBER),
    "get_pattern_num_rows": (NUMBER, POINTER, NUMBER),
    "get_pattern_row_channel_command": (ctypes.c_uint8, POINTER, NUMBER, NUMBER, NUMBER, NUMBER),
}
MUTE_CHANNEL, MUTE_INSTRUMENT, PLACES = 10, 12, 16  # places in the interface "interactive"
SEPARATION, AMIGA_SEPARATION = 2, 40  # a parameter of rendering, and its value in %
NOTE, INSTRUMENT = 0, 1  # columns of a pattern
MOST_NOTE = 120  # above are commands: note off, note cut


@dataclass(frozen=True)
class Module:
    """A module: its bytes, and what they say. For each instrument the notes it plays, and of the rows with it how many are chords."""

    data: bytes
    is_amiga: bool
    seconds: float
    title: str
    channels: int
    names: list[str]
    notes: dict[int, Counter[int]]
    chords: dict[int, float]


class Player:
    """libopenmpt, from the system or unpacked from Debian's packages: renders a module with all or some of its channels or instruments."""

    def __init__(self, unpacked: Callable[[str], Path]) -> None:
        """``unpacked`` gives the folder with the files of a package, for libraries that are not installed; its errors are raised."""
        for name, package in LIBRARIES.items():
            try:
                library = ctypes.CDLL(f"lib{name}", mode=ctypes.RTLD_GLOBAL)
            except OSError:
                library = ctypes.CDLL(str(next(unpacked(package).glob(f"usr/lib/*/lib{name}"))), mode=ctypes.RTLD_GLOBAL)
        self._mpt = SimpleNamespace()
        for name, (returns, *takes) in FUNCTIONS.items():
            function = getattr(library, f"openmpt_module_{name}")
            function.restype, function.argtypes = returns, takes
            setattr(self._mpt, name, function)

    def load(self, path: Path) -> Module:
        """Reads a module. Raises ValueError if libopenmpt cannot."""
        data, is_amiga, mpt = path.read_bytes(), path.suffix == ".mod", self._mpt
        with self._opened(data, is_amiga) as (_, module):
            channels = mpt.get_num_channels(module)
            names = self._names(module)
            notes, rows, chords = defaultdict[int, Counter[int]](Counter), Counter[int](), Counter[int]()
            for played in self._rows(module, channels):
                for instrument, together in played.items():
                    notes[instrument].update(together)
                    rows[instrument] += 1
                    chords[instrument] += len(set(together)) > 1
            title = _text(mpt.get_metadata(module, b"title")) or path.stem
            shares = {instrument: chords[instrument] / count for instrument, count in rows.items()}
            return Module(data, is_amiga, mpt.get_duration_seconds(module), title, channels, names, dict(notes), shares)

    def render(self, module: Module, channels: Collection[int] | None = None, instruments: Collection[int] | None = None) -> Array:
        """Audio [T, 2]; with a collection of channels or instruments, only they sound."""
        mutes = ((channels, module.channels, MUTE_CHANNEL), (instruments, len(module.names), MUTE_INSTRUMENT))
        audio, start = np.zeros((round(module.seconds * RATE), 2), np.float32), 0
        with self._opened(module.data, module.is_amiga) as (extended, handle):
            table = (POINTER * PLACES)()
            if not self._mpt.ext_get_interface(extended, b"interactive", table, ctypes.sizeof(table)):
                raise RuntimeError("this libopenmpt cannot mute; expected version 0.3 or newer")
            for kept, count, place in mutes:
                mute = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, NUMBER, ctypes.c_int)(table[place] or 0)
                for number in range(count if kept is not None else 0):
                    mute(extended, number, number not in (kept or ()))
            while start < len(audio):
                block = audio[start : start + BLOCK]
                count = self._mpt.read_interleaved_float_stereo(handle, RATE, len(block), block.ctypes.data)
                if not count:
                    break
                start += count
        return audio

    @contextmanager
    def _opened(self, data: bytes, is_amiga: bool) -> Iterator[tuple[int, int]]:
        """The extended module and the module in it, at its start."""
        extended = self._mpt.ext_create_from_memory(data, len(data), *[None] * 7)
        if not extended:
            raise ValueError("libopenmpt does not read it; expected a tracker module")
        try:
            module = self._mpt.ext_get_module(extended)
            if is_amiga:
                self._mpt.set_render_param(module, SEPARATION, AMIGA_SEPARATION)
            yield extended, module
        finally:
            self._mpt.ext_destroy(extended)

    def _names(self, module: int) -> list[str]:
        """The name of each instrument: of its sample where there are no instruments, of both where there is one sample for each."""
        instruments, samples = self._mpt.get_num_instruments(module), self._mpt.get_num_samples(module)
        named = self._mpt.get_instrument_name if instruments else self._mpt.get_sample_name
        names = [_text(named(module, number)) for number in range(instruments or samples)]
        if instruments == samples:
            names = [f"{name} {_text(self._mpt.get_sample_name(module, number))}" for number, name in enumerate(names)]
        return names

    def _rows(self, module: int, channels: int) -> Iterator[dict[int, list[int]]]:
        """For each row, in the order of playing, the notes that each instrument starts. A note without a number is of the last one."""
        mpt, last = self._mpt, dict[int, int]()
        for order in range(mpt.get_num_orders(module)):
            pattern = mpt.get_order_pattern(module, order)
            for row in range(mpt.get_pattern_num_rows(module, pattern) if pattern < mpt.get_num_patterns(module) else 0):
                played = defaultdict[int, list[int]](list)
                for channel in range(channels):
                    note, number = (mpt.get_pattern_row_channel_command(module, pattern, row, channel, what) for what in (NOTE, INSTRUMENT))
                    last[channel] = number or last.get(channel, 0)
                    if 0 < note <= MOST_NOTE and last[channel]:
                        played[last[channel] - 1].append(note)
                yield played


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()


class Timbre(NamedTuple):
    """Measures of an instrument's solo: shares of energy below 200 Hz and above 3 kHz, spectral centre, flatness, seconds a note sounds."""

    low: float
    high: float
    centre_hz: float
    flatness: float
    hit_s: float


def timbre(audio: Array, count: int) -> Timbre:
    """The measures of a solo [T, 2] that plays ``count`` notes and is not silent."""
    mono = audio.mean(axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(mono, 4096), 4096)[::2048]
    energy = (frames**2).sum(axis=1)
    spectra = np.abs(np.fft.rfft(frames[energy > 1e-4 * energy.max()][:4000] * np.hanning(4096))) ** 2
    frequency = np.fft.rfftfreq(4096, 1 / RATE)
    whole, frequency = spectra[:, frequency > 20].sum(axis=0), frequency[frequency > 20]
    low, high = (float(whole[part].sum() / whole.sum()) for part in (frequency < 200, frequency > 3000))
    centre_hz = math.exp((whole * np.log(frequency)).sum() / whole.sum())
    body = spectra[:, 8:1400]  # 86 Hz to 15 kHz
    flatness = float(np.median(np.exp(np.log(body + 1e-12).mean(axis=1)) / (body.mean(axis=1) + 1e-12)))
    level = (mono[: len(mono) // 441 * 441].reshape(-1, 441) ** 2).mean(axis=1)  # of 10 ms
    loud = np.quantile(level[level > 1e-6 * level.max()], 0.98)
    return Timbre(low, high, centre_hz, flatness, float((level > 0.01 * loud).sum() * 0.01 / count))


def group(name: str, notes: Counter[int], chords: float, audio: Array) -> tuple[str, bool]:
    """The group of an instrument, and whether its name tells it.

    ``notes`` counts how often it plays each, ``chords`` is the share of rows with several of its notes, ``audio`` [T, 2] is its solo.
    """
    count, found = sum(notes.values()), timbre(audio, sum(notes.values()))
    is_one_note = len(notes) <= 3 and max(notes.values()) >= 0.85 * count
    named = next((each for each, words in NAMES.items() if re.search(words, name.lower())), "")
    if named == "bass" and is_one_note and found.hit_s < 0.2:
        return "drums", False  # one short note only: what is called bass is a bass drum
    if named:
        return named, True
    if is_one_note:
        is_drum = count >= 3 and found.hit_s < 0.6 and (found.flatness > 0.04 or found.high > 0.3 or found.low > 0.75)
        return "drums" if is_drum else "unsorted", False
    if len(notes) >= 3 and found.low > 0.6 and found.centre_hz < 180 and chords < 0.1:
        return "bass", False
    if len(notes) >= 4 and found.low < 0.45 and found.centre_hz > 200:
        return "other", False
    return "tonal" if len(notes) >= 3 else "unsorted", False
