"""What a fitted console knows where the mix was made with other people's effects: is it right as often as it says?

Each draw mixes the stems of a real song through effects of other makes: shelves and peaks of pedalboard, scipy and ffmpeg (its
``equalizer``, ``bass``, ``treble``), compressors of pedalboard and ffmpeg (``acompressor``), pedalboard's reverb, ffmpeg's ``aecho``, a
gentle scipy high-pass; faders and constant-power pans. ``fit_console`` gets the mixture and the dry stems, and the default chain.
Reverberation, echoes and high-passes are not in that chain: its model is wrong on purpose.

A setting is right within the tolerance that its confidence refers to (``setting(tolerance=...)``): fader 0.5 dB, pan 0.05, threshold 1 dB,
1/ratio 0.03. The gain of a band is right if the whole equaliser is within 1 dB of the true response, at the band's frequency (of a shelf:
an octave into its plateau); frequency (10 %) and q (25 %) are judged where one band was used and one was found. Times of compressors
are not judged: their definitions differ. A threshold is that of the louder channel; ``acompressor`` follows the mean of both, so that its
own is higher by how much louder that channel is on average. The ratio of a compressor that was found where none was used is wrong unless
it is 1.

Songs are the excerpt that stempeg ships and those of ``--music FOLDER`` (folders with stems and a mixture, as those of free music that
``benchmarks/free_music.py`` makes). Draws with seeds 500 and 501 were used to choose the form of the confidence and its one constant, those
with 503 to 505 to choose what else may sound alike (``stemwright.datagen.inverse.console.doubts``); with those of the table nothing was
chosen. Beside it is what the same fits would say from the noise of the residual alone.

    python benchmarks/foreign_consoles.py [--music FOLDER] [--draws 21] [--seed 606] [--write]

Each draw is kept in .cache/foreign_consoles.jsonl as soon as it is fitted; a run again goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pedalboard
import torch
from scipy.signal import butter, sosfilt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from results import publish

from stemwright.datagen.cli.demo_corpus import excerpt_folder
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import fields
from stemwright.datagen.inverse.console import fit as fits
from stemwright.datagen.inverse.console import fit_console
from stemwright.manifests.sound.decoding import load

KEPT = Path(__file__).resolve().parent.parent / ".cache" / "foreign_consoles.jsonl"
STEMS = ("drums", "bass", "other", "vocals")
RATE = 44_100
TABLE_SEEDS = [606]
SECONDS, MOST = 4.5, 3  # of a song; stems
TRIES = 30
BINS = (0.0, 0.2, 0.5, 0.8, 0.9, 0.97, 1.0)
AUDIBLE_DB = 0.5  # gain of a band that is judged

Array = np.ndarray
Process = Callable[[Array], Array]


class Truth(NamedTuple):
    """What was done to a stem: the linear equaliser as a process, its bands (kind, gain, Hz, q), a compressor, gain and pan."""

    equaliser: Process
    bands: list[tuple[str, float, float, float]]
    compressor: dict[str, float]
    gain_db: float
    pan: float
    words: str


# ---------------------------------------------------------------------------------------------------------------- other people's effects


def ffmpeg(filters: str) -> Process:
    """A filter graph of the ffmpeg program, in floating point."""

    def process(audio: Array) -> Array:
        raw = ["-f", "f32le", "-ar", str(RATE), "-ac", str(len(audio))]
        command = ["ffmpeg", "-v", "error", *raw, "-i", "-", "-af", f"aformat=sample_fmts=dbl,{filters},aformat=sample_fmts=flt", *raw, "-"]
        done = subprocess.run(command, input=audio.T.astype("<f4").tobytes(), capture_output=True, check=True)
        found = np.frombuffer(done.stdout, "<f4").reshape(-1, len(audio)).T
        return np.pad(found, ((0, 0), (0, max(audio.shape[1] - found.shape[1], 0))))[:, : audio.shape[1]].astype(float)

    return process


def board(*plugins: Any) -> Process:
    """Plug-ins of pedalboard."""
    return lambda audio: np.asarray(pedalboard.Pedalboard(list(plugins))(audio.astype(np.float32), RATE), float)


def band(rng: np.random.Generator) -> tuple[Process, tuple[str, float, float, float]]:
    """A peak or a shelf of a random make."""
    kind = str(rng.choice(["peak", "low_shelf", "high_shelf"]))
    gain_db = float(rng.choice([-1, 1]) * rng.uniform(3.0, 9.0))
    low, high = {"peak": (100.0, 8000.0), "low_shelf": (80.0, 400.0), "high_shelf": (2500.0, 9000.0)}[kind]
    hz = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    q = float(np.exp(rng.uniform(np.log(0.5), np.log(3.0)))) if kind == "peak" else 0.707
    if rng.random() < 0.5:
        of = {"peak": pedalboard.PeakFilter, "low_shelf": pedalboard.LowShelfFilter, "high_shelf": pedalboard.HighShelfFilter}[kind]
        return board(of(cutoff_frequency_hz=hz, gain_db=gain_db, q=q)), (kind, gain_db, hz, q)
    name = {"peak": "equalizer", "low_shelf": "bass", "high_shelf": "treble"}[kind]
    # A shelf of ffmpeg with q 0.707 has the response of the Cookbook's with q 1 (measured).
    return ffmpeg(f"{name}=f={hz}:t=q:w={q}:g={gain_db}"), (kind, gain_db, hz, q if kind == "peak" else 1.0)


def compressor(rng: np.random.Generator, audio: Array) -> tuple[Process, dict[str, float]]:
    """A compressor of a random make, with a threshold some dB below the level of the loud parts."""
    level = np.abs(audio)
    level_db = 20.0 * math.log10(float(np.quantile(level.max(0), 0.95)) + 1e-6)
    threshold_db, ratio = level_db - rng.uniform(2.0, 12.0), rng.uniform(1.8, 6.0)
    attack_ms, release_ms = rng.uniform(2.0, 30.0), rng.uniform(40.0, 250.0)
    known = {"threshold_db": float(threshold_db), "ratio": float(ratio)}
    if rng.random() < 0.5:
        return board(pedalboard.Compressor(threshold_db, ratio, attack_ms, release_ms)), known
    linear = min(max(10.0 ** (threshold_db / 20.0), 0.001), 1.0)
    # Its level is the mean of both channels.
    known["threshold_db"] += 10.0 * math.log10(float((level.max(0) ** 2).mean() / (level.mean(0) ** 2).mean()))
    return ffmpeg(f"acompressor=threshold={linear}:ratio={ratio}:attack={attack_ms}:release={release_ms}:knee=1"), known


def unmodelled(rng: np.random.Generator) -> tuple[Process, str]:
    """An effect that the fitted chain lacks."""
    which = int(rng.integers(3))
    if which == 0:
        wet = float(rng.uniform(0.03, 0.15))
        return board(
            pedalboard.Reverb(room_size=float(rng.uniform(0.2, 0.8)), wet_level=wet, dry_level=0.5)
        ), "reverb"  # dry_level counts twice
    if which == 1:
        return ffmpeg(f"aecho=1:1:{rng.uniform(60, 300):.1f}:{rng.uniform(0.05, 0.3):.3f}"), "echo"
    sos = butter(1, float(rng.uniform(20.0, 80.0)), "highpass", fs=RATE, output="sos")
    return lambda audio: np.asarray(sosfilt(sos, audio)), "high-pass"


def drawn(rng: np.random.Generator, stem: Array) -> tuple[Array, Truth]:
    """A stem through a random chain, and what it was."""
    bands = [band(rng) for _ in range(int(rng.choice([0, 1, 1, 2])))]

    def equaliser(audio: Array) -> Array:
        for process, _ in bands:
            audio = process(audio)
        return audio

    wet, words, known = equaliser(stem), "+".join(kind for _, (kind, *_) in bands), {}
    if rng.random() < 0.45:
        process, known = compressor(rng, wet)
        wet, words = process(wet), words + "+compressor"
    if rng.random() < 0.35:
        process, name = unmodelled(rng)
        wet, words = process(wet), f"{words}+{name}"
    gain_db, pan = float(rng.uniform(-8.0, 4.0)), float(rng.uniform(-0.6, 0.6))
    angle = (pan + 1.0) * math.pi / 4.0
    places = 10.0 ** (gain_db / 20.0) * math.sqrt(2.0) * np.array([[math.cos(angle)], [math.sin(angle)]])
    return wet * places, Truth(equaliser, [each for _, each in bands], known, gain_db, pan, words.strip("+") or "fader")


# ------------------------------------------------------------------------------------------------------------------------------- songs


def songs(music: Path | None) -> list[tuple[str, Callable[[], dict[str, Array]]]]:
    """Songs by title, each with a function that loads its stems [2, T]."""
    path = next(excerpt_folder().glob("*.stem.mp4"))
    found = [("excerpt", lambda: {name: load(path, stream=stream)[0] for stream, name in enumerate(STEMS, 1)})]
    for mixture in sorted({*music.glob("*/mixture.flac"), *music.glob("*/*/mixture.flac")}) if music else ():
        files = [each for each in sorted(mixture.parent.glob("*.flac")) if each.stem not in ("mixture", "unsorted")]
        if 2 <= len(files) <= len(STEMS):
            found.append((mixture.parent.name, lambda files=files: {each.stem: load(each)[0] for each in files}))  # type: ignore[misc]
    return found


def part(stems: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """A few stems, and seconds of the song in which each of them plays."""
    chosen = sorted(rng.permutation(list(stems))[: int(rng.integers(2, MOST + 1))].tolist())
    stems = {name: stems[name] for name in chosen}
    frames, total = round(SECONDS * RATE), min(audio.shape[1] for audio in stems.values())
    for _ in range(TRIES):
        start = int(rng.integers(max(total - frames, 0) + 1))
        cut = {name: np.asarray(audio[:, start : start + frames], float) for name, audio in stems.items()}
        if min(float(np.sqrt((audio**2).mean())) for audio in cut.values()) > 3e-3:
            break
    return cut


# ------------------------------------------------------------------------------------------------------------------------------ judging


def curve(process: Process, hz: Array) -> Array:
    """The response of a linear process in dB."""
    impulse = np.zeros((2, RATE))
    impulse[:, 0] = 0.5
    answer = process(impulse)[0] / 0.5
    return 20.0 * np.log10(np.abs(np.exp(-2j * np.pi * np.outer(hz, np.arange(len(answer))) / RATE) @ answer) + 1e-9)


def judged(console: Any, truth: dict[str, Truth]) -> Iterator[dict[str, Any]]:
    """For every setting with a confidence that can be judged: stem, setting, confidence, whether it is right, by how much it is off."""
    for name, chain in console.chains.items():
        true = truth[name]
        for effect, settings in chain:
            if effect == "fader":
                known = {"gain_db": true.gain_db, "pan": true.pan}
            elif effect == "compressor":
                known = true.compressor or {"ratio": 1.0}
            else:
                yield from _bands(name, chain, settings, true)
                continue
            for field, value in known.items():
                yield _row(name, effect, field, chain.confidence.get(f"{effect}.{field}"), getattr(settings, field), value)


def _row(stem: str, effect: str, field: str, confidence: float | None, found: float, true: float) -> dict[str, Any]:
    kind: Any = fields(EFFECTS[effect].Settings)[field]
    off = abs(kind.to_unit(found) - kind.to_unit(true)) / kind.unit_tolerance
    return {
        "stem": stem,
        "setting": f"{effect}.{field}",
        "key": f"{effect}.{field}",
        "confidence": confidence,
        "right": bool(off <= 1.0),
        "off": off,
        "found": found,
        "true": true,
    }


def _bands(stem: str, chain: Any, settings: Any, true: Truth) -> Iterator[dict[str, Any]]:
    heard = [each for each in EFFECTS["eq"].BANDS if abs(getattr(settings, f"{each}_gain_db")) >= AUDIBLE_DB]
    for each in heard:
        hz = getattr(settings, f"{each}_hz")
        hz = max(hz / 2.0, 30.0) if each == "low_shelf" else min(hz * 2.0, 14_000.0) if each == "high_shelf" else hz
        found_db = 20.0 * np.log10(np.abs(response(EFFECTS["eq"].sections(settings, RATE), np.array([hz]), RATE)))[0]
        yield _row(
            stem,
            "eq",
            f"{each}_gain_db",
            chain.confidence.get(f"eq.{each}_gain_db"),
            float(found_db),
            float(curve(true.equaliser, np.array([hz]))[0]),
        )
        if len(heard) == len(true.bands) == 1:
            kind, _, true_hz, true_q = true.bands[0]
            for field, value in (("hz", true_hz), ("q", true_q)):
                row = _row(
                    stem, "eq", f"{each}_{field}", chain.confidence.get(f"eq.{each}_{field}"), getattr(settings, f"{each}_{field}"), value
                )
                yield row | {"right": row["right"] and each.rstrip("1234") == kind}


def measure(number: int, seed: int, music: Path | None) -> dict[str, Any]:
    """One draw: what was said of each setting, and whether it was right."""
    every = songs(music)
    rng = np.random.default_rng([seed, number])
    title, loaded = every[0] if number % 3 == 0 else every[(number - number // 3) % len(every)]
    stems = part(loaded(), rng)
    wet = {name: drawn(rng, audio) for name, audio in stems.items()}
    mixture = sum(audio for audio, _ in wet.values())
    start = time.process_time()
    with noise_alone() as noise:
        console = fit_console(torch.from_numpy(mixture), {name: torch.from_numpy(audio) for name, audio in stems.items()}, RATE)
    took = time.process_time() - start
    truth = {name: true for name, (_, true) in wet.items()}
    pruned = {name: [list(chain.pruned), list(getattr(chain, "unclear", ()))] for name, chain in console.chains.items()}
    head = {"number": number, "seed": seed, "song": title, "cpu_s": took, "error_db": console.error_db, "pruned": pruned}
    return head | {
        "words": {name: true.words for name, true in truth.items()},
        "rows": [{**row, "noise": noise[list(console.chains).index(row["stem"])].get(row["key"])} for row in judged(console, truth)],
    }


@contextmanager
def noise_alone() -> Iterator[list[dict[str, float]]]:
    """What confidences would be from the noise of the residual alone, for each chain of a console that is fitted inside."""
    found: list[dict[str, float]] = []
    whole = fits.confidences

    def confidences(uses: Any, errors: Any, model_errors: Any, differences: Any) -> dict[str, float]:
        found.append(whole(uses, errors, model_errors))
        return whole(uses, errors, model_errors, differences)

    fits.confidences = confidences
    try:
        yield found
    finally:
        fits.confidences = whole


LEGEND = """\
Songs mixed with effects of pedalboard, scipy and ffmpeg, fitted with the default chain; nothing was chosen on draws of this seed.
`right`: within the tolerance that the confidence refers to, of a threshold that of the louder channel; `noise alone`: what the same fits
would state from the noise of the residual alone."""


def table(draws: list[dict[str, Any]]) -> str:
    """How often settings were right, by the stated probability: from noise and excerpts, and from noise alone."""
    rows = [row for draw in draws for row in draw["rows"] if row["confidence"] is not None]
    lines = [
        LEGEND,
        "",
        "| stated probability | settings | mean stated | right | noise alone: settings | mean stated | right |",
        "|---|---|---|---|---|---|---|",
    ]
    for low, high in itertools.pairwise(BINS):
        cells = [f"{low:g} to {high:g}"]
        for name in ("confidence", "noise"):
            mine = [row for row in rows if low <= row[name] < high or (high == 1.0 and row[name] == 1.0)]
            means = [f"{100 * np.mean([row[key] for row in mine]):.0f} %" if mine else "-" for key in (name, "right")]
            cells += [str(len(mine)), *means]
        lines.append("| " + " | ".join(cells) + " |")
    residuals = [draw["error_db"] for draw in draws]
    kinds = {name: [row for row in rows if row["setting"].startswith(name)] for name in ("fader.gain", "fader.pan", "eq", "compressor")}
    shares = ", ".join(
        f"{name} {100 * np.mean([row['right'] for row in mine]):.0f} % of {len(mine)}" for name, mine in kinds.items() if mine
    )
    count = len({draw["song"] for draw in draws})
    lines.append(f"\n{len(draws)} mixes of {count} songs; median residual {np.median(residuals):.1f} dB. Right: {shares}.")
    return "\n".join(lines)


def main() -> None:
    """Measures what is not there yet, prints the table, publishes it with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path, metavar="FOLDER", help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--draws", type=int, default=21, help="of each seed")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, nargs="+", default=TABLE_SEEDS)
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.kept.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in options.kept.read_text().splitlines()] if options.kept.exists() else []
    have = {(each["number"], each["seed"]) for each in done}
    for seed, number in itertools.product(options.seed, range(options.first, options.draws)):
        if (number, seed) not in have:
            done.append(measure(number, seed, options.music))
            with options.kept.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(
                seed, number, done[-1]["song"], done[-1]["words"], f"{done[-1]['error_db']:.1f} dB, {done[-1]['cpu_s']:.0f} s", flush=True
            )
    body = table([each for each in done if each["seed"] in options.seed and each["number"] < options.draws])
    print(body)
    if options.write:
        folder, seeds = " --music FOLDER" if options.music else "", " ".join(map(str, options.seed))
        name = "Consoles of other effects" + ("" if options.seed == TABLE_SEEDS else f", seed {seeds}")
        publish(name, f"python benchmarks/foreign_consoles.py{folder} --draws {options.draws} --seed {seeds} --write", body)


if __name__ == "__main__":
    main()
