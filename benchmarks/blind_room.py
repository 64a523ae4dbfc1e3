"""Reverberation time and direct-to-reverberant ratio of stems without their dry signals, in rooms whose responses are measured.

Conventions
    Held out from the weights of ``sw.estimate_reverberation``: the songs, and three of the four makes of rooms (``rooms.py``);
    those of ``room`` have other settings and noise. True times are T30 of the response in the octaves of 500 Hz and 1 kHz, by Schroeder's
    integral, from 0.2 to 2 s; ratios are 0 to 18 dB and more, the first 2.5 ms against the rest. 12 s of each stem are in one room of each
    make.
    Tracker songs (``--music``, the folder that ``free_music.py`` makes) are of samples, mostly dry, but not always: what reverberation they
    have of their own is an error of the estimate here.
    Peers, on the answered stems and on all: *decay rate* is the method of the textbooks without learning: straight falls of the level over
    0.2 s in half octaves, at the fast end of which (10 %) is the room; its factor and quantile are not fitted. *Constant* is the
    geometric mean of the times that rooms are drawn from, 0.63 s.
    Networks were trained on modules of other games (``room_stems.py``) and on scores; limits and the mapping of confidences were chosen on
    those, in other rooms of ``image`` and ``network``.
    ``within`` is the share of answers within 25 %, ``covered`` the share of true values in the 80 % interval; both are of answered stems.

References
    Ratnam et al. 2003; Eaton et al. 2016 (the ACE challenge): the measures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import rooms
import songs
from scipy.stats import spearmanr

from stemwright.datagen.evaluate.blind_trials import CONSTANT_S, HeardStem, InRoom, room_trials
from stemwright.datagen.inverse.blind.heard_reverberation import estimate_reverberation
from stemwright.manifests.sound.decoding import load

SAMPLE_RATE = 44_100
FIRST_SEED = 43_000
DURATION_S = 12.0
HELD_OUT = ("room", "freeverb", "image", "network")
NOT_STEMS = {"mixture", "unsorted", "rest", "backing"}
GAMES_LEARNT = {"heroes"}

LEGEND = """\
Estimates of stems in rooms whose responses are measured. `room`: the effect; `freeverb`: pedalboard's Reverb; `image`: image sources;
`network`: a feedback delay network; the last three were not in training. `within 25 %`: share of the answers; `rank`: Spearman's
correlation; `covered`: true values within the 80 % interval. For comparison, on the answered stems: the decay rate of straight falls
of the level, and a constant of 0.63 s."""
TRIES = """
What was tried (from development, on other songs):

| tried | result |
|---|---|
| 1,110 examples of 40 synthetic songs, 3 networks | stems of other songs in `room`: 69 % answered, 76 % of them within 25 %, rank 0.78; in other makes 46 to 63 %, 55 to 68 %, 0.60 to 0.87; tracker drums in `room`: 88 %, 52 %, 0.82 |
| 4,146 examples: also of songs played faster or slower, cut, compressed (a third), and of channels of tracker songs of another game | in `room` 66 %, 83 %, 0.91; other makes 51 to 72 %, 61 to 73 %, 0.72 to 0.91; tracker drums in `room` 85 %, 73 %, 0.91 |
| 1,030 examples of single tracker channels of four games and of synthetic songs, in `room` and `early`: a least confidence of 0.55 instead of 0.45 | of tracker channels 33 % answered (45), 77 % of them within 25 % (67), rank 0.87 (0.83), in the interval 85 % (78), of dry ones 4 of 97 with a time (8); of synthetic stems 54 % answered (65), 91 % within 25 % (87) |
| whether an answer is right, learnt from confidence, width of the interval, distance from the training features and empty bands, each game left out | tracker channels: no better than the confidence alone (the surest 53 %: 80 %) |
| 2,245 examples of stems of 33 modules, one network, two folds of songs: features of what two channels do not share and of single partials beside those of half octaves | stems of the other fold in `image` and `network`: 51 % answered (15 without), 68 % within 25 % (74), rank 0.88 (0.85) |
| 5,728 examples of 122 songs (scores by instrument, modules, synthetic), three folds | other songs in `image` and `network`: 60 % answered, 68 % within 25 %, rank 0.88, of dry stems 4.4 % with a time; intervals hold 83 %, of the surest quarter 83 % are right where 69 % were stated: the confidence is mapped since |
| the same with two networks, the power 0.75, the mapped confidence, no time where a dry stem has a probability above 5 %, and a least confidence of 0.55 | 58 % answered, 69 % within 25 % where 70 % are stated, intervals hold 80 %, of dry stems 3.5 % with a time |
| a lower power for stems with less than nine bands within 25 dB of the loudest | of those with less than eight 41 % answered (53), 56 % within 25 % (57) where 60 % are stated (66), intervals hold 81 % (67) |
| parts of other scores of the game, played by the sound font of `blind_room_instruments.py`, which is not the one of the training: dry, and in `image` and `network` | 1 of 36 in rooms has a time, none of 18 dry ones: its instruments are in stereo, so that what differs between the channels is not the room, and most reasons are that a dry stem is likely as well; with a limit of 10 % for that and a least confidence of 0.5, 5 have a time and one is right |
| a least confidence of 0.6 | 47 % answered, 71 % within 25 %, of dry stems 2.0 % with a time |
| no test for sounds that never decay | a constant and a sine got 1.9 s with a confidence of 0.53; now they are refused |
"""  # noqa: E501


def synthetic_stems(num_songs: int) -> Iterator[tuple[str, np.ndarray]]:
    """Dry stems [2, T] of synthetic songs."""
    for seed in range(FIRST_SEED, FIRST_SEED + num_songs):
        yield from songs.render_song(seed, DURATION_S, without=("echo", "reverb")).items()


def tracker_stems(folder: Path, collection: str, duration_s: float = DURATION_S) -> Iterator[tuple[str, np.ndarray]]:
    """Parts [C, T] of the stems of a collection of free music, where they sound for the most part.

    Of ``channels`` the songs of one game, of which the weights are made; of ``modules`` those of others.
    """
    for path in sorted((folder / collection).glob("*/*.flac")):
        learnt = path.parent.name.split("-")[0] in GAMES_LEARNT
        if path.stem not in NOT_STEMS and learnt == (collection == "channels"):
            audio, sample_rate = load(path)
            assert sample_rate == SAMPLE_RATE
            audio = audio[:, : 60 * SAMPLE_RATE]
            seconds = (audio[:, : audio.shape[1] // SAMPLE_RATE * SAMPLE_RATE].astype(float) ** 2).sum(0).reshape(-1, SAMPLE_RATE).sum(1)
            sounds = np.convolve(seconds > 1e-3 * seconds.max(initial=0.0), np.ones(round(duration_s)), mode="valid")
            if len(sounds) and sounds.max() >= 0.5 * duration_s:
                start = int(sounds.argmax()) * SAMPLE_RATE
                yield path.stem, audio[:, start : start + round(duration_s * SAMPLE_RATE)]


def trials_of(music: str, stems: Iterator[tuple[str, np.ndarray]]) -> Iterator[InRoom]:
    """Every stem dry and in a room of each make."""
    for number, (name, dry) in enumerate(stems):
        if not np.abs(dry).max() > 0.0:
            continue
        rng = np.random.default_rng([FIRST_SEED, number])
        yield from room_trials(HeardStem(music, name, dry, SAMPLE_RATE), HELD_OUT, rng, rooms.draw_room)


def table(trials: list[InRoom]) -> str:
    """Errors by music, make of room and stem."""
    lines = [
        "| music | room | stem | stems | answered | median error of RT60 | within 25 % | confidence | rank | RT60 covered | "
        "mean error of DRR dB | DRR covered | decay rate: median error, within, rank | constant: median error, within |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    wet = [one for one in trials if one.make != "none"]
    for music in dict.fromkeys(one.song for one in wet):
        for make in (*HELD_OUT, "all"):
            for stem in (*dict.fromkeys(one.stem for one in wet if one.song == music), "all"):
                rows = [one for one in wet if one.song == music and make in (one.make, "all") and stem in (one.stem, "all")]
                if make == "all" or stem == "all":
                    lines.append(f"| {music} | {make} | {stem} | {_row(rows)} |")
    return "\n".join(lines)


def _row(rows: list[InRoom]) -> str:
    kept = [one for one in rows if one.answered]
    if len(kept) < 4:
        return f"{len(rows)} | {len(kept)} |" + " |" * 9
    true = np.array([one.rt60_s for one in kept])
    found = np.array([one.found.rt60_s for one in kept], float)
    peer = np.nan_to_num([one.peer_s for one in kept], nan=CONSTANT_S)
    ratios = np.array([[one.drr_db, one.found.drr_db, one.found.drr_low_db, one.found.drr_high_db] for one in kept], float)
    covered = np.mean([one.found.rt60_low_s <= one.rt60_s <= one.found.rt60_high_s for one in kept])  # type: ignore[operator]
    error, peer_error, constant = (np.abs(value / true - 1.0) for value in (found, peer, CONSTANT_S))
    return " | ".join(
        [
            str(len(rows)),
            f"{len(kept) / len(rows):.0%}",
            f"{np.median(error):.0%}",
            f"{(error <= 0.25).mean():.0%}",
            f"{np.mean([one.found.confidence for one in kept]):.0%}",
            f"{spearmanr(true, found)[0]:.2f}",
            f"{covered:.0%}",
            f"{np.abs(ratios[:, 0] - ratios[:, 1]).mean():.1f}",
            f"{((ratios[:, 2] <= ratios[:, 0]) & (ratios[:, 0] <= ratios[:, 3])).mean():.0%}",
            f"{np.median(peer_error):.0%}, {(peer_error <= 0.25).mean():.0%}, {spearmanr(true, peer)[0]:.2f}",
            f"{np.median(constant):.0%}, {(constant <= 0.25).mean():.0%}",
        ]
    )


def dry_table(trials: list[InRoom]) -> str:
    """What is said of stems without a room."""
    lines = ["| music | stem | dry stems | said to be dry | abstained | a time, falsely |", "|---|---|---|---|---|---|"]
    dry = [one for one in trials if one.make == "none"]
    for music in dict.fromkeys(one.song for one in dry):
        for stem in (*dict.fromkeys(one.stem for one in dry if one.song == music), "all"):
            rows = [one for one in dry if one.song == music and stem in (one.stem, "all")]
            none, given = sum(one.found.is_dry for one in rows), sum(one.answered for one in rows)
            lines.append(f"| {music} | {stem} | {len(rows)} | {none} | {len(rows) - none - given} | {given} |")
    return "\n".join(lines)


def coverage_table(trials: list[InRoom]) -> str:
    """Risk against coverage: the surest part of the answers."""
    rows = sorted((one for one in trials if one.answered and one.make != "none"), key=lambda one: -one.found.confidence)
    lines = ["| part of the answers | within 25 % | mean confidence |", "|---|---|---|"]
    for share in (0.25, 0.5, 0.75, 1.0):
        part = rows[: max(4, round(share * len(rows)))]
        within = np.mean([abs((one.found.rt60_s or 0.0) / one.rt60_s - 1.0) <= 0.25 for one in part])
        lines.append(f"| {share:.0%} | {within:.0%} | {np.mean([one.found.confidence for one in part]):.0%} |")
    return "\n".join(lines)


def speed() -> str:
    """CPU time of a minute of stem; of what is longer than 30 s only the loudest 30 s are used."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, (2, 60 * SAMPLE_RATE)).astype(np.float32)
    estimate_reverberation(noise[:, : 5 * SAMPLE_RATE], SAMPLE_RATE)
    start = time.process_time()
    estimate_reverberation(noise, SAMPLE_RATE)
    return f"{time.process_time() - start:.2f} s of one core for a stereo stem of a minute, and for every longer one."


def report(num_songs: int, music: Path | None) -> str:
    """Everything, as Markdown."""
    trials = list(trials_of("synthetic songs", synthetic_stems(num_songs)))
    if music is not None:
        trials += trials_of("tracker songs", tracker_stems(music, "modules"))
    return "\n\n".join([LEGEND, table(trials), dry_table(trials), coverage_table(trials), speed(), TRIES.strip()])


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    parser.add_argument("--songs", type=int, default=14)
    parser.add_argument("--music", type=Path, help="folder of free music with tracker songs, made by benchmarks/free_music.py")
    arguments = parser.parse_args()
    text = report(arguments.songs, arguments.music)
    print(text)
    if arguments.write:
        from results import publish

        music = " --music FOLDER" if arguments.music else ""
        publish("Blind room", f"python benchmarks/blind_room.py --songs {arguments.songs}{music} --write", text)


if __name__ == "__main__":
    main()
