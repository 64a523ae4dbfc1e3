"""How far the levels of separated stems are from the truth: the protocol of Ward et al. 2017, and what the error is made of.

The truth is the BS.1770 loudness of each real stem minus that of the mixture. It is compared with the point estimate and its interval,
with the loudness of the separated stem (naive), the cross-energy, and with saying for every song what each stem has on average (mean of
the songs).

Conventions
    Part (a): synthetic songs, separated by benchmarks/oracle.py at 4, 8 and 12 dB; once as they are, once with bleed: every stem carries
    each of the others at a gain between 0 and 0.05, which makes their correlation about five times that of the real excerpt. Part (b):
    synthetic songs and the real excerpt in stempeg, separated by the bundled model; with ``--music`` (a folder of free_music.py) also
    tracker songs, and free scores that the model was not trained on: the middle 30 s of each, separated as a whole, and 20 and 8 s of it
    (8 s at three places); and 8 s with faders drawn from -14 to +4 dB, so that some stems are soft. On multitracks of one's own, and with
    any separator: ``stemwright evaluate balance``, which measures the errors by the same code (stemwright.datagen.evaluate.level_errors).
    Songs of TRAIN_SEEDS fitted the constants in level_estimators.py (``--fit`` prints them), for intervals of the bundled model also every
    other tracker song; songs of TEST_SEEDS, the other tracker songs and the scores are measured. The synthetic songs and the scores are
    like what the model was trained on, tracker songs are not: its errors there are larger, whatever the length of the excerpt, and few
    exceed the true level, since it finds vocals in songs that have none. So each end of its interval is the wider of two: one that fits
    synthetic and tracker songs with equal weights, and one that fits tracker songs alone.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (the quantity; 1.2 LU RMSE for the best of twelve systems on 100 mixes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
from balance_fit import AUDIBLE_LU, equal_weights, fit, windows_of
from balance_rows import SAMPLE_RATE, Stems, bundled_rows, free_songs, rows_of
from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.datagen.evaluate.level_errors import rmse
from stemwright.datagen.evaluate.scores import SongMean, mean_over_songs
from stemwright.separation.balance.level_estimators import (
    BUNDLED,
    SEPARATED,
    Calibration,
    interval_around,
    point_between,
)

DURATION_S = 20.0
TRAIN_SEEDS, TEST_SEEDS = range(600_000, 600_016), range(700_000, 700_020)
TARGETS_DB = (4.0, 8.0, 12.0)
LARGEST_BLEED = 0.05
PUBLISHED_RMSE_LU = 1.2
RAISED_NOTE = "Cross is raised by one factor a song, so that the cross-energies of the stems sum to the mixture's energy."


def song(seed: int, cache: Path | None) -> Stems:
    """Stems of a synthetic song, kept in ``cache`` between runs."""
    from songs import STEMS, render_song

    path = cache / f"{seed}.npy" if cache else None
    if path and path.exists():
        return dict(zip(STEMS, np.load(path), strict=True))
    stems = render_song(seed, DURATION_S, SAMPLE_RATE)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack(list(stems.values())).astype(np.float32))
    return stems


def with_bleed(stems: Stems, rng: np.random.Generator) -> Stems:
    """Every stem with each of the others added at a gain drawn from 0 to LARGEST_BLEED."""
    gains = rng.uniform(0, LARGEST_BLEED, (len(stems), len(stems)))
    np.fill_diagonal(gains, 1.0)
    mixed = np.tensordot(gains, np.stack(list(stems.values())), axes=1).astype(np.float32)
    return dict(zip(stems, mixed, strict=True))


def oracle_rows(seed: int, cache: Path | None) -> list[dict]:
    """Part (a) for one song: two kinds of sources, three ratios. ``cache`` keeps the rows, which no constant of the estimator enters."""
    from oracle import separate

    kept = cache / f"{seed}.rows.pkl" if cache else None
    if kept and kept.exists():
        return pandas.read_pickle(kept).to_dict("records")
    rng = np.random.default_rng([seed, 1])
    plain = song(seed, cache)
    rows: list[dict] = []
    for kind, stems in (("uncorrelated", plain), ("correlated", with_bleed(plain, rng))):
        for target_db in TARGETS_DB:
            estimates = separate(np.stack(list(stems.values())), target_db, rng)
            rows += rows_of(str(seed), f"{kind}, {target_db:g} dB", stems, dict(zip(stems, estimates, strict=True)), SEPARATED)
    if kept:
        pandas.DataFrame(rows).to_pickle(kept)
    return rows


def excerpt() -> tuple[str, Stems]:
    """The real multitrack excerpt that stempeg carries: its name and stems. The mixture measured against is their sum."""
    import stempeg

    from stemwright.manifests.sound.decoding import load

    path = next((Path(stempeg.__file__).parent / "data").glob("*.stem.mp4"))
    names = ("drums", "bass", "other", "vocals")  # streams 1 to 4; stream 0 is the mastered mixture
    return path.name.removesuffix(".stem.mp4"), {name: load(path, stream=number)[0] for number, name in enumerate(names, 1)}


def with_point(frame: pandas.DataFrame, calibration: Calibration) -> pandas.DataFrame:
    """Adds the point estimate and its interval."""
    naive, cross = np.asarray(frame["naive"]), np.asarray(frame["cross"])
    point = point_between(naive, cross, calibration)
    low, high = interval_around(point, cross - naive, calibration.low, calibration.high)
    return frame.assign(point=point, low=low, high=high)


def baseline_errors(frame: pandas.DataFrame) -> np.ndarray:
    """Errors of saying for each stem its mean over the other songs."""
    errors = []
    for _, part in frame.groupby("stem"):
        truth = part.groupby("song")["truth"].mean()
        if truth.size > 1:
            others = (truth.sum() - truth) / (truth.size - 1)
            errors += list(part["truth"] - part["song"].map(others))
    return np.array(errors)


def accuracy_table(frame: pandas.DataFrame) -> str:
    """RMSE, MAE and bias of every estimator per condition, pooled over stems, with the baseline and the coverage."""
    lines = [
        "| condition | stems | SDR dB | point RMSE (95 %) | MAE | bias | naive RMSE | bias | cross RMSE | bias | mean of songs RMSE |"
        " naive / point | 1.2 LU / point | 80 % interval holds | its mean width LU |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = [*frame.groupby("condition", sort=False), *_pooled(frame)]
    for condition, part in groups:
        point, naive, cross = (np.asarray(part[column] - part["truth"]) for column in ("point", "naive", "cross"))
        spread = mean_over_songs(point, list(part["song"]), rmse)
        held = float(np.mean((part["low"] <= part["truth"]) & (part["truth"] <= part["high"])))
        baseline = baseline_errors(part)
        cells = [condition, f"{len(part)}", f"{part['sdr_db'].mean():.1f}", f"**{spread.value:.2f}**{_interval(spread)}"]
        cells += [f"{np.abs(point).mean():.2f}", f"{point.mean():+.2f}", f"{rmse(naive):.2f}", f"{naive.mean():+.2f}"]
        cells += [f"{rmse(cross):.2f}", f"{cross.mean():+.2f}", f"{rmse(baseline):.2f}" if baseline.size else "one song"]
        cells += [f"{rmse(naive) / rmse(point):.1f}", f"{PUBLISHED_RMSE_LU / rmse(point):.1f}", f"{100 * held:.0f} %"]
        lines.append(f"| {' | '.join(cells)} | {(part['high'] - part['low']).mean():.2f} |")
    return "\n".join(lines)


def _interval(found: SongMean) -> str:
    return "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"


def _pooled(frame: pandas.DataFrame) -> Iterator[tuple[str, pandas.DataFrame]]:
    kinds = frame["condition"].str.split(",").str[0]
    for kind in kinds.unique():
        if frame.loc[kinds == kind, "condition"].nunique() > 1:
            yield f"{kind}, all", frame[kinds == kind]
    if kinds.nunique() > 1:
        yield "all", frame


def stem_table(frame: pandas.DataFrame) -> str:
    """RMSE and bias per stem name."""
    lines = [
        "| condition | stem | point RMSE | MAE | bias | naive RMSE | bias | cross RMSE | bias |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (condition, stem), part in frame.groupby(["condition", "stem"], sort=False):
        cells = [f"{rmse(part['point'] - part['truth']):.2f}", f"{(part['point'] - part['truth']).abs().mean():.2f}"]
        cells += [f"{(part['point'] - part['truth']).mean():+.2f}"]
        for column in ("naive", "cross"):
            cells += [f"{rmse(part[column] - part['truth']):.2f}", f"{(part[column] - part['truth']).mean():+.2f}"]
        lines.append(f"| {condition} | {stem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parts_table(frame: pandas.DataFrame) -> str:
    """What the error is made of: RMS (and mean) of each part in LU."""
    columns = ("cross_correlation", "cross_separation", "cross_gating", "naive_separation", "naive_gating")
    lines = [
        "| condition | cross: correlation | cross: separation | cross: gating | naive: separation | naive: gating |",
        "|---|---|---|---|---|---|",
    ]
    for condition, part in [*frame.groupby("condition", sort=False), *_pooled(frame)]:
        finite = part[np.isfinite(part[list(columns)]).all(axis=1)]
        lines.append(f"| {condition} | {' | '.join(f'{rmse(finite[c]):.2f} ({finite[c].mean():+.2f})' for c in columns)} |")
    return "\n".join(lines)


def image_line(frame: pandas.DataFrame) -> str:
    """How far pan and width of the separated stems are from those of the real ones."""
    if "pan_error" not in frame or frame["pan_error"].isna().all():
        return "Pan and width: not measured."
    return (
        f"Pan (−1 to 1): mean error {frame['pan_error'].mean():.3f}, nine tenths under {frame['pan_error'].quantile(0.9):.3f}. "
        f"Width (0 to 1): mean error {frame['width_error'].mean():.3f}, nine tenths under {frame['width_error'].quantile(0.9):.3f}."
    )


def shares_line(frame: pandas.DataFrame) -> str:
    """Whose error it is, in a sentence per kind of songs: shares of the sum of the parts' mean squares."""
    sentences = []
    for kind, part in frame.groupby(frame["condition"].str.split(",").str[0], sort=False):
        for estimator, names in (("cross", ("separation", "gating", "correlation")), ("naive", ("separation", "gating"))):
            columns = [f"{estimator}_{name}" for name in names]
            squares = (part[np.isfinite(part[columns]).all(axis=1)][columns] ** 2).mean()
            shares = ", ".join(f"{100 * squares[c] / squares.sum():.0f} % {name}" for c, name in zip(columns, names, strict=True))
            sentences.append(f"{kind}, {estimator}: {shares}")
    return "Shares of the mean square error: " + "; ".join(sentences) + "."


def window_line(frame: pandas.DataFrame, calibration: Calibration) -> str:
    """How well the trajectory does, in a sentence."""
    truth, naive, cross = windows_of(frame)
    point = point_between(naive, cross, calibration)
    low, high = interval_around(point, cross - naive, calibration.window_low, calibration.window_high)
    held = np.mean((low <= truth) & (truth <= high))
    return (
        f"Trajectory, {truth.size} windows of 3 s in which the stem is above {AUDIBLE_LU:.0f} LU: RMSE {rmse(point - truth):.2f} LU "
        f"(naive {rmse(naive - truth):.2f}, cross {rmse(cross - truth):.2f}), the 80 % interval holds {100 * held:.0f} %."
    )


def report(frame: pandas.DataFrame, calibration: Calibration) -> str:
    """All tables of one part."""
    frame = with_point(frame, calibration)
    return "\n\n".join(
        [
            accuracy_table(frame),
            RAISED_NOTE if calibration.together else "Cross is the plain cross-energy.",
            window_line(frame, calibration),
            image_line(frame),
            "What the error is made of, RMS and mean in LU:",
            parts_table(frame),
            shares_line(frame),
            "Per stem:",
            stem_table(frame),
        ]
    )


def main() -> None:
    """Runs the requested parts, prints their tables, and with ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("oracle", "bundled"), default="oracle")
    parser.add_argument("--model", default="bundled", help="the model of part (b)")
    parser.add_argument("--songs", type=int, default=len(TEST_SEEDS))
    parser.add_argument("--fit", action="store_true", help="measure the training songs and print the constants that fit them")
    parser.add_argument("--music", type=Path, help="folder of free music, made by benchmarks/free_music.py, for part (b)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="folder that keeps rendered songs between runs")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    part = args.part
    seeds = (TRAIN_SEEDS if args.fit else TEST_SEEDS)[: args.songs]
    calibration = SEPARATED if part == "oracle" else BUNDLED if args.model == "bundled" else SEPARATED
    if part == "oracle":
        parts = Parallel(n_jobs=args.jobs)(delayed(oracle_rows)(seed, args.cache) for seed in seeds)
        rows = [row for rows in parts for row in rows]
    else:
        songs: list[tuple[str, str, Stems]] = [(str(seed), "synthetic songs", song(seed, args.cache)) for seed in seeds]
        if not args.fit:
            name, stems = excerpt()
            songs.append((name, "real excerpt", stems))
        rows = bundled_rows(songs, free_songs(args.music, fitting=args.fit) if args.music else (), args.model, args.cache)
    frame = pandas.DataFrame(rows)
    if args.fit:
        made = frame["condition"].str.startswith("synthetic").to_numpy()
        materials = [(made, ~made), (~made,)] if part == "bundled" and args.music else [(np.ones(len(frame), dtype=bool),)]
        print(fit(frame, calibration, [equal_weights(frame, groups) for groups in materials]))
        return
    body = report(frame, calibration)
    print(body)
    if args.write:
        from results import publish

        titles = {"oracle": "oracle separator", "bundled": "bundled model"}
        options = {"oracle": "", "bundled": f" --part bundled --model {args.model}{' --music FOLDER' if args.music else ''}"}[part]
        publish(f"Balance accuracy: {titles[part]}", f"python benchmarks/balance_accuracy.py --songs {args.songs}{options} --write", body)


if __name__ == "__main__":
    main()
