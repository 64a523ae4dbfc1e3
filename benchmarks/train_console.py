"""Does a differentiable console learn to mix from emitted ``mix`` pairs? Trained on songs, judged on others, synthetic and real.

    python benchmarks/train_console.py --work FOLDER [--songs 64] [--held-out 24] [--label-steps 100] [--mix-steps 60]
        [--free FREE] [--write]

What is measured
    Dry stems of one loudness go in, the mix that an engineer made of them is the target (``engineered_songs``). Judged on songs that no
    contender has seen: the loss of the mix and the error of the relative levels, with intervals of 95 % by a bootstrap over songs. The
    published loss is that of the mix; here levels are also in the labels of the rows, and are trained on first, gains alone.
    With --free, what ``free_music.py`` made: groups of tracker modules (drums, bass, other) at their composers' levels. Nothing is trained
    on them; "mean of each name" is there the mean over the synthetic songs, and that over the free songs of other packages.
    FOLDER keeps songs and corpora, so that a run that was stopped goes on.

References
    Steinmetz et al. 2021, differentiable mixing console. The network is ``stemwright.datagen.mixing.mixer_network``, the effects are those
    of ``stemwright.datagen.mixing.mixing_console``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engineered_songs import RATE, STEMS, corpus_of, dry_stems
from free_corpus import by_track, free_corpus, free_songs
from free_excerpts import PARTS
from mixer_training import (
    Answer,
    Judged,
    Keeper,
    Material,
    at_best_gain,
    centred,
    gathered,
    judged,
    label_loss,
    left_out,
    placed,
    ratio_of,
    rms,
    shown,
    song_errors,
    songs_of,
    stft_loss,
    table,
    train_on_labels,
    true_gains_db,
)
from musical_levels import musical_levels
from results import report
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.effects import apply_chain
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixing_console import NUM_CONTROLS, NUM_SHARED, rendered, settings_of
from stemwright.datagen.mixing.stem_plans import mix_by_rules
from stemwright.manifests.records import Refused
from stemwright.separation.loudness.kweighting import k_weighting

DATA_RATE, EXCERPT_S, CROP_S, BATCH = 22_050, 5.0, 3.0, 4
FIRST_TRAIN, FIRST_TEST = 2000, 9400  # by results on songs from 9100 on, network and steps were chosen
LABEL_SHARE = 0.3  # of the square error in LU beside the loss of the mix, where the console is trained on both
MEAN = "mean of each name"
Answers = dict[str, Callable[[Tensor], Answer]]
FREE_S = 24.0


def pairs_of(stems: Sequence[str], target: str) -> dict[str, Any]:
    """The configuration of the pairs."""
    mixes = {"per_track": 3, "stems": list(stems), "inputs": "levelled", "target": target}
    return {"duration_s": EXCERPT_S, "sample_rate": DATA_RATE, "mix": mixes, "removal": {"per_track": 0}}


# ------------------------------------------------------------------------------------------------------------------------------- training


def level_change_db(wet: Tensor, dry: Tensor) -> Tensor:
    """[B, N]: K-weighted energy of what strips make of tracks, against that of the tracks, in dB; differentiable, without a gate."""
    weights = _k_power(dry.shape[-1]).to(dry)

    def energy(audio: Tensor) -> Tensor:
        return (torch.fft.rfft(audio).abs().square() * weights).sum((-1, -2))

    return 10.0 * torch.log10((energy(wet) + 1e-9) / (energy(dry) + 1e-9))


def _k_power(num_frames: int) -> Tensor:
    from scipy.signal import sosfreqz

    angles = np.linspace(0.0, np.pi, num_frames // 2 + 1)
    return torch.from_numpy(np.abs(sosfreqz(np.asarray(k_weighting(DATA_RATE)).reshape(-1, 6), angles)[1]) ** 2)


class MixLoss:
    """The published loss of the mix, and beside it ``label_share`` times the square error of the levels in the labels."""

    def __init__(self, network: MixerNetwork, material: Material, label_share: float) -> None:
        self.network, self.material, self.label_share, self.stft = network, material, label_share, stft_loss()

    def __call__(self, tracks: Tensor, target: Tensor, rows: Tensor) -> Tensor:
        """The loss for tracks [B, N, 2, T] and their mix [B, 2, T], the examples ``rows`` [B]."""
        mixed, wet = rendered(tracks, DATA_RATE, settings_of(self.network, self.material.heard[rows]))
        value: Tensor = self.stft(at_best_gain(mixed, target), target)
        levels, truth = level_change_db(wet, tracks), self.material.truth[rows]
        return value + self.label_share * label_loss(levels, torch.zeros(1), truth) if self.label_share else value


def train_on_mixes(network: MixerNetwork, data: PairDataset, material: Material, steps: int, label_share: float) -> MixerNetwork:
    """Trains the whole console on the mixes of a dataset that is read with its numbers; keeps what does best on songs left out."""
    torch.manual_seed(0)
    network.standardise(material.heard)
    loss, apart = MixLoss(network, material, label_share), left_out(material.songs)
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


def by_console(network: MixerNetwork, kinds: Tensor, tracks: Tensor) -> Answer:
    """Tracks through the console of a network."""
    mixed, wet = rendered(tracks[None], DATA_RATE, settings_of(network, network.banded(tracks[None]), kinds))
    return wet[0], mixed[0]


def by_rules(names: Sequence[str], tracks: Tensor) -> Answer:
    """Tracks as the published rules mix them; those that it leaves out as they are."""
    stems = {name: track.numpy() for name, track in zip(names, tracks, strict=True)}
    try:
        made = mix_by_rules(stems, DATA_RATE).stems
    except Refused:
        made = {}
    treated = [apply_chain(stems[name], DATA_RATE, made[name].chain) if name in made else stems[name] for name in names]
    wet = torch.stack([torch.from_numpy(np.asarray(audio, np.float32)) for audio in treated])
    return wet, wet.sum(0)


def contenders(names: Sequence[str], mean_db: np.ndarray, plain: MixerNetwork, console: MixerNetwork) -> Answers:
    """Who is compared, in the order of the table; ``mean_db`` is of the names."""
    kinds = torch.tensor([STEMS.index(name) for name in names])
    return {
        "equal loudness": partial(by_gains, np.zeros(len(names))),
        MEAN: partial(by_gains, mean_db),
        "rule mixer": partial(by_rules, names),
        "gains and pans, trained on labels": partial(by_network, plain, kinds),
        "console, trained on labels, then on mixes": partial(by_console, console, kinds),
    }


def rule_errors(data: PairDataset, kept: Path, seconds: float) -> np.ndarray:
    """[songs, stems]: errors of the songs' own rule without the engineer's scatter: nothing that listens can do better."""
    found = []
    for track in dict.fromkeys(songs_of(data)):
        pair = next(data.pair(index) for index in range(len(data)) if data.pair(index).track_id == track)
        seed = int(str(pair.sources[0].artist).rpartition(" ")[2])
        stems = dry_stems(seed, seconds, kept)
        rule, made = musical_levels(stems, RATE, seed, scatter=0.0), musical_levels(stems, RATE, seed)
        found.append([rule[name].level_lu - made[name].level_lu if name in rule else np.nan for name in STEMS])
    return centred(np.array(found))


# ------------------------------------------------------------------------------------------------------------------------------ real music


def of_other_packages(data: PairDataset, packages: Mapping[str, str]) -> np.ndarray:
    """[songs, stems]: errors of the mean of each name over the free songs of other packages."""
    truth, songs = true_gains_db(data), songs_of(data)
    levels = -song_errors(np.zeros_like(truth), truth, songs)
    owners = np.array([packages[song] for song in dict.fromkeys(songs)])
    return np.stack([np.nanmean(levels[owners != owner], axis=0) - row for owner, row in zip(owners, levels, strict=True)])


# ------------------------------------------------------------------------------------------------------------------------------ the script


def made_up_section(work: Path, held_out: PairDataset, results: dict[str, Judged]) -> list[str]:
    """The table over synthetic songs, with the limit that the songs' own rule sets."""
    truth, songs = true_gains_db(held_out), songs_of(held_out)
    rows = table(results, truth, songs, MEAN)
    limit = rule_errors(held_out, work / "dry", 12.0)
    mean = song_errors(results[MEAN].gains_db, truth, songs)
    return [*rows, f"| the songs' own rule without its scatter (limit) | | | {rms(limit):.2f} | {shown(ratio_of(limit, mean))} |"]


def free_section(work: Path, free: Path, answers: Callable[[Sequence[str]], Answers]) -> list[str]:
    """The table over free songs."""
    chosen = free_songs(free, ["modules"])
    data = free_corpus(work / "free", chosen, pairs_of(PARTS, "sum"), FREE_S)
    packages = {track: song.owner for track, song in by_track(data, chosen).items()}
    truth, songs = true_gains_db(data), songs_of(data)
    results = judged(data, answers(PARTS))
    others, mean = of_other_packages(data, packages), song_errors(results[MEAN].gains_db, truth, songs)
    return [
        "",
        f"{len(set(songs))} real free songs (tracker modules of {len(set(packages.values()))} packages: {', '.join(PARTS)}), on which "
        "nothing was trained; the mean of each name is that of the synthetic songs:",
        "",
        *table(results, truth, songs, MEAN),
        f"| mean of each name over the free songs of other packages | | | {rms(others):.2f} | {shown(ratio_of(others, mean))} |",
    ]


def trained(data: PairDataset, material: Material, options: argparse.Namespace) -> tuple[MixerNetwork, MixerNetwork]:
    """The network after the labels, of gains and pans alone, and the whole console after the mixes."""
    start = untrained(torch.from_numpy(material.mean_db).float(), DATA_RATE, NUM_CONTROLS, NUM_SHARED)
    plain = train_on_labels(start, material, options.label_steps)
    return plain, train_on_mixes(deepcopy(plain), data, material, options.mix_steps, LABEL_SHARE)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--label-steps", type=int, default=100)
    parser.add_argument("--mix-steps", type=int, default=60)
    parser.add_argument("--free", type=Path)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, judges, prints."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    seeds = {"train": range(FIRST_TRAIN, FIRST_TRAIN + options.songs), "test": range(FIRST_TEST, FIRST_TEST + options.held_out)}
    folder = corpus_of(options.work, seeds, pairs_of(STEMS, "released")).dataset
    data = PairDataset(folder, kind="mix", split="train")
    held_out = PairDataset(folder, kind="mix", split="test")
    material = gathered(data)
    cropped = PairDataset(folder, kind="mix", split="train", num_frames=round(CROP_S * DATA_RATE), with_index=True)
    plain, console = trained(cropped, material, options)

    def answers(names: Sequence[str]) -> Answers:
        return contenders(names, material.mean_db[[STEMS.index(name) for name in names]], plain, console)

    results = judged(held_out, answers(STEMS))
    size = sum(one.numel() for one in console.parameters())
    lines = [
        f"{size:,} parameters. {options.label_steps} steps of 32 excerpts on labels, "
        f"{options.mix_steps} of {BATCH} on mixes; {len(data)} pairs of {options.songs} synthetic songs, dry, with a mix by effects whose "
        f"settings follow from their sound; judged on {len(held_out)} pairs of {options.held_out} other songs at {DATA_RATE} Hz. In "
        "brackets 95 % intervals over songs; below 1 is better.",
        "",
        *made_up_section(options.work, held_out, results),
        *(free_section(options.work, options.free, answers) if options.free else ()),
    ]
    given = f"--songs {options.songs} --held-out {options.held_out} --label-steps {options.label_steps} --mix-steps {options.mix_steps}"
    command = f"python benchmarks/train_console.py --work FOLDER {given}{' --free FREE' if options.free else ''} --write"
    report("Training a mixing console", command, "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
