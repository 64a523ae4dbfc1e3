"""Dry stems to learn reverberation from: synthetic songs, instruments of scores, channels and parts of tracker modules.

Conventions
    Stems are float32 [2, T] at ``SAMPLE_RATE``, each with the song that it is of, the loudest 16 s of the first minute. Songs are those
    of no benchmark that reports (``blind_room.py``, ``blind_room_instruments.py``): other scores, of which those in the WAD of that
    benchmark are left out by their contents, other modules, and another sound font than the one that it plays.
    A score is split by its channels. Each is played by the instrument that the score names, or by another one drawn from its family or from
    all, so that guitars, pads, strings and basses are there as often as pianos.

References
    General MIDI System Level 1, MMA 1991: families of eight programs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import game_scores
import mido
import numpy as np
import songs
from free_songs import grouped, parts_of
from tracker_modules import RATE, Player

from stemwright.datagen.inverse.blind.reverberation_features import SAMPLE_RATE
from stemwright.manifests.sound.resampling import resample

Stem = tuple[str, np.ndarray]
PLAYED_S, EXCERPT_S = 60.0, 16.0
FAMILIES = tuple(tuple(range(first, first + 8)) for first in range(0, 104, 8))
# Guitars, basses, strings, ensembles, synthetic leads and pads, twice each; pianos, chromatic percussion, organs, brass, reeds, pipes
DRAWN = (3, 3, 4, 4, 5, 5, 6, 6, 10, 10, 11, 11, 0, 1, 2, 7, 8, 9)
OWN, FAMILY = 0.4, 0.2  # shares of the stems that the score's instrument plays, and that one of its family does


def synthetic(seeds: range) -> Iterator[Stem]:
    """Stems of synthetic songs without echo and reverb."""
    for seed in seeds:
        for audio in songs.render_song(seed, EXCERPT_S, without=("echo", "reverb")).values():
            if np.abs(audio).max() > 0.0:
                yield f"synthetic {seed}", resample(audio, 44_100, SAMPLE_RATE)


def of_scores(wads: Collection[Path], left_out: Path, font: Path, rng: np.random.Generator) -> Iterator[Stem]:
    """Single channels of the scores of WADs that are not in another."""
    away = set(game_scores.scores_in(left_out.read_bytes()).values())
    for wad in wads:
        for name, score in game_scores.scores_in(wad.read_bytes()).items():
            if score not in away:
                away.add(score)
                yield from of_score(f"{wad.stem} {name}", score, font, rng)


def of_score(song: str, score: bytes, font: Path, rng: np.random.Generator, most: int = 4) -> Iterator[Stem]:
    """The drums and some channels of a score, dry."""
    counts = defaultdict[int, int](int)
    for message in game_scores.parsed(score):
        if message.type == "note_on" and message.velocity:
            counts[message.channel] += 1
    pitched = [channel for channel, count in counts.items() if channel != game_scores.DRUM_CHANNEL and count >= 16]
    kept = [int(channel) for channel in rng.permutation(pitched)[:most]]
    for channel in [game_scores.DRUM_CHANNEL] * (counts[game_scores.DRUM_CHANNEL] >= 16) + kept:
        alone = only(score, channel, None if rng.random() < OWN else rng)
        audio = loudest(game_scores.played(alone, font, SAMPLE_RATE, dry=True).T, SAMPLE_RATE)
        if audio is not None:
            yield song, audio


def only(score: bytes, channel: int, rng: np.random.Generator | None) -> bytes:
    """The first minute of a score with the notes of one channel only, by another instrument if a generator is given."""
    song = game_scores.parsed(score)
    ticks = max(sum(message.time for message in track) for track in song.tracks)
    last = ticks * min(1.0, PLAYED_S / max(song.length, 1e-3))
    other: int | None = None
    out = mido.MidiFile(type=song.type, ticks_per_beat=song.ticks_per_beat)
    for track in song.tracks:
        made, waited, now = mido.MidiTrack(), 0, 0
        for message in track:
            now += message.time
            waited += message.time
            starts = message.type == "note_on" and message.velocity > 0
            if (message.type.startswith("note") and message.channel != channel) or (now > last and starts):
                continue
            if message.type == "end_of_track":
                waited = 0
            if message.type == "program_change" and message.channel == channel and rng is not None and channel != game_scores.DRUM_CHANNEL:
                other = instead_of(message.program, rng) if other is None else other
                message = message.copy(program=other)
            made.append(message.copy(time=waited))
            waited = 0
        out.tracks.append(made)
    return game_scores.saved(out)


def instead_of(program: int, rng: np.random.Generator) -> int:
    """Another program, of the same family or of a family drawn."""
    family = FAMILIES[min(program // 8, len(FAMILIES) - 1)] if rng.random() < FAMILY / (1.0 - OWN) else FAMILIES[int(rng.choice(DRAWN))]
    return int(rng.choice(family))


def of_modules(paths: Collection[Path], player: Player, rng: np.random.Generator, most: int = 4) -> Iterator[Stem]:
    """Parts and some channels of tracker modules."""
    for path in paths:
        module = player.load(path)
        module = replace(module, seconds=min(module.seconds, PLAYED_S))
        groups, _ = parts_of(found := grouped(player, module), len(module.names))
        instruments = [set(groups.get(name) or found.instruments[name]) for name in ("drums", "bass", "other", "tonal")]
        made = [player.render(module, instruments=part) for part in instruments if part]
        made += [player.render(module, channels={int(number)}) for number in rng.permutation(module.channels)[:most]]
        for audio in made:
            if (part := loudest(audio.T, RATE)) is not None:
                yield f"module {path.parent.name} {path.stem}", resample(part, RATE, SAMPLE_RATE)


def loudest(audio: np.ndarray, sample_rate: int) -> np.ndarray | None:
    """The loudest 16 s of the first minute of audio [C, T]; None where it hardly sounds."""
    audio = np.asarray(audio[:, : round(PLAYED_S * sample_rate)], np.float32)
    seconds = (audio[:, : audio.shape[1] // sample_rate * sample_rate].astype(float) ** 2).sum(0).reshape(-1, sample_rate).sum(1)
    wanted = min(round(EXCERPT_S), len(seconds))
    if wanted < 6 or not seconds.max() > 0.0:
        return None
    start = int(np.convolve(seconds, np.ones(wanted), "valid").argmax())
    if (seconds[start : start + wanted] > 1e-3 * seconds.max()).mean() < 0.4:
        return None
    return np.ascontiguousarray(audio[:, start * sample_rate : (start + wanted) * sample_rate])
