"""The confidence of a fitted setting: the probability that it is within its tolerance of the true one.

    fits        confidence = P(|error| <= t) = erf(t / (s sqrt 2)),   s^2 = standard error^2 + model error^2
    estimates   confidence = P(|error| <= t) = 1 - exp(-t / m),       m the mean absolute error measured on songs left out

An estimate's errors are those of many songs, of which some are far off: a Laplace distribution. They are of the main quantity of an
effect in dB, whose tolerance ``stemwright.datagen.inverse.blind.estimators`` states.

Without model errors the confidence of a fit covers noise only. It is right where the mixture was made with these very effects, as rendered
pairs are, and too high where a console of other makes was used: an effect of another construction differs from ours by more than noise.

Conventions
    Errors are in parts of a setting's range along its scale, ``t`` is the tolerance that the effect states, on the same scale
    (``Range.unit_tolerance``). A setting below DETERMINED is undetermined. The seed of a noise has a confidence of 0.
    The standard error is that of the search, from the residual as it is (``standard_errors``): it covers noise and other sound,
    but not effects other than those that are fitted. That is the model error: a caller gives its standard deviation for each setting
    by name ("compressor.ratio"); by default there is none.

References
    White 1980; Liang and Zeger 1986: standard errors from the scores of blocks, valid for residuals that are neither white nor stationary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, EffectSettings, Range, fields

DETERMINED = 0.5  # the confidence of a setting that is as likely within its tolerance as not
BLOCKS = 256  # of the residual: some 10 ms of a few seconds, beyond which a whitened residual is uncorrelated

Errors = Mapping[tuple[int, str], float]  # of a chain: place of the effect, name of the setting -> standard error


def confidence_of(setting: Range, standard_error: float, model_error: float = 0.0) -> float:
    """The probability that a setting is within its tolerance, for errors in parts of its range; infinite errors give 0."""
    spread = math.hypot(standard_error, model_error)
    if spread == 0.0:
        return 1.0
    return math.erf(setting.unit_tolerance / (math.sqrt(2.0) * spread)) if math.isfinite(spread) else 0.0


def confidence_of_estimate(tolerance: float, expected_error: float) -> float:
    """The probability that an estimate is within a tolerance, for errors with a Laplace distribution of this mean size, in one unit."""
    return 1.0 - math.exp(-tolerance / max(expected_error, 1e-9))


def confidences(uses: Sequence[tuple[str, EffectSettings]], errors: Errors, model_errors: Mapping[str, float]) -> dict[str, float]:
    """The confidence of each setting of a chain that was searched, by the name that ``setting_names`` gives it."""
    found = {}
    for name, (place, field) in setting_names(uses).items():
        if "stochastic" in EFFECTS[uses[place][0]].TRAITS and field.name == "seed":
            found[name] = 0.0
        elif isinstance(field, Range) and (place, field.name) in errors:
            model_error = model_errors.get(name, model_errors.get(f"{uses[place][0]}.{field.name}", 0.0))
            found[name] = confidence_of(field, errors[place, field.name], model_error)
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
