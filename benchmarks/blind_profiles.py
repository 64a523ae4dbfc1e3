"""Blind estimates of compression against profiles of real songs, drawn at random: do intervals and confidences hold, and what is found?

    python benchmarks/blind_profiles.py --music FOLDER --kept FILE [--minutes 9] [--write]

Conventions
    Songs are tracker songs and scores of games, from the folder that ``free_music.py`` makes; of each stem the loudest 15 s of its first
    two minutes. Every stem is measured once (features, simulations for a profile, dynamics of the stem through other makes of compressor).
    It is then kept in a file of lines of JSON, so that a run that was stopped resumes; ``--minutes`` ends the measuring.
    A profile is a draw of songs of one collection, or of all; up to twelve other songs are estimated against it.
    Compressors: ours with both detectors, pedalboard's, ffmpeg's, and that of a textbook. Settings are drawn from the ranges of RemFX.
    Confidences were calibrated on songs of other games and on synthetic ones. ``OTHER_MAKES`` was chosen on tracker songs and other draws
    (seeds up to 15) than those here (from 100); the scores were not looked at.
    "found" is an answer with settings. Tracker songs are of samples that may be compressed: part of what is found in untouched stems may
    be real.
    The last table has thresholds at which a share of the profile's own songs, as they are, would be taken for compressed.

References
    Giannoulis, Massberg and Reiss 2012, Digital dynamic range compressor design: the compressor of the textbook (in dB, soft knee).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import blind_compression
import numpy as np
import soundfile
from results import report as publish
from scipy.signal import lfilter

from stemwright.datagen.evaluate.blind_trials import PEAK, Compress, own_compressor, untouched
from stemwright.datagen.inverse.blind.answers import TOLERANCE
from stemwright.datagen.inverse.blind.compression import COMPRESSED_DB, OTHER_MAKES, calibrated
from stemwright.datagen.inverse.blind.features import measure_dynamics
from stemwright.datagen.inverse.blind.profile import StemProfile, features_row, mean_gain_reduction
from stemwright.datagen.inverse.blind.regression import Answer, Regression, trust_of
from stemwright.manifests.feature_rows import StemFeatures
from stemwright.manifests.records import content_id

STEMS = ("drums", "bass", "other")
COLLECTIONS = ("modules", "scores")
EXCERPT_S, READ_S = 15.0, 120.0
SEED, FIRST_DRAW, DRAWS, MOST_TRIED = 20261128, 100, 10, 12
SIZES = (4, 8, 16, 32)
LARGE_DB = 3.0
SHARES = (0.05, 0.1, 0.2)
KNEE_DB, AVERAGE_MS = 6.0, 10.0
BINS = ((0.0, 0.25), (0.25, 0.4), (0.4, 0.6), (0.6, 1.0))


class Measured(NamedTuple):
    """A stem of a song: the row of a profile, and trials of compressors: by whom, the true reduction, and the dynamics that result."""

    collection: str
    song: str
    stem: str
    row: StemFeatures
    trials: list[tuple[str, float, list[float]]]


class Estimated(NamedTuple):
    """One estimate: of which stem, by how large a profile, of whose compressor, and whether it was right."""

    stem: str
    size: int
    maker: str
    true_db: float
    found: bool
    answered: bool
    inside: bool
    inside_plain: bool
    right: bool
    confidence: float
    width_db: float
    by_share: tuple[bool, ...]


def textbook(stem: np.ndarray, sample_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A compressor on the level of 10 ms, in dB, with a soft knee and a gain that is smoothed every millisecond."""
    used = blind_compression.drawn(rng)
    size = sample_rate // 1000
    count = stem.shape[1] // size
    energy = (stem[:, : count * size].astype(float) ** 2).mean(0).reshape(count, size).mean(1)
    kept = np.exp(-1.0 / AVERAGE_MS)
    over = 10.0 * np.log10(lfilter([1.0 - kept], [1.0, -kept], energy) + 1e-12) - used["threshold_db"]
    knee = np.where(np.abs(over) < KNEE_DB / 2.0, (over + KNEE_DB / 2.0) ** 2 / (2.0 * KNEE_DB), np.maximum(over, 0.0))
    rise, fall = (np.exp(-1.0 / max(used[name], 0.1)) for name in ("attack_ms", "release_ms"))
    smooth, value = np.empty(count), 0.0
    for place, wanted in enumerate(knee * (1.0 - 1.0 / used["ratio"])):
        keep = rise if wanted > value else fall
        value = keep * value + (1.0 - keep) * wanted
        smooth[place] = value
    gain = np.interp(np.arange(stem.shape[1]), np.arange(count) * size + size / 2, 10.0 ** (-smooth / 20.0))
    return (stem * gain.astype(np.float32)).astype(np.float32), gain


def makers() -> dict[str, Compress]:
    """Whose compressors are tried on each stem."""
    own = {"untouched": untouched, "ours": own_compressor, "ours2": own_compressor, "rms": partial(own_compressor, detector="rms")}
    return own | {"pedalboard": blind_compression.by_pedalboard, "ffmpeg": blind_compression.by_ffmpeg, "textbook": textbook}


def stems_of(music: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Collection, song, stem and file of every stem."""
    for collection in COLLECTIONS:
        for song in sorted(path for path in (music / collection).iterdir() if path.is_dir()):
            for name in STEMS:
                if (path := song / f"{name}.flac").is_file():
                    yield collection, song.name, name, path


def excerpt(path: Path) -> tuple[np.ndarray, int]:
    """The loudest 15 s of a file's first two minutes, [C, T]."""
    info = soundfile.info(path)
    sample_rate, wanted = info.samplerate, round(EXCERPT_S * info.samplerate)
    audio = soundfile.read(path, dtype="float32", always_2d=True, frames=min(info.frames, round(READ_S * sample_rate)))[0].T
    if audio.shape[1] <= wanted:
        return audio, sample_rate
    seconds = audio[:, : audio.shape[1] // sample_rate * sample_rate].reshape(len(audio), -1, sample_rate)
    energy = np.einsum("cns,cns->n", seconds, seconds, dtype=float)
    start = int(np.convolve(energy, np.ones(int(EXCERPT_S)), "valid").argmax()) * sample_rate
    return audio[:, start : start + wanted], sample_rate


def measure(path: Path, number: int, collection: str, song: str, name: str) -> Measured | None:
    """One stem; None where it is silent."""
    audio, sample_rate = excerpt(path)
    if not np.abs(audio).max(initial=0.0) > 0.0:
        return None
    own = content_id({"song": collection + song})
    ids = {"cache_key": own, "track_id": own, "stem_id": content_id({"of": own, "stem": name})}
    row = features_row(audio, sample_rate, name=name, ids=ids)
    if row.features is None:
        return None
    stem = np.ascontiguousarray(audio) * (PEAK / np.float32(np.abs(audio).max()))
    trials = []
    for place, (maker, compress) in enumerate(makers().items()):
        wet, gain = compress(stem, sample_rate, np.random.default_rng([SEED, number, place]))
        if (dynamics := measure_dynamics(wet, sample_rate)) is not None:
            trials.append((maker.rstrip("2"), mean_gain_reduction(wet, gain, sample_rate), list(dynamics)))
    return Measured(collection, song, name, row, trials)


def measured(music: Path, kept: Path, minutes: float) -> list[Measured]:
    """What is kept, and what is measured within the time."""
    known: dict[tuple[str, ...], Measured | None] = {}
    if kept.is_file():
        for line in kept.read_text(encoding="utf-8").splitlines():
            facts = json.loads(line)
            row = facts["row"] and StemFeatures.model_validate(facts["row"])
            collection, song, name = facts["of"]
            trials = [(maker, true, dynamics) for maker, true, dynamics in facts["trials"]]
            known[collection, song, name] = Measured(collection, song, name, row, trials) if row else None
    end = time.monotonic() + 60.0 * minutes
    with kept.open("a", encoding="utf-8") as file:
        for number, (collection, song, name, path) in enumerate(stems_of(music)):
            key = (collection, song, name)
            if key in known or time.monotonic() > end:
                continue
            known[key] = one = measure(path, number, *key)
            facts = {"of": key, "row": one and one.row.model_dump(mode="json"), "trials": one.trials if one else []}
            file.write(json.dumps(facts) + "\n")
            file.flush()
    return [one for one in known.values() if one is not None]


def estimates(pool: list[Measured], size: int, draw: int) -> Iterator[Estimated]:
    """Estimates of other songs against a profile of so many, drawn from one stem of a collection."""
    order = np.random.default_rng([draw, size]).permutation(len(pool))
    own, others = ([pool[place] for place in part] for part in (order[:size], order[size : size + MOST_TRIED]))
    regression = StemProfile(own[0].stem, tuple(one.row for one in own)).gain_reduction
    trust = trust_of(regression, TOLERANCE["compressor"], at=COMPRESSED_DB, error_factor=OTHER_MAKES)
    plain = trust_of(regression, TOLERANCE["compressor"], at=COMPRESSED_DB)
    thresholds = [_threshold(regression, share) for share in SHARES]
    for one in others:
        for maker, true, dynamics in one.trials:
            answer = regression(dynamics)
            found = regression.detected(answer)
            low, high = (max(end, 0.0) for end in answer.interval(trust.scores))
            low = low if found else 0.0
            ends = answer.interval(plain.scores)
            yield Estimated(
                one.stem,
                size,
                maker,
                true,
                found,
                found or answer.uncertainty <= trust.allowed,
                low <= true <= high,
                (max(ends[0], 0.0) if found else 0.0) <= true <= max(ends[1], 0.0),
                abs(max(answer.value, 0.0) - true) <= TOLERANCE["compressor"],
                calibrated(answer.confidence(TOLERANCE["compressor"], trust.scores)),
                high - low,
                tuple(_score(answer) > threshold for threshold in thresholds),
            )


def _score(answer: Answer) -> float:
    """A number in units of its uncertainty, on the scale on which it is learnt."""
    return float((np.sqrt(1.0 + abs(answer.value)) - 1.0) * np.sign(answer.value) / max(answer.uncertainty, 1e-9))


def _threshold(regression: Regression, share: float) -> float:
    """The score that a share of the profile's own songs, as they are and left out, exceeds."""
    known = regression.left_out
    zeros = known.true == 0.0
    answers = map(regression.answer, known.found[zeros].tolist(), known.uncertainties[zeros].tolist())
    scores = sorted(map(_score, answers))
    return scores[min(int(np.ceil((len(scores) + 1) * (1.0 - share))), len(scores)) - 1]


def all_estimates(stems: list[Measured]) -> dict[str, list[Estimated]]:
    """The estimates of every collection, and of all songs together."""
    found: dict[str, list[Estimated]] = defaultdict(list)
    for collection in (*COLLECTIONS, "all"):
        for stem in STEMS:
            pool = [one for one in stems if one.stem == stem and collection in (one.collection, "all")]
            for size in SIZES:
                for draw in range(FIRST_DRAW, FIRST_DRAW + DRAWS) if len(pool) >= size + 4 else ():
                    found[collection] += estimates(pool, size, draw)
    return found


def _cells(rows: list[Estimated]) -> str:
    """Shares of the answers that hold, of stems that were compressed; and what is found."""
    wet = [one for one in rows if one.maker != "untouched"]
    answers = [one for one in wet if one.answered]
    if len(answers) < 12:
        return f"{len(wet)} | {len(answers)} |" + " |" * 6
    untouched_rows, large = [one for one in rows if one.maker == "untouched"], [one for one in wet if one.true_db >= LARGE_DB]
    sure, right = np.mean([one.confidence for one in answers]), np.mean([one.right for one in answers])
    return " | ".join(
        [
            str(len(wet)),
            f"{len(answers) / len(wet):.0%}",
            f"{np.mean([one.inside for one in answers]):.0%}",
            f"{np.mean([one.inside_plain for one in answers]):.0%}",
            f"{np.median([one.width_db for one in answers]):.1f}",
            f"{sure:.0%}, {right:.0%}",
            f"{np.mean([one.found for one in untouched_rows]):.0%}" if untouched_rows else "",
            f"{np.mean([one.found for one in large]):.0%}" if large else "",
        ]
    )


LEGEND = """\
Answered: an estimate was given. Untouched found: stems without a compressor that are taken for compressed. The last column: of stems whose
mean gain reduction is above 3 dB, those that are. The margin for others: intervals are widened for compressors of other makes."""
HEADINGS = (
    "trials of compressed stems | answered | true in 80 % interval | without the margin for others | median width dB | "
    "confidence, right within 1.5 dB | untouched found | of those above 3 dB found"
)


def table(found: Mapping[str, list[Estimated]]) -> str:
    """By collection: stem, size of the profile, and whose compressor."""
    lines = [f"| songs | of which | {HEADINGS} |", "|---|---|" + "---|" * (HEADINGS.count("|") + 1)]
    for collection, rows in found.items():
        groups = {stem: [one for one in rows if one.stem == stem] for stem in dict.fromkeys(one.stem for one in rows)}
        groups |= {f"profile of {size}": [one for one in rows if one.size == size] for size in SIZES}
        groups |= {maker: [one for one in rows if one.maker == maker] for maker in dict.fromkeys(one.maker for one in rows)}
        groups.pop("untouched", None)
        lines += [f"| {collection} | {name} | {_cells(part)} |" for name, part in {**groups, "all": rows}.items() if part]
    return "\n".join(lines)


def confidence_table(rows: list[Estimated]) -> str:
    """Stated confidence against the share that is right."""
    lines = ["| confidence | answers | stated | right within 1.5 dB |", "|---|---|---|---|"]
    for low, high in BINS:
        part = [one for one in rows if one.answered and low <= one.confidence < high]
        if part:
            stated, right = np.mean([one.confidence for one in part]), np.mean([one.right for one in part])
            lines.append(f"| {low:.2f} to {high:.2f} | {len(part)} | {stated:.0%} | {right:.0%} |")
    return "\n".join(lines)


def finding_table(rows: list[Estimated]) -> str:
    """What is found at each threshold, in untouched and in compressed stems."""
    lines = [
        "| share of the profile's songs beyond the threshold | stem | untouched found | of those above 3 dB found |",
        "|---|---|---|---|",
    ]
    for place, share in enumerate(SHARES):
        for stem in dict.fromkeys(one.stem for one in rows):
            part = [one for one in rows if one.stem == stem and one.size >= 1.0 / share - 1.0]
            if part:
                falsely = np.mean([one.by_share[place] for one in part if one.maker == "untouched"])
                large = np.mean([one.by_share[place] for one in part if one.true_db >= LARGE_DB])
                lines.append(f"| {share:.0%} | {stem} | {falsely:.1%} | {large:.0%} |")
    return "\n".join(lines)


def report(stems: list[Measured]) -> str:
    """The tables, as Markdown."""
    found = all_estimates(stems)
    counts = {name: len({one.song for one in stems if one.collection == name}) for name in COLLECTIONS}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return "\n\n".join(
        [
            f"{len(stems)} stems of {said}; {DRAWS} draws of each size, up to {MOST_TRIED} other songs estimated against each.",
            LEGEND,
            table(found),
            "Confidence, all songs:",
            confidence_table(found["all"]),
            "Finding compression, all songs, by the threshold alone:",
            finding_table(found["all"]),
        ]
    )


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, required=True, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--kept", type=Path, required=True, help="file of what was measured; a run that was stopped goes on from it")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for measuring stems that are not in it yet")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    arguments = parser.parse_args()
    body = report(measured(arguments.music, arguments.kept, arguments.minutes))
    publish("Blind profiles", "python benchmarks/blind_profiles.py --music FOLDER --kept FILE --write", body, write=arguments.write)


if __name__ == "__main__":
    main()
