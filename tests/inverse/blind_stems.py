"""Stems of made songs, for profiles and for what is estimated against them."""

import numpy as np
import torch

from stemwright.datagen.effects import eq

RATE = 44_100
SONGS = 5


def stem(seed, name="other"):
    """A stereo stem: noise of a song's own colour, in bursts of its own height."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(3 * RATE) / RATE
    bursts = 10.0 ** (-rng.uniform(1.0, 1.4) * ((time_s * 2.5) % 1.0)) + rng.uniform(0.02, 0.05)
    mid, side = rng.standard_normal((2, len(time_s))) * bursts
    audio = 0.1 * np.stack([mid + 0.3 * side, mid - 0.3 * side])
    tint = eq.Settings(low_shelf_gain_db=rng.uniform(-2, 2), high_shelf_gain_db=rng.uniform(-2, 2), peak2_gain_db=rng.uniform(-2, 2))
    return eq.apply(torch.from_numpy(audio.astype(np.float32)), RATE, tint)
