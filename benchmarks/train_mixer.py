"""Does a mixer learn from emitted ``mix`` pairs? A small console of gains and pans, trained on the rows' labels and judged on other songs.

    python benchmarks/train_mixer.py [--songs 60] [--held-out 20] [--steps 400] [--save FILE] [--write]
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
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import corpora
import numpy as np
import torch
from auraloss.freq import SumAndDifferenceSTFTLoss
from results import publish
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixer_weights import MixerFacts, check_suffix, save_mixer

NAMES = ("drums", "bass", "other", "vocals")
PAIRS = {
    "duration_s": 5.0,
    "mix": {"per_track": 8, "stems": list(NAMES), "inputs": "levelled", "target": "sum"},
    "removal": {"per_track": 0},
}


def mix(tracks: Tensor, gains_db: Tensor, pans: Tensor) -> Tensor:
    """[B, N, 2, T] -> [B, 2, T]: gains, and constant-power pans that leave the middle as it is."""
    angle = (pans + 1.0) * (torch.pi / 4.0)
    sides = torch.stack([torch.cos(angle), torch.sin(angle)], -1) * 2.0**0.5
    return (tracks * (10.0 ** (gains_db / 20.0))[..., None, None] * sides[..., None]).sum(1)


def at_best_gain(estimate: Tensor, target: Tensor) -> Tensor:
    """The estimate with the one gain that brings it nearest to the target; no gain where the estimate is silent."""
    gain = (estimate * target).sum((1, 2)) / estimate.square().sum((1, 2)).clamp_min(1e-9)
    return estimate * gain[:, None, None]


def stft_loss() -> nn.Module:
    """The published loss of mixing consoles."""
    return SumAndDifferenceSTFTLoss(fft_sizes=[4096, 1024, 256], hop_sizes=[2048, 512, 128], win_lengths=[4096, 1024, 256])


def true_gains_db(data: PairDataset) -> np.ndarray:
    """[examples, stems]: the gain that gives the mix back, from the labels; NaN for a stem that is silent."""
    found = np.full((len(data), data.num_inputs), np.nan)
    for index in range(len(data)):
        for place, signal in enumerate(data.pair(index).inputs):
            if signal.branches and (chain := signal.branches[0].chain):
                found[index, place] = -float(chain[0].settings["gain_db"])
    return found


def level_error_lu(gains_db: np.ndarray, truth_db: np.ndarray) -> float:
    """Root mean square error of the levels relative to one another: the mean over an example's stems is taken out of both."""
    difference = gains_db - truth_db
    difference = difference - np.nanmean(difference, axis=1, keepdims=True)
    return float(np.sqrt(np.nanmean(difference**2)))


def gathered(data: PairDataset, network: MixerNetwork) -> tuple[Tensor, Tensor]:
    """What the network hears of every example [E, N, bands, frames], and the gains to find [E, N], from the labels of the rows."""
    with torch.inference_mode():
        heard = [network.banded(batch.inputs) for batch in DataLoader(data, batch_size=16)]
    return torch.cat(heard).clone(), torch.from_numpy(true_gains_db(data)).float()


def error_of(network: MixerNetwork, heard: Tensor, truth: Tensor) -> Tensor:
    """Mean square error of the levels relative to one another, and a price on pans, since the stems bring their own."""
    gains, pans = network.decide(heard)
    error = gains - truth
    error = error - error.nanmean(1, keepdim=True)
    return error.square().nanmean() + 10.0 * pans.square().mean()


def train(data: PairDataset, steps: int, mean_db: np.ndarray) -> MixerNetwork:
    """Trains on the labels, and keeps the parameters that do best on songs left out of the steps."""
    torch.manual_seed(0)
    network = untrained(torch.from_numpy(mean_db).float(), data.sample_rate)
    heard, truth = gathered(data, network)
    songs = [data.pair(index).track_id for index in range(len(data))]
    apart = sorted(set(songs))[::5] if len(set(songs)) > 1 else []
    left_out = torch.tensor([song in apart for song in songs])
    judges = left_out if apart else ~left_out  # of one song nothing can be left out
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    best, state = math.inf, network.state_dict()
    for step in range(steps):
        if step % 10 == 0:
            with torch.inference_mode():
                value = error_of(network.eval(), heard[judges], truth[judges]).item()
            if value < best:
                best, state = value, {name: kept.clone() for name, kept in network.state_dict().items()}
            print(f"step {step}, left out {value:.3f}", flush=True)
        chosen = torch.nonzero(~left_out)[torch.randint(int((~left_out).sum()), (32,))][:, 0]
        optimiser.zero_grad()
        error_of(network.train(), heard[chosen], truth[chosen]).backward()
        optimiser.step()
        schedule.step()
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def assess(data: PairDataset, network: MixerNetwork, mean_db: np.ndarray) -> dict[str, tuple[float, float]]:
    """Contender -> (loss of the mix, error of the levels in LU) over the examples."""
    truth, loss = true_gains_db(data), stft_loss()
    losses: dict[str, list[float]] = {"equal loudness": [], "mean level of each name": [], "trained mixer": []}
    gains = np.zeros((len(data), data.num_inputs))
    for index in range(len(data)):
        item = data[index]
        tracks, target = item.inputs[None], item.targets[:1]
        predicted, pans = network(tracks)
        gains[index] = predicted[0].numpy()
        nothing, mean = torch.zeros_like(predicted), torch.from_numpy(mean_db).float()[None]
        for name, mixed in zip(
            losses, (mix(tracks, nothing, nothing), mix(tracks, mean, nothing), mix(tracks, predicted, pans)), strict=True
        ):
            losses[name].append(loss(at_best_gain(mixed, target), target).item())
    guesses = {
        "equal loudness": np.zeros_like(gains),
        "mean level of each name": np.broadcast_to(mean_db, gains.shape),
        "trained mixer": gains,
    }
    return {name: (float(np.mean(losses[name])), level_error_lu(guesses[name], truth)) for name in losses}


def names_in(data: PairDataset, folder: Path) -> tuple[str, ...]:
    """The stems of the pairs, which must be the same in all."""
    found = {tuple(signal.name for signal in data.pair(index).inputs) for index in range(len(data))}
    if len(found) != 1:
        raise SystemExit(
            f"{folder}: expected mix pairs of the same stems in one order, got {len(found)} sets of them; name them in the corpus's "
            'config.toml: [pairs.mix] stems = ["drums", "bass", "other", "vocals"]'
        )
    return next(iter(found))


def trained_on_dataset(folder: Path, steps: int) -> tuple[MixerNetwork, MixerFacts, str]:
    """Trains on the mix pairs of a dataset: the network, what it is of, and a table of how it does on the pairs of its test songs."""
    try:
        data = PairDataset(folder, kind="mix", split="train")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"{folder}: {error}") from error
    names, truth = names_in(data, folder), true_gains_db(data)
    if np.isnan(truth).all(axis=0).any():
        raise SystemExit(f'{folder}: its mix pairs have no gains to find; expected pairs of [pairs.mix] with inputs = "levelled"')
    mean_db = np.nanmean(truth, axis=0)
    network = train(data, steps, mean_db)
    num_songs = len({data.pair(index).track_id for index in range(len(data))})
    facts = MixerFacts(
        names,
        data.sample_rate,
        data.num_frames / data.sample_rate,
        f"{len(data)} mix pairs of {num_songs} song{'s' if num_songs != 1 else ''}",
    )
    try:
        held_out = PairDataset(folder, kind="mix", split="test")
    except ValueError:
        return network, facts, "no test songs: how well it mixes other songs is not known"
    if names_in(held_out, folder) != names:
        return network, facts, "the test songs have other stems: how well it mixes other songs is not known"
    return network, facts, "\n".join(rows_of(assess(held_out, network, mean_db)))


def rows_of(found: dict[str, tuple[float, float]]) -> list[str]:
    """Rows of Markdown."""
    equal = found["equal loudness"]
    return [
        "| | loss of the mix | ratio | error of the levels, LU | ratio |",
        "|---|---|---|---|---|",
        *(f"| {name} | {a:.3f} | {a / equal[0]:.2f} | {b:.2f} | {b / equal[1]:.2f} |" for name, (a, b) in found.items()),
    ]


def trained_on_songs(options: argparse.Namespace) -> tuple[MixerNetwork, MixerFacts, str]:
    """Makes a corpus of synthetic songs, trains, judges: the network, what it is of, and the section of results."""
    with tempfile.TemporaryDirectory() as place:
        songs = corpora.write_songs(Path(place, "songs"), options.songs, options.held_out, 20.0)
        corpus = corpora.build(songs, Path(place, "corpus"), PAIRS)
        trained_on = PairDataset(corpus.dataset, kind="mix", split="train")
        held_out = PairDataset(corpus.dataset, kind="mix", split="test")
        mean_db = np.nanmean(true_gains_db(trained_on), axis=0)
        network = train(trained_on, options.steps, mean_db)
        found = assess(held_out, network, mean_db)
        rate, names, pairs = trained_on.sample_rate, names_in(trained_on, corpus.dataset), (len(trained_on), len(held_out))
    facts = MixerFacts(names, rate, PAIRS["duration_s"], f"{pairs[0]} mix pairs of {options.songs} synthetic songs")
    size = sum(one.numel() for one in network.parameters())
    lines = [
        f"{size:,} parameters, {options.steps} steps of 32 excerpts; {pairs[0]} pairs of {options.songs} songs; "
        f"judged on {pairs[1]} pairs of {options.held_out} other songs. Ratios are against equal loudness; below 1 is better. "
        "The levels of these songs follow from their sound, with a scatter: `musical_levels.py` says how much of them can be predicted.",
        "",
        *rows_of(found),
    ]
    return network, facts, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    print(body)
    if options.save:
        save_mixer(options.save, network, facts)
        print(f"weights: {options.save}, {', '.join(facts.names)}, trained on {facts.trained_on}")
    if options.write:
        given = f" --songs {options.songs} --held-out {options.held_out} --steps {options.steps}"
        publish("Training a mixer on emitted pairs", f"python benchmarks/train_mixer.py{given} --write", body)


if __name__ == "__main__":
    main()
