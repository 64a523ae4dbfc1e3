"""Reverberation of real stems by instrument, in rooms of other makes: simulated by pyroomacoustics, and measured.

    python benchmarks/blind_room_instruments.py --music FOLDER --wad FILE [--responses FOLDER] [--songs N] [--write]

Conventions
    Stems are of free music (``free_music.py``): tracker songs (drums, bass, other), single channels of them, and pieces with a guitar; none
    of the game whose channels the weights were learnt from; and the parts of scores of games (``--wad``, such as freedoom2.wad), played
    without the player's reverb. Of each the loudest 12 s of two minutes. Recordings have reverberation of their own, samples seldom.
    Rooms: boxes by pyroomacoustics (image sources up to the third order, then ray tracing; air and scattering), drawn so that times are 0.2
    to 2 s; and the files of ``--responses``, WAV of rooms, such as those of Debian's package rakarrack, if they have 0.18 s or more. True
    times are T30 of the response at 500 Hz and 1 kHz, true ratios the first 2.5 ms against the rest. Every response is given a level of -18
    to 0 dB against the direct sound, as other rooms here are (``known_rooms.with_direct``), so that ratios of a mix are met.
    What reverberation stems have of their own is an error of the estimate. "no answer": abstained, or called dry.

References
    Scheibler, Bezzam, Dokmanić 2018: pyroomacoustics. Eaton et al. 2016 (the ACE challenge): the measures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import game_scores
import numpy as np
import soundfile
from results import report as publish
from scipy.signal import resample_poly
from scipy.stats import spearmanr

from stemwright.datagen.evaluate.known_rooms import RT60_S, WET_DB, Room, measured, rt60_of, through, with_direct
from stemwright.datagen.inverse.blind.heard_reverberation import HeardReverberation, estimate_reverberation

SAMPLE_RATE, SEED = 44_100, 20261129
EXCERPT_S, READ_S = 12.0, 120.0
GROUPS = {
    "tracker drums": ("modules", "drums"),
    "tracker bass": ("modules", "bass"),
    "tracker other": ("modules", "other"),
    "score drums": ("wad", "drums"),
    "score bass": ("wad", "bass"),
    "score other": ("wad", "other"),
    "guitar": ("guitar", "guitar"),
    "tracker channel": ("channels", "ch*"),
}
LEARNT = "heroes"
CHANNELS_A_SONG = 2
LEAST_S = 0.18  # a measured response that is shorter is no room
WITHIN = 0.25


class Trial(NamedTuple):
    """One stem in one room, or in none (a time of NaN)."""

    group: str
    room: str
    rt60_s: float
    drr_db: float
    found: HeardReverberation
    dry: HeardReverberation


def box(rng: np.random.Generator) -> Room:
    """A room of pyroomacoustics with two microphones 20 cm apart, whose time is in the range, or nearly."""
    import pyroomacoustics

    while True:
        size = rng.uniform([3.0, 3.0, 2.4], [14.0, 11.0, 5.0])
        wanted = float(np.exp(rng.uniform(*np.log(RT60_S))))
        try:
            absorption, _ = pyroomacoustics.inverse_sabine(wanted, size)
        except ValueError:  # too large to be so dry
            continue
        material = pyroomacoustics.Material(min(absorption, 0.95), float(rng.uniform(0.0, 0.3)))
        room = pyroomacoustics.ShoeBox(
            size, fs=SAMPLE_RATE, materials=material, max_order=3, ray_tracing=True, air_absorption=True, temperature=20.0, humidity=50.0
        )
        room.set_ray_tracing(n_rays=4000)
        listener = np.clip(size * rng.uniform(0.2, 0.8, 3), 0.4, size - 0.4)
        room.add_source(size * rng.uniform(0.2, 0.8, 3))
        room.add_microphone_array(np.stack([listener, listener + np.array([0.2, 0.0, 0.0])], 1))
        room.compute_rir()
        ears = [np.array(ear[0]) for ear in room.rir]
        made = from_response(np.stack([ear[: min(map(len, ears))] for ear in ears]), float(rng.uniform(*WET_DB)))
        if RT60_S[0] <= made.rt60_s <= RT60_S[1]:
            return made


def from_response(response: np.ndarray, wet_db: float) -> Room:
    """A room by a response [2, L], from its highest sample on; what follows has this level against the direct sound."""
    start = int(np.abs(response).max(0).argmax())
    tail = response[:, start:].astype(float) / np.abs(response).max()
    tail[:, : round(0.001 * SAMPLE_RATE)] = 0.0  # the direct sound, and what the loudspeaker and the filters make of it
    return measured(with_direct(tail, wet_db), SAMPLE_RATE)


def responses_in(folder: Path) -> list[np.ndarray]:
    """The responses [2, L] of a folder that last as long as a room does."""
    found = []
    for path in sorted(folder.glob("**/*.wav")):
        audio, sample_rate = soundfile.read(path, dtype="float64", always_2d=True)
        audio = resample_poly(audio.T, SAMPLE_RATE, sample_rate, axis=1) if sample_rate != SAMPLE_RATE else audio.T
        response = np.repeat(audio, 2, 0)[:2] if len(audio) == 1 else audio[:2]
        start = int(np.abs(response).max(0).argmax())
        if response.shape[1] - start > 0.15 * SAMPLE_RATE and rt60_of(response[:, start:], SAMPLE_RATE) >= LEAST_S:
            found.append(response)
    return found


def stems_of(music: Path, wad: Path, group: str, num_songs: int) -> Iterator[np.ndarray]:
    """The loudest parts [C, T] of the stems of a group, of so many songs drawn at random."""
    collection, pattern = GROUPS[group]
    if collection == "wad":
        yield from _score_parts(wad, pattern, num_songs)
        return
    songs = [path for path in sorted((music / collection).iterdir()) if path.is_dir() and not path.name.startswith(LEARNT)]
    order = np.random.default_rng(SEED).permutation(len(songs))
    left = num_songs
    for place in order:
        parts = [part for path in sorted(songs[place].glob(f"{pattern}.flac")) if (part := excerpt(path)) is not None]
        yield from parts[:: max(len(parts) // CHANNELS_A_SONG, 1)][:CHANNELS_A_SONG]
        left -= bool(parts)
        if not left:
            return


def _score_parts(wad: Path, name: str, num_songs: int) -> Iterator[np.ndarray]:
    """One part of so many scores that have it, played dry."""
    scores = list(game_scores.scores_in(wad.read_bytes()).values())
    for place in np.random.default_rng(SEED).permutation(len(scores)):
        parts = game_scores.split(scores[place])
        if num_songs and len(parts) > 1 and name in parts and (part := loudest(game_scores.played(parts[name], dry=True).T)) is not None:
            num_songs -= 1
            yield part


def excerpt(path: Path) -> np.ndarray | None:
    """The loudest part of a file; None where there is none, or it has another rate."""
    info = soundfile.info(path)
    if info.samplerate != SAMPLE_RATE:
        return None
    return loudest(soundfile.read(path, dtype="float32", always_2d=True, frames=min(info.frames, round(READ_S * SAMPLE_RATE)))[0].T)


def loudest(audio: np.ndarray) -> np.ndarray | None:
    """The loudest 12 s of the first two minutes of audio [C, T]; None where it hardly sounds."""
    audio = np.asarray(audio[:, : round(READ_S * SAMPLE_RATE)], np.float32)
    seconds = (audio[:, : audio.shape[1] // SAMPLE_RATE * SAMPLE_RATE].astype(float) ** 2).sum(0).reshape(-1, SAMPLE_RATE).sum(1)
    if len(seconds) < EXCERPT_S or not seconds.max() > 0.0:
        return None
    start = int(np.convolve(seconds, np.ones(round(EXCERPT_S)), "valid").argmax())
    if (seconds[start : start + round(EXCERPT_S)] > 1e-3 * seconds.max()).mean() < 0.5:
        return None
    return audio[:, start * SAMPLE_RATE : start * SAMPLE_RATE + round(EXCERPT_S * SAMPLE_RATE)]


def trials(stems: Mapping[str, Iterator[np.ndarray]], responses: list[np.ndarray], num_boxes: int) -> Iterator[Trial]:
    """Every stem of every group dry, in two boxes and in a measured room."""
    rng = np.random.default_rng(SEED)
    boxes = [box(rng) for _ in range(num_boxes)]
    for group, of_group in stems.items():
        for stem in of_group:
            dry = estimate_reverberation(stem, SAMPLE_RATE)
            yield Trial(group, "none", np.nan, np.inf, dry, dry)
            rooms = [("pyroomacoustics", boxes[place]) for place in rng.choice(len(boxes), 2, replace=False)]
            if responses:
                drawn = rng.choice(len(responses), 1)
                rooms += [("measured", from_response(responses[place], float(rng.uniform(*WET_DB)))) for place in drawn]
            for name, made in rooms:
                yield Trial(group, name, made.rt60_s, made.drr_db, estimate_reverberation(through(stem, made), SAMPLE_RATE), dry)


def _row(rows: list[Trial]) -> str:
    kept = [one for one in rows if one.found.rt60_s is not None]
    head = f"{len(rows)} | {len(kept) / len(rows):.0%}" if rows else "0 | "
    if len(kept) < 4:
        return f"{head} |" + " |" * 6
    true = np.array([one.rt60_s for one in kept])
    found, low, high = (np.array([getattr(one.found, name) for one in kept], float) for name in ("rt60_s", "rt60_low_s", "rt60_high_s"))
    error = found / true - 1.0
    ratios = np.array([[one.drr_db, one.found.drr_db, one.found.drr_low_db, one.found.drr_high_db] for one in kept], float)
    inside = (ratios[:, 2] <= ratios[:, 0]) & (ratios[:, 0] <= ratios[:, 3])
    return " | ".join(
        [
            head,
            f"{np.median(np.abs(error)):.0%} ({np.median(error):+.0%})",
            f"{(np.abs(error) <= WITHIN).mean():.0%}",
            f"{np.mean([one.found.confidence for one in kept]):.0%}",
            f"{spearmanr(true, found)[0]:.2f}",
            f"{((low <= true) & (true <= high)).mean():.0%}",
            f"{np.abs(ratios[:, 0] - ratios[:, 1]).mean():.1f}, {inside.mean():.0%}",
        ]
    )


def table(found: list[Trial]) -> str:
    """By instrument, and by room."""
    lines = [
        "| stems | room | trials | answered | median error of RT60 (signed) | within 25 % | confidence | rank | RT60 in 80 % interval | "
        "error of DRR dB, in 80 % interval |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    wet = [one for one in found if one.room != "none"]
    rooms = list(dict.fromkeys(one.room for one in wet))
    for group in (*GROUPS, "all"):
        own = [one for one in wet if group in (one.group, "all")]
        shown = (*(rooms if group == "all" else ()), "all")
        lines += [f"| {group} | {room} | {_row([one for one in own if room in (one.room, 'all')])} |" for room in shown]
    return "\n".join(lines)


def dry_table(found: list[Trial]) -> str:
    """What is said of the stems as they are."""
    lines = ["| stems | as they are | called dry | no answer | a time |", "|---|---|---|---|---|"]
    for group in (*GROUPS, "all"):
        rows = [one.found for one in found if one.room == "none" and group in (one.group, "all")]
        dry, given = sum(one.is_dry for one in rows), sum(one.rt60_s is not None for one in rows)
        lines.append(f"| {group} | {len(rows)} | {dry} | {len(rows) - dry - given} | {given} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, required=True, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--wad", type=Path, required=True, help="WAD of a free game with scores in General MIDI, such as freedoom2.wad")
    parser.add_argument("--responses", type=Path, help="folder with measured responses of rooms, WAV")
    parser.add_argument("--songs", type=int, default=12, help="songs of each group")
    parser.add_argument("--boxes", type=int, default=40, help="rooms of pyroomacoustics, of which two are drawn for each stem")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    arguments = parser.parse_args()
    responses = responses_in(arguments.responses) if arguments.responses else []
    start = time.monotonic()
    stems = {group: stems_of(arguments.music, arguments.wad, group, arguments.songs) for group in GROUPS}
    found = list(trials(stems, responses, arguments.boxes))
    said = f"Up to {arguments.songs} songs of each group, {arguments.boxes} boxes of pyroomacoustics, {len(responses)} measured responses."
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    options = " --responses FOLDER" * bool(responses) + f" --songs {arguments.songs} --boxes {arguments.boxes}"
    body = "\n\n".join([said, table(found), dry_table(found)])
    publish(
        "Blind room by instrument",
        f"python benchmarks/blind_room_instruments.py --music FOLDER --wad FILE{options} --write",
        body,
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
