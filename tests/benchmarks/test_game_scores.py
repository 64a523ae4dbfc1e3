"""Scores of games as multitracks: every note goes to one part, and what is not a note to all. Nothing is downloaded."""

import io
import shutil
import struct

import game_scores
import mido
import numpy as np
import pytest
from game_scores import credits_in, played, scores_in, split


def made_score(kind: int = 1) -> bytes:
    """Drums, a bass that becomes a guitar after its first note, and a note that never ends."""
    song = mido.MidiFile(type=kind, ticks_per_beat=480)
    notes = [mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("copyright", text="(C) A Composer")]
    notes += [mido.Message("program_change", channel=1, program=33), mido.Message("control_change", channel=1, control=7, value=90)]
    notes += [mido.Message("note_on", channel=1, note=40, velocity=80), mido.Message("note_on", channel=9, note=36, velocity=99)]
    notes += [mido.Message("note_on", channel=1, note=40, velocity=0, time=240), mido.Message("program_change", channel=1, program=29)]
    notes += [mido.Message("note_on", channel=1, note=60, velocity=70, time=240), mido.Message("note_off", channel=1, note=60, time=480)]
    notes += [mido.Message("note_on", channel=1, note=64, velocity=70, time=60)]
    song.tracks.append(mido.MidiTrack(notes))
    file = io.BytesIO()
    song.save(file=file)
    return file.getvalue()


def sounding(score: bytes) -> list[tuple[float, int, int]]:
    """Time in s, channel and note of every note that begins."""
    now, found = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(score)):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append((round(now, 4), message.channel, message.note))
    return found


@pytest.mark.parametrize("kind", [0, 1])
def test_every_note_is_in_one_part_at_its_time(kind):
    score = made_score(kind)
    parts = split(score)
    assert {name: sounding(part) for name, part in parts.items()} == {
        "drums": [(0.0, 9, 36)],
        "bass": [(0.0, 1, 40)],
        "other": [(0.4, 1, 60), (0.85, 1, 64)],
    }
    assert sorted(note for part in parts.values() for note in sounding(part)) == sorted(sounding(score))


def test_a_part_keeps_tempo_and_controllers():
    for part in split(made_score()).values():
        messages = [message for track in mido.MidiFile(file=io.BytesIO(part)).tracks for message in track]
        assert [message.tempo for message in messages if message.type == "set_tempo"] == [400_000]
        assert [(message.channel, message.control, message.value) for message in messages if message.type == "control_change"] == [
            (1, 7, 90)
        ]


def test_a_note_without_an_end_is_ended_before_it_is_played():
    score = game_scores._ended(game_scores.parsed(made_score()))
    controls = [(message.channel, message.control) for message in score.tracks[-1] if message.type == "control_change"]
    assert {(channel, game_scores.NOTES_OFF) for channel in range(16)} <= set(controls[-48:])


def test_wad_gives_its_scores_by_name_and_nothing_else():
    score = made_score()
    lumps = [(b"D_E1M1\0\0", score), (b"PLAYPAL\0", b"\1\2\3"), (b"D_OLD\0\0\0", b"MUS\x1a")]
    data, directory = b"", b""
    for name, lump in lumps:
        directory += struct.pack("<II8s", 12 + len(data), len(lump), name)
        data += lump
    wad = struct.pack("<4sII", b"IWAD", len(lumps), 12 + len(data)) + data + directory
    assert scores_in(wad) == {"e1m1": score}
    assert credits_in(score) == "(C) A Composer"
    with pytest.raises(ValueError, match="begins with IWAD or PWAD; got b'RIFF'"):
        scores_in(b"RIFF" + wad[4:])


def test_missing_sound_font_is_named(tmp_path):
    with pytest.raises(game_scores.PackageError, match=r"a\.sf2 is not there"):
        played(made_score(), tmp_path / "a.sf2")


@pytest.mark.skipif(not (shutil.which("fluidsynth") and game_scores.FONT.is_file()), reason="needs fluidsynth and fluid-soundfont-gm")
def test_played_parts_sum_to_the_played_score():
    score = made_score()
    whole, parts = played(score), [played(part) for part in split(score).values()]
    length = max(map(len, [whole, *parts]))
    padded = [np.pad(audio, ((0, length - len(audio)), (0, 0))) for audio in [whole, *parts]]
    assert 44_100 < length < 20 * 44_100
    error = padded[0] - sum(padded[1:])
    assert 10 * np.log10(np.sum(error**2) / np.sum(padded[0] ** 2)) < -35
