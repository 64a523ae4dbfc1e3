"""What effects a stem seems to have gone through, its dry signal unknown: every effect that has an estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemwright.datagen.inverse import ESTIMATES, estimate
from stemwright.datagen.inverse.blind.answers import Blind
from stemwright.datagen.inverse.blind.profile import Profile, StemProfile


def estimate_effects(stem: Any, sample_rate: int, name: str, profile: Profile | StemProfile | Path | str) -> dict[str, Blind]:
    """Estimates the effects that a stem seems to have gone through, against what is typical of stems of its name.

    ``stem`` is float [C, T], numpy or torch; ``name`` says what it is, "vocals" say; ``profile`` is a ``Profile``, or the file of one,
    such as ``CORPUS/profile.parquet``. Returns {effect: answer} for eq, compressor, width and room. An answer has
    ``quantity`` (name, value, unit, and low and high of its 80 % interval; None if nothing can be said: ``reason`` says why),
    ``confidence`` (0 to 1, the probability that the quantity is right within the tolerance of the effect), and ``settings`` of an effect
    that has it, None where the effect was not found. Settings in ``derived`` have no confidence: usual ones, or chosen to give the
    quantity. Answers are relative to the profile: processing that all its songs share is not detected. Only that for room needs no profile;
    it is that of ``estimate_reverberation``. Raises ValueError for another shape or audio that is not finite, FileNotFoundError without the
    file.

    >>> import numpy, stemwright as sw
    >>> stem = numpy.random.default_rng(0).normal(0, 0.1, (2, 88_200))
    >>> answers = sw.estimate_effects(stem, 44_100, "vocals", sw.Profile([]))
    >>> answers["eq"].settings is None, answers["eq"].confidence  # a profile of no songs says nothing
    (True, 0.0)
    """
    if isinstance(profile, str | Path):
        profile = Profile.load(profile)
    typical = profile if isinstance(profile, StemProfile) else profile[name]
    audio = torch.as_tensor(np.array(stem) if isinstance(stem, np.ndarray) else stem)
    return {effect: estimate(effect, audio, sample_rate, typical) for effect in ESTIMATES}
