"""Rooms and stems that reverberation is learnt from."""

import game_scores
import mido
import numpy as np
import pytest
import room_stems
from training_rooms import bank

from stemwright.datagen.evaluate.known_rooms import drr_of, rt60_of

RATE = 16_000


def test_variants_of_a_room_have_the_time_and_the_ratio_that_they_state():
    rooms = bank(np.random.default_rng(0), 6, RATE)
    rng, errors = np.random.default_rng(1), []
    for _ in range(24):
        made = rooms.draw(rng)
        assert made.drr_db == pytest.approx(drr_of(made.response, RATE))
        assert (made.response[:, 0] == 1.0).all()
        errors.append(rt60_of(made.response, RATE) / made.rt60_s - 1.0)
    assert np.abs(errors).mean() < 0.05
    assert np.abs(errors).max() < 0.3  # filters and coherence move a time a little; training spreads it by an eighth of an octave anyway


def test_a_channel_of_a_score_is_played_alone_to_its_last_note():
    song = mido.MidiFile(type=1)
    for channel in (0, 3):
        events = [mido.Message("program_change", channel=channel, program=30)]
        for number in range(4):
            events += [
                mido.Message("note_on", channel=channel, note=60 + number),
                mido.Message("note_off", channel=channel, note=60 + number),
            ]
            events[-1].time = 480
        song.tracks.append(mido.MidiTrack(events))
    found = game_scores.parsed(room_stems.only(game_scores.saved(song), 3, None))
    notes = [message for message in found if message.type == "note_on"]
    assert [(note.channel, note.note) for note in notes] == [(3, 60 + number) for number in range(4)]
    assert found.length == pytest.approx(2.0, abs=0.01)  # 4 beats at 120 a minute
    other = game_scores.parsed(room_stems.only(game_scores.saved(song), 3, np.random.default_rng(0)))
    changed = {message.channel: message.program for message in other if message.type == "program_change"}
    assert changed[0] == 30
    assert changed[3] != 30
