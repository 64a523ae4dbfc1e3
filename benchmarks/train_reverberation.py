"""Makes the weights of the estimate of reverberation: synthetic songs, dry, in synthetic rooms of two makes.

Conventions
    Songs are ``songs.render_song`` without echo and reverb and, with ``--music`` (the folder that ``free_music.py`` makes), single channels
    of tracker songs, whose samples are mostly dry; rooms are ``room`` and ``early`` of ``rooms.py``. Other songs and makes of rooms are
    left to ``blind_room.py``. A seventh of the examples is dry. Each is 4 to 16 s long, and equalised by bell filters after the room; a
    third are played faster or slower, cut or compressed before it, half have a noise floor, and some are mono.
    Targets are soft: a time is spread over its neighbours by 0.12 octaves, a ratio by 1.2 dB. The time of a weak room counts less.
    The stored weights are of 4,146 examples: 3,614 of 56 songs, the rest of channels. They were gathered in several runs while this program
    was written, so that a run of it gives others of the same kind. It takes 10 minutes of one core.
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
import rooms
import songs
import torch
from blind_room import tracker_stems
from scipy.ndimage import uniform_filter1d
from song_filters import compress, peak_filter
from torch import nn

from stemwright.datagen.inverse.blind.heard_reverberation import RATIOS, TIMES, WEIGHTS
from stemwright.datagen.inverse.blind.reverberation_features import SAMPLE_RATE, band_levels, reverberation_features
from stemwright.manifests.sound.resampling import resample

FIRST_SEED = 41_000
DURATION_S = 16.0
MAKES, SHARES = ("room", "early", "dry"), (0.45, 0.4, 0.15)
RT60_S, WET_DB = (0.12, 3.0), (-24.0, 4.0)
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


def synthetic_stems(num_songs: int) -> Iterator[tuple[str, np.ndarray]]:
    """Dry stems of synthetic songs, [2, T] at ``SAMPLE_RATE``, each with its song."""
    for seed in range(FIRST_SEED, FIRST_SEED + num_songs):
        for audio in songs.render_song(seed, DURATION_S, without=("echo", "reverb")).values():
            yield f"synthetic {seed}", resample(audio, 44_100, SAMPLE_RATE)


def channels(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Single channels of tracker songs, [C, T] at ``SAMPLE_RATE``."""
    for name, audio in tracker_stems(folder, "channels", DURATION_S):
        yield f"tracker {name}", resample(audio, 44_100, SAMPLE_RATE)


def examples_of(audio: np.ndarray, song: str, count: int, rng: np.random.Generator) -> Iterator[Example]:
    """A stem [C, T] in so many rooms."""
    for _ in range(count):
        frames = min(round(rng.uniform(4.0, DURATION_S) * SAMPLE_RATE), audio.shape[1])
        start = int(rng.integers(audio.shape[1] - frames + 1))
        part = np.asarray(audio[:, start : start + frames], np.float32)
        part = varied(part, rng) if rng.random() < VARIED else part
        make = str(rng.choice(MAKES, p=SHARES))
        time, ratio = float("nan"), float("inf")
        if make != "dry":
            made = rooms.draw_room(make, rng, SAMPLE_RATE, rt60_s=RT60_S, wet_db=WET_DB)
            part, time, ratio = rooms.through(part, made), made.rt60_s, made.drr_db
        part = disturbed(part, rng)
        if np.abs(part).max() > 0.0:
            yield reverberation_features(band_levels(part), len(part)), time, ratio, song


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=56)
    parser.add_argument("--rooms", type=int, default=16, help="examples of each stem")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--music", type=Path, help="folder of free music with tracker songs, made by benchmarks/free_music.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Example] = []
    stems = chain(synthetic_stems(arguments.songs), channels(arguments.music) if arguments.music else ())
    for number, (song, stem) in enumerate(stems):
        found += examples_of(stem, song, arguments.rooms, np.random.default_rng([FIRST_SEED, number]))
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
