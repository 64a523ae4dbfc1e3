"""A fitted console: the result of the search for the settings behind a mixture, and the mix that it renders.

Conventions
    Audio is [C, T], numpy or torch, float; a mix is float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects import apply_chain, fader
from stemwright.datagen.effects.settings import EffectSettings, Range
from stemwright.datagen.inverse.confidence import DETERMINED, setting_names
from stemwright.datagen.inverse.console.joint_search import BUS
from stemwright.datagen.inverse.console.recorded import recorded
from stemwright.datagen.inverse.console.shared_room import SharedRoom
from stemwright.datagen.inverse.fitted_chain import FittedChain, Use
from stemwright.manifests.pair_records import Signal

SEND = "shared room"  # its place among the names of stems in ``rows``


@dataclass(frozen=True)
class Console:
    """A chain for each stem and one for the mix bus, whose mix is closest to the mixture, with confidences.

    ``error_db`` is the residual's energy relative to the mixture's, ``loss`` the multi-resolution spectral loss; both are also given for
    the best gains and pans alone. ``lags`` are the delays of the stems in the mixture, in frames; ``left_out`` says why a stem has no
    chain. ``spans`` are the first and last frames of the excerpts that were fitted. ``send`` is the room that stems share, if one was asked
    for. ``bus_compressor_helps_db`` is by how much a compressor on the mix bus would lower the residual of a console that has none; 0 if
    not clearly. The chains hold the confidences of their settings and effects; ``rows`` lists them.
    """

    chains: dict[str, FittedChain]
    error_db: float
    gain_and_pan_error_db: float
    loss: float = math.nan
    gain_and_pan_loss: float = math.nan
    bus: FittedChain = field(default_factory=lambda: FittedChain((), 0.0))
    faders: dict[str, EffectSettings] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    spans: tuple[tuple[int, int], ...] = ()
    send: SharedRoom | None = None
    bus_compressor_helps_db: float = 0.0

    @property
    def is_gains_alone(self) -> bool:
        """Whether effects were asked for and none of them is here, since gains and pans alone are as close to the mixture or closer."""
        asked = any(chain.pruned for chain in (*self.chains.values(), self.bus))
        return asked and (self.loss, self.error_db) == (self.gain_and_pan_loss, self.gain_and_pan_error_db)

    def mix(self, stems: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """Renders the console's mix of the stems, float64 [C, T]."""
        wet = self.wet(stems, sample_rate)
        total = torch.stack(list(wet.values())).sum(0)
        if self.send is not None:
            total = total + self.send.returned(wet, sample_rate)
        return apply_chain(total, sample_rate, list(self.bus))

    def wet(self, stems: Mapping[str, Any], sample_rate: int) -> dict[str, torch.Tensor]:
        """The stems as they are in the mix, before the bus and without shared reverb, float64 [C, T]."""
        return _rendered(stems, sample_rate, {name: list(chain) for name, chain in self.chains.items()}, self.lags)

    def gain_and_pan_mix(self, stems: Mapping[str, Any], sample_rate: int) -> torch.Tensor:
        """Renders the mix of the stems with the best gains and pans alone, float64 [C, T]."""
        faders = {name: [(fader.NAME, settings)] for name, settings in self.faders.items()}
        return torch.stack(list(_rendered(stems, sample_rate, faders, self.lags).values())).sum(0)

    def signal(self, sources: Mapping[str, str], name: str = "mix") -> Signal:
        """The mix as a row of a pair has it, of the stems whose ids ``sources`` gives by name: rendered, it is the mix of the console.

        Of a shared room it has the settings, not the response (``stemwright.datagen.inverse.console.recorded``).
        """
        return recorded(self.chains, self.bus, sources, lags=self.lags, send=self.send, name=name)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each setting: stem ("" for the mix bus), effect, effect_share, setting, value, unit, confidence, determined."""
        rows = []
        for place, chain in (*self.chains.items(), (BUS, self.bus)):
            for name, (index, each) in setting_names(chain).items():
                effect, settings = chain[index]
                confidence = chain.confidence.get(name)
                rows.append(
                    {
                        "stem": place,
                        "effect": effect,
                        "effect_share": chain.effect_share[index] if chain.effect_share else None,
                        "setting": each.name,
                        "value": settings.plain()[each.name],
                        "unit": each.unit if isinstance(each, Range) else "",
                        "confidence": confidence,
                        "determined": confidence is None or confidence >= DETERMINED,
                    }
                )
        for row in self.send.rows() if self.send is not None else ():
            known = row["confidence"] is None or row["confidence"] >= DETERMINED
            rows.append({**row, "stem": row["stem"] or SEND, "effect_share": None, "determined": known})
        return rows


def shifted(audio: torch.Tensor, lag: int) -> torch.Tensor:
    """The audio [C, T] later by ``lag`` frames, earlier if it is negative, padded with silence."""
    if lag == 0:
        return audio
    moved = torch.zeros_like(audio)
    if lag > 0:
        moved[:, lag:] = audio[:, :-lag]
    else:
        moved[:, :lag] = audio[:, -lag:]
    return moved


def _rendered(
    stems: Mapping[str, Any], sample_rate: int, chains: Mapping[str, Sequence[Use]], lags: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    return {name: apply_chain(shifted(tensor(stems[name]), lags.get(name, 0)), sample_rate, chain) for name, chain in chains.items()}


def tensor(audio: Any) -> torch.Tensor:
    """Numpy or torch audio as float64 on the CPU."""
    return torch.as_tensor(np.array(audio) if isinstance(audio, np.ndarray) else audio).detach().cpu().double()
