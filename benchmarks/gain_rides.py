"""Gain rides over whole songs: what `fit_console(..., ride_s=10)` finds of those that another program made.

A minute of a song; each stem gets a gain in dB that runs on lines between points every ten seconds, within ±6 dB. ffmpeg's ``volume``
evaluates it, for each frame of 1 ms, after what else was done to the stem:

    faders       a gain and a pan
    equalised    a shelf and a peak of pedalboard before it, which the fitted chain has
    compressed   a compressor of pedalboard before it, which only comes near to ours

Levels are up to one gain a stem, which an equaliser and a fader can share: errors are those of the points against their mean. A point
counts where the stem is within 30 dB of its loudest, and where the fit calls it determined.

    python benchmarks/gain_rides.py --music FOLDER [--songs 3] [--seed 41] [--write]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import itertools

import numpy as np
import pedalboard
from foreign_consoles import RATE, board, ffmpeg, songs
from results import publish

from stemwright.datagen.inverse.confidence import DETERMINED
from stemwright.datagen.inverse.console import fit_console

STEP_S, SECONDS, MOST_DB = 10.0, 60.0, 6.0
KINDS = {"faders": ("fader",), "equalised": ("eq", "fader"), "compressed": ("eq", "compressor", "fader")}
HEARD_DB = -30.0  # of the power around a point, against the loudest second of the stem
Array = np.ndarray


class Found(NamedTuple):
    """One stem of a fit: errors of the points where it is heard, and of those that are determined, in dB."""

    heard: Array
    sure: Array
    seconds: float


def ridden(audio: Array, points_db: Array) -> Array:
    """A stem through ffmpeg's ``volume`` with a gain on lines between points."""
    lines = [
        f"between(t,{STEP_S * place},{STEP_S * (place + 1) - 1e-6})*({low}+({high - low})*(t-{STEP_S * place})/{STEP_S})"
        for place, (low, high) in enumerate(itertools.pairwise(points_db))
    ]
    expression = f"pow(10,({'+'.join(lines)})/20)".replace(",", "\\,")
    return ffmpeg(f"asetnsamples=n=44:p=0,volume=volume={expression}:eval=frame:precision=double")(audio)


def processed(kind: str, audio: Array, rng: np.random.Generator) -> Array:
    """A stem through pedalboard's effects of a kind of mix."""
    if kind == "equalised":
        shelf = pedalboard.LowShelfFilter(cutoff_frequency_hz=float(rng.uniform(100, 300)), gain_db=float(rng.choice([-5, 5])), q=0.707)
        peak = pedalboard.PeakFilter(cutoff_frequency_hz=float(rng.uniform(800, 4000)), gain_db=float(rng.uniform(3, 6)), q=1.0)
        return board(shelf, peak)(audio)
    if kind == "compressed":
        loud_db = 20.0 * float(np.log10(np.quantile(np.abs(audio).max(0), 0.95) + 1e-6))
        return board(pedalboard.Compressor(loud_db - 8.0, 3.0, 10.0, 120.0))(audio)
    return audio


def powers(audio: Array, count: int) -> Array:
    """Power within half a step of each point, in dB against the loudest second."""
    power = np.add.reduceat((audio**2).mean(0), np.arange(0, audio.shape[1], RATE)) / RATE
    around = [power[max(0, round(STEP_S * (place - 0.5))) : max(1, round(STEP_S * (place + 0.5)))].mean() for place in range(count)]
    return 10.0 * np.log10(np.array(around) / power.max() + 1e-12)


def measured(kind: str, stems: dict[str, Array], rng: np.random.Generator) -> list[Found]:
    """One mix, fitted: its stems."""
    count = round(SECONDS / STEP_S) + 1
    truth = {name: np.round(rng.uniform(-MOST_DB, MOST_DB, count), 3) for name in stems}
    mixture = np.zeros_like(next(iter(stems.values())))
    for name, audio in stems.items():
        angle = rng.uniform(0.2, 0.8) * np.pi / 2
        wet = ridden(processed(kind, audio, rng), truth[name])
        mixture = mixture + np.sqrt(2.0) * np.array([[np.cos(angle)], [np.sin(angle)]]) * wet
    worked = time.process_time()
    found = fit_console(mixture, stems, RATE, KINDS[kind], ride_s=STEP_S)
    worked = time.process_time() - worked
    rows = []
    for name, chain in found.chains.items():
        ride: Any = dict(chain).get("envelope")
        points = np.array([getattr(ride, f"gain_{number + 1:02}_db") if ride else 0.0 for number in range(count)])
        heard = powers(stems[name], count) > HEARD_DB
        confident = np.array([chain.confidence.get(f"envelope.gain_{number + 1:02}_db", 0.0) >= DETERMINED for number in range(count)])
        errors = [_against_mean(points[kept], truth[name][kept]) for kept in (heard, heard & confident)]
        rows.append(Found(errors[0], errors[1], worked))
    return rows


def _against_mean(points: Array, truth: Array) -> Array:
    return np.abs((points - points.mean()) - (truth - truth.mean())) if len(points) else points


def table(found: dict[str, list[list[Found]]]) -> str:
    """A row for each kind of mix."""
    lines = [
        "Errors of points in dB, median / worst, and how many are within 0.5 dB.",
        "",
        "| mixes | songs | stems | points heard | within 0.5 dB | error | determined | within 0.5 dB | error | s a fit (CPU) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, fits in found.items():
        rows = [row for fit in fits for row in fit]
        cells = [kind, str(len(fits)), str(len(rows))]
        for values in (np.concatenate([row.heard for row in rows]), np.concatenate([row.sure for row in rows])):
            cells += [str(len(values)), f"{np.mean(values <= 0.5):.0%}", f"{np.median(values):.2f} / {values.max():.2f}"]
        lines.append("| " + " | ".join([*cells, f"{np.median([fit[0].seconds for fit in fits]):.0f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs it, prints it, stores it if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--music", type=Path, required=True, metavar="FOLDER", help="folder of free music, made by benchmarks/free_music.py"
    )
    parser.add_argument("--songs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--write", action="store_true", help="store the table in docs/results.md")
    asked = parser.parse_args()
    _, *found = songs(asked.music)  # the excerpt is too short
    order = np.random.default_rng(asked.seed).permutation(len(found))[: asked.songs]
    rows: dict[str, list[list[Found]]] = {kind: [] for kind in KINDS}
    for kind, fits in rows.items():
        for place in order:
            title, read = found[place]
            stems = {name: np.asarray(audio[:, : round(SECONDS * RATE)], float) for name, audio in read().items()}
            fits.append(measured(kind, stems, np.random.default_rng([asked.seed, place])))
            print(
                kind, title, *(f"{row.sure.max(initial=0.0):.2f}" for row in fits[-1]), f"dB worst, {fits[-1][0].seconds:.0f} s", flush=True
            )
    body = table(rows)
    print(body)
    if asked.write:
        publish("Gain rides", f"python benchmarks/gain_rides.py --music FOLDER --songs {asked.songs} --write", body)


if __name__ == "__main__":
    main()
