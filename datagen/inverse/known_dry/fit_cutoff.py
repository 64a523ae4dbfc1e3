"""The settings of a low-pass or high-pass from a dry and a wet signal: the ratio of their spectra, then the waveform."""

from __future__ import annotations

import torch

from stemwright.datagen.effects import highpass, lowpass
from stemwright.datagen.effects.signal import pair
from stemwright.datagen.inverse.known_dry.response import fit_cutoff
from stemwright.datagen.inverse.known_dry.waveform import fit_waveform


def fit_lowpass(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> lowpass.Settings:
    """Cutoff and order of the low-pass that turns dry into wet, both [C, T]."""
    cutoff_hz, order = fit_cutoff(wet, dry, sample_rate, high=False)
    start = lowpass.Settings(cutoff_hz=cutoff_hz, order=order)
    return fit_waveform(lowpass.apply, *pair(wet, dry), sample_rate, start, ["cutoff_hz"]).settings


def fit_highpass(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> highpass.Settings:
    """Cutoff and order of the high-pass that turns dry into wet, both [C, T]."""
    cutoff_hz, order = fit_cutoff(wet, dry, sample_rate, high=True)
    start = highpass.Settings(cutoff_hz=cutoff_hz, order=order)
    return fit_waveform(highpass.apply, *pair(wet, dry), sample_rate, start, ["cutoff_hz"]).settings
