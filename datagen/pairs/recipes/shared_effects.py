"""What a console has beside its strips: effects that stems share, which they are sent to, and rides of their faders.

Conventions
    A shared effect gives its own sound only, without the direct one: ``wet`` 1 and ``dry`` 0 of a reverb, ``mix`` 1 of a delay. How loud it
    is follows from the gains of the sends, which are taken after the fader.
    A ride is an ``envelope`` after the fader. Points beyond the end of the excerpt are 0.

References
    Steinmetz et al. 2021: a console whose channels, each with gain, equaliser, compressor and pan, are sent to one stereo reverb.
    DiffVox (2025): a delay and a reverb that are sent to. The ranges of the gains, and of rides, are this project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stemwright.datagen.effects.envelope import POINTS
from stemwright.datagen.pairs.drawing import Channels, Range, draw_use, effective_ranges
from stemwright.manifests.pair_records import SendBus
from stemwright.manifests.records import EffectUse

SHARED: Mapping[str, Mapping[str, Range]] = {"reverb": {"wet": 1.0, "dry": 0.0}, "delay": {"mix": 1.0}}  # effect -> what is not drawn
ALSO_CALLED = {"room": "reverb"}  # as ``fit --send`` calls it
RIDE = "envelope"


def draw_send(
    effect: str,
    ranges: Mapping[str, Range],
    gain_db: tuple[float, float],
    fed: Sequence[bool],
    shape: tuple[int, Channels],
    rng: np.random.Generator,
) -> SendBus:
    """A bus with one effect, and the gain of each branch that feeds it, one after another; ``shape`` is the rate and the channels."""
    sample_rate, channels = shape
    wanted = effective_ranges(effect, {**SHARED[effect], **ranges}, channels)
    use = draw_use(effect, wanted, sample_rate, rng, role="added")
    low, high = gain_db
    gains = tuple(round(low + rng.random() * (high - low), 2) if is_fed else None for is_fed in fed)
    return SendBus(name=effect, gains_db=gains, chain=(use,))


def draw_ride(ranges: Mapping[str, Range], num_frames: int, sample_rate: int, rng: np.random.Generator) -> EffectUse:
    """A gain ride over an excerpt."""
    use = draw_use(RIDE, ranges, sample_rate, rng, role="added")
    end_s, step_s = num_frames / sample_rate, float(use.settings["step_s"])
    beyond = {name: 0.0 for number, name in enumerate(POINTS) if (number - 1) * step_s >= end_s}
    return use.model_copy(update={"settings": {**use.settings, **beyond}})
