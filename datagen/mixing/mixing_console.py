"""A differentiable console: a strip of equaliser, compressor and fader for each track, and one room that all are sent to.

    track -> eq -> compressor -> fader (gain, pan) -> mix
                                       \\-> send -> room (shared) -> mix

Conventions
    Tracks are float [B, N, 2, T], each at the loudness that the network hears (``mixer_network.LISTENING_LUFS``), so that a threshold means
    the same on every song. Controls are one number each, 0 where a setting starts. Every effect is the project's own, with gradients for
    each setting; nothing is computed twice. A masked track is silent. The mix is [B, 2, T].

References
    Steinmetz et al. 2021, differentiable mixing console: equaliser, compressor, reverberation by a send, gain and pan of each track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.deferred import torch

if TYPE_CHECKING:
    from stemwright.datagen.mixing.mixer_network import MixerNetwork

OF_FADER = ("gain_db", "pan")


@dataclass(frozen=True)
class Control:
    """A setting that one number moves: from ``start`` by at most ``reach``, or, if ``octaves``, by so many octaves either way."""

    effect: str
    setting: str
    start: float
    reach: float
    octaves: bool = False

    def value(self, number: torch.Tensor) -> torch.Tensor:
        """The setting."""
        moved = self.reach * torch.tanh(number)
        return self.start * 2.0**moved if self.octaves else self.start + moved


STRIP = (
    Control("eq", "low_shelf_gain_db", 0.0, 12.0),
    Control("eq", "low_shelf_hz", 150.0, 1.5, octaves=True),
    Control("eq", "peak2_gain_db", 0.0, 12.0),
    Control("eq", "peak2_hz", 1000.0, 1.5, octaves=True),
    Control("eq", "high_shelf_gain_db", 0.0, 12.0),
    Control("eq", "high_shelf_hz", 4000.0, 1.0, octaves=True),
    Control("compressor", "threshold_db", -24.0, 12.0),
    Control("compressor", "ratio", 2.0, 1.0, octaves=True),
    Control("compressor", "attack_ms", 10.0, 2.0, octaves=True),
    Control("compressor", "release_ms", 150.0, 2.0, octaves=True),
)
SEND = Control("room", "send_db", -24.0, 24.0)
SHARED = (Control("room", "rt60_s", 0.8, 1.5, octaves=True), Control("room", "damping", 0.8, 0.8))
NUM_CONTROLS, NUM_SHARED = len(OF_FADER) + len(STRIP) + 1, len(SHARED)
ROOM_SEED = 0


@dataclass(frozen=True)
class MixerSettings:
    """What is set: strips [B, N] by effect and setting, the gains into the room [B, N] in dB, and the settings of the room [B]."""

    strips: dict[str, dict[str, torch.Tensor]]
    sends_db: torch.Tensor
    room: dict[str, torch.Tensor]


def settings_of(
    network: MixerNetwork, heard: torch.Tensor, kinds: torch.Tensor | None = None, mask: torch.Tensor | None = None
) -> MixerSettings:
    """What a network with NUM_CONTROLS and NUM_SHARED controls sets for tracks that it hears [B, N, bands, frames]."""
    strips, shared = network.controls(heard, mask)
    gains_db, pans = network.gains_and_pans(strips, kinds)
    found: dict[str, dict[str, torch.Tensor]] = {"eq": {}, "compressor": {}, "fader": {"gain_db": gains_db, "pan": pans}}
    for control, number in zip(STRIP, strips[..., len(OF_FADER) : -1].unbind(-1), strict=True):
        found[control.effect][control.setting] = control.value(number)
    room = {control.setting: control.value(number) for control, number in zip(SHARED, shared.unbind(-1), strict=True)}
    return MixerSettings(found, SEND.value(strips[..., -1]), room)


def rendered(tracks: torch.Tensor, sample_rate: int, settings: MixerSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """The mix [B, 2, T] and what is in it of each track before the room [B, N, 2, T]."""
    wet = tracks
    for name, values in settings.strips.items():
        wet = _through(name, wet, sample_rate, values)
    gains = 10.0 ** (settings.sends_db / 20.0)
    sent = (wet * gains[..., None, None]).sum(1)
    room = _through("room", sent, sample_rate, {**settings.room, "wet_db": 0.0, "seed": float(ROOM_SEED)})
    return wet.sum(1) + (room - sent), wet


def _through(name: str, audio: torch.Tensor, sample_rate: int, values: dict[str, Any]) -> torch.Tensor:
    effect = EFFECTS[name]
    wet: torch.Tensor = effect.apply(audio, sample_rate, effect.Settings(**values))
    return wet
