"""What scripts that train mixers share: labels of emitted ``mix`` pairs, the losses, training on the labels, and judging by songs.

Conventions
    Gains are [examples, stems] in dB, relative to one another; NaN is a stem that is silent. A contender's answer for an example is what it
    makes of every track before a shared room [N, 2, T], and its mix [2, T]. The level that it gives a stem is measured: the loudness of
    what it makes of the track, against that of the track. One joint gain is free for all contenders: only the balance is judged.
    Errors of levels are of songs: what is said of a stem is the mean over the song's excerpts in which it sounds.

References
    Steinmetz et al. 2021, differentiable mixing console: sum-and-difference STFT loss 4096/1024/256, hop half a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from auraloss.freq import MultiResolutionSTFTLoss, SumAndDifferenceSTFTLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.evaluate.scores import SongMean, mean_over_songs
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.settling import loudness_at_any_level

Array = np.ndarray
NAMES = ("drums", "bass", "other", "vocals")
Answer = tuple[Tensor, Tensor]  # tracks [N, 2, T] after their strips, and the mix [2, T]
RESOLUTIONS = {"fft_sizes": [4096, 1024, 256], "hop_sizes": [2048, 512, 128], "win_lengths": [4096, 1024, 256]}
MONO = 1e-4  # of the energy in the difference of the channels: less is mono
BATCH, STEP_SIZE, PAN_PRICE = 32, 5e-4, 10.0


def mix(tracks: Tensor, gains_db: Tensor, pans: Tensor) -> Tensor:
    """[B, N, 2, T] -> [B, 2, T]: gains, and constant-power pans that leave the middle as it is."""
    return placed(tracks, gains_db, pans).sum(1)


def placed(tracks: Tensor, gains_db: Tensor, pans: Tensor) -> Tensor:
    """[B, N, 2, T] -> [B, N, 2, T]: every track at its gain and its pan."""
    from stemwright.datagen.effects import EFFECTS

    fader = EFFECTS["fader"]
    moved: Tensor = fader.apply(tracks, 1, fader.Settings(gain_db=gains_db, pan=pans))
    return moved


def at_best_gain(estimate: Tensor, target: Tensor) -> Tensor:
    """The estimate [B, 2, T] with the one gain that brings it nearest to the target; no gain where the estimate is silent."""
    gain = (estimate * target).sum((1, 2)) / estimate.square().sum((1, 2)).clamp_min(1e-9)
    return estimate * gain[:, None, None]


def stft_loss() -> nn.Module:
    """The published loss of mixing consoles."""
    return SumAndDifferenceSTFTLoss(**RESOLUTIONS)


def loss_of(mixed: Tensor, target: Tensor) -> float:
    """The published loss of a mix [1, 2, T]; of the sum alone where the target is mono: against no difference, the loss has no bound."""
    is_mono = (target[:, 0] - target[:, 1]).square().mean() < MONO * target.square().mean()
    fitted = at_best_gain(mixed, target)
    if is_mono:
        return float(MultiResolutionSTFTLoss(**RESOLUTIONS)(fitted.sum(1, keepdim=True), target.sum(1, keepdim=True)))
    return float(stft_loss()(fitted, target))


class MixPairs(NamedTuple):
    """Mix pairs of one's own: to train on, of the test songs (None if there are none to judge by: ``why``), and the names of the stems."""

    train: PairDataset
    held_out: PairDataset | None
    names: tuple[str, ...]
    why: str = ""


def mix_pairs_of(folder: Path) -> MixPairs:
    """The mix pairs of an emitted dataset by its own splits. Raises SystemExit if there is nothing in it to train on."""
    try:
        train = PairDataset(folder, kind="mix", split="train")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error
    names, truth = _names_in(train, folder), true_gains_db(train)
    if np.isnan(truth).all(axis=0).any():
        raise SystemExit(
            f'{folder}: its mix pairs have no gains to find; expected pairs of [pairs.mix] with inputs = "levelled" (level = "loudness", '
            'level_over = "track", as they are if not given)'
        )
    try:
        held_out = PairDataset(folder, kind="mix", split="test")
    except ValueError:
        return MixPairs(train, None, names, "no test songs: how well it mixes other songs is not known")
    if _names_in(held_out, folder) != names:
        return MixPairs(train, None, names, "the test songs have other stems: how well it mixes other songs is not known")
    return MixPairs(train, held_out, names)


def _names_in(data: PairDataset, folder: Path) -> tuple[str, ...]:
    """The stems of the pairs, which must be the same in all."""
    found = {tuple(signal.name for signal in data.pair(index).inputs) for index in range(len(data))}
    if len(found) != 1:
        raise SystemExit(
            f"{folder}: expected mix pairs of the same stems in one order, got {len(found)} sets of them; name them in the corpus's "
            'config.toml: [pairs.mix] stems = ["drums", "bass", "other", "vocals"]'
        )
    return next(iter(found))


def true_gains_db(data: PairDataset) -> Array:
    """[examples, stems]: the gain that gives the mix back, from the labels; NaN for a stem that is silent."""
    found = np.full((len(data), data.num_inputs), np.nan)
    for index in range(len(data)):
        for place, signal in enumerate(data.pair(index).inputs):
            if signal.branches and (chain := signal.branches[0].chain) and chain[0].effect == "fader":
                found[index, place] = -float(chain[0].settings["gain_db"])
    return found


def songs_of(data: PairDataset) -> list[str]:
    """The song of every example."""
    return [data.pair(index).track_id for index in range(len(data))]


@dataclass(frozen=True)
class Material:
    """What is trained on: spectrograms [E, N, bands, frames], the gains to find [E, N], and the song of every example."""

    heard: Tensor
    truth: Tensor
    songs: Sequence[str]

    @property
    def mean_db(self) -> Array:
        """[N]: the mean gain of each name, what can be known without listening."""
        return np.nanmean(centred(self.truth.numpy()), axis=0)


def gathered(data: PairDataset) -> Material:
    """The examples as a network hears them, computed once."""
    network = untrained(torch.zeros(data.num_inputs), data.sample_rate)
    with torch.inference_mode():
        heard = torch.cat([network.banded(batch.inputs) for batch in DataLoader(data, batch_size=16)])
    return Material(heard.clone(), torch.from_numpy(true_gains_db(data)).float(), songs_of(data))


def centred(gains_db: Array) -> Array:
    """Gains relative to one another: the mean over an example's stems is taken out."""
    found: Array = gains_db - np.nanmean(gains_db, axis=1, keepdims=True)
    return found


def label_loss(gains: Tensor, pans: Tensor, truth: Tensor) -> Tensor:
    """Mean square error of the levels relative to one another, and a price on pans, since the stems bring their own.

    Unknown levels are left out before anything is squared: a NaN that is masked afterwards still makes every gradient NaN.
    """
    known = truth.isfinite()
    error = (gains - truth.nan_to_num()) * known
    error = (error - error.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)) * known
    return error.square().sum() / known.sum().clamp_min(1) + PAN_PRICE * pans.square().mean()


@dataclass
class Keeper:
    """Keeps the parameters that do best on the examples left out of the steps."""

    network: MixerNetwork
    judge: Callable[[], float]
    best: float = math.inf
    state: dict[str, Tensor] = field(default_factory=dict)

    def look(self) -> float:
        """Judges the network as it is."""
        with torch.inference_mode():
            self.network.eval()
            value = self.judge()
        if not math.isfinite(value):
            raise ValueError(f"the loss on the examples left out is {value}: training went wrong, and no parameters are kept")
        self.network.train()
        if value < self.best:
            self.best, self.state = value, {name: kept.clone() for name, kept in self.network.state_dict().items()}
        return value

    def restored(self) -> MixerNetwork:
        """The network with the best parameters."""
        self.network.load_state_dict(self.state)
        return self.network.eval()


def left_out(songs: Sequence[str]) -> Tensor:
    """[E]: the examples of every fifth song, which are not trained on; none where there is one song."""
    apart = sorted(set(songs))[::5] if len(set(songs)) > 1 else []
    return torch.tensor([song in apart for song in songs])


def train_on_labels(network: MixerNetwork, material: Material, steps: int, seed: int = 0, *, report: bool = True) -> MixerNetwork:
    """Trains gains and pans on the labels, and keeps the parameters that do best on songs left out of the steps."""
    torch.manual_seed(seed)
    network.standardise(material.heard)
    apart = left_out(material.songs)
    judges, chosen_from = (apart, torch.nonzero(~apart)[:, 0]) if apart.any() else (~apart, torch.nonzero(~apart)[:, 0])

    def error_of(rows: Tensor) -> Tensor:
        return label_loss(*network.decide(material.heard[rows]), material.truth[rows])

    keeper = Keeper(network, lambda: error_of(judges).item())
    optimiser = torch.optim.AdamW(network.parameters(), STEP_SIZE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, STEP_SIZE, total_steps=steps)
    for step in range(steps):
        if step % 10 == 0:
            value = keeper.look()
            if report and step % 50 == 0:
                print(f"step {step}, left out {value:.3f}", flush=True)
        optimiser.zero_grad()
        error_of(chosen_from[torch.randint(len(chosen_from), (BATCH,))]).backward()
        optimiser.step()
        schedule.step()
    keeper.look()
    return keeper.restored()


# ------------------------------------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Judged:
    """A contender on all examples: gains [E, N] that it gives, measured, and the loss of its mix [E]."""

    gains_db: Array
    losses: Array


@torch.inference_mode()
def judged(data: PairDataset, answers: dict[str, Callable[[Tensor], Answer]], rows: Sequence[int] | None = None) -> dict[str, Judged]:
    """Every contender on every example, or on those of ``rows``; an answer takes tracks [N, 2, T]."""
    rows = range(len(data)) if rows is None else rows
    gains = {name: np.full((len(rows), data.num_inputs), np.nan) for name in answers}
    losses = {name: np.zeros(len(rows)) for name in answers}
    for index, row in enumerate(rows):
        item = data[int(row)]
        tracks, target = item.inputs, item.targets[:1]
        before = loudness_of(tracks, data.sample_rate)
        for name, answer in answers.items():
            wet, mixed = answer(tracks)
            gains[name][index] = loudness_of(wet, data.sample_rate) - before
            losses[name][index] = loss_of(mixed[None], target)
    return {name: Judged(gains[name], losses[name]) for name in answers}


def loudness_of(tracks: Tensor, sample_rate: int) -> Array:
    """[N]: the loudness of every track; NaN for silence."""
    found = np.array([loudness_at_any_level(track.numpy(), sample_rate) for track in tracks])
    return np.where(np.isfinite(found), found, np.nan)


def song_errors(gains_db: Array, truth_db: Array, songs: Sequence[str]) -> Array:
    """[songs, stems]: errors of the levels relative to one another, of the means over each song's examples."""
    difference = np.where(np.isnan(truth_db), np.nan, gains_db - truth_db)
    with np.errstate(invalid="ignore"):
        rows = [_means(centred(difference[[own == song for own in songs]])) for song in dict.fromkeys(songs)]
    return np.stack(rows)


def _means(errors: Array) -> Array:
    """[stems]: means over examples without the NaN; NaN where there is nothing else."""
    counts = np.maximum((~np.isnan(errors)).sum(0), 1)
    return np.where(np.isnan(errors).all(0), np.nan, np.nansum(errors, axis=0) / counts)


def rms(errors: Array) -> float:
    """Root mean square of all errors."""
    return float(np.sqrt(np.nanmean(np.square(errors))))


def ratio_of(ours: Array, theirs: Array, statistic: Callable[[Array], float] = rms) -> SongMean:
    """A statistic of ours [songs, ...] against that of theirs, with an interval over songs drawn for both at once."""
    numbers = np.arange(len(ours), dtype=float)

    def ratio(drawn: Array) -> float:
        rows = drawn.astype(int)
        return statistic(ours[rows]) / statistic(theirs[rows])

    return mean_over_songs(numbers, list(range(len(ours))), ratio)


def song_means(values: Array, songs: Sequence[str]) -> Array:
    """[songs]: the mean over each song's examples."""
    return np.array([values[[own == song for own in songs]].mean() for song in dict.fromkeys(songs)])


def shown(found: SongMean) -> str:
    """A ratio with its interval."""
    return f"{found.value:.2f}" if found.low is None else f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def table(results: dict[str, Judged], truth_db: Array, songs: Sequence[str], against: str) -> list[str]:
    """Rows of Markdown: every contender's loss and error of levels, and their ratios to those of one of them."""
    errors = {name: song_errors(found.gains_db, truth_db, songs) for name, found in results.items()}
    losses = {name: song_means(found.losses, songs) for name, found in results.items()}
    rows = [f"| | loss of the mix | against the {against} | error of the levels, LU | against the {against} |", "|---|---|---|---|---|"]
    for name in results:
        cells = [f"{losses[name].mean():.3f}", "1", f"{rms(errors[name]):.2f}", "1"]
        if name != against:
            cells[1] = shown(ratio_of(losses[name], losses[against], lambda part: float(np.mean(part))))
            cells[3] = shown(ratio_of(errors[name], errors[against]))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows
