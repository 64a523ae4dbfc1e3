"""Does a network learn from emitted ``removal`` pairs? A small one, trained on songs and judged on others, against doing nothing.

    python benchmarks/train_removal.py [--songs 60] [--held-out 20] [--minutes 5] [--write]

What is measured
    One effect at a time is removed from a stem (none kept). SI-SDR and the multi-resolution STFT loss against dry, of the wet signal as
    it is and of the network's answer, by effect, on songs that it never saw. The network is far smaller than the published ones and
    trained for minutes; what counts is that it beats doing nothing: the pairs carry what it takes to learn. The STFT loss is taken at the
    gain that fits best.

References
    RemFX (Rice et al. 2023): input -> best in SI-SDR: compression 15.57 -> 20.08 dB, reverb 9.3 -> 13.59 dB (48 kHz, days of training).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import corpora
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from results import publish
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset

EFFECTS = ("distortion", "compressor", "reverb")
RATE = 22_050
SIZE, HOP = 1024, 256
PAIRS: dict[str, Any] = {
    "duration_s": 4.0,
    "sample_rate": RATE,
    "mix": {"per_track": 0},
    "removal": {"per_track": 24, "effects": list(EFFECTS), "kept": [0, 0], "removed": [1, 1]},
}


class SmallRemover(nn.Module):
    """A complex mask on the spectrogram and what is added to it, [B, T] -> [B, T]; begins as doing nothing."""

    def __init__(self, width: int = 192, depth: int = 6) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(SIZE))
        bins = SIZE // 2 + 1
        self.enter = nn.Conv1d(bins, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width), nn.GELU(), nn.Conv1d(width, width, 3, padding=2**step, dilation=2**step),
                nn.GELU(), nn.Conv1d(width, width, 1),
            )
            for step in range(depth)
        )  # fmt: skip
        self.leave = nn.Conv1d(width, 2 * bins, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, wet: Tensor) -> Tensor:
        """Takes the effect off."""
        scale = wet.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-5)
        spectrum = torch.stft(wet / scale, SIZE, HOP, window=self.window, return_complex=True)
        hidden = self.enter(torch.log10(spectrum.abs() + 1e-3))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        real, imaginary = self.leave(hidden).chunk(2, dim=1)
        masked = spectrum * torch.complex(1.0 + real, imaginary)
        return torch.istft(masked, SIZE, HOP, window=self.window, length=wet.shape[-1]) * scale


def si_sdr_db(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of [B, T] in dB, one value for each item."""
    gain = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-9)
    wanted = gain * target
    return 10.0 * torch.log10(wanted.square().sum(-1).clamp_min(1e-9) / (estimate - wanted).square().sum(-1).clamp_min(1e-9))


def at_best_gain(estimate: Tensor, target: Tensor) -> Tensor:
    """[B, T] with the one gain that brings it nearest to the target: SI-SDR, which is trained on, leaves the gain free."""
    return estimate * (estimate * target).sum(-1, keepdim=True) / estimate.square().sum(-1, keepdim=True).clamp_min(1e-9)


def train(data: PairDataset, minutes: float) -> tuple[SmallRemover, int]:
    """Trains on SI-SDR for so many minutes, step size falling to 0; returns the network and the number of steps."""
    torch.manual_seed(0)
    network = SmallRemover()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    began, steps, share = time.perf_counter(), 0, 0.0
    while share < 1.0:
        for inputs, targets, _ in DataLoader(data, batch_size=8, shuffle=True, drop_last=True):
            share = (time.perf_counter() - began) / (60.0 * minutes)
            if share >= 1.0:
                break
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * min(1.0, steps / 50) * (1.0 - share)
            answer, dry = network(inputs[:, 0, 0]), targets[:, 0, 0]
            value = -si_sdr_db(answer, dry).clamp_max(30.0).mean()
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            steps += 1
            if steps % 50 == 0:
                print(f"step {steps}, {60 * minutes * share:.0f} s, SI-SDR {-value.item():.2f} dB", flush=True)
    return network.eval(), steps


@torch.inference_mode()
def assess(data: PairDataset, network: SmallRemover) -> dict[str, list[tuple[float, float, float, float]]]:
    """Effect -> for each example SI-SDR of wet and of the answer, then STFT loss of wet and of the answer."""
    loss = MultiResolutionSTFTLoss()
    found = defaultdict(list)
    for index in range(len(data)):
        item, chain = data[index], data.pair(index).inputs[0].branches[0].chain
        wet, dry = item.inputs[0], item.targets[0]
        answer = network(wet)
        sdr = [si_sdr_db(one, dry).item() for one in (wet, answer)]
        found[chain[-1].effect].append((*sdr, *(loss(at_best_gain(one, dry)[None], dry[None]).item() for one in (wet, answer))))
    return dict(found)


def main() -> None:
    """Makes the corpus, trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        songs = corpora.write_songs(Path(place, "songs"), options.songs, options.held_out, 20.0)
        corpus = corpora.build(songs, Path(place, "corpus"), PAIRS)
        trained_on = PairDataset(corpus.dataset, kind="removal", split="train", num_channels=1)
        held_out = PairDataset(corpus.dataset, kind="removal", split="test", num_channels=1)
        network, steps = train(trained_on, options.minutes)
        found = assess(held_out, network)
    size = sum(one.numel() for one in network.parameters())
    every = [row for rows in found.values() for row in rows]
    lines = [
        f"{size:,} parameters, {steps} steps of 8 excerpts in {options.minutes:g} minutes; {len(trained_on)} pairs "
        f"of {options.songs} songs at {RATE} Hz; judged on {options.held_out} other songs. Means over excerpts.",
        "",
        "| removed | pairs | SI-SDR of wet, dB | of the answer | better by | pairs made better | STFT loss of wet | of the answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in [*sorted(found.items()), ("all", every)]:
        wet, answer, wet_loss, answer_loss = torch.tensor(rows).mean(0).tolist()
        better = sum(row[1] > row[0] for row in rows) / len(rows)
        lines.append(
            f"| {name} | {len(rows)} | {wet:.2f} | {answer:.2f} | {answer - wet:+.2f} | {better:.0%} | {wet_loss:.3f} | {answer_loss:.3f} |"
        )
    body = "\n".join(lines)
    print(body)
    if options.write:
        given = f" --songs {options.songs} --held-out {options.held_out} --minutes {options.minutes:g}"
        publish("Training an effect remover on emitted pairs", f"python benchmarks/train_removal.py{given} --write", body)


if __name__ == "__main__":
    main()
