"""Blind estimates of compression: untouched stems, our own compressor, and those of other makes.

    python benchmarks/blind.py [--music FOLDER] [--write]        prints these tables, too

Conventions
    Stems are those of songs that are not in the profile, their peak at -10 dBFS. Settings are drawn from the ranges of RemFX for every
    compressor: ours, pedalboard's (JUCE), and ffmpeg's acompressor without a knee. The true mean gain reduction is that over the 5 ms in
    which the result sounds; of the others, the gain is the ratio of the energies of result and stem in 1 ms.
    "found": the answer has settings. Of untouched stems that is a false alarm.
    Real music: tracker songs below the folder that ``free_music.py`` makes (``modules/<song>/{drums,bass,other}.flac``), 30 s from their
    middle; every other song is in the profile, the rest is held out.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from scipy.stats import spearmanr

from stemwright.datagen.effects import compressor
from stemwright.datagen.evaluate.blind_trials import Compress, Compressed, compressor_trials, own_compressor, untouched
from stemwright.datagen.inverse.blind.features import measure_features
from stemwright.datagen.inverse.blind.profile import Profile, profile_of

Song = Mapping[str, np.ndarray]
SECOND = 1000  # windows in which the gain of other makes is measured
COVERAGES = (0.25, 0.5, 0.75, 1.0)
EXCERPT_S = 30.0
STEMS = ("drums", "bass", "other")
FOUND = "Compressors, of the held-out songs. `found`: the answer has settings, of untouched stems a false alarm."


def drawn(rng: np.random.Generator) -> dict[str, float]:
    """Settings of a compressor from the ranges of RemFX."""
    return {name: float(rng.uniform(*compressor.TYPICAL[name])) for name in ("threshold_db", "ratio", "attack_ms", "release_ms")}


def by_pedalboard(stem: np.ndarray, sample_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stem [C, T] at -10 dBFS through pedalboard's compressor, and the gain that it had [T]."""
    import pedalboard

    wet = pedalboard.Compressor(**drawn(rng))(stem, sample_rate)
    return wet, _gain(stem, wet, sample_rate)


def by_ffmpeg(stem: np.ndarray, sample_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A stem [C, T] at -10 dBFS through ffmpeg's acompressor, and the gain that it had [T]."""
    used = drawn(rng)
    chain = (
        f"acompressor=threshold={10 ** (used['threshold_db'] / 20):.6f}:ratio={used['ratio']:.3f}:attack={used['attack_ms']:.2f}:"
        f"release={used['release_ms']:.2f}:knee=1:makeup=1"
    )
    sound = ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(len(stem))]
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", *sound, "-i", "pipe:", "-af", chain, "-f", "f32le", "pipe:"]
    done = subprocess.run(command, input=np.ascontiguousarray(stem.T, np.float32).tobytes(), capture_output=True, check=True)
    wet = np.frombuffer(done.stdout, np.float32).reshape(-1, len(stem)).T[:, : stem.shape[1]]
    return wet, _gain(stem, wet, sample_rate)


def _gain(dry: np.ndarray, wet: np.ndarray, sample_rate: int) -> np.ndarray:
    """The gain [T] from energies in 1 ms; 1 where there is nothing."""
    size = sample_rate // SECOND
    count = dry.shape[1] // size
    before, after = ((audio[:, : count * size].astype(float) ** 2).sum(0).reshape(count, size).sum(1) for audio in (dry, wet))
    gain = np.where(before > 1e-9, np.sqrt(after / np.maximum(before, 1e-12)), 1.0)
    return np.pad(np.repeat(gain, size), (0, dry.shape[1] - count * size), mode="edge")


def makers() -> dict[str, tuple[Compress, int]]:
    """Whose compressors are tried, and how often on each stem."""
    found: dict[str, tuple[Compress, int]] = {"untouched": (untouched, 1), "ours": (own_compressor, 2)}
    found["ours, rms detector"] = (partial(own_compressor, detector="rms"), 1)
    found["pedalboard"] = (by_pedalboard, 1)
    if shutil.which("ffmpeg"):
        found["ffmpeg acompressor"] = (by_ffmpeg, 1)
    return found


def trials_of(songs: Iterable[Song], profile: Profile, sample_rate: int, seed: int) -> Iterator[Compressed]:
    """Every compressor on every stem."""
    for number, song in enumerate(songs):
        for place, (name, audio) in enumerate(song.items()):
            rng = np.random.default_rng([seed, number, place])
            yield from compressor_trials(name, audio, sample_rate, profile, makers(), rng)


def table(trials: list[Compressed]) -> str:
    """By compressor and stem: how many are answered and found, errors, and how often the interval holds."""
    lines = [
        "| compressor | stem | trials | true reduction dB | answered | found | of those above 3 dB found | mean error of the answers dB | "
        "true in 80 % range | median width dB | rank correlation |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Compressed]] = defaultdict(list)
    for one in trials:
        groups[one.maker, one.stem].append(one)
        groups[one.maker, "all"].append(one)
    for (maker, stem), rows in groups.items():
        answered = [one for one in rows if one.answered]
        large = [one.found for one in rows if one.true_db >= 3.0]
        cells = [maker, stem, str(len(rows)), f"{np.mean([one.true_db for one in rows]):.1f}", f"{len(answered) / len(rows):.0%}"]
        cells += [f"{np.mean([one.found for one in rows]):.0%}", f"{np.mean(large):.0%}" if large else ""]
        cells += _of_answers(answered, ranked=maker != "untouched")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_answers(answered: list[Compressed], *, ranked: bool) -> list[str]:
    if not answered:
        return [""] * 4
    errors = [abs(one.value_db - one.true_db) for one in answered]
    inside = [one.low_db <= one.true_db <= one.high_db for one in answered]
    width = np.median([one.high_db - one.low_db for one in answered])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rank = spearmanr([one.true_db for one in answered], [one.value_db for one in answered])[0]
    return [f"{np.mean(errors):.2f}", f"{np.mean(inside):.0%}", f"{width:.1f}", f"{rank:.2f}" if ranked and len(answered) > 3 else ""]


def coverage(trials: list[Compressed]) -> str:
    """Risk against coverage of all answers of compressed stems, by stem: the surest first."""
    lines = ["| stem | part of the answers | mean error dB | within 1.5 dB | mean confidence |", "|---|---|---|---|---|"]
    for stem in dict.fromkeys(one.stem for one in trials):
        rows = sorted((one for one in trials if one.stem == stem and one.answered), key=lambda one: -one.confidence)
        for share in COVERAGES if len(rows) >= 8 else ():
            part = rows[: max(4, round(share * len(rows)))]
            errors = np.array([abs(one.value_db - one.true_db) for one in part])
            sure = np.mean([one.confidence for one in part])
            lines.append(f"| {stem} | {share:.0%} | {errors.mean():.2f} | {(errors <= 1.5).mean():.0%} | {sure:.0%} |")
    return "\n".join(lines)


def tracker_songs(folder: Path, sample_rate: int) -> Iterator[Song]:
    """Stems of real tracker songs, 30 s from the middle of each."""
    for place in sorted((folder / "modules").iterdir()):
        song = {}
        for name in STEMS:
            if not (path := place / f"{name}.flac").is_file():
                continue
            info = soundfile.info(path)
            wanted = min(info.frames, round(EXCERPT_S * info.samplerate))
            start = (info.frames - wanted) // 2
            audio = soundfile.read(path, start=start, frames=wanted, dtype="float32", always_2d=True)[0].T
            if info.samplerate == sample_rate and measure_features(audio, sample_rate) is not None:
                song[name] = audio
        if song:
            yield song


def report(profile: Profile, held_out: Iterable[Song], sample_rate: int, seed: int, music: Path | None) -> str:
    """The tables, as Markdown."""
    trials = list(trials_of(held_out, profile, sample_rate, seed))
    parts = [FOUND, table(trials), coverage(trials)]
    if music:
        real = list(tracker_songs(music, sample_rate))
        own = profile_of(real[::2], sample_rate)
        counts = ", ".join(f"{own[name].songs} {name}" for name in STEMS)
        parts += [
            f"Real tracker songs, a profile of {counts}, the other songs held out:",
            table(list(trials_of(real[1::2], own, sample_rate, seed))),
        ]
    return "\n\n".join(parts)
