"""Corpora of synthetic songs for the benchmarks that train: songs written as multitracks, then the real pipeline over them.

Conventions
    Songs have the layout of MUSDB18-HQ: the first share is its train set (of which the catalog takes no validation songs of its own, since
    their names are not musdb's), the rest its test set. Everything after the songs is done by the stages that `stemwright build` runs.
    Effects, levels and pans follow from how the parts sound together, with a person's scatter: see musical_songs.py.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from musical_songs import render_musical_song
from songs import mixture_of

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_plan, run_render, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.sound import writing

RATE = 44_100


def write_songs(folder: Path, train: int, test: int, duration_s: float, workers: int = 2) -> Path:
    """Writes ``train`` and ``test`` songs with their stems below ``folder``, but for those there; the seeds of the sets do not overlap."""
    places = {seed: folder / "train" / f"Artist {seed} - Song" for seed in range(2000, 2000 + train)}
    places |= {seed: folder / "test" / f"Artist {seed} - Song" for seed in range(9100, 9100 + test)}
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_write_song, duration_s=duration_s), places.values(), places):
            pass
    return folder


def _write_song(place: Path, seed: int, duration_s: float) -> None:
    if (place / "mixture.wav").exists():  # which is written last
        return
    stems = render_musical_song(seed, duration_s)
    for name, stem in {**stems, "mixture": mixture_of(stems)}.items():
        writing.save(place / f"{name}.wav", stem, RATE, encoding="wav32f")


def build(songs: Path, folder: Path, pairs: dict[str, Any], section: dict[str, Any] | None = None) -> Corpus:
    """The corpus of written songs with the pairs that a section ``[pairs]`` asks for, rendered; ``section`` is more of ``[songs]``.

    What a run that was stopped has finished is kept.
    """
    return _rendered(Corpus(folder), {"songs": {"folder": str(songs), "kind": "musdb18hq", **(section or {})}, "pairs": pairs}, Workers(2))


def kept_corpus(songs: Path, folder: Path, pairs: dict[str, Any]) -> Corpus:
    """The corpus of listed songs with their pairs, rendered; what a run that was stopped has finished is kept."""
    return _rendered(Corpus(folder), {"songs": {"folder": str(songs)}, "pairs": pairs}, Workers(1))


def _rendered(corpus: Corpus, configuration: dict[str, Any], workers: Workers) -> Corpus:
    """The corpus after all stages of ``stemwright build``, as far as they are to be done."""
    if (corpus.folder / "examples.parquet").exists():
        return corpus
    if not (corpus.folder / "config.toml").exists():
        corpus.create(check(configuration, where="benchmark"))
    run_catalog(corpus, workers)
    run_separate(corpus)
    run_estimate(corpus, workers)
    run_plan(corpus)
    run_render(corpus, workers)
    return corpus
