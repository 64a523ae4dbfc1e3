"""Running the chains of one pair: what two of them begin with alike is computed once, and what an effect does is measured.

What an effect does by itself is the difference that leaving it out makes to the output of its chain. The chain without it begins like the
chain with it, and often it is another chain of the pair: of the only removed effect it is the dry signal's. So measuring costs the effects
that follow, no more.

Conventions
    A run starts from a root, which names the audio that enters: the same root and the same chain give the same audio.
    Differences are energies in dB against the output, after the best one gain, since a level by itself is no effect; but for a fader,
    whose gain is its effect. An effect must besides change what enters it: what counts is the smaller of the two changes.
    Where the same ``loudness`` is before and after an effect, the second is left out with the effect: it would change nothing.
    Runs are kept up to KEPT_BYTES; beyond that they are computed again where they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.manifests.pair_records import Change
from stemwright.manifests.records import EffectUse, Refused
from stemwright.manifests.sound.formats import Audio

if TYPE_CHECKING:
    import torch

KEPT_BYTES = 2**28
MEASURED = ("removed", "added")  # the roles of effects that a pair is about
SOUNDS_DB = -60.0  # below the peak of what enters: what is softer says nothing about a gain
SILENT = 1e-24  # energy below which there is no signal to compare with


@dataclass(frozen=True)
class ChainRun:
    """What a chain made of its root: the audio, and the gains of its effects ``loudness`` in dB."""

    audio: torch.Tensor
    gains_db: tuple[float, ...]


@dataclass(frozen=True)
class MeasuredChange:
    """What one effect does, and the smaller of the changes that it makes to its chain's output and to what enters it."""

    change: Change
    role: str
    least_db: float


class ChainRuns:
    """The chains of one pair. ``too_soft`` becomes true where a signal was too soft to be brought to its loudness."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.too_soft = False
        self._kept: dict[Hashable, ChainRun] = {}
        self._bytes = 0

    def run(self, root: Hashable, audio: Audio, chain: Sequence[EffectUse]) -> ChainRun:
        """The audio [C, T] of a root through a chain. Raises Refused where that gives samples that are not finite."""
        import torch

        keys = [_key(use) for use in chain]
        start = next((count for count in range(len(keys), 0, -1) if (root, *keys[:count]) in self._kept), 0)
        state = self._kept[root, *keys[:start]] if start else ChainRun(torch.from_numpy(audio), ())
        for position in range(start, len(chain)):
            state = self._step(state, chain[position])
            self._keep((root, *keys[: position + 1]), state)
        if start < len(chain) and not np.isfinite(float(state.audio.sum())):
            raise Refused(f"the chain {' > '.join(use.effect for use in chain)} gave samples that are not finite")
        return state

    def _step(self, state: ChainRun, use: EffectUse) -> ChainRun:
        from stemwright.datagen.effects import EFFECTS, apply_chain

        effect: Any = EFFECTS[use.effect]
        if "normalising" not in effect.TRAITS:
            return ChainRun(apply_chain(state.audio, self.sample_rate, (use,)), state.gains_db)
        settings = effect.Settings(**cast("dict[str, Any]", use.settings))
        out, gain_db = effect.levelled(state.audio, self.sample_rate, settings)
        self.too_soft |= bool(gain_db == 0.0) and effect.is_too_soft(state.audio, self.sample_rate, settings)
        return ChainRun(out, (*state.gains_db, float(gain_db)))

    def _keep(self, key: Hashable, state: ChainRun) -> None:
        size = state.audio.numel() * state.audio.element_size()
        if self._bytes + size <= KEPT_BYTES:
            self._kept[key] = state
            self._bytes += size

    def measure(self, root: Hashable, audio: Audio, chain: Sequence[EffectUse], *, signal: str, branch: int | None) -> list[MeasuredChange]:
        """What each removed or added effect of a chain does by itself."""
        found = []
        for position, use in enumerate(chain):
            if use.role not in MEASURED:
                continue
            whole = self.run(root, audio, chain).audio.numpy()
            before, after = (self.run(root, audio, chain[:end]).audio.numpy() for end in (position, position + 1))
            without = self.run(root, audio, _without(chain, position)).audio.numpy()
            traits = EFFECTS[use.effect].TRAITS
            any_gain = "level" not in traits or "normalising" in traits  # only an intended change of level counts
            change_db = difference_db(without, whole, any_gain=any_gain)
            reduction = _reduction_db(before, after, use) if "dynamic" in traits else (None, None)
            change = Change(
                signal=signal,
                branch=branch,
                position=position,
                effect=use.effect,
                change_db=round(change_db, 2) if math.isfinite(change_db) else None,
                mean_reduction_db=reduction[0],
                most_reduction_db=reduction[1],
            )
            found.append(MeasuredChange(change, str(use.role), min(change_db, difference_db(before, after, any_gain=any_gain))))
        return found


def difference_db(without: Audio, whole: Audio, *, any_gain: bool) -> float:
    """Energy of the difference of two signals [C, T] over that of ``whole``, in dB, after the best one gain for ``without`` if any is free.

    -inf where they are equal, or ``whole`` is silent: then nothing can be heard to change.
    """
    one, other = without.ravel(), whole.ravel()
    if one.size != other.size:  # an effect made stereo of mono
        one, other = (np.ravel(each) for each in np.broadcast_arrays(without, whole))
    energy, product = float(other @ other), float(one @ one)
    if energy <= SILENT:
        return 0.0 if product > SILENT else -math.inf
    gain = float(one @ other) / product if any_gain and product > SILENT else 1.0
    error = other - np.float32(gain) * one
    left = float(error @ error) / energy
    return 10.0 * math.log10(left) if left > 0.0 else -math.inf


def _without(chain: Sequence[EffectUse], position: int) -> list[EffectUse]:
    """A chain without one effect, and without the ``loudness`` after it if the same is before it."""
    last = position + 1
    around = [_key(chain[place]) for place in (position - 1, position + 1) if 0 <= place < len(chain)]
    if len(around) == 2 and around[0] == around[1] and "normalising" in EFFECTS[chain[position + 1].effect].TRAITS:
        last += 1
    return [*chain[:position], *chain[last:]]


def _reduction_db(before: Audio, after: Audio, use: EffectUse) -> tuple[float | None, float | None]:
    """Mean and largest gain reduction in dB where what enters sounds; (None, None) in silence."""
    sound = np.abs(before)
    loud = sound > 10.0 ** (SOUNDS_DB / 20.0) * sound.max(initial=0.0)
    if not loud.any():
        return None, None
    settings = EFFECTS[use.effect].Settings(**cast("dict[str, Any]", use.settings))
    reduction = settings.final_gain_db() - 20.0 * np.log10(np.maximum(np.abs(after[loud]) / sound[loud], 1e-6))
    return round(float(reduction.mean(dtype=np.float64)), 2), round(float(reduction.max()), 2)


def _key(use: EffectUse) -> Hashable:
    return use.effect, tuple(use.settings.items())
