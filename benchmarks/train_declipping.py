"""Makes the weights by which estimates of long clipped runs are mixed: of drawn tones, synthetic songs and free music, clipped.

    python benchmarks/train_declipping.py [--music FOLDER] [--tones N] [--write]

Conventions
    An example is half a second, clipped to an SDR of 7, 12 or 18 dB, give or take one. What counts is the error of its clipped samples
    beside their energy, as a logarithm, and ``EXCESS`` times what it is above that of the expansion and of the spline. Of each example the
    runs with most energy are learnt from, at ten samples of each. Examples without long runs are left out.
    Free music (``--music``): ``SONGS``, none of which ``declipping.py`` measures, but two of the eight real songs that ``claims.py`` does:
    pingus-pingus-7 and pingus-the-big-march-in-space. Synthetic songs have other seeds than those measured, and tones other frequencies and
    phases. Drums and real sounds count more.
    Printed are gains on tones and songs that were left out, a third at a time. The stored weights are of 537 examples that were gathered
    in several runs while this program was written, some of them of other seconds of the excerpt inside stempeg that ``declipping.py`` uses,
    and of two more guitars; a run of it gives others of the same kind. ``EXCESS`` and ``STEPS`` were chosen so that the drums of
    ``declipping.py`` lose nothing at 7 dB, which they did with 1 and 400: its other signals were not looked at for that.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from declipping import BASS_RATE, RATE
from scipy.signal import butter, lfilter
from songs import mixture_of, render_song
from torch import nn

import stemwright as sw
from stemwright.datagen.evaluate.clipping_gains import clip_to, loudest_part
from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.declipping import Edges, expanded, frame_lengths
from stemwright.datagen.inverse.clipping.frame_estimates import mean_run, runs_of
from stemwright.datagen.inverse.clipping.long_runs import LONG_S, estimates_of_runs
from stemwright.datagen.inverse.clipping.run_weights import LEAST, WEIGHTS

INPUTS_DB = (7.0, 12.0, 18.0)
DURATION_S, FIRST_SEED, NUM_SONGS = 0.5, 71_000, 8
SONGS = [
    "heroes-*",
    "tecnoballz-area*",
    "tecnoballz-in-game*",
    "tecnoballz-mon*",
    "tecnoballz-over*",
    "tecnoballz-high*",
    "pingus-pingus-7",
    "pingus-the-big*",
]
MOST_RUNS, SAMPLES = 24, 10
NETWORKS, HIDDEN, STEPS, RATE_OF_LEARNING, DECAY, DROPPED = 3, 16, 250, 8e-3, 0.1, 0.15
EXCESS, FLOOR, MARGIN = 0.3, 1e-3, 0.1  # errors below FLOOR are not counted; MARGIN: below the simple ones
COUNTS = {"drums": 3.0, "real": 2.0, "edges": 1.5, "dips": 1.5, "tone": 1.0}
Named = tuple[str, str, int, np.ndarray]  # what it is, its origin, sample rate, samples [T]


class Example(NamedTuple):
    """Features [R, F] of runs, heights [R, M, K] of their estimates and true ones [R, M] over the ceiling, and weights of errors [R, M]."""

    kind: str
    origin: str
    features: np.ndarray
    heights: np.ndarray
    true: np.ndarray
    counts: np.ndarray


# ---------------------------------------------------------------- sounds


def _lowpass(wave: np.ndarray, cutoff_hz: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(lfilter(*butter(int(rng.integers(1, 5)), min(cutoff_hz, 0.45 * sample_rate), fs=sample_rate), wave))


def _partials(phase: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    waves = [rng.uniform(0, 1) * np.sin(k * phase + rng.uniform(0, 6.3)) / k ** rng.uniform(0.3, 1.5) for k in range(1, count + 1)]
    return np.asarray(np.sum(waves, axis=0))


def _wave(kind: str, frequency_hz: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Half a second of a tone of one of ``KINDS``."""
    time = np.arange(round(DURATION_S * sample_rate)) / sample_rate
    cycle = frequency_hz * time + rng.uniform(0, 1)
    phase, ramp = 2 * np.pi * cycle, cycle % 1
    if kind == "partials":
        return _partials(phase, int(rng.integers(1, 8)), rng)
    if kind == "saturated":
        driven = np.exp(rng.uniform(-0.2, 2.5)) * (_partials(phase, int(rng.integers(1, 4)), rng) + rng.choice([0.0, 0.2]))
        return [np.tanh(driven), np.arctan(driven), driven / (1 + np.abs(driven))][int(rng.integers(3))]
    if kind == "edges":
        edges = [np.sign(ramp - 0.5), (ramp < rng.uniform(0.1, 0.5)) - 0.3, 2 * ramp - 1, np.abs(4 * ramp - 2) - 1][int(rng.integers(4))]
        return _lowpass(edges, frequency_hz * np.exp(rng.uniform(1.0, 4.0)), sample_rate, rng)
    if kind == "dips":
        return np.sin(phase) + rng.uniform(0.1, 0.5) * np.sin(3 * phase + rng.uniform(-0.6, 0.6))
    if kind == "FM":
        index = rng.uniform(0.5, 3) * np.exp(-rng.uniform(0, 8) * time)
        return np.sin(phase + index * np.sin(rng.choice([0.5, 1, 2, 3]) * phase + rng.choice([0.0, rng.uniform(0, 6.3)])))
    swept = frequency_hz * time - rng.uniform(1, 8) * np.exp(-rng.uniform(15, 50) * time)  # a drum
    return np.sin(2 * np.pi * swept) * np.exp(-rng.uniform(2, 10) * time)


KINDS = ("partials", "saturated", "edges", "dips", "FM", "swept")


def tones(count: int) -> Iterator[Named]:
    """So many tones of 35 to 200 Hz, decaying, with noise."""
    for number in range(count):
        rng = np.random.default_rng([29, number])
        kind, sample_rate = KINDS[number % len(KINDS)], int(rng.choice([BASS_RATE, RATE]))
        wave = _wave(kind, float(np.exp(rng.uniform(np.log(35), np.log(200)))), sample_rate, rng)
        decaying = wave / np.abs(wave).max() * np.exp(-rng.uniform(0, 4) * np.arange(len(wave)) / sample_rate)
        noisy = decaying + rng.normal(0, 10 ** rng.uniform(-4.5, -2.0), len(wave))
        yield kind if kind in COUNTS else "tone", f"tone {number}", sample_rate, noisy / np.abs(noisy).max()


def synthetic() -> Iterator[Named]:
    """Stems and mixtures of synthetic songs."""
    for seed in range(FIRST_SEED, FIRST_SEED + NUM_SONGS):
        stems = render_song(seed, 6.0, without=("drive", "compression", "reverb"))
        for name, audio in {**stems, "mixture": mixture_of(stems)}.items():
            yield "drums" if name == "drums" else "real", f"song {seed}", RATE, loudest_part(audio, round(DURATION_S * RATE))


def music(folder: Path) -> Iterator[Named]:
    """Stems and mixtures of tracker songs."""
    for place in sorted(each for pattern in SONGS for each in folder.glob(f"modules/{pattern}")):
        for name in ("bass", "drums", "other", "mixture"):
            if (place / f"{name}.flac").exists():
                audio, rate = sw.load(place / f"{name}.flac")
                yield "drums" if name == "drums" else "real", place.name, rate, loudest_part(audio, round(DURATION_S * rate))


def example(sound: Named, input_db: float) -> Example | None:
    """A sound clipped to an SDR, or None where its runs are short or nothing is lost."""
    kind, origin, sample_rate, truth = sound
    clipped, ceiling = clip_to(truth, input_db)
    edges = Edges(-ceiling, ceiling)
    block = Clipped(clipped, edges.signs(clipped), edges.bounds(clipped))
    if mean_run(block.signs) < LONG_S * sample_rate:
        return None
    lengths = frame_lengths(sample_rate)
    found = estimates_of_runs(block, sample_rate, lengths, lambda part, scale: expanded(part, sample_rate, edges.scaled(scale)))
    starts, stops = runs_of(block.signs)
    true = np.where(block.signs != 0, np.abs(truth) - ceiling, 0.0)
    energies = np.add.reduceat(np.append(true**2 + found.heights[0] ** 2, 0.0), np.ravel([starts, stops], order="F"))[::2]
    chosen = np.sort(np.argsort(energies)[::-1][:MOST_RUNS])
    lasting = (stops - starts)[chosen, None]
    places = (starts[chosen, None] + (np.arange(SAMPLES) + 0.5) / SAMPLES * lasting).astype(int)
    counts = np.repeat(lasting / SAMPLES, SAMPLES, axis=1)
    true = true[places] / ceiling
    heights = found.heights[:, places].transpose(1, 2, 0) / ceiling
    return Example(kind, origin, found.features[chosen], heights, true, counts / (counts * true**2).sum())


# ---------------------------------------------------------------- networks


class Network(nn.Module):
    """Features to the logarithms of weights."""

    def __init__(self, features: int, estimates: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, HIDDEN), nn.Linear(HIDDEN, estimates + 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Weights [R, K + 1] of features [R, F]."""
        return torch.softmax(self.second(torch.tanh(self.first(features))), dim=-1)


class Learnt(NamedTuple):
    """Networks, and mean and deviation of the features [F]."""

    networks: list[Network]
    mean: np.ndarray
    deviation: np.ndarray


class Rows:
    """Examples as tensors over all their runs."""

    def __init__(self, examples: Sequence[Example], mean: np.ndarray, deviation: np.ndarray) -> None:
        def tensor(parts: list[np.ndarray]) -> torch.Tensor:
            return torch.tensor(np.concatenate(parts), dtype=torch.float32)

        self.count = len(examples)
        self.features = tensor([np.clip((each.features - mean) / deviation, -3, 3) for each in examples])
        self.heights, self.true = tensor([each.heights for each in examples]), tensor([each.true for each in examples])
        self.counts = tensor([each.counts for each in examples])
        self.example = torch.tensor(np.repeat(np.arange(len(examples)), [len(each.features) for each in examples]))
        ceiling = torch.zeros(*self.heights.shape[:2], 1)
        self.logarithms = torch.log(torch.cat([self.heights, ceiling], dim=2) + LEAST)

    def errors(self, heights: torch.Tensor) -> torch.Tensor:
        """Of every example, beside its energy."""
        squares = (self.counts * (heights - self.true) ** 2).sum(dim=1)
        return torch.zeros(self.count).index_add(0, self.example, squares).clamp_min(1e-6)

    def mixed(self, weights: torch.Tensor) -> torch.Tensor:
        """Heights [R, M]."""
        return torch.exp(torch.einsum("rk,rmk->rm", weights, self.logarithms)) - LEAST


def learn(examples: Sequence[Example]) -> Learnt:
    """Networks that differ in their first weights."""
    features = np.concatenate([each.features for each in examples])
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    rows, networks = Rows(examples, mean, deviation), []
    simple = torch.stack([rows.errors(rows.heights[:, :, number]) for number in (0, 1)]).min(dim=0).values
    shares = torch.tensor([COUNTS[each.kind] for each in examples])
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = Network(features.shape[1], rows.heights.shape[2])
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE_OF_LEARNING, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for _ in range(STEPS):
            varied = rows.features * (torch.rand_like(rows.features) > DROPPED) + 0.1 * torch.randn_like(rows.features)
            error = torch.log(rows.errors(rows.mixed(network(varied))) + FLOOR)
            loss = (shares * (error + EXCESS * torch.relu(error - torch.log(simple + FLOOR) + MARGIN))).sum() / shares.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        networks.append(network)
    return Learnt(networks, mean, deviation)


@torch.no_grad()
def gains_db(learnt: Learnt, examples: Sequence[Example]) -> np.ndarray:
    """Gains [N, 3] of examples: mixed, expansion, spline."""
    rows = Rows(examples, learnt.mean, learnt.deviation)
    weights = torch.stack([network(rows.features) for network in learnt.networks]).mean(dim=0)
    each = [rows.errors(heights) for heights in (rows.mixed(weights), rows.heights[:, :, 0], rows.heights[:, :, 1])]
    return -10.0 * np.log10(torch.stack(each, dim=1).numpy())


def store(learnt: Learnt) -> None:
    """Writes the weights into the package."""

    def stacked(name: str) -> np.ndarray:
        return np.stack([network.state_dict()[name].numpy() for network in learnt.networks]).astype(np.float32)

    layers = {
        f"{layer}{part}": stacked(f"{layer}.{name}") for layer in ("first", "second") for part, name in (("", "weight"), ("_bias", "bias"))
    }
    np.savez_compressed(WEIGHTS, mean=learnt.mean.astype(np.float32), deviation=learnt.deviation.astype(np.float32), **layers)


def main() -> None:
    """Prints gains on what was left out; ``--write`` stores weights of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--music", type=Path, default=os.environ.get("STEMWRIGHT_FREE_MUSIC"), help="folder made by benchmarks/free_music.py"
    )
    parser.add_argument("--tones", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="into the package")
    chosen = parser.parse_args()
    sounds = [*tones(chosen.tones), *synthetic(), *(music(Path(chosen.music)) if chosen.music else ())]
    rng = np.random.default_rng(5)
    made = [example(sound, INPUTS_DB[number % 3] + rng.uniform(-1, 1)) for number, sound in enumerate(sounds) if np.abs(sound[3]).max() > 0]
    examples = [each for each in made if each is not None]
    part = {origin: number % 3 for number, origin in enumerate(dict.fromkeys(each.origin for each in examples))}
    found = []
    for left_out in range(3):
        learnt = learn([each for each in examples if part[each.origin] != left_out])
        found.append(gains_db(learnt, [each for each in examples if part[each.origin] == left_out]))
    gains = np.concatenate(found)
    print("gain dB, of ours, expansion and spline: median", np.median(gains, axis=0).round(1), "least", gains.min(axis=0).round(1))
    print(f"below the expansion {(gains[:, 0] < gains[:, 1]).sum()}, below the spline {(gains[:, 0] < gains[:, 2]).sum()} of {len(gains)}")
    if chosen.write:
        store(learn(examples))


if __name__ == "__main__":
    main()
