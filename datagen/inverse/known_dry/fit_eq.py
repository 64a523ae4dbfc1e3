"""The bands of an equaliser from a dry and a wet signal.

The response between the signals is measured, then six bands are fitted to it in dB (``band_search``), then all of them to the waveform.
Of equalisers that are as close, the one with the fewest bands is returned (``few_bands``).

Conventions
    Both signals are whitened first, so that every frequency in the dry signal has the same weight. Signals are [C, T] and aligned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import median_filter

from stemwright.datagen.effects import eq
from stemwright.datagen.effects.signal import pair
from stemwright.datagen.inverse.effect_roles import silent
from stemwright.datagen.inverse.known_dry.band_search import NAMES, MeasuredBands, fit_response, in_order, point_of, search, settings_at
from stemwright.datagen.inverse.known_dry.few_bands import band_weights, fewer_bands, fewer_bands_for
from stemwright.datagen.inverse.known_dry.response import Response, measure_response, whiten
from stemwright.datagen.inverse.known_dry.waveform import WaveformFit, fit_waveform

NEIGHBOURS = 25  # frequencies over which errors are smoothed: half an octave
CLEAN_DB = -65.0  # residual of a waveform fit below which it is more accurate than the measured response
SURE_DB = 0.02  # median error of a measured response, below which wet is taken to be nothing but dry through bands
TRIED, ITERATIONS = 2, 12  # typical equalisers, and their iterations on the waveform
EXCERPT_S = 6.0
COSTS_DB, FLOOR = 0.1, 1e-10  # of the residual, and of the energy of wet: what fewer bands may add
FAR, NEAR = 30.0, 1e-4  # times the residual, of the energy of wet: a simpler response that would leave more is not tried on the waveform
DOUBT = 16.0  # chi squared that one band is worth: three numbers, by the Bayesian information criterion of 200 points


def fit_equaliser(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> eq.Settings:
    """The fewest bands, at most six, that turn dry into wet."""
    flat_wet, flat_dry = whiten(*pair(wet, dry))
    measured = measure_response(flat_wet, flat_dry, sample_rate)
    start = fit_response(measured, sample_rate)
    frames = round(EXCERPT_S * sample_rate)
    flat_wet, flat_dry = flat_wet[:, :frames], flat_dry[:, :frames]
    fit = fit_waveform(eq.apply, flat_wet, flat_dry, sample_rate, start, NAMES, iterations=6)
    if fit.error_db > CLEAN_DB and float(np.median(measured.error_db)) < SURE_DB:
        # Nothing else is in wet: the bands are in a local minimum, of which typical ones have fewer.
        points, _ = search(MeasuredBands(measured, sample_rate, typical=True), np.random.default_rng(0))
        others = (settings_at(point, sample_rate) for point in points[:TRIED])
        fits = [fit_waveform(eq.apply, flat_wet, flat_dry, sample_rate, other, NAMES, iterations=ITERATIONS) for other in others]
        fit = min([fit, *fits], key=lambda each: each.error_db)
    if fit.error_db > CLEAN_DB and _error(measured, start, sample_rate) < _error(measured, fit.settings, sample_rate):
        # Something else is in wet, or the bands are in a local minimum: the response in dB then is a better criterion than the waveform.
        return _simplest_response(measured, start, sample_rate)
    return in_order(_with_fewest_bands(flat_wet, flat_dry, sample_rate, fit).settings)


def _with_fewest_bands(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, fit: WaveformFit[eq.Settings]) -> WaveformFit[eq.Settings]:
    """The fit with the fewest bands that is as close, on whitened signals."""
    now = 10.0 ** (fit.error_db / 10.0)
    allowed = now * (10.0 ** (COSTS_DB / 10.0) - 1.0) + FLOOR
    hz, weight = band_weights(wet.numpy(), float(wet.square().sum()), sample_rate)
    for candidates in fewer_bands(fit.settings, hz, weight, sample_rate, level_free=False):
        best = candidates[0]
        if best.left < FAR * (now + allowed) + NEAR:
            names = [name for name in NAMES if name not in silent(eq.NAME, best.settings)]
            found = fit_waveform(eq.apply, wet, dry, sample_rate, best.settings, names, iterations=6) if names else None
            error_db = found.error_db if found else 10.0 * float(((dry - wet).square().sum() / wet.square().sum()).log10())
            if 10.0 ** (error_db / 10.0) < now + allowed:
                return found or WaveformFit(best.settings, error_db, {})
    return fit


def _simplest_response(measured: Response, settings: eq.Settings, sample_rate: int) -> eq.Settings:
    """The fewest bands that a measured response calls for, by its standard errors."""
    # The error of a frequency of which there are few samples is itself a chance; noise hardly varies between neighbours.
    smooth_db = np.maximum(measured.error_db, median_filter(measured.error_db, NEIGHBOURS, mode="nearest"))
    goal = MeasuredBands(replace(measured, error_db=smooth_db), sample_rate)

    def chi_squared(of: eq.Settings) -> float:
        return float((goal.linearised(point_of(of)[None])[0] ** 2).sum()) * goal.precision

    worst = chi_squared(settings)
    # Where not even six bands explain the response, its errors are larger than they seem.
    doubt = DOUBT * max(worst / max(len(goal.hz) - len(NAMES), 1), 1.0)
    for count, candidates in enumerate(fewer_bands_for(goal.target_db, goal.hz, goal.weight**2, sample_rate, most=len(eq.BANDS))):
        if chi_squared(candidates[0].settings) < worst + doubt * (len(eq.BANDS) - count):
            return candidates[0].settings
    return settings


def _error(measured: Response, settings: eq.Settings, sample_rate: int) -> float:
    """Squared error of settings against a measured response."""
    miss, _ = MeasuredBands(measured, sample_rate).linearised(point_of(settings)[None])
    return float((miss**2).sum())
