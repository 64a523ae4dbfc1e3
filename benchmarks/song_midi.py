"""Parts of synthetic songs played by the ``fluidsynth`` program from a General MIDI sound font."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from song_instruments import render_other
from song_score import Note, Score

FREE_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")  # MIT licence
SOUND_FONTS = (FREE_FONT, Path("/usr/share/sounds/sf2/TimGM6mb.sf2"))
GM_DRUMS = {
    "kick": (36, 35), "snare": (38, 40), "clap": (39,), "rim": (37,), "hat": (42, 44), "open": (46,), "crash": (49, 57),
    "ride": (51, 59, 53), "tom1": (50, 48), "tom2": (47, 45), "tom3": (43, 41), "shaker": (82, 70, 54), "perc": (56, 62, 63, 64, 76, 75),
}  # fmt: skip
GM_KITS = (0, 0, 8, 16, 24, 25, 32, 40)
# Piano, electric piano, organ, guitar, strings, choir, brass, reed, pipe, lead and pad programs (counted from 0).
GM_CHORDS = (
    0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 21, 24, 25, 26, 27, 28, 29, 30, 29,
    30, 25, 27, 46, 48, 49, 50, 51, 61, 62, 63, 81, 88, 89, 90, 91, 92, 93, 94, 95,
)  # fmt: skip
GM_LEADS = (
    0, 4, 11, 12, 13, 22, 24, 26, 27, 29, 30, 40, 41, 42, 45, 56, 57,
    59, 60, 65, 66, 68, 71, 73, 74, 75, 80, 81, 82, 84, 87, 104, 105, 108,
)  # fmt: skip
GM_BASSES = (32, 33, 33, 34, 34, 35, 36, 37, 38, 39)


def midi_file(tracks: dict[int, tuple[int, list[Note]]], controls: dict[int, dict[int, int]]) -> bytes:
    """A format 0 MIDI file at 960 ticks a second: channel -> (program, notes), and channel -> {controller: value}."""
    events: list[tuple[int, int, bytes]] = [(0, 0, b"\xff\x51\x03\x07\xa1\x20")]
    for channel, (program, notes) in tracks.items():
        events.append((0, 1, bytes([0xC0 | channel, program])))
        events += [(0, 1, bytes([0xB0 | channel, number, value])) for number, value in controls.get(channel, {}).items()]
        for note in notes:
            a, b = round(note.start_s * 960), round((note.start_s + max(note.length_s, 0.03)) * 960)
            pitch, velocity = int(np.clip(note.pitch, 0, 127)), int(np.clip(note.velocity * 127, 1, 127))
            events += [(a, 3, bytes([0x90 | channel, pitch, velocity])), (b, 2, bytes([0x80 | channel, pitch, 0]))]
    body, now = bytearray(), 0
    for tick, _, message in sorted(events, key=lambda e: e[:2]):
        delta, parts = tick - now, []
        while True:
            parts.append(delta & 0x7F | (0x80 if parts else 0))
            delta >>= 7
            if not delta:
                break
        body += bytes(reversed(parts)) + message
        now = tick
    body += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(body)) + bytes(body)


def play_midi(data: bytes, num_frames: int, sample_rate: int, sound_font: Path, *, reverb: bool) -> np.ndarray:
    """Plays a MIDI file with fluidsynth: float64 [2, T], cut or padded to the length."""
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "a.mid", Path(folder) / "a.raw"
        song.write_bytes(data)
        options = f"-niq -R {int(reverb)} -C 0 -g 0.4 -r {sample_rate} -T raw -O float -F".split()
        command = ["fluidsynth", *options, str(sound), str(sound_font), str(song)]
        subprocess.run(command, check=True, capture_output=True)
        audio = np.frombuffer(sound.read_bytes(), "<f4").reshape(-1, 2).T.astype(float)
    out = np.zeros((2, num_frames))
    length = min(num_frames, audio.shape[1])
    out[:, :length] = audio[:, :length]
    return out


def play_parts(rng: np.random.Generator, score: Score, sample_rate: int) -> dict[str, np.ndarray]:
    """Drums, bass and other from a sound font, each part by chance left to the synthesisers."""
    font = SOUND_FONTS[int(rng.random() < 0.4)]
    num_frames = round(score.duration_s * sample_rate)
    out = {}
    if rng.random() < 0.75:
        choice = {name: pitches[rng.integers(len(pitches))] for name, pitches in GM_DRUMS.items()}
        hits = [Note(max(at, 0.0), 0.2, choice[name], velocity) for at, name, velocity in score.drums]
        data = midi_file({9: (int(rng.choice(GM_KITS)), hits)}, {})
        out["drums"] = play_midi(data, num_frames, sample_rate, font, reverb=bool(rng.random() < 0.3))
    if rng.random() < 0.7:
        program = int(rng.choice(GM_BASSES))
        out["bass"] = play_midi(midi_file({0: (program, score.bass)}, {}), num_frames, sample_rate, font, reverb=False)
    if rng.random() < 0.85:
        tracks = {i: (int(rng.choice(GM_CHORDS)), notes) for i, notes in enumerate(score.chordal)}
        if rng.random() < 0.5:
            tracks[len(tracks)] = (int(rng.choice(GM_LEADS)), score.lead)
        controls = {
            i: {7: int(rng.integers(60, 127)), 10: int(np.clip(rng.normal(64, 30), 0, 127)), 91: int(rng.integers(0, 90))} for i in tracks
        }
        out["other"] = play_midi(midi_file(tracks, controls), num_frames, sample_rate, font, reverb=bool(rng.random() < 0.5))
        if rng.random() < 0.2:
            level = np.sqrt(np.mean(out["other"] ** 2)) + 1e-6
            synth = render_other(rng, score, sample_rate)
            out["other"] = out["other"] / level + synth / (np.sqrt(np.mean(synth**2)) + 1e-6)
    return out
