"""Does a mixer learn from emitted ``mix`` pairs? A small console of gains and pans, trained on the rows' labels and judged on other songs.

    python benchmarks/train_mixer.py [--work FOLDER] [--songs 60] [--held-out 20] [--steps 400] [--save FILE] [--write]
    python benchmarks/train_mixer.py --dataset CORPUS/dataset --save FILE [--steps 400]

The second command trains on a corpus of one's own instead of synthetic songs: its mix pairs, with inputs = "levelled" and target = "sum",
all of the same stems. What --save writes is what ``stemwright mix STEMS OUT --by trained --weights FILE`` takes.

What is measured
    Stems levelled to -23 LUFS go in, the mix is the target: the network has to give back the balance. Judged on songs it never saw:
    the loss of the mix (sum-and-difference STFT of the literature) and the error of the relative levels in LU, against equal loudness (the
    inputs as they are) and against the mean level of each stem's name over the training songs (what can be known without listening).
    One joint gain is free for all contenders, by least squares on the excerpt: only the balance is judged.
    The network begins at the mean level of each name and learns from the sound how to leave it. Every fifth song that it may see is kept
    out of its steps: the parameters that are judged are those that did best on these.

References
    Steinmetz et al. 2021, differentiable mixing console: STFT loss 4096/1024/256. The network: ``stemwright.datagen.mixing.mixer_network``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import corpora
import numpy as np
import torch
from mixer_training import NAMES, Answer, gathered, judged, mix_pairs_of, placed, songs_of, table, train_on_labels, true_gains_db
from results import report
from torch import Tensor

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixer_weights import MixerFacts, check_suffix, save_mixer

MEAN = "mean of each name"
PAIRS = {
    "duration_s": 5.0,
    "mix": {"per_track": 8, "stems": list(NAMES), "inputs": "levelled", "target": "sum"},
    "removal": {"per_track": 0},
}


def train(data: PairDataset, steps: int, mean_db: np.ndarray) -> MixerNetwork:
    """Trains gains and pans on the labels, from the mean gain of each name on."""
    return train_on_labels(untrained(torch.from_numpy(mean_db).float(), data.sample_rate), gathered(data), steps)


@torch.inference_mode()
def assess(data: PairDataset, network: MixerNetwork, mean_db: np.ndarray) -> list[str]:
    """The table of how the network does on the examples, against what can be known without listening."""

    def by_network(tracks: Tensor) -> Answer:
        wet = placed(tracks[None], *network(tracks[None]))[0]
        return wet, wet.sum(0)

    def by_gains(gains_db: np.ndarray, tracks: Tensor) -> Answer:
        wet = placed(tracks[None], torch.from_numpy(gains_db).float()[None], torch.zeros(1, len(gains_db)))[0]
        return wet, wet.sum(0)

    answers = {
        "equal loudness": partial(by_gains, 0.0 * mean_db),
        MEAN: partial(by_gains, mean_db),
        "trained mixer": by_network,
    }
    return table(judged(data, answers), true_gains_db(data), songs_of(data), MEAN)


def trained_on_dataset(folder: Path, steps: int) -> tuple[MixerNetwork, MixerFacts, str]:
    """Trains on the mix pairs of a dataset: the network, what it is of, and a table of how it does on the pairs of its test songs."""
    pairs = mix_pairs_of(folder)
    data, mean_db = pairs.train, np.nanmean(true_gains_db(pairs.train), axis=0)
    network, num_songs = train(data, steps, mean_db), len(set(songs_of(data)))
    facts = MixerFacts(
        pairs.names,
        data.sample_rate,
        data.num_frames / data.sample_rate,
        f"{len(data)} mix pairs of {num_songs} song{'s' if num_songs != 1 else ''}",
    )
    return network, facts, pairs.why if pairs.held_out is None else "\n".join(assess(pairs.held_out, network, mean_db))


def trained_on_songs(options: argparse.Namespace) -> tuple[MixerNetwork, MixerFacts, str]:
    """Makes a corpus of synthetic songs, trains, judges: the network, what it is of, and the section of results."""
    with tempfile.TemporaryDirectory() as passing:
        place = (options.work or Path(passing)) / f"{options.songs} and {options.held_out}"
        songs = corpora.write_songs(place / "songs", options.songs, options.held_out, 20.0)
        corpus = corpora.build(songs, place / "corpus", PAIRS)
        trained_on = PairDataset(corpus.dataset, kind="mix", split="train")
        held_out = PairDataset(corpus.dataset, kind="mix", split="test")
        mean_db = np.nanmean(true_gains_db(trained_on), axis=0)
        network = train(trained_on, options.steps, mean_db)
        found = assess(held_out, network, mean_db)
        rate, pairs = trained_on.sample_rate, (len(trained_on), len(held_out))
    facts = MixerFacts(NAMES, rate, PAIRS["duration_s"], f"{pairs[0]} mix pairs of {options.songs} synthetic songs")
    size = sum(one.numel() for one in network.parameters())
    lines = [
        f"{size:,} parameters, {options.steps} steps of 32 excerpts; {pairs[0]} pairs of {options.songs} songs; "
        f"judged on {pairs[1]} pairs of {options.held_out} other songs. Ratios are to the mean of each name; below 1 is better. "
        "The levels of these songs follow from their sound, with a scatter: `musical_levels.py` says how much of them can be predicted.",
        "",
        *found,
    ]
    return network, facts, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder that keeps the synthetic songs, so that a run that was stopped resumes")
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    if options.save:
        try:
            check_suffix(options.save)
        except ValueError as error:
            parser.error(str(error))
    if options.dataset and options.write:
        parser.error("--write is for the synthetic songs; leave it out with --dataset")
    network, facts, body = trained_on_dataset(options.dataset, options.steps) if options.dataset else trained_on_songs(options)
    given = f"--songs {options.songs} --held-out {options.held_out} --steps {options.steps}"
    report("Training a mixer on emitted pairs", f"python benchmarks/train_mixer.py {given} --write", body, write=options.write)
    if options.save:
        save_mixer(options.save, network, facts)
        print(f"weights: {options.save}, {', '.join(facts.names)}, trained on {facts.trained_on}")


if __name__ == "__main__":
    main()
