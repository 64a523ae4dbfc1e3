"""Linear, time-invariant systems on a GPU: by their transfer function, where a processor runs the recursion sample by sample.

    y[n] = g^-n IDFT( H(z) DFT(g^n x[n]) ),    1/z = g exp(-2πi k / N)

A recursion in time leaves a GPU idle; a product of spectra uses all of it. Computed on the unit circle, a response longer than the
transform of N samples would wrap around onto the beginning. On a circle of radius 1/g > 1 what wraps is smaller by g^N = 10^-8, so
N need be no longer than the audio, however long the system rings, and a gradient passes through H to whatever it was computed from.

Conventions
    audio [..., C, T] -> [..., C, T] in its type and on its device; inside float64, of which the weights g^-n take eight digits: the result
    is that of the recursion to about 10^-8 of the largest sample.
    A transfer function maps ``delay(D)``, the spectrum of a delay of D samples, to the spectrum [..., 1 or C, K] of the system.

References
    Evaluation off the unit circle: Rabiner, Schafer, Rader 1969, the chirp z-transform algorithm; as "anti-wrap" in Schüssler's textbooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from scipy.fft import next_fast_len

WRAPPED = 1e-8  # what is left of a response after one turn; as large as the rounding errors that the weights raise

Delay = Callable[[torch.Tensor | int], torch.Tensor]


def through(audio: torch.Tensor, transfer: Callable[[Delay], torch.Tensor]) -> torch.Tensor:
    """Sends audio through the system of a transfer function."""
    frames = audio.shape[-1]
    size = next_fast_len(frames, real=True)
    decay = math.log(WRAPPED) / size
    weight = torch.exp(decay * torch.arange(frames, dtype=torch.float64, device=audio.device))
    exponent = torch.complex(
        torch.full((size // 2 + 1,), decay, dtype=torch.float64, device=audio.device),
        torch.arange(size // 2 + 1, dtype=torch.float64, device=audio.device) * (-2.0 * math.pi / size),
    )

    def delay(samples: torch.Tensor | int) -> torch.Tensor:
        return torch.exp(exponent * (samples[..., None] if isinstance(samples, torch.Tensor) else samples))

    spectrum = torch.fft.rfft(audio * weight, size) * transfer(delay)
    return (torch.fft.irfft(spectrum, size)[..., :frames] / weight).to(audio.dtype)


def sections_of(sections: Sequence[torch.Tensor]) -> Callable[[Delay], torch.Tensor]:
    """The transfer function of a cascade of second-order sections [..., 5], each (b0, b1, b2, a1, a2)."""

    def transfer(delay: Delay) -> torch.Tensor:
        once, twice = delay(1), delay(2)
        gain: torch.Tensor | None = None
        for section in sections:
            b0, b1, b2, a1, a2 = section.to(once.device)[..., None, None].unbind(-3)
            factor = (b0 + b1 * once + b2 * twice) / (1.0 + a1 * once + a2 * twice)
            gain = factor if gain is None else gain * factor
        assert gain is not None  # a cascade without sections is not computed
        return gain

    return transfer
