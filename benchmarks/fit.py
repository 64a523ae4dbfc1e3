"""Settings of effects recovered from a dry and a wet signal: every effect alone, and chains, on music, against the project's targets.

Conventions
    The music is the real excerpt inside stempeg and two songs of ``benchmarks/songs.py``, stem by stem, 6 s of 44.1 kHz stereo, peak 0.9.
    Settings are drawn from the effects' typical ranges by a generator keyed by [seed, row, draw]; none was used while the fits were
    written. Wet and dry are rounded to float32, to 16 bit where the row says so, before the fit sees them.
    Signals and figures are those of ``stemwright.datagen.evaluate.fitted_settings``; ``stemwright evaluate fit`` measures the same on other
    multitracks. Chorus has no fit. A fit that refuses counts as a miss of every figure.

    python benchmarks/fit.py [--draws 6] [--seed 2026] [--rows "compressor behind,strip"] [--write]

Each draw is kept in .cache/fit.jsonl as soon as it is fitted; a run again goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from inversion import stems
from songs import render_song

from stemwright.datagen.evaluate.fitted_settings import ROWS, Figures, FitRow, Goal

KEPT = Path(__file__).resolve().parent.parent / ".cache" / "fit.jsonl"
SECONDS = 6.0
SONGS = (501, 502)

TRIES = """
What was tried. Entries marked "kept" are in the code, the others are not:

| tried | result |
|---|---|
| eq: response over windows mirrored at the ends of the excerpt | 0.3 to 1.9 dB error on music; windows inside it: 0.001 to 0.005 dB |
| eq: bands added greedily, then refined to the waveform | 0.00 to 0.45 dB: it ends in local minima where two bands do the work of one |
| eq: 48 random starts, ten times as many | of 16 draws most below 0.03 dB, some 0.05 to 0.2; restarting each band of the best result: 24 below 0.04 dB |
| chain: eq fitted to the plain response although a compressor follows it | 0.5 to 2.4 dB of spread |
| chain: the moving gain from both signals' energies within 10 ms, divided out | 1.2 to 1.8 dB of spread, worse than no correction on a voice |
| chain: the gain as the median over frequencies of short spectra, divided out | 0.1 to 0.45 dB of spread: kept |
| chain: the compressor inverted on wet while its settings are inaccurate | worse in each iteration; the gain of the forward model divided out: kept |
| chain: eq with a free level and no penalty on gains | residual -54 dB with eq and threshold both 9 dB off: a shelf can be a gain |
| chain: stop at a residual of -80 dB | reached with eq and threshold both 2.6 dB off; the true bands leave -145 to -152 |
| chain: a free response, 60 knots from 20 Hz, even in log frequency | leaves -36 dB: what shelves do below 20 Hz turns phases above |
| chain: the same, 72 knots from 12 Hz, even on the bands' own axis | -54 to -101 dB; 80 knots from 2 Hz: -88 to -108: kept |
| chain: bands for the free response from their whole ranges | -137, -151 dB with eq 5.9, 2.6 dB off: a high shelf at 20 Hz is a gain |
| chain: the same within typical ranges first | the true level: kept; drawn chains are typical, which favours this benchmark |
| chain: a free response beside a compressor in a wrong local minimum | -38 dB after 25 iterations |
| chain: there, a new search of the compressor for each kind of detector | of three draws one reaches -151 dB, two basses -45 and -54: kept |
| chain: a compressor before an eq, of a bass, RMS found for peak: other choices and grids again, the eq behind them applied | -45 dB, threshold 2.5 dB off as before; its confidence is 0.48 |
| chain: in chains left above -30 dB, the compressor alone by what no filter explains, filters to that one | basses missed before ("eq > compressor" 17 dB, "compressor > eq" 3.5 dB of threshold) exact: kept |
| chain: there, windows over the edges of the excerpt, mirrored | what no filter explains is that of the edges: the second bass ends at -42 dB; windows inside it: exact |
| room: level from the energy of the whole signal | 0.1 to 2.9 dB off; the median over short spectra: 0.03 to 1 dB |
| room: decay from the same short spectra by likelihood | RT60 7 to 10 % high, of a bass 150 %: windows smear it |
| room: deconvolution by conjugate gradients with the cut tail modelled | ten steps leave more error than the plain quotient |
| room: plain quotient of spectra, decay from its frames | RT60 1 to 34 % off, pre-delay of a bass 2 to 33 ms; narrow bands: kept |
| room: likelihood in narrow bands, equal cells of half a sample | decays up to 22 % short; cells finer at first: kept |
| room: the same, finer at first, noise added 80 or 100 dB below | decays up to 5 and 18 % short: an effect of the cells; 60 dB below: within 2 % |
| room: pre-delay searched once, 15 ms around a rough one | of one bass 5 ms early; search continued where the best value is at the edge: kept |
"""  # noqa: E501


def music() -> tuple[list[tuple[dict[str, torch.Tensor], str]], int]:
    """Pairs of (stems of one song, name of one of them), real and synthetic songs in turn."""
    real, sample_rate = stems(SECONDS)
    songs = [real, *({name: torch.from_numpy(audio).double() for name, audio in render_song(seed, SECONDS).items()} for seed in SONGS)]
    return [(songs[(k + k // 3) % 3 if k % 2 else 0], name) for k, name in enumerate(("drums", "vocals", "other", "bass") * 6)], sample_rate


def cell(values: np.ndarray, goal: Goal) -> str:
    """Median and worst of a figure, with its target and the verdict on both."""
    worst = values.min() if goal.least or goal.name.startswith("SDR") else values.max()
    middle = float(np.median(values))
    text = f"{goal.name} {middle:.2g} / {worst:.2g}"
    if goal.target is None:
        return text
    meets = [value >= goal.target if goal.least else value <= goal.target for value in (middle, worst)]
    verdict = "met" if all(meets) else "median met, worst missed" if meets[0] else "**missed**"
    return f"{text} (target {goal.target:g}: {verdict})"


def kept(name: str, row: FitRow, number: int, seed: int) -> dict[str, Any]:
    """One draw of a row: its stem, figures and processor seconds, or why it was refused; from the file if it is there."""
    KEPT.parent.mkdir(exist_ok=True)
    key = {"row": name, "number": number, "seed": seed}
    for line in KEPT.read_text().splitlines() if KEPT.exists() else ():
        if (done := json.loads(line)).items() >= key.items():
            return dict(done)
    sources, sample_rate = music()
    song, stem = sources[number]
    try:
        figures, spent_s = row.run(song, stem, sample_rate, np.random.default_rng([seed, list(ROWS).index(name), number]))
        found = {"stem": stem, "figures": {key: float(value) for key, value in figures.items()}, "cpu_s": spent_s, "refused": ""}
    except ValueError as error:
        found = {"stem": stem, "figures": {}, "cpu_s": math.nan, "refused": str(error)}
    with KEPT.open("a") as file:
        file.write(json.dumps(key | found) + "\n")
    return key | found


def measure(name: str, row: FitRow, draws: int, seed: int) -> str:
    """One line of the table."""
    taken: list[Figures] = []
    seconds, refused = [], list[str]()
    for number in range(draws):
        drawn = kept(name, row, number, seed)
        if drawn["refused"]:
            refused.append(f"{drawn['stem']}: {drawn['refused']}")
        else:
            seconds.append(drawn["cpu_s"])
        taken.append(drawn["figures"])
        cells = ", ".join(f"{key} {value:.3g}" for key, value in drawn["figures"].items())
        print(f"    {row.title}, {drawn['stem']}: {cells}", file=sys.stderr, flush=True)
    lost = {True: -math.inf, False: math.inf}
    columns = [
        (goal, np.array([figures.get(goal.name, lost[goal.least or goal.name.startswith("SDR")]) for figures in taken]))
        for goal in row.goals
    ]
    cells = "<br>".join(cell(values, goal) for goal, values in columns)
    notes = "" if not refused else f"; refused {len(refused)}: {refused[0]}"
    return f"| {row.title} | {cells} | {np.median(seconds or [math.nan]):.1f} | {draws}{notes} |"


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    parser.add_argument("--draws", type=int, default=6, help="settings drawn for each row")
    parser.add_argument("--seed", type=int, default=2026, help="of the settings")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of the rows, separated by commas")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"Settings drawn with seed {arguments.seed}; each figure is median / worst over the draws.",
        "",
        "| what is fitted | error of the settings | processor s a fit | draws |",
        "|---|---|---|---|",
    ]
    for name, row in ROWS.items():
        if name in arguments.rows.split(","):
            lines.append(measure(name, row, arguments.draws, arguments.seed))
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join([*lines, TRIES.rstrip()])
    print(text)
    if arguments.write:
        from results import publish

        publish("Fitting effects", f"python benchmarks/fit.py --draws {arguments.draws} --write", text)


if __name__ == "__main__":
    main()
