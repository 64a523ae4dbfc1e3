"""Does one band come back as one band? Single peaks and shelves on real stems, alone and within a console of several stems.

Peaks of ±3 to 12 dB, 100 Hz to 8 kHz and q 0.5 to 4, shelves (q 0.71) at 80 to 500 Hz or 1.5 to 9 kHz, all drawn with a seed: a stem alone
with ``fit("eq")``, or every stem of a mix with a fader and a pan behind it, with ``fit_console``. Right: one band of the true kind, within
0.3 dB, 5 % of the frequency and 15 % of q. Songs as in ``foreign_consoles.py``; ``benchmarks/free_music.py`` makes the folder.

    python benchmarks/readable_equalisers.py [--music FOLDER] [--draws 10] [--seed 600] [--write]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from foreign_consoles import RATE, part, songs
from results import publish

import stemwright as sw

Band = tuple[str, float, float, float]
LEGEND = "Limits: one band of the true kind, within 0.3 dB, 5 % of the frequency and 15 % of q."
LIMITS = (0.3, 0.05, 0.15)  # dB, parts of frequency and q


def drawn(rng: np.random.Generator) -> Band:
    """A peak, or a shelf: kind, gain, frequency, q."""
    kind = str(rng.choice(["peak", "peak", "low_shelf", "high_shelf"]))
    low, high = {"peak": (100.0, 8000.0), "low_shelf": (80.0, 500.0), "high_shelf": (1500.0, 9000.0)}[kind]
    gain_db = float(rng.choice([-1.0, 1.0]) * rng.uniform(3.0, 12.0))
    hz, q = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in ((low, high), (0.5, 4.0)))
    return kind, gain_db, hz, q if kind == "peak" else 0.71


def settings(band: Band) -> dict[str, float]:
    """The settings of an equaliser with this band."""
    kind, *values = band
    name = "peak2" if kind == "peak" else kind
    return dict(zip((f"{name}_gain_db", f"{name}_hz", f"{name}_q"), values, strict=True))


def found(equaliser: Any) -> list[Band]:
    """The bands with a gain."""
    values = [(band, *(getattr(equaliser, f"{band}_{name}") for name in ("gain_db", "hz", "q"))) for band in sw.EFFECTS["eq"].BANDS]
    return [(band.rstrip("1234"), gain, hz, q) for band, gain, hz, q in values if gain != 0.0]


def right(bands: list[Band], true: Band) -> bool:
    """Whether it is the one band."""
    if len(bands) != 1 or bands[0][0] != true[0]:
        return False
    _, gain_db, hz, q = bands[0]
    return all(
        off <= limit for off, limit in zip((abs(gain_db - true[1]), abs(hz / true[2] - 1), abs(q / true[3] - 1)), LIMITS, strict=True)
    )


def measure(number: int, seed: int, every: list[Any]) -> Iterator[tuple[str, Band, list[Band]]]:
    """One draw: what was used and what was found, alone and within a console."""
    rng = np.random.default_rng([seed, number])
    _, loaded = every[0] if number % 2 == 0 else every[number % len(every)]
    stems = {name: torch.from_numpy(audio) for name, audio in part(loaded(), rng).items()}
    true = {name: drawn(rng) for name in stems}
    equalised = {name: sw.apply_chain(audio, RATE, [("eq", settings(true[name]))]) for name, audio in stems.items()}
    name = next(iter(stems))
    yield "alone", true[name], found(sw.fit("eq", equalised[name], stems[name], RATE))
    faders = {name: ("fader", {"gain_db": rng.uniform(-8.0, 4.0), "pan": rng.uniform(-0.6, 0.6)}) for name in stems}
    mixture = sum(sw.apply_chain(audio, RATE, [faders[name]]) for name, audio in equalised.items())
    console = sw.fit_console(mixture, stems, RATE, ["eq", "fader"])
    for name, chain in console.chains.items():
        bands = [found(each) for effect, each in chain if effect == "eq"]
        yield "in a console", true[name], bands[0] if bands else []


def table(results: list[tuple[str, Band, list[Band]]]) -> str:
    """Shares of bands that were found as one, within the limits."""
    rows = defaultdict(list)
    for where, true, bands in results:
        rows["peak" if true[0] == "peak" else "shelf", where].append((right(bands, true), len(bands)))
    lines = [LEGEND, "", "| one band used | fitted | found as one band within limits | bands found, mean |", "|---|---|---|---|"]
    for (kind, where), values in sorted(rows.items()):
        count, bands = sum(good for good, _ in values), np.mean([bands for _, bands in values])
        lines.append(f"| {kind} | {where} | {count} of {len(values)} | {bands:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table, publishes it with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path, metavar="FOLDER", help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=600)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every, results = songs(options.music), list[tuple[str, Band, list[Band]]]()
    for number in range(options.draws):
        for result in measure(number, options.seed, every):
            results.append(result)
            if not right(result[2], result[1]):
                print(number, *result, flush=True)
    body = table(results)
    print(body)
    if options.write:
        folder = " --music FOLDER" if options.music else ""
        publish("Equaliser readability", f"python benchmarks/readable_equalisers.py{folder} --draws {options.draws} --write", body)


if __name__ == "__main__":
    main()
