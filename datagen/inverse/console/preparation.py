"""What a console is fitted to: the checked audio, its most informative excerpt with stems aligned, and the best gains and pans alone.

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

EXCERPT_S, WARM_UP_S = 5.0, 0.5
CLOSED_DB = FADER_DB[0]  # a stem fitted at or below the lowest gain of a fader is not in the mixture


@dataclass(frozen=True)
class Preparation:
    """The delays of the stems in frames, why stems were left out, and the first and last frame of the excerpt."""

    lags: dict[str, int]
    left_out: dict[str, str]
    span: tuple[int, int]


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


def prepared(target: torch.Tensor, dry: Mapping[str, torch.Tensor], sample_rate: int) -> tuple[ConsoleProblem, Preparation]:
    """The excerpt to be fitted, with stems aligned and silent ones left out, and the facts about them."""
    left_out = {name: "silent" for name, audio in dry.items() if not float(audio.abs().max()) > 1e-5}
    dry = {name: audio for name, audio in dry.items() if name not in left_out}
    if not dry:
        raise _nothing(left_out)
    lags = {name: lag for name, audio in dry.items() if (lag := initial_settings.lag(target, audio, sample_rate))}
    dry = {name: shifted(audio, lags.get(name, 0)) for name, audio in dry.items()}
    first, last = excerpt(target, dry, sample_rate)
    warm_up = min(first, round(WARM_UP_S * sample_rate))
    span = slice(first - warm_up, last)
    problem = ConsoleProblem(target[:, span], {name: audio[:, span] for name, audio in dry.items()}, sample_rate, warm_up)
    return problem, Preparation(lags, left_out, (first, last))


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


def excerpt(mixture: torch.Tensor, stems: Mapping[str, torch.Tensor], sample_rate: int) -> tuple[int, int]:
    """First and last frame of the most informative excerpt: the quietest stem is loudest there, and levels vary."""
    length = round(EXCERPT_S * sample_rate)
    total = mixture.shape[-1]
    if total <= 1.25 * length:
        return 0, total
    hop = sample_rate // 2
    power = np.stack([_means(audio.square().mean(0).numpy(), hop) for audio in stems.values()])
    share = np.log10(power / np.maximum(power.max(1, keepdims=True), 1e-30) + 1e-4)
    width = max(round(length / hop), 1)
    inside = np.stack([np.convolve(row, np.ones(width) / width, "valid") for row in share])
    moving = np.stack([[row[k : k + width].std() for k in range(len(row) - width + 1)] for row in share])
    best = int(np.argmax(inside.min(0) + inside.mean(0) + 0.5 * moving.mean(0)))
    start = min(best * hop, total - length)
    return start, start + length


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
