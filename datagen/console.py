"""Settings of a whole console from a mixture and its dry stems: the reverse engineering of a mix.

A console is fitted stem by stem, each against the mixture without the others, in turns.

Conventions
    Audio is [C, T], numpy or torch, float; stems and mixture have one shape and start together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datagen.effects import EFFECTS, apply_chain
from datagen.fit import EXCERPT_S, FittedChain, Use, _level_db, _refined, _start, _tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Console:
    """A chain for each stem, whose sum is nearest to the mixture."""

    chains: dict[str, FittedChain]
    error_db: float
    gain_and_pan_error_db: float

    def mix(self, stems: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """Renders the console's mix of the stems, float64 [C, T]."""
        return sum((apply_chain(_tensor(stems[name]), sample_rate, chain) for name, chain in self.chains.items()), start=_zero())


def fit_console(
    mixture: Any, stems: Mapping[str, Any], sample_rate: int, console: Sequence[str] | Mapping[str, Sequence[str]], *, rounds: int = 4
) -> Console:
    """A chain for each stem such that the sum of the processed stems is nearest to the mixture.

    ``console`` names the effects: one list for all stems, or one for each. A fader belongs into each chain.
    """
    limit = round(EXCERPT_S * sample_rate)
    target = _tensor(mixture)[:, :limit]
    dry = {name: _tensor(audio)[:, :limit] for name, audio in stems.items()}
    for name, audio in dry.items():
        if audio.shape != target.shape:
            raise ValueError(
                f"stem {name!r} has the shape {list(audio.shape)}, the mixture {list(target.shape)}; they must be alike and aligned"
            )
    names = {name: list(console[name] if isinstance(console, Mapping) else console) for name in dry}
    faders = _faders(target, dry)
    wet = {name: apply_chain(audio, sample_rate, [("fader", faders[name])]) for name, audio in dry.items()}
    before_db = _level_db(target - sum(wet.values(), start=_zero()), target)
    uses: dict[str, list[Use]] = {name: [("fader", faders[name])] for name in dry}
    undetermined: dict[str, tuple[str, ...]] = {}
    for turn in range(rounds):
        for name, audio in dry.items():
            rest = target - sum((other for key, other in wet.items() if key != name), start=_zero())
            if turn == 0:
                uses[name] = _start(rest, audio, sample_rate, names[name], faders[name])
            uses[name], undetermined[name] = _refined(rest, audio, sample_rate, uses[name], 5)
            wet[name] = apply_chain(audio, sample_rate, uses[name])
    error_db = _level_db(target - sum(wet.values(), start=_zero()), target)
    chains = {name: FittedChain(tuple(uses[name]), error_db, undetermined[name]) for name in dry}
    return Console(chains, error_db, before_db)


def _faders(mixture: torch.Tensor, stems: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Gain and pan of each stem, by least squares on each channel of the mixture."""
    effect: Any = EFFECTS["fader"]
    factors = []
    for channel in range(len(mixture)):
        table = np.stack([audio[channel].numpy() for audio in stems.values()])
        gram = table @ table.T
        factors.append(np.linalg.solve(gram + 1e-9 * np.trace(gram) * np.eye(len(table)), table @ mixture[channel].numpy()).clip(min=4e-3))
    found = {}
    for index, name in enumerate(stems):
        power = float(np.mean([row[index] ** 2 for row in factors]))
        pan = 4.0 / math.pi * math.atan2(factors[1][index], factors[0][index]) - 1.0 if len(factors) == 2 else 0.0
        found[name] = effect.Settings(gain_db=min(max(10.0 * math.log10(power), -48.0), 24.0), pan=pan)
    return found


def _zero() -> Any:
    import torch

    return torch.zeros(1, dtype=torch.float64)
