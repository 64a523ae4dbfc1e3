"""How exact must a balance be for a mixer to learn from it? The same network, trained on levels that are disturbed, judged on true ones.

    python benchmarks/label_error.py --work FOLDER [--songs 64] [--held-out 24] [--steps 100] [--seeds 3] [--write]

What is measured
    The mixer of gains is trained on the labels of ``mix`` pairs (those of ``train_console.py``, kept in FOLDER), to which errors were
    added, drawn for each stem and song: normal ones of 0, 0.5, 1, 2, 4 LU; and the bias of naive estimates, which measure a soft stem in
    what leaked into it: it is read the higher, the softer it is, by a share of its distance to the song's loudest stem. Judged by the error
    of the levels on other songs, whose labels are true. Every condition is trained with several seeds, of the network and of the
    errors: the table has the mean over seeds, and a 95 % interval over songs. The picture has every seed.
    What hurts is the error within a song and stem: it is the same in all excerpts of a song, so more excerpts do not average it out,
    but more songs do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from engineered_songs import STEMS, corpus_of
from mixer_training import Material, centred, gathered, ratio_of, rms, shown, song_errors, train_on_labels
from results import report
from train_console import DATA_RATE, FIRST_TRAIN, pairs_of

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.mixing.mixer_network import untrained

FIRST_TEST = 9100  # other songs than those of the console, on which its table rests
RANDOM_LU = (0.0, 0.5, 1.0, 2.0, 4.0)
BIAS = (0.2, 0.4)  # of its distance to the loudest stem, by which a soft stem is read too high
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "label_error.png"


@dataclass(frozen=True)
class Disturbance:
    """What is done to the labels: a normal error of ``random_lu``, or the share ``bias`` of the distance to the loudest stem."""

    random_lu: float = 0.0
    bias: float = 0.0

    @property
    def name(self) -> str:
        """The row of the table."""
        return f"soft stems too high, {self.bias:.0%} of the way to the loudest" if self.bias else f"random, {self.random_lu:g} LU"

    def apply(self, material: Material, seed: int) -> Material:
        """The material with other labels, alike in all excerpts of a song."""
        rng, truth = np.random.default_rng([seed, 5]), material.truth.numpy().copy()
        for song in dict.fromkeys(material.songs):
            rows = [number for number, own in enumerate(material.songs) if own == song]
            below = np.nanmax(truth[rows], axis=1, keepdims=True) - truth[rows]
            truth[rows] += self.bias * below + self.random_lu * rng.standard_normal(truth.shape[1])
        return replace(material, truth=torch.from_numpy(truth).float())


@dataclass(frozen=True)
class Outcome:
    """A condition: RMSE of its labels in LU, and of every seed the errors of the levels [songs, stems] on songs that are held out."""

    label_lu: float
    errors: tuple[np.ndarray, ...]

    @property
    def pooled(self) -> np.ndarray:
        """[songs, seeds x stems]: the errors of all seeds."""
        return np.concatenate(self.errors, axis=1)


def outcome(disturbance: Disturbance, material: Material, held_out: Material, options: argparse.Namespace) -> Outcome:
    """Trains with every seed, judges each."""
    labels, errors = list[float](), list[np.ndarray]()
    for seed in range(options.seeds):
        changed = disturbance.apply(material, seed)
        labels.append(rms(centred(changed.truth.numpy() - material.truth.numpy())))
        start = untrained(torch.from_numpy(changed.mean_db).float(), DATA_RATE)
        network = train_on_labels(start, changed, options.steps, seed, report=False)
        with torch.inference_mode():
            gains = network.decide(held_out.heard)[0].numpy()
        errors.append(song_errors(gains, held_out.truth.numpy(), held_out.songs))
        print(f"{disturbance.name}, seed {seed}: labels {labels[-1]:.2f}, levels {rms(errors[-1]):.3f} LU", flush=True)
    return Outcome(float(np.mean(labels)), tuple(errors))


def drawn(outcomes: dict[Disturbance, Outcome], mean_lu: float) -> None:
    """The picture: error of the levels over error of the labels."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), layout="constrained")
    true = outcomes[Disturbance()]
    for is_bias, label, marker in ((False, "random errors", "o"), (True, "soft stems too high", "s")):
        part = [true, *(found for key, found in outcomes.items() if found is not true and bool(key.bias) == is_bias)]
        axes.plot([found.label_lu for found in part], [rms(found.pooled) for found in part], marker=marker, label=label)
        for found in part:
            axes.plot([found.label_lu] * len(found.errors), [rms(each) for each in found.errors], ".", color="0.6", zorder=0)
    axes.axhline(mean_lu, color="0.3", linestyle="--", linewidth=1.0, label="mean of each name, true labels")
    axes.set(xlabel="RMSE of the labels, LU", ylabel="RMSE of the levels on other songs, LU", ylim=(0.0, None))
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def rows_of(outcomes: dict[Disturbance, Outcome], mean: np.ndarray) -> list[str]:
    """Rows of Markdown."""
    true = outcomes[Disturbance()]
    head = ("labels", "their RMSE, LU", "error of the levels, LU", "seeds", "against true labels", "against the mean of each name")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for key, found in outcomes.items():
        seeds = sorted(rms(each) for each in found.errors)
        against = "1" if found is true else shown(ratio_of(found.pooled, true.pooled))
        pooled_mean = np.tile(mean, (1, len(found.errors)))
        cells = (key.name, f"{found.label_lu:.2f}", f"{rms(found.pooled):.2f}", f"{seeds[0]:.2f} to {seeds[-1]:.2f}", against)
        rows.append(f"| {' | '.join(cells)} | {shown(ratio_of(found.pooled, pooled_mean))} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seeds = {"train": range(FIRST_TRAIN, FIRST_TRAIN + options.songs), "test": range(FIRST_TEST, FIRST_TEST + options.held_out)}
    folder = corpus_of(options.work, seeds, pairs_of(STEMS, "released")).dataset
    material, held_out = (gathered(PairDataset(folder, kind="mix", split=split)) for split in ("train", "test"))
    conditions = [*(Disturbance(random_lu=value) for value in RANDOM_LU), *(Disturbance(bias=value) for value in BIAS)]
    outcomes = {condition: outcome(condition, material, held_out, options) for condition in conditions}
    guess = np.broadcast_to(material.mean_db, held_out.truth.shape)
    mean = song_errors(guess, held_out.truth.numpy(), held_out.songs)
    lines = [
        f"{options.seeds} seeds of {options.steps} steps for each row, {options.songs} songs; judged on {options.held_out} others, whose "
        f"labels are true. The mean of each name has an error of {rms(mean):.2f} LU there. In brackets 95 % intervals over songs.",
        "",
        *rows_of(outcomes, mean),
    ]
    if options.write:
        drawn(outcomes, rms(mean))
    given = f"--songs {options.songs} --held-out {options.held_out} --steps {options.steps} --seeds {options.seeds}"
    report("Errors of labels", f"python benchmarks/label_error.py --work FOLDER {given} --write", "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
