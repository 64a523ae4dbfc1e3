"""The confidence of a fitted setting: the probability that it is within its tolerance of the true one.

    fits        confidence = P(|noise| <= t) P(|model error| <= t) = erf(t / (s sqrt 2)) (2 / pi) arctan(t / (0.8 d))
    estimates   see ``stemwright.datagen.inverse.blind.conformal``: by the errors of songs left out

s is the standard error, from the residual as it is (``standard_errors``): noise and other sound. d is what a wrong model does: how far the
setting is from those that single excerpts of the same audio call for, rms (``differences_of_excerpts``). Where the mix was made with these
very effects d vanishes with the residual. A model error is often small and sometimes large: a Cauchy distribution. Its width 0.8 d was
chosen on consoles with effects of other makes, where a normal distribution, any factor of the residual's level, and blocks of other lengths
said less well which settings were wrong (``benchmarks/foreign_consoles.py``).

Conventions
    Errors are in parts of a setting's range along its scale, ``t`` is the tolerance that the effect states, on the same scale
    (``Range.unit_tolerance``). A setting below DETERMINED is undetermined. The seed of a noise has a confidence of 0.
    A caller who knows more of a model error gives its standard deviation by name ("compressor.ratio"); it adds to the standard error.

References
    White 1980; Liang and Zeger 1986: standard errors from the scores of blocks, valid for residuals that are neither white nor stationary.
    Künsch 1989: blocks of time as what is resampled.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, EffectSettings, Range, fields

DETERMINED = 0.5  # the confidence of a setting that is as likely within its tolerance as not
INTERVAL = 0.8  # the probability of the interval of an estimate
EXCERPTS = 6  # of the audio, in which settings are found by themselves
SHARED = 0.3  # of what an excerpt knows: the weight of all others, for settings that it does not determine
BLOCKS = 256  # of the residual: some 10 ms of a few seconds, beyond which a whitened residual is uncorrelated

WIDTH = 0.8  # of the distribution of model errors against the differences of excerpts

Errors = Mapping[tuple[int, str], float]  # of a chain: place of the effect, name of the setting -> standard error, or difference
NO_ERRORS: Errors = MappingProxyType({})


def confidence_of(setting: Range, standard_error: float, model_error: float = 0.0, difference: float = 0.0) -> float:
    """The probability that a setting is within its tolerance, for errors in parts of its range; infinite errors give 0.

    ``difference`` is that between excerpts, the others are standard deviations.
    """
    spread, far = math.hypot(standard_error, model_error), WIDTH * difference
    if not (math.isfinite(spread) and math.isfinite(far)):
        return 0.0
    noise = math.erf(setting.unit_tolerance / (math.sqrt(2.0) * spread)) if spread else 1.0
    return noise * (2.0 / math.pi * math.atan(setting.unit_tolerance / far) if far else 1.0)


def half_interval(expected_error: float) -> float:
    """Half the width of an interval of probability ``INTERVAL``, for errors with a Laplace distribution of this mean size."""
    return -expected_error * math.log(1.0 - INTERVAL)


def confidences(
    uses: Sequence[tuple[str, EffectSettings]], errors: Errors, model_errors: Mapping[str, float], differences: Errors = NO_ERRORS
) -> dict[str, float]:
    """The confidence of each setting of a chain that was searched, by the name that ``setting_names`` gives it.

    ``errors`` are standard errors, ``differences`` those between excerpts.
    """
    found = {}
    for name, (place, field) in setting_names(uses).items():
        if "stochastic" in EFFECTS[uses[place][0]].TRAITS and field.name == "seed":
            found[name] = 0.0
        elif isinstance(field, Range) and (place, field.name) in errors:
            model_error = model_errors.get(name, model_errors.get(f"{uses[place][0]}.{field.name}", 0.0))
            key = (place, field.name)
            found[name] = confidence_of(field, errors[key], model_error, differences.get(key, 0.0))
    return found


def setting_names(uses: Sequence[tuple[str, EffectSettings]]) -> dict[str, tuple[int, Range | Choice]]:
    """The settings of a chain by name, each with its place and field: "eq.peak1_hz", of a second equaliser "eq#2.peak1_hz"."""
    names: dict[str, tuple[int, Range | Choice]] = {}
    for place, (effect, settings) in enumerate(uses):
        count = sum(name == effect for name, _ in uses[: place + 1])
        use = effect if count == 1 else f"{effect}#{count}"
        names |= {f"{use}.{field.name}": (place, field) for field in fields(type(settings)).values()}
    return names


def standard_errors(
    table: NDArray[np.floating], miss: NDArray[np.floating], inverse: NDArray[np.float64], channels: int
) -> NDArray[np.float64]:
    """Standard errors [P] of a least-squares fit from its Jacobian [P, M], its residual [M] and the inverse of J'J.

    The residual [M] is that of ``channels`` signals one after another. Its blocks are taken to be independent, all channels of a block
    together: the residual may be coloured, vary over time, and be correlated across channels.
    """
    count = len(table)
    frames = len(miss) // channels
    edges = np.linspace(0, frames, min(BLOCKS, frames) + 1).round().astype(int)[:-1]
    scores = np.zeros((count, len(edges)))
    for channel in range(channels):
        part = slice(channel * frames, (channel + 1) * frames)
        scores += np.stack([np.add.reduceat(row[part] * miss[part], edges) for row in table])
    # Unknowns take up some of what the residual would be: that many degrees of freedom are lost.
    free = max(len(edges) - count, len(edges) / 4.0)
    half = inverse @ scores
    return np.asarray(np.sqrt((half**2).sum(1) * len(edges) / free))


def differences_of_excerpts(
    table: NDArray[np.floating], miss: NDArray[np.floating], matrix: NDArray[np.float64], channels: int
) -> NDArray[np.float64]:
    """How far settings that are found in single excerpts are from those that are found in all, rms [P], by one step of least squares.

    The Jacobian is [P, M], the residual [M] that of ``channels`` signals one after another, ``matrix`` J'J. Settings of a wrong model
    differ between excerpts by more than noise explains, however long the audio is.
    """
    frames = len(miss) // channels
    edges = np.linspace(0, frames, EXCERPTS + 1).round().astype(int)
    scale = 1.0 / np.sqrt(np.diag(matrix).clip(min=1e-300))
    total = np.zeros(len(table))
    for first, last in itertools.pairwise(edges):
        spans = [slice(channel * frames + first, channel * frames + last) for channel in range(channels)]
        slopes = np.concatenate([table[:, span] for span in spans], 1)
        score = slopes @ np.concatenate([miss[span] for span in spans]).astype(slopes.dtype)
        known = (slopes @ slopes.T).astype(float) + SHARED / EXCERPTS * matrix
        total += (scale * np.linalg.lstsq(known * np.outer(scale, scale), scale * score, rcond=1e-9)[0]) ** 2
    return np.asarray(np.sqrt(total / EXCERPTS))
