"""A made corpus with a known vocal level over years and genres: are trend, order of genres and intervals recovered from separated stems?

Songs of benchmarks/songs.py get years, genres and a level of the vocals against the accompaniment (LAR) after Gerdes and Siedenburg 2023:
5 LU in 1946, falling to 1 LU in 1975 and constant from there on, with offsets by genre and a spread between songs; their other stems get
levels and pans. They are separated by benchmarks/oracle.py at 6, 9 or 12 dB, half of them with bleed between the stems, and measured.

Conventions
    The truth is what the true stems measure. LAR "from the table" is what ``song_values`` makes of the levels that a corpus's table has.
    Coverage is the share of intervals that hold the truth; 80 % is stated. Coverage of slopes and means is over REDRAWN corpora, whose
    songs have new years, genres and levels and the errors and intervals of songs that were measured, drawn with replacement.

References
    Gerdes and Siedenburg 2023, JASA Express Letters 3, 043201.
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.datagen.report.groups_plot import plot_groups
from stemwright.separation.balance.grouped import grouped
from stemwright.separation.balance.groups import Values, compare_groups, fit_trend
from stemwright.separation.balance.level_estimators import REFERENCE
from stemwright.separation.balance.measure import StemBalance, measure_balance
from stemwright.separation.balance.song_values import SongValues, against_rest

SAMPLE_RATE, DURATION_S = 22_050, 5.0
RATIOS_DB, LARGEST_BLEED = (6.0, 9.0, 12.0), 0.05
GENRES = {"country": 1.2, "rap": 0.8, "pop": 0.4, "rock": -0.6, "metal": -2.0}  # offsets of the LAR in LU, in the order to recover
SPREAD_LU = 1.2  # between songs of one genre and year
FIRST, BEND, LAST = 1946, 1975, 2020
EARLY_LU, LATE_LU = 5.0, 1.0
REDRAWN, REDRAWN_SONGS = 400, 60
REDRAW = 100_000  # apart are the seeds of a song whose first seconds have no vocals
LEVELS_LU, PANS = 2.0, 0.5  # standard deviation of the other stems' levels; largest pan


def expected_lar(year: Any) -> Any:
    """The LAR of a year in LU, before offsets of genres."""
    return np.where(np.asarray(year) < BEND, EARLY_LU - (EARLY_LU - LATE_LU) * (np.asarray(year) - FIRST) / (BEND - FIRST), LATE_LU)


def has_vocals(stems: dict[str, np.ndarray]) -> bool:
    """Whether a short song has vocals that sound for a second at least, and anything else."""
    loud = np.abs(stems["vocals"]).max(0) > 1e-3
    return bool(loud.mean() * DURATION_S > 1.0) and any(np.abs(audio).max() > 0.01 for name, audio in stems.items() if name != "vocals")


def panned(audio: np.ndarray, pan: float) -> np.ndarray:
    """A stem [2, T] moved to one side: the gain of the other one is lowered."""
    return audio * np.array([[1.0 - max(pan, 0.0)], [1.0 + min(pan, 0.0)]], np.float32)


def song_rows(seed: int) -> list[dict[str, Any]]:
    """One song: for each stem the truth and the estimate of every quantity."""
    from oracle import separate
    from songs import render_song

    rng = np.random.default_rng([seed, 7])
    year, genre = int(rng.integers(FIRST, LAST + 1)), str(rng.choice(list(GENRES)))
    wanted = float(expected_lar(year)) + GENRES[genre] + float(rng.normal(0, SPREAD_LU))
    stems = next(song for song in (render_song(seed + again, DURATION_S, SAMPLE_RATE) for again in count(0, REDRAW)) if has_vocals(song))
    stems = {name: audio.astype(np.float32) for name, audio in stems.items()}
    stems = {name: panned(audio * 10 ** (rng.normal(0, LEVELS_LU) / 20), rng.uniform(-PANS, PANS)) for name, audio in stems.items()}
    backing = sum(audio for name, audio in stems.items() if name != "vocals")
    found = measured({"vocals": stems["vocals"], "backing": backing}, {"vocals": stems["vocals"], "backing": backing}, "reference")
    stems["vocals"] = stems["vocals"] * np.float32(10 ** ((wanted - found["vocals"].against_rest_lu) / 20))
    if rng.random() < 0.5:
        stems = {name: audio + sum(rng.uniform(0, LARGEST_BLEED) * other for other in stems.values()) for name, audio in stems.items()}
    ratio = float(rng.choice(RATIOS_DB))
    separated = dict(zip(stems, separate(np.stack(list(stems.values())), ratio, rng), strict=True))
    true, estimated = measured(stems, stems, "reference"), measured(stems, separated, "separated")
    derived = against_rest({name: (stem.level_lu, stem.level_low_lu, stem.level_high_lu) for name, stem in estimated.items()})
    rows = []
    for name, stem in estimated.items():
        if not (stem.present and true[name].present):
            continue
        common = {"seed": seed, "year": year, "genre": genre, "ratio": ratio, "stem": name}
        triples = {
            "level": (true[name].level_lu, stem.level_lu, stem.level_low_lu, stem.level_high_lu),
            "against the rest": (true[name].against_rest_lu, stem.against_rest_lu, stem.against_rest_low_lu, stem.against_rest_high_lu),
            "against the rest, from the table": (true[name].against_rest_lu, *derived[name]),
            "pan": (true[name].pan, stem.pan, np.nan, np.nan),
            "width": (true[name].width, stem.width, np.nan, np.nan),
        }
        rows += [
            {**common, "quantity": key, **dict(zip(("true", "value", "low", "high"), each, strict=True))} for key, each in triples.items()
        ]
    return rows


def measured(stems: dict[str, np.ndarray], given: dict[str, np.ndarray], calibration: str) -> dict[str, StemBalance]:
    """The balance of given stems in the sum of the true ones."""
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    return measure_balance(mixture, given, SAMPLE_RATE, calibration=REFERENCE if calibration == "reference" else calibration)


def accuracy(frame: pandas.DataFrame) -> str:
    """Errors and coverage of each quantity, of the vocals and of all stems."""
    lines = ["| quantity | stems | values | RMSE | bias | 80 % interval holds | its mean width |", "|---|---|---|---|---|---|---|"]
    for quantity in frame["quantity"].unique():
        for stems, chosen in (("vocals", frame["stem"] == "vocals"), ("all", frame["stem"] != "")):
            rows = frame[chosen & (frame["quantity"] == quantity)].dropna(subset=["true", "value"])
            error = rows["value"] - rows["true"]
            is_held = (rows["low"] <= rows["true"]) & (rows["true"] <= rows["high"])
            has = rows["low"].notna().any()
            lines.append(
                f"| {quantity} | {stems} | {len(rows)} | **{np.sqrt(np.mean(error**2)):.2f}** | {error.mean():+.2f} | "
                + (f"{100 * is_held.mean():.0f} % | {(rows['high'] - rows['low']).mean():.2f} |" if has else "– | – |")
            )
    return "\n".join(lines)


def lar_of(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The vocals against the rest, as a corpus has it."""
    return frame[(frame["stem"] == "vocals") & (frame["quantity"] == "against the rest, from the table")].reset_index(drop=True)


def songs_of(frame: pandas.DataFrame) -> list[SongValues]:
    """The songs with their years, genres and levels, as a corpus has them."""
    names = {"level": "level_lu", "against the rest, from the table": "against_rest_lu"}
    songs = []
    for seed, rows in frame[frame["quantity"].isin(names)].groupby("seed"):
        stems: dict[str, dict[str, tuple[float, float, float]]] = {}
        for row in rows.itertuples():
            stems.setdefault(row.stem, {})[names[row.quantity]] = (row.value, row.low, row.high)
        songs.append(SongValues(str(seed), {"year": str(rows["year"].iloc[0]), "genre": rows["genre"].iloc[0]}, stems))
    return songs


def trends(frame: pandas.DataFrame) -> str:
    """The trend over all years, before and after the bend, from true and from separated stems."""
    lines = ["| songs | from true stems, LU a decade | from separated stems | as made |", "|---|---|---|---|"]
    slope = 10 * (LATE_LU - EARLY_LU) / (BEND - FIRST)
    for name, chosen, made in (
        (f"to {BEND}", frame["year"] < BEND, f"{slope:.2f}"),
        (f"from {BEND} on", frame["year"] >= BEND, "0.00"),
        ("all years", frame["year"] > 0, "bent"),
    ):
        rows = frame[chosen]
        found = [
            fit_trend(values, rows["year"], per=10.0)
            for values in (Values.of(rows["true"]), Values.of(rows["value"], rows["low"], rows["high"]))
        ]
        cells = " | ".join(f"{trend.slope:+.2f} ({trend.low:+.2f} to {trend.high:+.2f})" for trend in found)
        lines.append(f"| {name}, {len(rows)} | {cells} | {made} |")
    smooth = fit_trend(Values.of(frame["value"], frame["low"], frame["high"]), frame["year"]).smooth
    made = expected_lar(smooth.at) + float(np.mean([GENRES[name] for name in frame["genre"]]))
    apart = float(np.sqrt(np.mean((smooth.value - made) ** 2)))
    lines.append(f"\nThe smooth curve is {apart:.2f} LU (RMS) from the curve as made, whose values span {EARLY_LU - LATE_LU:.0f} LU.")
    return "\n".join(lines)


def genres(frame: pandas.DataFrame) -> str:
    """The means of genres against the other songs, and whether their order is that of the offsets."""
    values = Values.of(
        frame["value"] - expected_lar(frame["year"]),
        frame["low"] - expected_lar(frame["year"]),
        frame["high"] - expected_lar(frame["year"]),
    )
    lines = ["| genre | songs | offset as made | mean less the curve (80 % range) | against other songs |", "|---|---|---|---|---|"]
    found = sorted(compare_groups(values, list(frame["genre"])), key=lambda group: -group.mean)
    for group in found:
        other = group.against_others
        lines.append(
            f"| {group.name} | {group.songs} | {GENRES[group.name]:+.1f} | {group.mean:+.2f} ({group.low:+.2f} to {group.high:+.2f}) | "
            + (f"{other.value:+.2f} ({other.low:+.2f} to {other.high:+.2f}) |" if other else "– |")
        )
    order = [group.name for group in found]
    return "\n".join(lines) + f"\n\nOrder of the genres: {', '.join(order)}; {'as made' if order == list(GENRES) else 'not as made'}."


def coverage(frame: pandas.DataFrame) -> str:
    """How often slopes, differences and means of redrawn corpora hold what was made."""
    rng = np.random.default_rng(1)
    held = {"slope": 0, "country against metal's songs": 0, "mean of rock": 0}
    errors, low, high = ((frame[name] - frame[base]).to_numpy() for name, base in (("value", "true"), ("low", "value"), ("high", "value")))
    bias = float(errors.mean())
    for _ in range(REDRAWN):
        pick = rng.integers(0, len(frame), REDRAWN_SONGS)
        years, names = rng.uniform(BEND, LAST, REDRAWN_SONGS), rng.choice(["rock", "country", "metal"], REDRAWN_SONGS)
        true = LATE_LU + np.array([GENRES[name] for name in names]) + rng.normal(0, SPREAD_LU, REDRAWN_SONGS)
        value = true + 0.05 * (years - BEND) + errors[pick]
        trend = fit_trend(Values.of(value, value + low[pick], value + high[pick]), years)
        held["slope"] += trend.low <= 0.05 <= trend.high
        value = true + errors[pick]
        values = Values.of(value, value + low[pick], value + high[pick])
        groups = {group.name: group for group in compare_groups(values, list(names))}
        held["mean of rock"] += groups["rock"].low <= LATE_LU + GENRES["rock"] + bias <= groups["rock"].high
        two = {group.name: group for group in compare_groups(values, [name if name != "rock" else None for name in names])}
        apart = two["country"].against_others
        held["country against metal's songs"] += apart.low <= GENRES["country"] - GENRES["metal"] <= apart.high
    cells = "; ".join(f"{name} {100 * count / REDRAWN:.0f} %" for name, count in held.items())
    what = f"Of {REDRAWN} redrawn corpora of {REDRAWN_SONGS} songs, the 80 % interval holds: {cells}."
    return f"{what} A mean is compared with the made one plus the bias of all songs, which no number of songs removes."


def main() -> None:
    """Measures the corpus and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the measured rows in this file, and use them if it is there")
    parser.add_argument("--plot", type=Path, help="draw the songs by year")
    parser.add_argument("--write", action="store_true", help="write the section of docs/results.md")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        frame = pandas.read_pickle(options.keep)
    else:
        found = Parallel(options.jobs)(delayed(song_rows)(800_000 + number) for number in range(options.songs))
        frame = pandas.DataFrame([row for rows in found for row in rows])
        if options.keep:
            frame.to_pickle(options.keep)
    if options.plot:
        plot_groups(grouped(songs_of(frame), "year"), options.plot)
    lar = lar_of(frame)
    body = "\n\n".join((accuracy(frame), trends(lar), genres(lar), coverage(lar)))
    print(body)
    if options.write:
        from results import publish

        publish("Years and genres of a made corpus", f"python benchmarks/rules_corpus.py --songs {options.songs} --write", body)


if __name__ == "__main__":
    main()
