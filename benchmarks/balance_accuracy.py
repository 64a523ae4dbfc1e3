"""How far the levels of separated stems are from the truth: the protocol of Ward et al. 2017, and what the error is made of.

The truth is the BS.1770 loudness of each real stem minus that of the mixture. It is compared with the point estimate and its interval,
with the loudness of the separated stem (naive), the cross-energy, and with saying for every song what each stem has on average (mean of
the songs).

Conventions
    Part (a): synthetic songs, separated by benchmarks/oracle.py at 4, 8 and 12 dB; once as they are, once with bleed: every stem carries
    each of the others at a gain between 0 and 0.05, which makes their correlation about five times that of the real excerpt. Part (b):
    synthetic songs and the real excerpt in stempeg, separated by the bundled model; with ``--music`` (a folder of free_music.py) also
    tracker songs, every other one for ``--fit``, the rest to be measured. On multitracks of one's own, and with any separator:
    ``stemwright evaluate balance``, which measures the errors by the same code (stemwright.datagen.evaluate.level_errors).
    Songs of TRAIN_SEEDS fitted the constants in level_estimators.py (``--fit`` prints them); songs of TEST_SEEDS are measured.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (the quantity; 1.2 LU RMSE for the best of twelve systems on 100 mixes).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas
from balance_fit import AUDIBLE_LU, fit, windows_of
from free_excerpts import middle, songs_with
from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.datagen.evaluate.level_errors import level_rows, rmse
from stemwright.datagen.evaluate.scores import SongMean, mean_over_songs
from stemwright.separation.balance.level_estimators import (
    BUNDLED,
    SEPARATED,
    Calibration,
    interval_around,
    point_between,
)
from stemwright.separation.balance.measure import closing_factor
from stemwright.separation.loudness.kweighting import channel_weights, hop_edges, hop_products
from stemwright.separation.loudness.meter import (
    BLOCK_STEP_HOPS,
    MOMENTARY_HOPS,
    SHORT_TERM_HOPS,
    gate,
    gated_loudness,
    to_lufs,
    window_means,
)

SAMPLE_RATE = 44_100
DURATION_S = 20.0
TRAIN_SEEDS, TEST_SEEDS = range(600_000, 600_016), range(700_000, 700_020)
TARGETS_DB = (4.0, 8.0, 12.0)
LARGEST_BLEED = 0.05
PUBLISHED_RMSE_LU = 1.2
WINDOW_STEP_HOPS = 100
RAISED_NOTE = "Cross is raised by one factor a song, so that the cross-energies of the stems sum to the mixture's energy."

Stems = dict[str, np.ndarray]


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


def _hops(rows: list[np.ndarray], pairs: list[tuple[int, int]], sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """K-weighted products per 10 ms [P, K] of pairs of signals [C, T], summed over channels, and the edges of the hops."""
    channels = rows[0].shape[0]
    flat = [channel for row in rows for channel in row]
    doubled = [(i * channels + c, j * channels + c) for i, j in pairs for c in range(channels)]
    sums = hop_products(flat, doubled, sample_rate).reshape(len(pairs), channels, -1)
    return np.einsum("c,pck->pk", channel_weights(channels), sums), hop_edges(rows[0].shape[1], sample_rate)


def parts_of_error(hops: np.ndarray, edges: np.ndarray) -> dict[str, float]:
    """Splits the errors of cross and naive, in LU: correlation, separation and gating, which add up to each; ``hops`` as in ``rows_of``.

    Each step changes one thing: the true energy becomes the true cross-energy (correlation), the true stem the separated one
    (separation), both in the blocks that the true stem's gate passes; then the estimate's own gate is used (gating).
    """
    _, true, true_cross, own, cross = window_means(hops, edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0]
    passing = gate(true)

    def level(blocks: np.ndarray) -> float:
        return float(to_lufs(blocks[passing].mean())) if passing.any() else -np.inf

    return {
        "cross_correlation": level(true_cross) - level(true),
        "cross_separation": level(cross) - level(true_cross),
        "cross_gating": gated_loudness(np.maximum(cross, 0)) - level(cross),
        "naive_separation": level(own) - level(true),
        "naive_gating": gated_loudness(own) - level(own),
    }


def _raised(mixture: np.ndarray, estimates: Stems) -> float:
    signals = [mixture, *estimates.values()]
    hops, _ = _hops(signals, [(0, i) for i in range(len(signals))], SAMPLE_RATE)
    return closing_factor(hops[0], hops[1:])


def rows_of(name: str, condition: str, stems: Stems, estimates: Stems, calibration: Calibration) -> Iterator[dict]:
    """One row per stem of a song: the truth, both estimators, the parts of the error, and the course in windows."""
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    raised = _raised(mixture, estimates) if calibration.together else 1.0
    for row in level_rows(mixture, stems, estimates, SAMPLE_RATE, calibration):
        stem, estimate = stems[row["stem"]], estimates[row["stem"]]
        pairs = [(0, 0), (1, 1), (1, 0), (2, 2), (2, 0)]  # mixture; stem and estimate with themselves and with the mixture
        hops, edges = _hops([mixture, stem, estimate], pairs, SAMPLE_RATE)
        hops[4] *= raised
        windows = to_lufs(window_means(hops, edges, SHORT_TERM_HOPS, WINDOW_STEP_HOPS)[0][[0, 1, 3, 4]])
        yield {"song": name, "condition": condition, **row, **parts_of_error(hops, edges), "windows": windows}


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


def free_songs(music: Path, *, fitting: bool) -> Iterator[tuple[str, Stems]]:
    """The middle of tracker songs that have drums, bass and other: every other one for fitting, the rest to be measured."""
    for place in songs_with(music, "modules")[int(not fitting) :: 2]:
        parts, rate = middle(place, DURATION_S)
        if rate == SAMPLE_RATE and all(part.any() for part in parts.values()):
            yield place.name, parts


def separated_rows(songs: Iterable[tuple[str, str, Stems]], model: str, calibration: Calibration) -> list[dict]:
    """Part (b): songs as (name, condition, stems), separated by a model."""
    from stemwright.separation.demucs.separator import DemucsSeparator

    separator = DemucsSeparator(model=model)
    rows: list[dict] = []
    for name, condition, stems in songs:
        estimates = separator.separate(np.sum(list(stems.values()), axis=0, dtype=np.float32), SAMPLE_RATE)
        wanted = calibration.together or tuple(stems)
        rows += rows_of(name, condition, stems, {stem: estimates[stem] for stem in wanted}, calibration)
    return rows


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
        if args.music:
            songs += [(name, "tracker songs", stems) for name, stems in free_songs(args.music, fitting=args.fit)]
        rows = separated_rows(songs, args.model, calibration)
    frame = pandas.DataFrame(rows)
    if args.fit:
        print(fit(frame, calibration))
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
