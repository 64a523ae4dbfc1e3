"""What RemFX's effects do to real free music, ours beside its own; and what a limiter does to it.

    python benchmarks/evaluate_removal.py FREE [--songs 8] [--seconds 15] [--only guitar ...] [--write]

What is measured
    FREE is the folder that benchmarks/free_music.py makes. ``removal``: wet against dry for each published configuration, by the protocol
    of ``stemwright evaluate removal``; beside it, on the same stems, pairs that RemFX's recipe makes with the effects of pedalboard: an
    excerpt from anywhere, its level as it is before the first effect, -20 LUFS by pyloudnorm after each, drawn again below a distance of
    1e-3; and again with -20 LUFS before the first effect, as ours have it: a threshold and a drive mean what the level makes of them.
    ``limit``: the protocol of ``stemwright evaluate limit``, our limiter on the middle of each song.
    Neither the songs nor, for ``limit``, the limiter are the published ones. Fewer than six songs have no interval: the collection
    ``guitar`` has four. What was measured is kept in .cache/evaluate_removal; ``--write`` publishes all collections together.

References
    Rice et al. 2023 (RemFX), its repository at 85d5030: facts only. Jeon and Lee 2023.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import pedalboard
import pyloudnorm
from results import publish

from stemwright.datagen.evaluate.evaluated_songs import songs_of
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest, Figure
from stemwright.datagen.evaluate.removal_pairs import NUM_FRAMES, RATE, mono
from stemwright.datagen.evaluate.scores import mean_over_songs, mr_stft_loss, si_sdr_db
from stemwright.manifests.sound.resampling import resample

COLLECTIONS = ("guitar", "modules", "scores")
KEPT = Path(__file__).resolve().parent.parent / ".cache" / "evaluate_removal"
EFFECTS = ("distortion", "compressor", "reverb", "chorus", "delay")
GROUPS = {**{effect: (effect,) for effect in EFFECTS}, **{f"{count} effects": None for count in (2, 3, 4, 5)}}
LUFS, SOUNDS, ALIKE, DRAWS = -20.0, 1e-4, 1e-3, 50
PEER = "pedalboard"


def effect_of(name: str, rng: np.random.Generator) -> Any:
    """An effect of pedalboard with settings as RemFX draws them."""
    if name == "distortion":
        return pedalboard.Distortion(rng.uniform(8.0, 25.0))
    if name == "compressor":
        return pedalboard.Compressor(rng.uniform(-42.0, -20.0), rng.uniform(1.5, 6.0), rng.uniform(1.0, 50.0), rng.uniform(10.0, 250.0))
    if name == "reverb":
        wet = rng.uniform(0.2, 0.6)
        return pedalboard.Reverb(rng.uniform(0.3, 1.0), rng.uniform(0.2, 1.0), wet, 1.0 - wet, rng.uniform(0.2, 1.0))
    if name == "chorus":
        return pedalboard.Chorus(
            rng.uniform(0.25, 1.5), rng.uniform(0.2, 0.6), rng.uniform(5.0, 10.0), rng.uniform(0.1, 0.4), rng.uniform(0.15, 0.4)
        )
    return pedalboard.Delay(float(np.exp(rng.uniform(np.log(0.1), np.log(1.0)))), rng.uniform(0.05, 0.3), rng.uniform(0.1, 0.35))


def normalised(audio: np.ndarray, meter: pyloudnorm.Meter) -> np.ndarray:
    """The audio [1, T] at -20 LUFS, raised by 40 dB at most."""
    gain_db = min(LUFS - meter.integrated_loudness(audio.T), 40.0)
    return (audio * 10.0 ** (max(gain_db, -120.0) / 20.0)).astype(np.float32)


def peer_scores(sound: np.ndarray, names: Sequence[str], rng: np.random.Generator, *, levelled: bool) -> tuple[float, float] | None:
    """SI-SDR and MR-STFT of wet against dry as RemFX makes them of a sound [1, T]; None where no excerpt sounds or differs.

    ``levelled``: at -20 LUFS before the first effect as well, as ours are.
    """
    meter = pyloudnorm.Meter(RATE)
    for _ in range(DRAWS):
        start = int(rng.integers(max(1, sound.shape[1] - NUM_FRAMES)))
        wet = dry = sound[:, start : start + NUM_FRAMES]
        if np.abs(dry).mean() < SOUNDS:
            continue
        if levelled:
            wet = dry = normalised(dry, meter)
        for name in rng.permutation(names):
            wet = normalised(effect_of(str(name), rng)(wet, RATE), meter)
        wet, dry = normalised(wet, meter), normalised(dry, meter)
        if np.isfinite(wet).all() and (loss := mr_stft_loss(wet, dry)) >= ALIKE:
            return si_sdr_db(wet, dry), loss
    return None


def peer_figures(folder: Path, num_songs: int, *, levelled: bool) -> list[Figure]:
    """SI-SDR and MR-STFT of wet for each configuration, of pairs that pedalboard's effects make of the same stems."""
    scores: dict[str, list[tuple[float, float]]] = {group: [] for group in GROUPS}
    songs: dict[str, list[str]] = {group: [] for group in GROUPS}
    rng = np.random.default_rng(0)
    for title, sound in stems_of(folder, num_songs):
        for group, fixed in GROUPS.items():
            names = fixed or [EFFECTS[index] for index in rng.permutation(len(EFFECTS))[: int(group[0])]]
            if (found_scores := peer_scores(sound, names, rng, levelled=levelled)) is not None:
                scores[group].append(found_scores)
                songs[group].append(title)
    found = []
    for group, values in scores.items():
        for column, (name, unit) in enumerate((("SI-SDR", "dB"), ("MR-STFT", ""))):
            mean = mean_over_songs([each[column] for each in values], songs[group])
            found.append(Figure(group, name, unit, PEER, mean.value, mean.low, mean.high, mean.songs))
    return found


def stems_of(folder: Path, num_songs: int) -> Iterator[tuple[str, np.ndarray]]:
    """The title of the song and each of its stems in mono at RATE."""
    for song in songs_of(EvaluationRequest(folder, num_songs=num_songs)):
        multitrack = song.load()
        for _, audio in sorted(multitrack.stems.items()):
            yield song.title, resample(mono(audio), multitrack.sample_rate, RATE)


def cell(figures: Sequence[Figure], group: str, name: str, who: str, digits: int) -> str:
    """A value with its interval, as it is shown in a table."""
    its = [each for each in figures if (each.group, each.name, each.who) == (group, name, who) and each.value is not None]
    if not its:
        return ""
    value, low, high = (
        None if number is None else f"{round(number, digits) + 0.0:.{digits}f}" for number in (its[0].value, its[0].low, its[0].high)
    )
    return f"{value}" if low is None else f"{value} ({low} to {high})"


def removal_table(folder: Path, num_songs: int, out: Path) -> list[str]:
    """What the effects do: published, by pedalboard on the same stems, by ours, and what undoing with known settings leaves."""
    ours = evaluate(PROTOCOLS["removal"], EvaluationRequest(folder, num_songs=num_songs), out)
    peers = [peer_figures(folder, num_songs, levelled=levelled) for levelled in (False, True)]
    every = [*((found, PEER) for found in peers), (ours.figures, "wet")]
    lines = [
        "| removed | SI-SDR of wet, dB: published | RemFX's recipe, pedalboard | the same, levelled first | ours | undone, settings known "
        "| MR-STFT of wet: RemFX's recipe, pedalboard | the same, levelled first | ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group in GROUPS:
        published = cell(ours.figures, group, "SI-SDR", "RemFX, wet", 2)
        sdr = [cell(found, group, "SI-SDR", who, 1) for found, who in every]
        undone = cell(ours.figures, group, "SI-SDR", "undo, known", 1)
        loss = [cell(found, group, "MR-STFT", who, 2) for found, who in every]
        lines.append(f"| {' | '.join([group, published, *sdr, undone, *loss])} |")
    count = max((each.count or 0) for each in ours.figures)
    return [f"{count} songs, all stems, one excerpt of each for each group; {len(ours.rejected)} songs rejected.", "", *lines]


def limit_table(folder: Path, num_songs: int, seconds: float, out: Path) -> list[str]:
    """What the limiter does, and what undoing it gives."""
    found = evaluate(PROTOCOLS["limit"], EvaluationRequest(folder, num_songs=num_songs, duration_s=seconds), out)
    names = ("SI-SDR", "MR-STFT", "PLR change", "LRA change", "crest change")
    group = "our limiter"
    lines = [
        "| | SI-SDR, dB | MR-STFT | PLR change, dB | LRA change, LU | crest change, dB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join([who, *(cell(found.figures, group, name, who, 2) for name in names)])} |"
        for who in ("limited", "undo, blind", "undo, known")
    ]
    loud = cell(found.figures, group, "loudness", "limited", 1)
    count = max((each.count or 0) for each in found.figures)
    return [
        f"{count} songs, {seconds:g} s each, {len(found.rejected)} rejected; loudness after the limiter {loud} LUFS. Published, of another "
        "limiter on MUSDB18-HQ: 24.0 dB SI-SDR by a network.",
        "",
        *lines,
    ]


def tables(free: Path, collection: str, num_songs: int, seconds: float) -> tuple[list[str], list[str]]:
    """Both tables of a collection, each with its heading: those that are kept, else what is measured now."""
    path = KEPT / f"{collection} {num_songs} {seconds:g}.json"
    if not path.exists():
        with tempfile.TemporaryDirectory() as place:
            made = (
                removal_table(free / collection, num_songs, Path(place)),
                limit_table(free / collection, num_songs, seconds, Path(place)),
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([[f"`{collection}`: {head}", *table, ""] for head, *table in made]))
    removal, limit = json.loads(path.read_text())
    return removal, limit


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("free", type=Path, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--songs", type=int, default=8, help="of each collection, at most")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each song that is limited")
    parser.add_argument(
        "--only", nargs="*", choices=COLLECTIONS, default=COLLECTIONS, help="some collections, of which nothing is published"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    made = [tables(options.free, collection, options.songs, options.seconds) for collection in options.only]
    command = f"python benchmarks/evaluate_removal.py FREE --songs {options.songs} --seconds {options.seconds:g} --write"
    for number, name in enumerate(("Effect removal on real free music: the inputs", "De-limiting on real free music")):
        body = "\n".join(
            [
                "Means over songs, intervals of 95 % where there are six songs or more.",
                "",
                *(line for pair in made for line in pair[number]),
            ]
        )
        print(f"## {name}\n{body}")
        if options.write and set(options.only) == set(COLLECTIONS):
            publish(name, command, body)


if __name__ == "__main__":
    main()
