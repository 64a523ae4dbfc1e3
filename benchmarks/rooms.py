"""Rooms of several makes, as impulse responses: those of ``stemwright.datagen.evaluate.known_rooms``, and pedalboard's.

freeverb   combs and all-passes (pedalboard's Reverb)
"""

from __future__ import annotations

import numpy as np

from stemwright.datagen.evaluate import known_rooms
from stemwright.datagen.evaluate.known_rooms import RT60_S, WET_DB, Room, through, with_direct

__all__ = ["RT60_S", "WET_DB", "Room", "draw_room", "through"]


def freeverb(rng: np.random.Generator, sample_rate: int, rt60_s: float, wet_db: float) -> np.ndarray:
    """The response of pedalboard's Reverb; its size is drawn, since it knows no time."""
    import pedalboard

    del rt60_s

    plugin = pedalboard.Reverb(
        room_size=float(rng.uniform(0.0, 0.95)),
        damping=float(rng.uniform(0.0, 1.0)),
        wet_level=1.0,
        dry_level=0.0,
        width=float(rng.uniform(0.3, 1.0)),
    )
    impulse = np.zeros((2, 8 * sample_rate), np.float32)
    impulse[:, 0] = 1.0
    return with_direct(np.array(plugin(impulse, sample_rate), np.float64), wet_db)


def draw_room(
    make: str,
    rng: np.random.Generator,
    sample_rate: int,
    *,
    rt60_s: tuple[float, float] = RT60_S,
    wet_db: tuple[float, float] = WET_DB,
) -> Room:
    """A room of a make, pedalboard's included, whose reverberation time is in the range, or nearly."""
    respond = freeverb if make == "freeverb" else known_rooms.MAKES[make]
    return known_rooms.draw_response(respond, rng, sample_rate, rt60_s=rt60_s, wet_db=wet_db)
