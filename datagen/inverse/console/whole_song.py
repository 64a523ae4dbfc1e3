"""What of a console is found from the whole song, after its chains: gain rides, and the room that stems share; and its errors with them.

Conventions
    Audio is a tensor [C, T], float64; stems are as given, the console moves them. Errors and losses are those of the whole song, of a long
    one those around the excerpt in which the chains were searched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss
from stemwright.datagen.inverse.console.fitted_console import Console
from stemwright.datagen.inverse.console.rides import with_rides
from stemwright.datagen.inverse.console.shared_room import shared_room
from stemwright.datagen.inverse.solver import Vector

LONG_S = 30.0

Stems = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class FittedSong:
    """A mixture and its dry stems, the filter that whitens the mixture, and what is to be found of them: a shared room, rides."""

    mixture: torch.Tensor
    stems: Stems
    sample_rate: int
    taps: Vector
    send: str = ""
    ride_s: float = 0.0

    def completed(self, console: Console) -> Console:
        """The console with its rides and its room, and what it leaves of the mixture."""
        if not (self.send or self.ride_s):
            return console
        wet = console.wet(self.stems, self.sample_rate)
        if self.ride_s:
            left = self.mixture
            if self.send:
                room = shared_room(self.mixture, wet, self.sample_rate, self.taps, confidences=False)
                left = left - room.returned(wet, self.sample_rate)
            chains = with_rides(console.chains, left, wet, self.sample_rate, self.taps, self.ride_s)
            console = replace(console, chains=chains)
            wet = console.wet(self.stems, self.sample_rate)
        if self.send:
            console = replace(console, send=shared_room(self.mixture, wet, self.sample_rate, self.taps))
        return self._measured(console)

    def _measured(self, console: Console) -> Console:
        part = self._part(console)
        target = self.mixture[:, part]
        mixes = [mix(self.stems, self.sample_rate)[:, part] for mix in (console.mix, console.gain_and_pan_mix)]
        energy = float(target.square().sum())
        errors_db = [10.0 * math.log10(float((mix - target).square().sum()) / energy + 1e-40) for mix in mixes]
        losses = [float(multi_resolution_loss(mix, target)) for mix in mixes]
        chains = {name: replace(chain, error_db=errors_db[0]) for name, chain in console.chains.items()}
        return replace(
            console,
            chains=chains,
            error_db=errors_db[0],
            gain_and_pan_error_db=errors_db[1],
            loss=losses[0],
            gain_and_pan_loss=losses[1],
        )

    def _part(self, console: Console) -> slice:
        frames, total = round(LONG_S * self.sample_rate), self.mixture.shape[-1]
        first = min(max((console.spans[0][0] + console.spans[-1][1] - frames) // 2, 0), max(total - frames, 0))
        return slice(first, min(first + frames, total))


def settings_alone_loss(console: Console, song: FittedSong) -> float:
    """The spectral loss of the console's mix with another noise in the room than the response that was found."""
    alone = replace(console, send=console.send.settings_alone() if console.send is not None else None)
    return song._measured(alone).loss
