"""A gain ride: volume automation, linear in dB between evenly spaced points.

    y(t) = 10^(g(t) / 20) x(t),    g(k step_s) = gain_{k+1}_db,  linear between two points, and beyond the last one as there

Conventions
    Time 0 is the start of the excerpt, where the gain is ``gain_01_db``; ``gain_02_db`` is that at ``step_s``, and so on to the 32nd. All
    channels share the gain. A point beyond the end of the excerpt sets the slope towards it if its forerunner is within, else nothing.
    0 everywhere changes nothing, whatever the step.
    The points are settings of their own, evenly spaced, rather than a list of (time, gain): each is a number with a range, a unit and a
    slot of a label vector, the vector has one length however long the ride is, a row reads as a table does (its name says which point it
    is), and the gain is linear in them, so that they are found by least squares. 32 points at 10 s hold a song of five minutes.

References
    Fader automation of a mixing console with linear interpolation between breakpoints. The gain is linear in dB, as a fader's scale is
    printed. The range is that of ``fader``.
"""

from __future__ import annotations

import math

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE, FADER_DB, TIME_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked
from stemwright.datagen.effects.traits import Trait

NAME = "envelope"
TRAITS: frozenset[Trait] = frozenset({"linear"})

POINTS = tuple(f"gain_{number:02}_db" for number in range(1, 33))  # the settings that are points, in order of time
TYPICAL = {"step_s": (0.5, 10.0), **dict.fromkeys(POINTS, (-6.0, 6.0))}


def _point(number: int) -> float:
    place = "at the start" if number == 1 else f"at {number - 1} steps"
    gain_db: float = setting(0.0, low=FADER_DB[0], high=FADER_DB[1], unit="dB", tolerance=DB_TOLERANCE, description=f"gain {place}")
    return gain_db


class Settings(EffectSettings):
    """The distance of the points, and the gain at each."""

    step_s: float = setting(
        1.0, low=0.01, high=60.0, unit="s", scale="log", tolerance=TIME_TOLERANCE, description="time from one point to the next"
    )
    gain_01_db: float = _point(1)
    gain_02_db: float = _point(2)
    gain_03_db: float = _point(3)
    gain_04_db: float = _point(4)
    gain_05_db: float = _point(5)
    gain_06_db: float = _point(6)
    gain_07_db: float = _point(7)
    gain_08_db: float = _point(8)
    gain_09_db: float = _point(9)
    gain_10_db: float = _point(10)
    gain_11_db: float = _point(11)
    gain_12_db: float = _point(12)
    gain_13_db: float = _point(13)
    gain_14_db: float = _point(14)
    gain_15_db: float = _point(15)
    gain_16_db: float = _point(16)
    gain_17_db: float = _point(17)
    gain_18_db: float = _point(18)
    gain_19_db: float = _point(19)
    gain_20_db: float = _point(20)
    gain_21_db: float = _point(21)
    gain_22_db: float = _point(22)
    gain_23_db: float = _point(23)
    gain_24_db: float = _point(24)
    gain_25_db: float = _point(25)
    gain_26_db: float = _point(26)
    gain_27_db: float = _point(27)
    gain_28_db: float = _point(28)
    gain_29_db: float = _point(29)
    gain_30_db: float = _point(30)
    gain_31_db: float = _point(31)
    gain_32_db: float = _point(32)


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with the gain ride."""
    return checked(audio, sample_rate) * _factors(audio, sample_rate, settings)


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``: divides by the gain, which is never 0."""
    return checked(audio, sample_rate) / _factors(audio, sample_rate, settings)


def _factors(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """What each sample is multiplied by: [..., 1, T]."""
    values = [getattr(settings, name) for name in ("step_s", *POINTS)]
    numbers = [torch.as_tensor(value, dtype=torch.float64, device=audio.device) for value in values]
    step_s, *points = torch.broadcast_tensors(*numbers)
    # In float64: the place of a sample late in a song is not a float32.
    place = torch.arange(audio.shape[-1], dtype=torch.float64, device=audio.device) / (sample_rate * step_s[..., None])
    place = place.clamp(max=len(points) - 1.0)
    left = place.detach().long().clamp(max=len(points) - 2)
    gains_db = torch.stack(points, dim=-1)
    before, after = gains_db.gather(-1, left), gains_db.gather(-1, left + 1)
    gain_db = before + (place - left) * (after - before)
    return (gain_db * (math.log(10.0) / 20.0)).exp().to(audio.dtype)[..., None, :]
