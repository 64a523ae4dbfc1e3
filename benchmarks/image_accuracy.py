"""How far pan, width and playing time of separated stems are from those of the real ones, and how often their intervals contain the truth.

    python benchmarks/image_accuracy.py [--music FOLDER] [--songs 12] [--cache FOLDER] [--fit] [--write]

FOLDER holds folders with a mixture and its stems at any depth, as ``benchmarks/free_music.py`` makes them of free music; the loudest
LENGTH_S of each are used.

Conventions
    Every song is measured twice: as it is, and with each stem moved to a place drawn between hard left and hard right (the two channels by
    the constant-power law, so that what is wide stays wide). The mixture is the sum. It is separated by the bundled model, and by
    benchmarks/oracle.py at 4, 8 or 12 dB in turn, which stands for Demucs. The truth is what ``measure_balance`` finds in the real stems.
    Every second song fits the constants in separation/balance/image_intervals.py (``--fit`` prints them); the others are measured.

References
    Koenker and Bassett 1978: quantile regression, as a linear programme.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.separation.balance.image_intervals import GROWTH_LU, Seen, active_interval, pan_interval, width_interval
from stemwright.separation.balance.level_estimators import BUNDLED, REFERENCE, SEPARATED, Calibration
from stemwright.separation.balance.measure import energies_in_blocks, measure_balance, seen_of
from stemwright.separation.loudness.meter import BLOCK_STEP_HOPS, MOMENTARY_HOPS, gate, window_means

SAMPLE_RATE = 44_100
LENGTH_S = 12.0
FIRST_SEED = 640_000
TARGETS_DB = (4.0, 8.0, 12.0)
WIDEST_PAN = 0.95
SOFTEST_LU = -20.0  # a stem below has no place that one could be right about
LEVELS = ("level_lu", "level_low_lu", "level_high_lu", "against_rest_lu", "against_rest_low_lu", "against_rest_high_lu")
STEMS = ("drums", "bass", "other", "vocals")
KINDS = {"bundled": BUNDLED, "oracle": SEPARATED}

Stems = dict[str, np.ndarray]


def moved(stem: np.ndarray, pan: float) -> np.ndarray:
    """A stem [2, T] with the gains of a constant-power pan on its channels; the centre leaves it as it is."""
    angle = (pan + 1) * math.pi / 4
    return (stem * (math.sqrt(2) * np.array([[math.cos(angle)], [math.sin(angle)]]))).astype(np.float32)


def made_songs(count: int) -> Iterator[tuple[str, Stems]]:
    """Synthetic songs."""
    from songs import render_song

    for seed in range(FIRST_SEED, FIRST_SEED + count):
        yield str(seed), render_song(seed, LENGTH_S, SAMPLE_RATE)


def free_songs(folder: Path, count: int) -> Iterator[tuple[str, Stems]]:
    """The loudest part of multitracks below a folder, spread over its albums, their files summed into the stems that the model has."""
    import soundfile

    places = sorted({path.parent for path in folder.rglob("mixture.*")})
    for place in places if len(places) <= count else [places[len(places) * each // count] for each in range(count)]:
        mixture, rate = soundfile.read(next(place.glob("mixture.*")), dtype="float32")
        length = round(LENGTH_S * rate)
        if rate != SAMPLE_RATE or len(mixture) < length:
            continue
        energy = np.convolve(np.square(mixture).sum(axis=1)[::rate], np.ones(round(LENGTH_S)), "valid")
        start = min(int(np.argmax(energy)) * rate, len(mixture) - length)
        stems = dict.fromkeys(STEMS, np.zeros((2, length), np.float32))
        for path in sorted(place.glob("*.flac")):
            if path.stem != "mixture":
                audio = soundfile.read(path, start=start, frames=length, dtype="float32", always_2d=True)[0].T
                name = path.stem if path.stem in STEMS else "other"
                stems[name] = stems[name] + audio
        yield place.name, stems


def rows_of(stems: Stems, estimates: Stems, calibration: Calibration) -> Iterator[dict]:
    """One row per stem that sounds: what is true, what the separated stem says, and what its interval is made of."""
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    truth = measure_balance(mixture, stems, SAMPLE_RATE, calibration=REFERENCE)
    said = measure_balance(mixture, estimates, SAMPLE_RATE, calibration=calibration)
    energies = energies_in_blocks(iter([[mixture, *estimates.values()]]), SAMPLE_RATE)
    for number, name in enumerate(estimates):
        right, found = truth[name], said[name]
        if not (right.present and found.present) or right.level_lu < SOFTEST_LU:
            continue
        passing = gate(window_means(energies.own[number], energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0])
        seen = seen_of(energies, number, passing, max(found.cross_lu - found.naive_lu, 0.0))
        yield {
            "stem": name,
            **seen._asdict(),
            **{f"true_{field}": getattr(right, field) for field in ("pan", "width", "active_fraction")},
            **{field: getattr(found, field) for field in ("pan", "width", "active_fraction", *LEVELS)},
            "true_level_lu": right.level_lu,
            "true_against_rest_lu": right.against_rest_lu,
        }


def collect(songs: Iterator[tuple[str, Stems]], material: str) -> Iterator[dict]:
    """The rows of all songs, separated both ways, as they are and with their stems moved."""
    from oracle import separate

    from stemwright.separation.demucs.separator import DemucsSeparator

    model = DemucsSeparator("bundled")
    for number, (name, plain) in enumerate(songs):
        rng = np.random.default_rng([number, 7])
        for place in ("as it is", "moved"):
            stems = plain if place == "as it is" else {stem: moved(x, rng.uniform(-WIDEST_PAN, WIDEST_PAN)) for stem, x in plain.items()}
            stems = {stem: audio for stem, audio in stems.items() if audio.any()}
            facts = {"material": material, "place": place, "number": number, "song": name}
            separated = model.separate(np.sum(list(stems.values()), axis=0, dtype=np.float32), SAMPLE_RATE)
            whole = {**dict.fromkeys(STEMS, np.zeros_like(next(iter(stems.values())))), **stems}
            yield from ({"by": "bundled", **facts, **row} for row in rows_of(whole, separated, BUNDLED))
            oracle = separate(np.stack(list(stems.values())), TARGETS_DB[number % len(TARGETS_DB)], rng)
            yield from ({"by": "oracle", **facts, **row} for row in rows_of(stems, dict(zip(stems, oracle, strict=True)), SEPARATED))
        print(material, number, name, file=sys.stderr, flush=True)


def quantile(features: np.ndarray, values: np.ndarray, share: float) -> np.ndarray:
    """The coefficients, none negative, for which a ``share`` of the values [N] are below features [N, K] times them."""
    from scipy.optimize import linprog

    count, width = features.shape
    cost = np.concatenate([np.zeros(width), np.full(count, share), np.full(count, 1 - share)]) / count
    equalities = sparse.hstack([sparse.csr_array(features), sparse.eye_array(count), -sparse.eye_array(count)]).tocsr()
    return linprog(cost, A_eq=equalities, b_eq=values, bounds=[(0, None)] * (width + 2 * count)).x[:width]


def fitted(rows: pandas.DataFrame) -> dict[str, float]:
    """The constants of an ``ImageCalibration``: the pan's interval for four fifths, one-sided ones for nine tenths, or four fifths where
    the other side has none; rounded up."""
    grown = 1 - np.exp(-rows["gap_lu"].clip(lower=0) / GROWTH_LU)
    apart = (rows["pan"] - rows["shared_pan"]).abs()
    pan = quantile(np.stack([grown, grown * apart, grown * rows["mixture_width"]], 1), (rows["true_pan"] - rows["shared_pan"]).abs(), 0.8)
    narrower = quantile(np.stack([grown, grown * rows["width"]], 1), rows["width"] - rows["true_width"], 0.9)
    wider = quantile(np.stack([grown], 1), rows["true_width"] - rows["width"], 0.9)
    less = quantile(np.stack([grown, rows["gap_lu"]], 1), rows["active_fraction"] - rows["true_active_fraction"], 0.8)
    names = ("place", "apart", "spread", "narrower", "narrowed", "wider", "less", "per_gap")
    return dict(zip(names, (math.ceil(100 * float(each) - 1e-6) / 100 for each in (*pan, *narrower, *wider, *less)), strict=True))


def held(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Which intervals contain the truth, and how wide they are, by quantity."""
    tolerance = 1e-6
    kinds = {"pan": pan_interval, "width": width_interval, "active_fraction": active_interval}
    out = rows.copy()
    for name, interval in kinds.items():
        ends = np.array(
            [
                interval(value, Seen(gap, shared, wide), KINDS[by].image)
                for value, gap, shared, wide, by in zip(
                    rows[name], rows["gap_lu"], rows["shared_pan"], rows["mixture_width"], rows["by"], strict=True
                )
            ]
        )
        true = np.asarray(rows[f"true_{name}"])
        out[f"{name}_held"] = (ends[:, 0] - tolerance <= true) & (true <= ends[:, 1] + tolerance)
        out[f"{name}_wide"] = ends[:, 1] - ends[:, 0]
        out[f"{name}_off"] = (true - np.asarray(rows[name])).__abs__()
    return out


def table(rows: pandas.DataFrame) -> str:
    """Per separator, material and arrangement: the error of each quantity, its interval's mean width and how often that holds."""
    quantities = ("pan", "width", "playing")
    heads = [
        "separated by",
        "songs",
        "stems are",
        "stems",
        *(f"{each} {what}" for each in quantities for what in ("error", "held", "width")),
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    found = held(rows)
    groups = [*found.groupby(["by", "material", "place"], sort=False), *(((by, "all", "all"), part) for by, part in found.groupby("by"))]
    for (by, material, place), part in groups:
        cells = [by, material, place, str(len(part))]
        for name in ("pan", "width", "active_fraction"):
            cells += [f"{part[f'{name}_off'].mean():.3f}", f"{part[f'{name}_held'].mean():.0%}".replace("%", " %")]
            cells += [f"{part[f'{name}_wide'].mean():.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured_rows(music: Path | None, count: int, cache: Path | None) -> pandas.DataFrame:
    """The rows of all songs, kept in ``cache`` between runs."""
    kept = cache / "image_rows.pkl" if cache else None
    if kept and kept.exists():
        return pandas.read_pickle(kept)
    free = collect(free_songs(music, count), "free") if music else iter(())
    rows = pandas.DataFrame(list(chain(free, collect(made_songs(count), "made"))))
    if kept:
        rows.to_pickle(kept)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints constants or the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path)
    parser.add_argument("--songs", type=int, default=12, help="so many of each kind")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rows between runs")
    parser.add_argument("--fit", action="store_true", help="print the constants that fit every second song")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args(arguments)
    rows = measured_rows(args.music, args.songs, args.cache)
    if args.fit:
        for by, part in rows[rows["number"] % 2 == 0].groupby("by"):
            print(by, fitted(part))
        return
    body = table(rows[rows["number"] % 2 == 1])
    print(body)
    if args.write:
        from results import publish

        music = " --music FOLDER" if args.music else ""
        publish(
            "Intervals of pan, width and playing time", f"python benchmarks/image_accuracy.py --songs {args.songs}{music} --write", body
        )


if __name__ == "__main__":
    main()
