"""Does a Mix-Wave-U-Net learn to mix drums from emitted pairs? Trained on kits and grooves, judged on others, against gains.

    python benchmarks/train_drums.py WORK --music FOLDER [--minutes 30] [--width 8] [--levels 10] [--device cpu] [--write]

WORK keeps the songs, the corpus and the parameters, so that a run that was stopped continues; --minutes is the processor's time for steps.

What is measured
    Drum multitracks of ``drum_multitracks.py`` (free kits, single hits, microphones with bleed; the mix is made by our effects) are
    catalogued and emitted as pairs of ``preset = "drums"`` with the wet target. The network gets the eight microphones, each with its peak
    at full scale, and gives the stereo mix. Loss: mean absolute error of the samples, as published. Judged on kits that no training song
    has, with grooves of their own, beside mixes by gains: the sum of the microphones as they are; at the gain that fits the excerpt best;
    by the mean gains, those that fit all training excerpts best; and by the gains that fit the excerpt itself best, which are not known
    beforehand. Training starts at the mean gains: what the network adds is what it hears. Intervals of 95 % are of a bootstrap over songs.

References
    Martinez Ramirez, Stoller, Moffat 2021; the shape and what of it is published: ``mix_wave_u_net.py``. Published are width 24, 10 levels,
    batches of 16, Adam at 1e-4 until the loss on validation songs falls no more.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import drum_multitracks
import numpy as np
import torch
from corpora import kept_corpus
from mix_wave_u_net import OUTPUT_FRAMES, MixWaveUNet, centre
from results import report
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset

PAIRS: dict[str, Any] = {
    "duration_s": 2.8,  # holds the 121,843 frames of the published input
    "sample_rate": 44_100,
    "mix": {"per_track": 6, "preset": "drums", "target": "released"},
    "removal": {"per_track": 0},
}
DRY, AT_BEST, MEAN, BEST, NETWORK = (
    "sum of the microphones",
    "sum at the best gain of the excerpt",
    "mean gains of the training songs",
    "best gains of the excerpt",
    "Mix-Wave-U-Net",
)
BATCH, STEP_SIZE, DRAWS = 2, 2e-3, 2000
JUDGED = 2  # of so many held-out pairs one is judged
Losses = dict[str, dict[str, list[float]]]  # contender -> song -> loss of each excerpt


def fitted_gains(tracks: Tensor, mix: Tensor) -> Tensor:
    """[2, N]: the gains of tracks [B, N, T] that bring their sum nearest to the mix [B, 2, T], in the mean over all."""
    both = torch.einsum("bnt,bmt->nm", tracks, tracks).double()
    shared = torch.einsum("bct,bnt->cn", mix, tracks).double()
    floor = 1e-6 * both.diagonal().max().clamp_min(1e-9)
    return torch.linalg.solve(both + floor * torch.eye(len(both), device=both.device), shared.T).T.float()


def mean_gains(data: PairDataset) -> Tensor:
    """[2, N]: what ``fitted_gains`` finds for all excerpts of a data set."""
    both, shared = 0.0, 0.0
    for inputs, targets, _ in DataLoader(data, batch_size=8):
        tracks, mix = inputs[:, :, 0].double(), targets[:, 0].double()
        both = both + torch.einsum("bnt,bmt->nm", tracks, tracks)
        shared = shared + torch.einsum("bct,bnt->cn", mix, tracks)
    floor = 1e-6 * both.diagonal().max()  # type: ignore[attr-defined]
    return torch.linalg.solve(both + floor * torch.eye(data.num_inputs), shared.T).T.float()  # type: ignore[attr-defined]


def train(data: PairDataset, network: MixWaveUNet, minutes: float, state: Path, device: str) -> int:
    """Trains for so many minutes of the processor's time, from where it was stopped; returns the number of steps in all."""
    network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), STEP_SIZE)
    used, steps, epoch = 0.0, 0, 0
    if state.exists():
        kept = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        used, steps, epoch = kept["used"], kept["steps"], kept["epoch"] + 1
    clock = time.process_time if device == "cpu" else time.perf_counter
    began, saved, losses = clock() - used, used, []
    while (share := (clock() - began) / (60.0 * minutes)) < 1.0:
        data.set_epoch(epoch)
        for inputs, targets, _ in DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=len(data) > BATCH):
            share = (clock() - began) / (60.0 * minutes)
            if share >= 1.0:
                break
            for group in optimiser.param_groups:
                group["lr"] = STEP_SIZE * min(1.0, (steps + 1) / 20) * 0.5 * (1.0 + math.cos(math.pi * share))
            mix = network.mixed(inputs[:, :, 0].to(device))
            loss = nn.functional.l1_loss(mix, centre(targets[:, 0].to(device), mix.shape[-1]))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            steps += 1
            losses.append(loss.item())
            if (now := clock() - began) - saved > 60.0:
                saved = now
                print(f"step {steps}, {now:.0f} s, loss {np.mean(losses[-100:]):.4f}", flush=True)
                save(state, network, optimiser, {"used": now, "steps": steps, "epoch": epoch})
        epoch += 1
    save(state, network, optimiser, {"used": clock() - began, "steps": steps, "epoch": epoch})
    return steps


def save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, counts: dict[str, Any]) -> None:
    """Writes the state of a training, whole or not at all."""
    part = path.with_suffix(".part")
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), **counts}, part)
    part.replace(path)


@torch.inference_mode()
def assess(data: PairDataset, network: MixWaveUNet, gains: Tensor, device: str) -> Losses:
    """The losses of all contenders on the excerpts of a data set, of the frames that the network answers for."""
    network.to(device).eval()
    found: Losses = defaultdict(lambda: defaultdict(list))
    for index in range(0, len(data), JUDGED):
        item = data[index]
        tracks, song = item.inputs[None, :, 0], data.pair(index).track_id
        mix = network.mixed(tracks.to(device)).cpu()
        tracks, target = centre(tracks, mix.shape[-1]), centre(item.targets[:1], mix.shape[-1])
        dry = tracks.sum(1, keepdim=True).repeat(1, 2, 1)
        best = (dry * target).sum() / dry.square().sum().clamp_min(1e-9)
        contenders = {
            DRY: dry,
            AT_BEST: best * dry,
            MEAN: torch.einsum("cn,bnt->bct", gains, tracks),
            BEST: torch.einsum("cn,bnt->bct", fitted_gains(tracks, target), tracks),
            NETWORK: mix,
        }
        for name, answer in contenders.items():
            found[name][song].append(nn.functional.l1_loss(answer, target).item())
    return {name: dict(songs) for name, songs in found.items()}


def ratio(found: Losses, name: str, other: str) -> tuple[float, float, float]:
    """The loss of one contender by that of another, and its interval of 95 % over songs."""
    a, b = (np.array([np.mean(losses) for losses in found[each].values()]) for each in (name, other))
    draws = np.random.default_rng(0).integers(len(a), size=(DRAWS, len(a)))
    low, high = np.quantile(a[draws].mean(1) / b[draws].mean(1), (0.025, 0.975))
    return float(a.mean() / b.mean()), float(low), float(high)


def rows_of(found: Losses) -> list[str]:
    """Rows of Markdown."""
    lines = ["| mix | loss | the network's loss, by it |", "|---|---|---|"]
    for name in found:
        loss = np.mean([np.mean(losses) for losses in found[name].values()])
        value, low, high = ratio(found, NETWORK, name)
        lines.append(f"| {name} | {loss:.4f} | " + ("|" if name == NETWORK else f"{value:.3f} ({low:.3f} to {high:.3f}) |"))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the corpus, trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--music", type=Path, help="the folder that free_music.py makes (default: synthetic kits alone)")
    parser.add_argument("--grooves", type=int, default=4, help="songs of each free kit")
    parser.add_argument("--synthetic", type=int, default=12, help="songs of synthetic kits")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=8, help="channels of the first level; 24 as published")
    parser.add_argument("--levels", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    songs = drum_multitracks.write_songs(options.work / "songs", options.music, options.grooves, options.synthetic)
    corpus = kept_corpus(songs, options.work / "corpus", PAIRS)
    network = MixWaveUNet(len(drum_multitracks.INPUTS), options.width, options.levels)
    frames = network.input_frames(OUTPUT_FRAMES)
    trained_on = PairDataset(corpus.dataset, kind="mix", split="train", num_frames=frames)
    held_out = PairDataset(corpus.dataset, kind="mix", split="test", num_frames=frames, start_frame=0)
    gains = mean_gains(trained_on)
    network.begin_as(gains)
    steps = train(trained_on, network, options.minutes, options.work / f"width{options.width}-levels{options.levels}.pt", options.device)
    found = assess(held_out, network, gains, options.device)
    counts = [len({data.pair(index).track_id for index in range(len(data))}) for data in (trained_on, held_out)]
    size = sum(each.numel() for each in network.parameters())
    lines = [
        f"Width {options.width} (published: 24), {options.levels} levels: {size:,} parameters, a receptive field of "
        f"{network.receptive_field:,} frames; {steps} steps of {BATCH} excerpts in {options.minutes:g} minutes of one core, from the mean "
        f"gains on. {len(trained_on)} pairs of {counts[0]} songs; judged on {len(held_out) // JUDGED} of {counts[1]} songs, of kits "
        "and grooves that no training song has. Loss: mean absolute error. Intervals of 95 % over songs; below 1 the network is better.",
        "",
        *rows_of(found),
    ]
    given = f"WORK --music FREE --minutes {options.minutes:g} --width {options.width} --levels {options.levels}"
    command = f"python benchmarks/train_drums.py {given} --write"
    report("Training a Mix-Wave-U-Net on emitted drum pairs", command, "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
