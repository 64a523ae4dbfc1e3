"""How near are the levels of the rule mixer to those that people chose? Songs of free music whose stems sum to their mixture.

    python benchmarks/rule_mixer.py FREE [--seconds 60] [--collections guitar modules channels stempeg] [--weights FILE] [--write]

FREE is the folder that ``free_songs.py`` lays out, with its index.csv: guitar (a band's guitar and all the rest), modules (drums, bass,
other at the levels that the composer set), channels (the channels of modules, whose names say nothing). A song beside them is the excerpt
of a released song that the package stempeg brings, if it is installed.

What is measured
    Each stem gets a random gain within 12 dB, and the mixer has to find the balance of the mixture again: the level of each stem against
    the others, K-weighted and gated, the mean over the stems of a song taken out. Against equal loudness, and against the mean level of
    each name over the songs of other packages (what can be known without listening, but not without these songs). Nothing of the rule
    mixer was fitted to any of these songs: its numbers are those of ``stemwright.datagen.mixing``, from its sources.
    With --weights, what ``train_mixer.py --save`` wrote is compared too, on the same stems, wherever it has a name for all of them.
    Intervals of 95 % are of a bootstrap over packages, since songs of one package are by one composer and mixed alike.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from results import publish

from stemwright.datagen.mixing.mixer_weights import TrainedMixer, read_mixer
from stemwright.datagen.mixing.stem_plans import mix_by_rules
from stemwright.datagen.mixing.trained_levels import mix_by_trained
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError
from stemwright.separation.loudness.meter import integrated_loudness

COLLECTIONS = {
    "guitar": "guitar and backing",
    "modules": "groups of modules",
    "channels": "channels of modules",
    "stempeg": "a released song",
}
CONTENDERS = ("equal loudness", "mean of each name", "rule mixer")
TRAINED = "trained mixer"
FEWEST, SOFTEST_LU, DRAWS, GAIN_DB = 2, -40.0, 2000, 12.0


@dataclass(frozen=True)
class Judged:
    """A song: its collection and package, the levels of its stems in the mixture by name, and those of the rule mixer, in LU."""

    collection: str
    package: str
    truth: dict[str, float]
    rules: dict[str, float]
    by_name: int
    trained: dict[str, float] | None = None


def songs(free: Path) -> list[tuple[str, str, dict[str, Path]]]:
    """(collection, package, stem -> file) of every song with several stems."""
    found = []
    with (free / "index.csv").open(encoding="utf-8") as index:
        for row in csv.DictReader(index):
            if row["collection"] in COLLECTIONS and row["stems"]:
                folder = free / row["path"]
                stems = {name: folder / f"{name}.flac" for name in row["stems"].split()}
                if len(stems) >= FEWEST and all(path.exists() for path in stems.values()):
                    found.append((row["collection"], row["package"], stems))
    return found


def released_song() -> tuple[dict[str, np.ndarray], int] | None:
    """The stems of the song that stempeg brings."""
    try:
        import stempeg
    except ImportError:
        return None
    path = next((Path(stempeg.__file__).parent / "data").glob("*.stem.mp4"))
    stems = [load(path, stream=stream) for stream in range(1, 5)]
    return dict(zip(("drums", "bass", "other", "vocals"), (audio for audio, _ in stems), strict=True)), stems[0][1]


class Hand(NamedTuple):
    """What draws the gains, and the trained mixer, if there is one."""

    rng: np.random.Generator
    mixer: TrainedMixer | None = None


def judge(collection: str, package: str, stems: dict[str, np.ndarray], rate: int, hand: Hand) -> Judged | None:
    """The levels of a song and those that the rule mixer gives it, or None where fewer than two stems sound in the excerpt."""
    loud = {name: integrated_loudness(audio, rate) for name, audio in stems.items()}
    loudest = max(loud.values())
    truth = {name: value for name, value in loud.items() if value > loudest + SOFTEST_LU}
    if len(truth) < FEWEST:
        return None
    disturbed = {name: np.float32(10.0 ** (hand.rng.uniform(-GAIN_DB, GAIN_DB) / 20.0)) * stems[name] for name in truth}
    made = mix_by_rules(disturbed, rate)
    kept = {name: value for name, value in truth.items() if name in made.stems}
    named = sum(stem.plan.role_from == "name" for stem in made.stems.values())
    if len(kept) < FEWEST:
        return None
    judged = Judged(collection, package, kept, {name: made.stems[name].level_lu for name in kept}, named)
    return (
        judged
        if hand.mixer is None
        else replace(judged, trained=trained_levels({name: disturbed[name] for name in kept}, rate, hand.mixer))
    )


def trained_levels(stems: dict[str, np.ndarray], rate: int, mixer: TrainedMixer) -> dict[str, float] | None:
    """The levels that a trained mixer gives, or None where it has no name for one of the stems."""
    try:
        made = mix_by_trained(stems, rate, mixer)
    except UsageError:
        return None
    return None if made.left_out else {name: made.stems[name].level_lu for name in stems}


def judged_songs(free: Path, seconds: float, collections: list[str], mixer: TrainedMixer | None = None) -> list[Judged]:
    """Every song, on an excerpt from its middle."""
    hand, found = Hand(np.random.default_rng(0), mixer), list[Judged | None]()
    for collection, package, files in songs(free):
        if collection not in collections:
            continue
        stems, rate = dict[str, np.ndarray](), 0
        for name, path in files.items():
            audio, rate = load(path)
            start = max(0, (audio.shape[1] - round(seconds * rate)) // 2)
            stems[name] = audio[:, start : start + round(seconds * rate)].copy()
        found.append(judge(collection, package, stems, rate, hand))
        print(f"{len(found)} songs", end="\r", flush=True)
    if "stempeg" in collections and (song := released_song()):
        found.append(judge("stempeg", "stempeg", *song, hand))
    return [song for song in found if song]


def centred(levels: dict[str, float]) -> np.ndarray:
    """Levels relative to their mean."""
    values = np.array(list(levels.values()))
    return values - values.mean()


def contenders(judged: list[Judged]) -> tuple[str, ...]:
    """Who is compared: a trained mixer only where it has mixed every song."""
    return (*CONTENDERS, TRAINED) if all(song.trained for song in judged) else CONTENDERS


def errors(judged: list[Judged]) -> dict[str, list[np.ndarray]]:
    """Contender -> the errors of the levels of each song in LU."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in contenders(judged)}
    for song in judged:
        truth = centred(song.truth)
        others = [each for each in judged if each.collection == song.collection and each.package != song.package]
        means = {name: _mean_of(name, others) for name in song.truth}
        guesses = {"equal loudness": 0.0 * truth, "mean of each name": centred(means), "rule mixer": centred(song.rules)}
        if TRAINED in found and song.trained:
            guesses[TRAINED] = centred(song.trained)
        for name, guess in guesses.items():
            found[name].append(guess - truth)
    return found


def _mean_of(name: str, others: list[Judged]) -> float:
    """The mean relative level of a name in songs of other packages; that of any stem where there is none."""
    levels = [value for song in others for own, value in zip(song.truth, centred(song.truth), strict=True) if own == name]
    return float(np.mean(levels)) if levels else 0.0


def interval(judged: list[Judged], found: dict[str, list[np.ndarray]], contender: str) -> tuple[float, float]:
    """The 95 % interval of a contender's error over that of equal loudness, by a bootstrap over packages."""
    members: dict[str, list[int]] = defaultdict(list)
    for number, song in enumerate(judged):
        members[song.package].append(number)
    squares = {name: [(np.sum(each**2), len(each)) for each in found[name]] for name in (contender, "equal loudness")}
    rng, packages, ratios = np.random.default_rng(1), list(members), []
    for _ in range(DRAWS):
        drawn = [number for pick in rng.integers(0, len(packages), len(packages)) for number in members[packages[pick]]]
        ours, equal = (np.sqrt(np.sum([squares[name][number][0] for number in drawn])) for name in (contender, "equal loudness"))
        ratios.append(ours / equal)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def table(judged: list[Judged]) -> list[str]:
    """Rows of Markdown."""
    rows = ["| songs | stems | | RMSE, LU | mean absolute, LU | RMSE against equal loudness |", "|---|---|---|---|---|---|"]
    for collection, words in COLLECTIONS.items():
        part = [song for song in judged if song.collection == collection]
        if not part:
            continue
        found, packages = errors(part), len({song.package for song in part})
        stems, named = sum(len(song.truth) for song in part), sum(song.by_name for song in part)
        said = f"{len(part)}, {words}, of {packages} {'package' if packages == 1 else 'packages'}"
        equal = rms(found["equal loudness"])
        for contender in found:
            low, high = interval(part, found, contender)
            ratio = f"{rms(found[contender]) / equal:.2f}" + (
                f" ({low:.2f} to {high:.2f})" if packages > 2 and contender != CONTENDERS[0] else ""
            )
            absolute = float(np.mean(np.abs(np.concatenate(found[contender]))))
            rows.append(
                f"| {said} | {stems}, {named} known by name | {contender} | {rms(found[contender]):.2f} | {absolute:.2f} | {ratio} |"
            )
            said, stems, named = "", "", ""
            rows[-1] = rows[-1].replace("|  | ,  known by name |", "| | |")
    return rows


def rms(parts: list[np.ndarray]) -> float:
    """Root mean square of all errors."""
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("free", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--collections", nargs="+", choices=list(COLLECTIONS), default=["guitar", "modules", "stempeg"])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    mixer = read_mixer(options.weights) if options.weights else None
    judged = judged_songs(options.free, options.seconds, options.collections, mixer)
    lines = [
        f"Levels of stems relative to one another, in the middle {options.seconds:g} s of each song, after random gains within "
        f"{GAIN_DB:g} dB. Intervals of 95 % by a bootstrap over packages; below 1 is better than equal loudness. The rules were not fitted "
        "to any of these songs.",
        "",
        *table(judged),
    ]
    body = "\n".join(lines)
    print(body)
    if options.write:
        chosen = " ".join(options.collections)
        given = " --weights FILE" if mixer else ""
        command = f"python benchmarks/rule_mixer.py FREE --seconds {options.seconds:g} --collections {chosen}{given} --write"
        publish(f"Levels of the rule mixer: {chosen}", command, body)


if __name__ == "__main__":
    main()
