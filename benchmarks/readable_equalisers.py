"""Do bands come back as the bands that were used? On real stems, alone and within a console of several stems.

Peaks of ±3 to 12 dB, 100 Hz to 8 kHz and q 0.5 to 4, shelves (q 0.71) at 80 to 500 Hz or 1.5 to 9 kHz, all drawn with a seed: one band of
ours on a stem alone with ``fit("eq")``, or on every stem of a mix with a fader and a pan behind it, with ``fit_console``; and two or three
bands of pedalboard or ffmpeg on every stem, with a shelf of either kind at most. Right: as many bands, each of the true kind, within
0.3 dB, 5 % of the frequency and 15 % of q. Songs as in ``foreign_consoles.py``; ``benchmarks/free_music.py`` makes the folder.

    python benchmarks/readable_equalisers.py [--music FOLDER] [--draws 10] [--seed 600] [--several] [--write]

``--several`` leaves out the single bands: two or three of them take as long as all others.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from foreign_consoles import RATE, band, curve, part, songs
from results import publish

import stemwright as sw
from stemwright.datagen.effects.dsp.biquads import response

Band = tuple[str, float, float, float]
LEGEND = """\
Found: as many bands, each of the true kind, within 0.3 dB, 5 % of the frequency and 15 % of q. Single bands are ours; two and three are of
pedalboard or ffmpeg. `error`: of the response from 60 Hz to 12 kHz, after the best level, rms, median / worst."""
HZ = np.geomspace(60.0, 12_000.0, 80)
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


def right(bands: list[Band], true: list[Band]) -> bool:
    """Whether they are the bands that were used."""
    pairs = list(zip(*(sorted(each, key=lambda band: band[2]) for each in (bands, true)), strict=False))
    return len(bands) == len(true) and all(_is_near(*each) for each in pairs)


def _is_near(found: Band, true: Band) -> bool:
    off = abs(found[1] - true[1]), abs(found[2] / true[2] - 1.0), abs(found[3] / true[3] - 1.0)
    return found[0] == true[0] and all(each <= limit for each, limit in zip(off, LIMITS, strict=True))


class Result(NamedTuple):
    """What was used, where, what was found, and the error of the response in dB."""

    where: str
    true: list[Band]
    bands: list[Band]
    error_db: float


def _drawn_stems(number: int, seed: int, every: list[Any]) -> tuple[np.random.Generator, dict[str, torch.Tensor]]:
    rng = np.random.default_rng([seed, number])
    _, loaded = every[0] if number % 2 == 0 else every[number % len(every)]
    return rng, {name: torch.from_numpy(audio) for name, audio in part(loaded(), rng).items()}


def measure_several(number: int, seed: int, every: list[Any]) -> Iterator[Result]:
    """One draw of two or three bands of other makes on every stem of a mix."""
    rng, stems = _drawn_stems(number, seed + 1, every)
    used = {name: _several(rng, 2 + number % 2) for name in stems}
    wet, faders = dict[str, torch.Tensor](), {name: (rng.uniform(-8.0, 4.0), rng.uniform(-0.6, 0.6)) for name in stems}
    for name, audio in stems.items():
        equalised = audio.numpy()
        for process, _ in used[name]:
            equalised = process(equalised)
        wet[name] = sw.apply_chain(torch.from_numpy(equalised), RATE, [("fader", dict(zip(("gain_db", "pan"), faders[name], strict=True)))])
    console = sw.fit_console(sum(wet.values()), stems, RATE, ["eq", "fader"])
    for name, chain in console.chains.items():
        processes, true = zip(*used[name], strict=True)
        equaliser = next((each for effect, each in chain if effect == "eq"), sw.EFFECTS["eq"].Settings())
        off_db = _response_db(equaliser) - sum(curve(process, HZ) for process in processes)
        yield Result("in a console", list(true), found(equaliser), float(np.std(off_db)))


def _several(rng: np.random.Generator, count: int) -> list[Any]:
    """So many bands of other makes, at most one shelf of a kind."""
    while True:
        bands = [band(rng) for _ in range(count)]
        shelves = [kind for _, (kind, *_) in bands if kind != "peak"]
        if len(set(shelves)) == len(shelves):
            return bands


def _response_db(equaliser: Any) -> np.ndarray:
    return np.asarray(20.0 * np.log10(np.abs(response(sw.EFFECTS["eq"].sections(equaliser, RATE), HZ, RATE))))


def measure(number: int, seed: int, every: list[Any]) -> Iterator[Result]:
    """One draw: what was used and what was found, alone and within a console."""
    rng, stems = _drawn_stems(number, seed, every)
    true = {name: drawn(rng) for name in stems}
    equalised = {name: sw.apply_chain(audio, RATE, [("eq", settings(true[name]))]) for name, audio in stems.items()}
    name = next(iter(stems))
    yield _single("alone", true[name], sw.fit("eq", equalised[name], stems[name], RATE))
    faders = {name: ("fader", {"gain_db": rng.uniform(-8.0, 4.0), "pan": rng.uniform(-0.6, 0.6)}) for name in stems}
    mixture = sum(sw.apply_chain(audio, RATE, [faders[name]]) for name, audio in equalised.items())
    console = sw.fit_console(mixture, stems, RATE, ["eq", "fader"])
    for name, chain in console.chains.items():
        yield _single("in a console", true[name], next((each for effect, each in chain if effect == "eq"), sw.EFFECTS["eq"].Settings()))


def _single(where: str, true: Band, equaliser: Any) -> Result:
    off_db = _response_db(equaliser) - _response_db(sw.EFFECTS["eq"].Settings(**settings(true)))
    return Result(where, [true], found(equaliser), float(np.std(off_db)))


def table(results: list[Result]) -> str:
    """Shares of equalisers whose bands were found, within the limits."""
    rows = defaultdict(list)
    for each in results:
        kinds = {"peak" if kind == "peak" else "shelf" for kind, *_ in each.true}
        rows[len(each.true), "one " + kinds.pop() if len(each.true) == 1 else f"{len(each.true)} bands", each.where].append(each)
    lines = [LEGEND, "", "| used | fitted | found | bands found, mean | error, dB |", "|---|---|---|---|---|"]
    for (_, kind, where), mine in sorted(rows.items()):
        count, bands = sum(right(each.bands, each.true) for each in mine), np.mean([len(each.bands) for each in mine])
        errors = [each.error_db for each in mine]
        lines.append(f"| {kind} | {where} | {count} of {len(mine)} | {bands:.1f} | {np.median(errors):.2f} / {max(errors):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints the table, publishes it with --write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path, metavar="FOLDER", help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=600)
    parser.add_argument("--several", action="store_true", help="only two and three bands")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every, results = songs(options.music), list[Result]()
    folder, only = " --music FOLDER" if options.music else "", " --several" if options.several else ""
    for number in range(options.draws):
        for measured in (measure_several,) if options.several else (measure, measure_several):
            for result in measured(number, options.seed, every):
                results.append(result)
                if not right(result.bands, result.true):
                    print(number, *result, flush=True)
        body = table(results)
        print(body, flush=True)
        if options.write:  # what a run that is stopped has measured is kept, under the number of its draws
            name = "Equaliser readability" + (", several bands" if options.several else "")
            publish(name, f"python benchmarks/readable_equalisers.py{folder} --draws {number + 1}{only} --write", body)


if __name__ == "__main__":
    main()
