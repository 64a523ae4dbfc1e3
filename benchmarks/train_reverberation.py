"""Makes the weights of the estimate of reverberation: dry stems in rooms of two makes and their variants.

    python benchmarks/train_reverberation.py --wads freedoom1.wad freedm.wad --left-out freedoom2.wad --modules GAME/*.xm ...

Conventions
    Stems are those of ``room_stems.py``: synthetic songs, instruments of scores, channels and parts of tracker modules; rooms those of
    ``training_rooms.py``. Other songs and makes of rooms are left to ``blind_room.py`` and ``blind_room_instruments.py``. A fifth of the
    examples is dry. Each is 4 to 16 s long, and equalised by bell filters after the room; before it, most are moved to one direction or
    made wide as mixes do it, and a third are played faster or slower, cut or compressed; half have a noise floor, and some are mono.
    Targets are soft: a time is spread over its neighbours by 0.12 octaves, a ratio by 1.2 dB. The time of a weak room counts less.
    The stored weights are of 7,448 examples of 122 songs: 229 channels of 61 scores of freedoom1.wad and freedm.wad, played from the sound
    font TimGM6mb; 224 stems of modules of heroes, rafkill, criticalmass, circuslinux and biniax2; 120 of 30 synthetic songs. They were
    gathered in parts while this program was written, so that a run of it gives others of the same kind. It takes 20 minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import room_stems
import torch
from free_packages import Packages
from rooms import through
from scipy.ndimage import uniform_filter1d
from song_filters import compress, peak_filter
from torch import nn
from tracker_modules import Player
from training_rooms import Bank, bank

from stemwright.datagen.inverse.blind.heard_reverberation import RATIOS, TIMES, WEIGHTS
from stemwright.datagen.inverse.blind.reverberation_features import SAMPLE_RATE, levels_of, reverberation_features
from stemwright.manifests.sound.resampling import resample

FIRST_SEED = 41_000
LONGEST_S, BANK = 16.0, 480
FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
DRY = 0.2  # share of the examples without a room
NETWORKS, HIDDEN, DROPPED, EPOCHS, BATCH, DECAY = 4, 96, 0.3, 50, 256, 0.01
VARIED = 1.0 / 3.0
FULL_DB, NO_DB = 18.0, 26.0  # ratios up to which a time counts fully, and from which it does not
Example = tuple[np.ndarray, float, float, str]  # features, time in s (NaN: dry), ratio in dB, song


class Examples(NamedTuple):
    """Features [N, P], times in s and ratios in dB [N], and songs [N]."""

    features: np.ndarray
    rt60_s: np.ndarray
    drr_db: np.ndarray
    song: np.ndarray


def examples_of(audio: np.ndarray, song: str, count: int, bank: Bank, rng: np.random.Generator) -> Iterator[Example]:
    """A stem [C, T] in so many rooms."""
    for _ in range(count):
        frames = min(round(rng.uniform(4.0, LONGEST_S) * SAMPLE_RATE), audio.shape[1])
        start = int(rng.integers(audio.shape[1] - frames + 1))
        part = placed(np.asarray(audio[:, start : start + frames], np.float32), rng)
        part = varied(part, rng) if rng.random() < VARIED else part
        time, ratio = float("nan"), float("inf")
        if rng.random() >= DRY:
            made = bank.draw(rng)
            part, time, ratio = through(part, made), made.rt60_s, made.drr_db
        part = disturbed(part, rng)
        if np.abs(part).max() > 0.0 and part.shape[1] >= 2 * SAMPLE_RATE:
            part /= np.abs(part).max()
            yield reverberation_features(levels_of(part)), time, ratio, song


def placed(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sound as it is, from one direction, or made wide without a room: by noise of a few ms, a delay or a chorus."""
    kind = rng.random()
    if kind < 0.35:
        return audio
    mono = audio.mean(0) if rng.random() < 0.5 else audio[int(np.square(audio).sum(1).argmax())]
    if kind < 0.75:
        return np.stack([mono, mono]) * rng.uniform(0.3, 1.0, 2)[:, None].astype(np.float32)
    if kind < 0.9:
        taps = round(rng.uniform(0.0005, 0.006) * SAMPLE_RATE)
        short = rng.standard_normal((2, taps)) * np.exp(-3.0 * np.arange(taps) / taps)
        return np.stack([np.convolve(mono, one / np.linalg.norm(one))[: len(mono)] for one in short]).astype(np.float32)
    time = np.arange(len(mono)) / SAMPLE_RATE
    delay_s = rng.uniform(0.0003, 0.025) + rng.uniform(0.0, 0.004) * rng.integers(2) * np.sin(2.0 * np.pi * rng.uniform(0.1, 3.0) * time)
    late = np.interp(time - delay_s, time, mono, left=0.0)
    amount = rng.uniform(0.1, 1.0)
    wide = np.stack([mono + amount * late, mono - amount * late])
    return np.asarray(wide if rng.random() < 0.5 else np.stack([mono, late]), np.float32)


def varied(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The dry sound played at another speed, cut into shorter notes, or compressed: other sounds have other decays."""
    audio = np.asarray(audio, np.float32)
    if rng.random() < 0.6:
        audio = resample(audio, SAMPLE_RATE, round(SAMPLE_RATE * float(np.exp(rng.uniform(-0.5, 0.5)))))
    if rng.random() < 0.3:
        times = np.cumsum(rng.uniform(0.08, rng.uniform(0.2, 1.5), 400))
        sounds = np.searchsorted(times, np.arange(audio.shape[1]) / SAMPLE_RATE) % 2
        fade = max(2, round(float(np.exp(rng.uniform(np.log(0.003), np.log(0.15)))) * SAMPLE_RATE))
        audio = audio * uniform_filter1d(sounds.astype(np.float32), fade)
    if rng.random() < 0.3:
        level_db = 20.0 * np.log10(np.abs(audio).max() + 1e-9)
        audio = compress(audio, SAMPLE_RATE, level_db - rng.uniform(10.0, 30.0), rng.uniform(1.5, 6.0), rng.uniform(0.005, 0.1))
    return np.asarray(audio, np.float32)


def disturbed(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to two bells; noise in half of the cases; one channel of it in a seventh."""
    for _ in range(int(rng.integers(3))):
        centre_hz = float(np.exp(rng.uniform(np.log(150.0), np.log(6000.0))))
        audio = peak_filter(audio, SAMPLE_RATE, centre_hz, float(rng.uniform(-8.0, 8.0)), float(rng.uniform(0.4, 2.0)))
    if rng.random() < 0.5:
        level = float(np.sqrt((audio**2).mean())) * 10.0 ** (rng.uniform(-90.0, -45.0) / 20.0)
        audio = audio + level * rng.standard_normal(audio.shape)
    return np.asarray(audio[:1] if rng.random() < 0.15 else audio, np.float32)


def gathered(found: list[Example]) -> Examples:
    features, times, ratios, names = zip(*found, strict=True)
    return Examples(np.array(features, np.float32), np.array(times), np.array(ratios), np.array(names))


def spread(values: np.ndarray, edges: np.ndarray, deviation: float) -> np.ndarray:
    """Soft targets [N, bins]."""
    centres = 0.5 * (edges[:-1] + edges[1:])
    near = np.exp(-0.5 * ((centres - values[:, None]) / deviation) ** 2)
    return np.asarray(near / near.sum(1, keepdims=True))


def targets(examples: Examples) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Those of the times and of the ratios, and the weight of the times."""
    dry = np.isnan(examples.rt60_s)
    times = spread(np.log2(np.where(dry, 1.0, examples.rt60_s)), TIMES, 0.12)
    ratios = np.pad(spread(np.clip(examples.drr_db, RATIOS[0], RATIOS[-2]), RATIOS[:-1], 1.2), ((0, 0), (0, 1)))
    ratios[dry] = np.eye(ratios.shape[1])[-1]
    weight = np.where(dry, 0.0, np.clip((NO_DB - examples.drr_db) / (NO_DB - FULL_DB), 0.0, 1.0))
    return (torch.tensor(times, dtype=torch.float32), torch.tensor(ratios, dtype=torch.float32), torch.tensor(weight, dtype=torch.float32))


def standardised(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.nan_to_num(np.clip((features - centre) / scale, -3.0, 3.0)), dtype=torch.float32)


def network(examples: Examples, inputs: torch.Tensor, seed: int) -> nn.Sequential:
    """One network, trained."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    bins = len(TIMES) - 1
    hidden = (nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(DROPPED))
    made = nn.Sequential(*hidden, nn.Linear(HIDDEN, bins + len(RATIOS) - 1))
    times, ratios, weight = targets(examples)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(made.parameters(), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.from_numpy(rng.permutation(len(inputs))).split(BATCH):
            scores = made(inputs[rows] * (torch.rand(len(rows), inputs.shape[1]) > 0.05))
            loss = -(weight[rows] * (times[rows] * scores[:, :bins].log_softmax(1)).sum(1)).mean()
            loss = loss - (ratios[rows] * scores[:, bins:].log_softmax(1)).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return made.eval()


def main() -> None:
    """Writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=30, help="synthetic songs")
    parser.add_argument("--rooms", type=int, default=12, help="examples of each stem")
    parser.add_argument("--wads", type=Path, nargs="*", default=(), help="WADs of free games, whose scores are played, such as freedm.wad")
    parser.add_argument("--left-out", type=Path, help="WAD whose scores are left out, since a benchmark reports them: freedoom2.wad")
    parser.add_argument("--font", type=Path, default=FONT, help="sound font that is no benchmark's: TimGM6mb.sf2")
    parser.add_argument("--modules", type=Path, nargs="*", default=(), help="tracker modules of games that no benchmark reports")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    if arguments.wads and arguments.left_out is None:
        parser.error("--wads needs --left-out: the WAD whose scores a benchmark reports")
    torch.set_num_threads(1)
    rng = np.random.default_rng(FIRST_SEED)
    stems = room_stems.synthetic(range(FIRST_SEED, FIRST_SEED + arguments.songs))
    if arguments.wads:
        stems = chain(stems, room_stems.of_scores(arguments.wads, arguments.left_out, arguments.font, rng))
    if arguments.modules:
        stems = chain(stems, room_stems.of_modules(arguments.modules, Player(Packages(Path(".packages")).unpacked), rng))
    found, known = list[Example](), bank(rng, BANK, SAMPLE_RATE)
    for number, (song, stem) in enumerate(stems):
        found += examples_of(stem, song, arguments.rooms, known, np.random.default_rng([FIRST_SEED, number]))
        print(f"{song}: {len(found)} examples", end="\r", flush=True)
    store(arguments.out, gathered(found))


def store(path: Path, examples: Examples) -> None:
    """Trains and writes the mean of networks, in half precision: its error is far below theirs."""
    centre, scale = np.nanmedian(examples.features, axis=0), np.nanstd(examples.features, axis=0) + 1e-3
    inputs = standardised(examples.features, centre, scale)
    made = [[layer for layer in network(examples, inputs, seed) if isinstance(layer, nn.Linear)] for seed in range(NETWORKS)]
    layers = {}
    for number in range(3):
        layers[f"weight{number}"] = np.stack([one[number].weight.detach().numpy().T for one in made]).astype(np.float16)
        layers[f"bias{number}"] = np.stack([one[number].bias.detach().numpy()[None] for one in made]).astype(np.float16)
    np.savez_compressed(path, centre=centre.astype(np.float32), scale=scale.astype(np.float32), **layers)
