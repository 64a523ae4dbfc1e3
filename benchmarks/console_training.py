"""Training a differentiable console on mixes, and who it is compared with: what ``train_console.py`` and ``train_real.py`` share.

Conventions
    As ``mixer_training.py``. Sample rates are in Hz; ``kinds`` [N] says which of the names that a network was trained on each track is.

References
    Steinmetz et al. 2021. The network is ``stemwright.datagen.mixing.mixer_network``, the effects are those of
    ``stemwright.datagen.mixing.mixing_console``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
from mixer_training import Answer, Keeper, Material, at_best_gain, label_loss, left_out, placed, stft_loss
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.effects import apply_chain
from stemwright.datagen.mixing.mixer_network import MixerNetwork
from stemwright.datagen.mixing.mixing_console import rendered, settings_of
from stemwright.datagen.mixing.stem_plans import mix_by_rules
from stemwright.manifests.records import Refused
from stemwright.separation.loudness.kweighting import k_weighting

MEAN = "mean of each name"
BATCH = 4
Answers = dict[str, Callable[[Tensor], Answer]]


# ------------------------------------------------------------------------------------------------------------------------------- training


def level_change_db(wet: Tensor, dry: Tensor, sample_rate: int) -> Tensor:
    """[B, N]: K-weighted energy of what strips make of tracks, against that of the tracks, in dB; differentiable, without a gate."""
    weights = _k_power(dry.shape[-1], sample_rate).to(dry)

    def energy(audio: Tensor) -> Tensor:
        return (torch.fft.rfft(audio).abs().square() * weights).sum((-1, -2))

    return 10.0 * torch.log10((energy(wet) + 1e-9) / (energy(dry) + 1e-9))


@cache
def _k_power(num_frames: int, sample_rate: int) -> Tensor:
    from scipy.signal import sosfreqz

    angles = np.linspace(0.0, np.pi, num_frames // 2 + 1)
    return torch.from_numpy(np.abs(sosfreqz(np.asarray(k_weighting(sample_rate)).reshape(-1, 6), angles)[1]) ** 2)


class MixLoss:
    """The published loss of the mix, and beside it ``label_share`` times the square error of the levels in the labels."""

    def __init__(self, network: MixerNetwork, material: Material, label_share: float, sample_rate: int) -> None:
        self.network, self.material, self.label_share, self.stft = network, material, label_share, stft_loss()
        self.sample_rate = sample_rate

    def __call__(self, tracks: Tensor, target: Tensor, rows: Tensor) -> Tensor:
        """The loss for tracks [B, N, 2, T] and their mix [B, 2, T], the examples ``rows`` [B]."""
        mixed, wet = rendered(tracks, self.sample_rate, settings_of(self.network, self.material.heard[rows]))
        value: Tensor = self.stft(at_best_gain(mixed, target), target)
        levels, truth = level_change_db(wet, tracks, self.sample_rate), self.material.truth[rows]
        return value + self.label_share * label_loss(levels, torch.zeros(1), truth) if self.label_share else value


def train_on_mixes(network: MixerNetwork, data: PairDataset, material: Material, steps: int, label_share: float) -> MixerNetwork:
    """Trains the whole console on the mixes of a dataset that is read with its numbers; keeps what does best on songs left out."""
    torch.manual_seed(0)
    network.standardise(material.heard)
    loss, apart = MixLoss(network, material, label_share, data.sample_rate), left_out(material.songs)
    judges = torch.nonzero(apart)[:, 0][::4]
    kept = [data[int(row)] for row in judges]
    inputs, targets = torch.stack([item.inputs for item in kept]), torch.stack([item.targets[0] for item in kept])
    keeper = Keeper(network, lambda: loss(inputs, targets, judges).item())
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    sampler = torch.utils.data.SubsetRandomSampler(torch.nonzero(~apart)[:, 0].tolist())
    step = 0
    while step < steps:
        data.set_epoch(step)
        for batch in DataLoader(data, BATCH, sampler=sampler, drop_last=True):
            if step % 25 == 0:
                print(f"mix step {step}, left out {keeper.look():.3f}", flush=True)
            if step == steps:
                break
            optimiser.zero_grad()
            loss(batch.inputs, batch.targets[:, 0], batch.number).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            step += 1
    keeper.look()
    return keeper.restored()


# ----------------------------------------------------------------------------------------------------------------------------- contenders


def by_gains(gains_db: np.ndarray, tracks: Tensor) -> Answer:
    """Tracks at gains, as they are otherwise."""
    wet = tracks * torch.from_numpy(10.0 ** (gains_db / 20.0)).float()[:, None, None]
    return wet, wet.sum(0)


def by_network(network: MixerNetwork, kinds: Tensor, tracks: Tensor) -> Answer:
    """Tracks at the gains and pans of a network."""
    gains, pans = network(tracks[None], kinds)
    wet = placed(tracks[None], gains, pans)[0]
    return wet, wet.sum(0)


def by_console(network: MixerNetwork, sample_rate: int, kinds: Tensor, tracks: Tensor) -> Answer:
    """Tracks through the console of a network."""
    mixed, wet = rendered(tracks[None], sample_rate, settings_of(network, network.banded(tracks[None]), kinds))
    return wet[0], mixed[0]


def by_rules(names: Sequence[str], sample_rate: int, tracks: Tensor) -> Answer:
    """Tracks as the published rules mix them; those that it leaves out as they are."""
    stems = {name: track.numpy() for name, track in zip(names, tracks, strict=True)}
    try:
        made = mix_by_rules(stems, sample_rate).stems
    except Refused:
        made = {}
    treated = [apply_chain(stems[name], sample_rate, made[name].chain) if name in made else stems[name] for name in names]
    wet = torch.stack([torch.from_numpy(np.asarray(audio, np.float32)) for audio in treated])
    return wet, wet.sum(0)


def contenders(names: Sequence[str], sample_rate: int, kinds: Tensor, plain: MixerNetwork, console: MixerNetwork) -> Answers:
    """Who is compared, in the order of the table: ``names`` are those of the tracks, ``kinds`` their places in the names trained on."""
    mean_db = plain.mean_db[kinds].numpy()
    return {
        "equal loudness": partial(by_gains, np.zeros(len(names))),
        MEAN: partial(by_gains, mean_db),
        "rule mixer": partial(by_rules, names, sample_rate),
        "gains and pans, trained on labels": partial(by_network, plain, kinds),
        "console, trained on labels, then on mixes": partial(by_console, console, sample_rate, kinds),
    }
