"""What a console is fitted to: the checked audio, its most informative excerpts with stems aligned, and the best gains and pans alone.

A compressor shows only where its stem is loud, and how much only where it is soft as well: of a long mixture several short excerpts are
fitted together, in which the levels of the stems differ. They are put one after another, each with what precedes it: a longer mixture
takes no more time or memory.

Conventions
    Audio is [C, T]; from here on a torch tensor, float64. A stem may be late or early by up to a second. What is silent or not in the
    mixture is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects import fader
from stemwright.datagen.effects.ranges import FADER_DB, within_fader
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.inverse.console import initial_settings
from stemwright.datagen.inverse.console.fitted_console import shifted, tensor
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings
from stemwright.datagen.inverse.fitted_chain import Use

EXCERPT_S, WARM_UP_S = 5.0, 0.5  # of all excerpts together; before each of them
EXCERPTS = 3
HOP_S = 0.5
APART_DB = 20.0  # levels of a stem that are further apart tell no more
CLOSED_DB = FADER_DB[0]  # a stem fitted at or below the lowest gain of a fader is not in the mixture


@dataclass(frozen=True)
class Preparation:
    """The delays of the stems in frames, why stems were left out, and the first and last frame of each excerpt."""

    lags: dict[str, int]
    left_out: dict[str, str]
    spans: tuple[tuple[int, int], ...]


def checked(mixture: Any, stems: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Mixture and stems as tensors. Raises ValueError for what no console can be fitted to."""
    target, dry = tensor(mixture), {name: tensor(audio) for name, audio in stems.items()}
    if target.ndim != 2 or len(target) not in (1, 2):
        raise ValueError(f"expected a mixture [1 or 2, T], got {list(target.shape)}")
    if not dry:
        raise ValueError("expected at least one dry stem, got none")
    for name, audio in {"mixture": target, **dry}.items():
        if not bool(torch.isfinite(audio).all()):
            raise ValueError(f"{name!r} contains NaN or infinite samples; repair it first")
        if audio.shape != target.shape:
            raise ValueError(f"stem {name!r} has the shape {list(audio.shape)}, the mixture {list(target.shape)}; expected equal shapes")
    if not float(target.abs().max()) > 1e-5:
        raise ValueError("expected an audible mixture, got silence; no console can be fitted to it")
    return target, dry


def prepared(
    target: torch.Tensor, dry: Mapping[str, torch.Tensor], sample_rate: int, *, whole: bool = False
) -> tuple[ConsoleProblem, Preparation]:
    """The excerpts to be fitted, with stems aligned and silent ones left out, and the facts about them.

    They are one ``whole`` where an effect sounds longer than what precedes an excerpt.
    """
    left_out = {name: "silent" for name, audio in dry.items() if not float(audio.abs().max()) > 1e-5}
    dry = {name: audio for name, audio in dry.items() if name not in left_out}
    if not dry:
        raise _nothing(left_out)
    lags = {name: lag for name, audio in dry.items() if (lag := initial_settings.lag(target, audio, sample_rate))}
    dry = {name: shifted(audio, lags.get(name, 0)) for name, audio in dry.items()}
    spans = excerpts(target, dry, sample_rate, 1 if whole else EXCERPTS)
    pieces, compared, at, before = list[slice](), list[tuple[int, int]](), 0, 0
    for first, last in spans:
        start = max(first - round(WARM_UP_S * sample_rate), before)
        pieces.append(slice(start, last))
        compared.append((at + first - start, at + last - start))
        at, before = compared[-1][1], last

    def cut(audio: torch.Tensor) -> torch.Tensor:
        return torch.cat([audio[:, piece] for piece in pieces], -1)

    problem = ConsoleProblem(cut(target), {name: cut(audio) for name, audio in dry.items()}, sample_rate, spans=tuple(compared))
    return problem, Preparation(lags, left_out, spans)


def without_absent_stems(problem: ConsoleProblem, left_out: dict[str, str]) -> tuple[ConsoleProblem, ConsoleSettings]:
    """The problem and the best faders without the stems that are not in the mixture, which are added to ``left_out``."""
    plain = _gain_and_pan(problem)
    for name, chain in plain.chains.items():
        closed: Any = chain[0][1]
        if closed.gain_db == CLOSED_DB:
            left_out[name] = "not in the mixture"
    kept = {name: audio for name, audio in problem.stems.items() if name not in left_out}
    if not kept:
        raise _nothing(left_out)
    return replace(problem, stems=kept), ConsoleSettings({name: plain.chains[name] for name in kept})


def excerpts(
    mixture: torch.Tensor, stems: Mapping[str, torch.Tensor], sample_rate: int, count: int = EXCERPTS
) -> tuple[tuple[int, int], ...]:
    """First and last frames of the most informative excerpts, in their order: in the first of them the quietest stem is loudest and
    levels vary; in each other one the levels of the stems differ from those in all before.
    """
    length = round(EXCERPT_S / count * sample_rate)
    total = mixture.shape[-1]
    if total <= 1.25 * length * count:
        return ((0, total),)
    hop = round(HOP_S * sample_rate)
    power = np.stack([_means(audio.square().mean(0).numpy(), hop) for audio in stems.values()])
    share = np.log10(power / np.maximum(power.max(1, keepdims=True), 1e-30) + 1e-4)
    width = min(-(-length // hop), power.shape[1])
    inside = np.stack([np.convolve(row, np.ones(width) / width, "valid") for row in share])
    moving = np.stack([[row[k : k + width].std() for k in range(len(row) - width + 1)] for row in share])
    score = inside.min(0) + inside.mean(0) + 0.5 * moving.mean(0)
    chosen = [int(np.argmax(score))]
    places = np.arange(len(score))
    for _ in range(count - 1):
        apart = np.abs(inside[:, :, None] - inside[:, None, chosen]).min(-1).clip(max=APART_DB / 10.0)
        free = (np.abs(places[:, None] - chosen) >= width + WARM_UP_S / HOP_S).all(1)
        if not free.any():
            break
        chosen.append(int(np.argmax(np.where(free, apart.mean(0) + inside.max(0), -np.inf))))
    return tuple((start, start + length) for start in (min(each * hop, total - length) for each in sorted(chosen)))


def _means(values: np.ndarray, hop: int) -> np.ndarray:
    count = len(values) // hop
    return np.asarray(values[: count * hop].reshape(count, hop).mean(1))


def _gain_and_pan(problem: ConsoleProblem) -> ConsoleSettings:
    """The best fader for each stem, by non-negative least squares."""
    from stemwright.separation.balance.console_levels import fit_console_levels

    seconds = problem.mixture.shape[-1] / problem.sample_rate
    stems = {name: audio.numpy() for name, audio in problem.stems.items()}
    levels = fit_console_levels(problem.mixture.numpy(), stems, problem.sample_rate, window_s=2.0 * seconds)
    chains: dict[str, tuple[Use, ...]] = {}
    for name in stems:
        gain_db = float(np.nan_to_num(levels.gain_db[name][0], nan=CLOSED_DB, neginf=CLOSED_DB))
        pan = 0.0 if levels.pan is None else float(np.nan_to_num(levels.pan[name][0]))
        settings = fader.Settings(gain_db=within_fader(gain_db), pan=range_of(fader.Settings, "pan").limited(pan))
        chains[name] = ((fader.NAME, settings),)
    return ConsoleSettings(chains)


def _nothing(left_out: Mapping[str, str]) -> ValueError:
    reasons = ", ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return ValueError(f"expected at least one stem that is in the mixture; got {reasons}")
