"""The rows of ``balance_accuracy.py``: of each stem of a song the truth and what its separated stem says; and what the errors are made of.

Conventions
    Free songs are those that have drums, bass and other, and that the bundled model was not trained on: tracker songs, and a few scores.
    The middle of each is separated as a whole, and measured in excerpts of EXCERPTS_S; stems are compared that play in the excerpt and are
    above AUDIBLE_LU in it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas
from balance_fit import AUDIBLE_LU
from free_excerpts import middle, songs_with

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.datagen.evaluate.level_errors import level_rows
from stemwright.separation.balance.level_estimators import BUNDLED, SEPARATED, Calibration
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
WINDOW_STEP_HOPS = 100
LONGEST_S, SHORT_S = 30.0, 8.0
EXCERPTS_S = ((LONGEST_S, (0.0,)), (20.0, (5.0,)), (SHORT_S, (2.0, 11.0, 20.0)))  # lengths, and where in the first they begin
FADERS_DB = (-14.0, 4.0)
SILENT = 1e-9  # mean square of a stem that does not play in an excerpt

Stems = dict[str, np.ndarray]


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


def free_songs(music: Path, *, fitting: bool) -> Iterator[tuple[str, Path]]:
    """Songs that have drums, bass and other, and that the bundled model was not trained on, with a name for their collection: every other
    tracker song for fitting; the rest, and scores, to be measured."""
    from bundled_pool import HELD_OUT

    yield from (("tracker songs", place) for place in songs_with(music, "modules")[int(not fitting) :: 2])
    if not fitting:
        yield from (("free scores", place) for place in songs_with(music, "scores") if place.name in HELD_OUT)


def free_rows(label: str, place: Path, separate: Callable[[np.ndarray], Stems]) -> list[dict]:
    """The rows of a free song: as it is in excerpts of several lengths, and a short one with other faders; none of another sample rate."""
    rng, rows = np.random.default_rng([zlib.crc32(place.name.encode()), 9]), []
    for label_of, whole_s, excerpts_s in ((label, LONGEST_S, EXCERPTS_S), (f"{label} with drawn faders", SHORT_S, ((SHORT_S, (0.0,)),))):
        parts, rate = middle(place, whole_s)
        if rate != SAMPLE_RATE:
            return []
        gains = np.ones(len(parts)) if label_of == label else 10 ** (rng.uniform(*FADERS_DB, len(parts)) / 20)
        stems = {name: (part * gain).astype(np.float32) for (name, part), gain in zip(parts.items(), gains, strict=True)}
        estimates = separate(np.sum(list(stems.values()), axis=0, dtype=np.float32))
        for length_s, start_s in ((length_s, start_s) for length_s, starts_s in excerpts_s for start_s in starts_s):
            begin, end = round(start_s * SAMPLE_RATE), round((start_s + length_s) * SAMPLE_RATE)
            own, found = ({name: part[:, begin:end] for name, part in its.items()} for its in (stems, estimates))
            if all(part.size and np.square(part).mean() > SILENT for part in own.values()):
                rows += rows_of(place.name, f"{label_of}, {length_s:g} s", own, found, BUNDLED)
    return [row for row in rows if row["truth"] > AUDIBLE_LU]


def bundled_rows(songs: Iterable[tuple[str, str, Stems]], music: Iterable[tuple[str, Path]], model: str, cache: Path | None) -> list[dict]:
    """Part (b): songs as (name, condition, stems), and free ones, separated by a model; kept in ``cache`` between runs."""
    from stemwright.separation.demucs.separator import DemucsSeparator

    separator = DemucsSeparator(model=model)
    calibration = BUNDLED if model == "bundled" else SEPARATED

    def separate(mixture: np.ndarray) -> Stems:
        return separator.separate(mixture, SAMPLE_RATE)

    def made(name: str, condition: str, stems: Stems) -> list[dict]:
        estimates = separate(np.sum(list(stems.values()), axis=0, dtype=np.float32))
        wanted = calibration.together or tuple(stems)
        return list(rows_of(name, condition, stems, {stem: estimates[stem] for stem in wanted}, calibration))

    rows: list[dict] = []
    for name, condition, stems in songs:
        rows += kept_rows(cache, f"{model}.{name}", lambda of=(name, condition, stems): made(*of))
    for label, place in music:
        rows += kept_rows(cache, f"{model}.{place.name}", lambda of=(label, place): free_rows(*of, separate))
    return rows


def kept_rows(cache: Path | None, name: str, measure: Callable[[], list[dict]]) -> list[dict]:
    """Rows that ``cache`` keeps under a name, or that are measured now."""
    kept = cache / f"{name}.rows.pkl" if cache else None
    if kept and kept.exists():
        return pandas.read_pickle(kept)
    rows = measure()
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        pandas.to_pickle(rows, kept)
    print(name, file=sys.stderr, flush=True)
    return rows
