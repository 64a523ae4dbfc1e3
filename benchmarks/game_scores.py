"""Scores in General MIDI that come with games, played as multitracks: drums, bass and other, as far as a score has them.

Conventions
    Channel 10 is drums, the programs 33 to 40 (counted from 1) and "bass and lead" (88) are bass, everything else is other, by the program
    that a note is played with: General MIDI says what an instrument is, so nothing is guessed. A part is played from the whole score
    without the notes of other parts, so that tempo, volumes, pans and bends stay where the composer put them: levels are the composer's.
    Parts are played with the player's own reverb and chorus; their sum is the score as the player renders it within 40 to 60 dB.

References
    General MIDI System Level 1, MMA 1991: programs and channel 10. Fell, The Unofficial Doom Specs, chapter 2: the directory of a WAD.
"""

from __future__ import annotations

import io
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mido
import numpy as np
from free_packages import PackageError

Array = np.ndarray

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")  # MIT licence; the package fluid-soundfont-gm
RATE = 44_100
PARTS = ("drums", "bass", "other")
DRUM_CHANNEL = 9
HOLD, SOSTENUTO, NOTES_OFF = 64, 66, 123  # controllers
BASSES = frozenset(range(32, 40)) | {87}


def scores_in(wad: bytes) -> dict[str, bytes]:
    """The MIDI files among the lumps of a WAD by their names in lower case, without the prefix of music.

    Raises ValueError if this is no WAD.
    """
    if wad[:4] not in (b"IWAD", b"PWAD"):
        raise ValueError(f"expected a WAD, which begins with IWAD or PWAD; got {wad[:4]!r}")
    count, start = struct.unpack("<II", wad[4:12])
    found: dict[str, bytes] = {}
    for place in range(start, start + 16 * count, 16):
        offset, size, raw = struct.unpack("<II8s", wad[place : place + 16])
        name, data = raw.split(b"\0")[0].decode("latin-1"), wad[offset : offset + size]
        if name.startswith("D_") and data[:4] == b"MThd":
            found[name.removeprefix("D_").lower()] = data
    return found


def credits_in(score: bytes) -> str:
    """What the copyright messages of a score say, joined."""
    said = [message.text.strip() for track in parsed(score).tracks for message in track if message.type == "copyright"]
    return "; ".join(dict.fromkeys(text for text in said if text))


def parsed(score: bytes) -> mido.MidiFile:
    """A MIDI file; values beyond their range are clipped, as players do."""
    return mido.MidiFile(file=io.BytesIO(score), clip=True)


def part_of(channel: int, program: int) -> str:
    """The part that a program, counted from 0, plays on a channel."""
    if channel == DRUM_CHANNEL:
        return "drums"
    return "bass" if program in BASSES else "other"


def split(score: bytes) -> dict[str, bytes]:
    """The score with the notes of one part only, for every part that has some, in the order of ``PARTS``."""
    song = parsed(score)
    owner = _owners(song)
    return {name: _only(song, owner, name) for name in PARTS if name in owner.values()}


def _owners(song: mido.MidiFile) -> dict[int, str]:
    """The part of every note message, by its identity: in the order of time, since programs may be set in another track."""
    timed = []
    for track in song.tracks:
        now = 0
        for message in track:
            now += message.time
            timed.append((now, message))
    programs, owner, sounding = dict.fromkeys(range(16), 0), dict[int, str](), dict[tuple[int, int], str]()
    for _, message in sorted(timed, key=lambda pair: (pair[0], not pair[1].type.startswith("program"))):
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            if message.type == "note_on" and message.velocity:
                sounding[key] = part_of(message.channel, programs[message.channel])
            owner[id(message)] = sounding.get(key, part_of(message.channel, programs[message.channel]))
    return owner


def _only(song: mido.MidiFile, owner: dict[int, str], name: str) -> bytes:
    """The song without the notes of other parts; the time of what is left out goes to the next message."""
    out = mido.MidiFile(type=song.type, ticks_per_beat=song.ticks_per_beat)
    for track in song.tracks:
        kept, waited = mido.MidiTrack(), 0
        for message in track:
            if owner.get(id(message), name) == name:
                kept.append(message.copy(time=message.time + waited))
                waited = 0
            else:
                waited += message.time
        out.tracks.append(kept)
    return saved(out)


def saved(song: mido.MidiFile) -> bytes:
    file = io.BytesIO()
    song.save(file=file)
    return file.getvalue()


def _ended(song: mido.MidiFile) -> mido.MidiFile:
    """The song with an end to notes that have none: a player would wait for them, and write, without end."""
    last = max(song.tracks, key=lambda track: sum(message.time for message in track))
    while last and last[-1].type == "end_of_track":
        last.pop()
    for channel in range(16):
        last += [mido.Message("control_change", channel=channel, control=control, value=0) for control in (HOLD, SOSTENUTO, NOTES_OFF)]
    return song


def played(score: bytes, font: Path = FONT, sample_rate: int = RATE, *, dry: bool = False) -> Array:
    """A score through the ``fluidsynth`` program and a sound font: float64 [T, 2]; ``dry``: without the player's reverb and chorus.

    Raises PackageError if the program or the sound font is not there, or fails.
    """
    if not font.is_file():
        raise PackageError(f"the sound font {font} is not there; install the package fluid-soundfont-gm, or name another")
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "a.mid", Path(folder) / "a.raw"
        song.write_bytes(saved(_ended(parsed(score))))
        options = f"-niq -g 0.4 -r {sample_rate} -T raw -O float {'-R 0 -C 0 ' * dry}-F".split()
        try:
            done = subprocess.run(["fluidsynth", *options, sound, font, song], check=False, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise PackageError("the program fluidsynth is not there; install the package fluidsynth") from error
        if done.returncode or not sound.is_file():
            raise PackageError(f"fluidsynth could not play the score: {done.stderr.strip()[:200] or f'it left with {done.returncode}'}")
        return np.frombuffer(sound.read_bytes(), "<f4").reshape(-1, 2).astype(float)


def stems_of(score: bytes, font: Path = FONT) -> dict[str, Callable[[], Array]]:
    """The parts of a score, each played when called."""
    return {name: partial(played, part, font) for name, part in split(score).items()}
