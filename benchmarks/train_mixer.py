"""Does a mixer learn from emitted ``mix`` pairs? A small console of gains and pans, trained on the rows' labels and judged on other songs.

    python benchmarks/train_mixer.py [--songs 60] [--held-out 20] [--steps 400] [--write]

What is measured
    Stems levelled to -23 LUFS go in, the mix is the target: the network has to give back the balance. Judged on songs it never saw:
    the loss of the mix (sum-and-difference STFT of the literature) and the error of the relative levels in LU, against equal loudness (the
    inputs as they are) and against the mean level of each stem's name over the training songs (what can be known without listening).
    One joint gain is free for all contenders, by least squares on the excerpt: only the balance is judged.
    The network begins at the mean level of each name and learns from the sound how to leave it. Every fifth song that it may see is kept
    out of its steps: the parameters that are judged are those that did best on these.

References
    Steinmetz et al. 2021, differentiable mixing console: shared encoder, context over all tracks, gain and pan; STFT loss 4096/1024/256.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import corpora
import numpy as np
import torch
from auraloss.freq import SumAndDifferenceSTFTLoss
from results import publish
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset

NAMES = ("drums", "bass", "other", "vocals")
PAIRS = {
    "duration_s": 5.0,
    "mix": {"per_track": 8, "stems": list(NAMES), "inputs": "levelled", "target": "sum"},
    "removal": {"per_track": 0},
}


class SmallMixer(nn.Module):
    """Gain and pan of each track from its sound and from that of the others: [B, N, 2, T] -> gains in dB [B, N], pans [B, N] in -1 .. 1."""

    def __init__(self, sample_rate: int, mean_db: Tensor, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("mean_db", mean_db)  # of each name
        self.register_buffer("window", torch.hann_window(2048))
        self.register_buffer("bands", _bands(sample_rate, 2048, 48))
        self.encoder = nn.Sequential(
            nn.Conv1d(48, width, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5),
            nn.GELU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * width, width), nn.GELU(), nn.Linear(width, 2))
        nn.init.zeros_(self.head[-1].weight)
        nn.init.zeros_(self.head[-1].bias)

    def dense_words(self, tracks: Tensor) -> Tensor:
        """The spectrogram of each track in bands: [B, N, 2, T] -> [B, N, bands, frames]."""
        batch, number = tracks.shape[:2]
        mono = tracks.mean(2).reshape(batch * number, -1)
        power = torch.stft(mono, 2048, 1024, window=self.window, return_complex=True).abs().square()
        return torch.log10(self.bands @ power + 1e-6).reshape(batch, number, len(self.bands), -1)

    def decide(self, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Looks at each track alone, then decides knowing the mean of all."""
        features = self.encoder(heard.flatten(0, 1))
        each = torch.cat([features.mean(-1), features.amax(-1)], -1).reshape(*heard.shape[:2], -1)
        context = each.mean(1, keepdim=True).expand_as(each)
        gain, pan = self.head(torch.cat([each, context], -1)).unbind(-1)
        return self.mean_db + 24.0 * torch.tanh(gain), torch.tanh(pan)

    def forward(self, tracks: Tensor) -> tuple[Tensor, Tensor]:
        """Gains and pans for the tracks."""
        return self.decide(self.dense_words(tracks))


def _bands(sample_rate: int, size: int, number: int) -> Tensor:
    """Triangles on a mel scale, [number, size / 2 + 1]."""
    import librosa

    return torch.from_numpy(librosa.filters.mel(sr=sample_rate, n_fft=size, n_mels=number))


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
    found = np.full((len(data), len(NAMES)), np.nan)
    for index in range(len(data)):
        for place, signal in enumerate(data.pair(index).inputs):
            if chain := signal.branches[0].chain:
                found[index, place] = -float(chain[0].settings["gain_db"])
    return found


def level_error_lu(gains_db: np.ndarray, truth_db: np.ndarray) -> float:
    """Root mean square error of the levels relative to one another: the mean over an example's stems is taken out of both."""
    difference = gains_db - truth_db
    difference = difference - np.nanmean(difference, axis=1, keepdims=True)
    return float(np.sqrt(np.nanmean(difference**2)))


def gathered(data: PairDataset, network: SmallMixer) -> tuple[Tensor, Tensor]:
    """What the network hears of every example [E, N, bands, frames], and the gains to find [E, N], from the labels of the rows."""
    with torch.inference_mode():
        heard = [network.dense_words(batch.inputs) for batch in DataLoader(data, batch_size=16)]
    return torch.cat(heard).clone(), torch.from_numpy(true_gains_db(data)).float()


def error_of(network: SmallMixer, heard: Tensor, truth: Tensor) -> Tensor:
    """Mean square error of the levels relative to one another, and a price on pans, since the stems bring their own."""
    gains, pans = network.decide(heard)
    error = gains - truth
    error = error - error.nanmean(1, keepdim=True)
    return error.square().nanmean() + 10.0 * pans.square().mean()


def train(data: PairDataset, steps: int, mean_db: np.ndarray) -> SmallMixer:
    """Trains on the labels, and keeps the parameters that do best on songs left out of the steps."""
    torch.manual_seed(0)
    network = SmallMixer(data.sample_rate, torch.from_numpy(mean_db).float())
    heard, truth = gathered(data, network)
    songs = [data.pair(index).track_id for index in range(len(data))]
    left_out = torch.tensor([song in sorted(set(songs))[::5] for song in songs])
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    best, state = math.inf, network.state_dict()
    for step in range(steps):
        if step % 10 == 0:
            with torch.inference_mode():
                value = error_of(network.eval(), heard[left_out], truth[left_out]).item()
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
def assess(data: PairDataset, network: SmallMixer, mean_db: np.ndarray) -> dict[str, tuple[float, float]]:
    """Contender -> (loss of the mix, error of the levels in LU) over the examples."""
    truth, loss = true_gains_db(data), stft_loss()
    losses: dict[str, list[float]] = {"equal loudness": [], "mean level of each name": [], "trained mixer": []}
    gains = np.zeros((len(data), len(NAMES)))
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


def main() -> None:
    """Makes the corpus, trains, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        songs = corpora.write_songs(Path(place, "songs"), options.songs, options.held_out, 20.0)
        corpus = corpora.build(songs, Path(place, "corpus"), PAIRS)
        trained_on = PairDataset(corpus.dataset, kind="mix", split="train")
        held_out = PairDataset(corpus.dataset, kind="mix", split="test")
        mean_db = np.nanmean(true_gains_db(trained_on), axis=0)
        network = train(trained_on, options.steps, mean_db)
        found = assess(held_out, network, mean_db)
    equal = found["equal loudness"]
    size = sum(one.numel() for one in network.parameters())
    lines = [
        f"{size:,} parameters, {options.steps} steps of 32 excerpts; {len(trained_on)} pairs of {options.songs} songs; "
        f"judged on {len(held_out)} pairs of {options.held_out} other songs. Ratios are against equal loudness; below 1 is better. "
        "The levels of these songs are drawn independently of their sound: the best possible prediction is the mean of each name, "
        "which is the limit here.",
        "",
        "| | loss of the mix | ratio | error of the levels, LU | ratio |",
        "|---|---|---|---|---|",
        *(f"| {name} | {a:.3f} | {a / equal[0]:.2f} | {b:.2f} | {b / equal[1]:.2f} |" for name, (a, b) in found.items()),
    ]
    body = "\n".join(lines)
    print(body)
    if options.write:
        given = f" --songs {options.songs} --held-out {options.held_out} --steps {options.steps}"
        publish("Training a mixer on emitted pairs", f"python benchmarks/train_mixer.py{given} --write", body)


if __name__ == "__main__":
    main()
