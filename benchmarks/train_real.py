"""Does a mixer learn levels from real songs? Trained on free scores and tracker modules, judged on those of other composers.

    python benchmarks/train_real.py --work FOLDER --free FREE [--folds 4] [--seeds 2] [--steps 100] [--seconds 24] [--write]

What is measured
    Stems of one loudness go in, the mix at the composer's levels is the target (``free_corpus``). The owners of songs are divided into
    folds; each fold is judged by mixers that were trained on the songs of all other owners, so that no owner is on both sides.
    Trained are gains and pans by the network of ``train_mixer.py``, the mean of some seeds, with every fifth song left out of the steps to
    choose the parameters by, and a ridge regression on features of the sound (``linear_mixer.py``), its strength with owners left out.
    Beside them: equal loudness, the mean of each name over the songs trained on, that over those of the same collection, the rule mixer.
    The mixes have no effects but the levels, so that a whole console has nothing more to learn.
    FOLDER keeps the corpus and every fold that is ready, so that a run that was stopped resumes.

References
    Steinmetz et al. 2021, differentiable mixing console: the loss of the mix.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from console_training import MEAN, by_gains, by_rules
from free_corpus import FreeSong, by_track, free_corpus, free_songs
from free_excerpts import PARTS
from linear_mixer import Examples, cross_validated, fitted
from mixer_training import (
    Answer,
    Judged,
    Material,
    gathered,
    judged,
    placed,
    ratio_of,
    shown,
    song_errors,
    songs_of,
    table,
    train_on_labels,
    true_gains_db,
)
from results import report
from torch import Tensor
from train_console import DATA_RATE, pairs_of

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.mixing.mixer_network import MixerNetwork, pooled, sounding, untrained

COLLECTIONS = ("scores", "modules")
SAME = "mean of each name, same collection"
TRAINED = ("regression on the sound", "gains and pans, trained")


@dataclass(frozen=True)
class Real:
    """The pairs, what is heard of them, and the song of every example."""

    data: PairDataset
    material: Material
    songs: list[FreeSong]

    @property
    def owners(self) -> list[str]:
        """Who made the song of every example."""
        return [song.owner for song in self.songs]

    def rows(self, chosen: np.ndarray) -> Material:
        """What is heard of some examples [E]."""
        kept = np.flatnonzero(chosen)
        return Material(self.material.heard[kept], self.material.truth[kept], [self.songs[row].title for row in kept])


def folds_of(owners: Sequence[str], count: int) -> list[set[str]]:
    """Owners in so many folds, each about as large as the others in examples: the largest owner first, into the smallest fold."""
    folds, sizes = [set[str]() for _ in range(count)], [0] * count
    for owner, size in sorted(Counter(owners).items(), key=lambda pair: (-pair[1], pair[0])):
        place = sizes.index(min(sizes))
        folds[place].add(owner)
        sizes[place] += size
    return folds


def by_networks(networks: Sequence[MixerNetwork], tracks: Tensor) -> Answer:
    """Tracks at the mean gains and pans of networks."""
    decided = [network(tracks[None]) for network in networks]
    gains, pans = (torch.stack(values).mean(0) for values in zip(*decided, strict=True))
    wet = placed(tracks[None], gains, pans)[0]
    return wet, wet.sum(0)


def by_regression(examples: Examples, strength: float, network: MixerNetwork) -> Callable[[Tensor], Answer]:
    """Tracks at the gains of a regression; the network is only heard through."""
    line = fitted(examples, strength)

    def answer(tracks: Tensor) -> Answer:
        heard = network.banded(tracks[None])
        return by_gains(line.gains_db(pooled(heard, sounding(heard)).numpy().astype(float))[0], tracks)

    return answer


def trained(material: Material, owners: Sequence[str], options: argparse.Namespace) -> dict[str, Callable[[Tensor], Answer]]:
    """What was trained on material: the regression, and the networks; ``owners`` [E] made the songs of the examples."""
    start = partial(untrained, torch.from_numpy(material.mean_db).float(), DATA_RATE)
    networks = [train_on_labels(start(), material, options.steps, seed, report=False) for seed in range(options.seeds)]
    examples = Examples.of(material)
    strength, _ = cross_validated(examples, owners)
    print(f"ridge {strength:g}, {len(owners)} examples of {len(set(owners))} owners", flush=True)
    return dict(zip(TRAINED, (by_regression(examples, strength, start()), partial(by_networks, networks)), strict=True))


def judged_fold(real: Real, fold: set[str], options: argparse.Namespace) -> dict[str, Judged]:
    """Every contender on the examples of the fold's owners, in their order."""
    apart, collections = np.isin(real.owners, list(fold)), np.array([song.collection for song in real.songs])
    material = real.rows(~apart)
    learnt, rows = trained(material, [owner for owner in real.owners if owner not in fold], options), np.flatnonzero(apart)
    fixed = {"equal loudness": partial(by_gains, np.zeros(len(PARTS))), MEAN: partial(by_gains, material.mean_db)}
    means = {name: real.rows(~apart & (collections == name)).mean_db for name in set(collections[rows])}
    same = [judged(real.data, {SAME: partial(by_gains, means[collections[row]])}, [row])[SAME] for row in rows]
    together = Judged(np.concatenate([one.gains_db for one in same]), np.concatenate([one.losses for one in same]))
    found = judged(real.data, {**fixed, "rule mixer": partial(by_rules, PARTS, DATA_RATE), **learnt}, rows)
    return {**{name: found[name] for name in fixed}, SAME: together, **{name: found[name] for name in found if name not in fixed}}


def judged_in_folds(real: Real, options: argparse.Namespace) -> dict[str, Judged]:
    """Every contender on every example, each trained without the owner of the example's song."""
    found = dict[str, Judged]()
    for number, fold in enumerate(folds_of(real.owners, options.folds)):
        rows = np.flatnonzero(np.isin(real.owners, list(fold)))
        name = f"fold {number} of {options.folds}, {options.seeds} seeds, {options.steps} steps.npz"
        for contender, part in _kept(options.work / "judged" / name, partial(judged_fold, real, fold, options)).items():
            shape = (len(real.songs), len(PARTS))
            whole = found.setdefault(contender, Judged(np.full(shape, np.nan), np.zeros(len(real.songs))))
            whole.gains_db[rows], whole.losses[rows] = part.gains_db, part.losses
    return found


def _kept(path: Path, made: Callable[[], dict[str, Judged]]) -> dict[str, Judged]:
    """Results in a file, made where it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_suffix(".part.npz")
        np.savez(passing, **{f"{name}/{key}": value for name, part in made().items() for key, value in vars(part).items()})
        passing.rename(path)
    with np.load(path) as file:
        names = dict.fromkeys(key.rpartition("/")[0] for key in file)
        return {name: Judged(file[f"{name}/gains_db"], file[f"{name}/losses"]) for name in names}


def section(real: Real, results: dict[str, Judged], collection: str) -> list[str]:
    """The table over the songs of a collection."""
    rows = np.flatnonzero([song.collection == collection for song in real.songs])
    part = {name: Judged(found.gains_db[rows], found.losses[rows]) for name, found in results.items()}
    truth, songs = true_gains_db(real.data)[rows], [songs_of(real.data)[row] for row in rows]
    owners = {real.songs[row].owner for row in rows}
    errors = {name: song_errors(part[name].gains_db, truth, songs) for name in (SAME, *TRAINED)}
    against = "; ".join(f"{name} {shown(ratio_of(errors[name], errors[SAME]))}" for name in TRAINED)
    return [
        f"{len(set(songs))} {collection} of {len(owners)} owners:",
        "",
        *table(part, truth, songs, MEAN),
        "",
        f"Errors of the levels against the {SAME}: {against}.",
        "",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--free", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = free_songs(options.free, COLLECTIONS)
    data = free_corpus(options.work / "real", chosen, pairs_of(PARTS, "sum"), options.seconds, sample_rate=DATA_RATE)
    tracks = by_track(data, chosen)
    real = Real(data, gathered(data), [tracks[track] for track in songs_of(data)])
    results = judged_in_folds(real, options)
    lines = [
        f"{len(data)} mix pairs of the middle {options.seconds:g} s of {len(set(songs_of(data)))} songs ({', '.join(PARTS)}) of "
        f"{len(set(real.owners))} owners (composers of scores, packages of modules), in {options.folds} folds: every song is judged by "
        f"mixers trained on the songs of other owners; {options.seeds} networks of {options.steps} steps each. Levels are those of the "
        "composers; the scores are MIDI that was rendered with a sound font. In brackets 95 % intervals over songs; below 1 is better.",
        "",
        *(line for collection in COLLECTIONS for line in section(real, results, collection)),
    ]
    given = f"--folds {options.folds} --seeds {options.seeds} --steps {options.steps} --seconds {options.seconds:g}"
    command = f"python benchmarks/train_real.py --work FOLDER --free FREE {given} --write"
    report("Training a mixer on real songs", command, "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
