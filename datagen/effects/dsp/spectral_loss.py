"""The multi-resolution STFT loss between a rendering and a target.

    per resolution   ||Y| - |X||_F / ||Y||_F  +  mean |log |X| - log |Y||
    loss             the mean over three resolutions, and over left, right, sum and difference of a stereo signal

Conventions
    Audio is [C, T], numpy or torch; X is the rendering, Y the target. Windows of 600, 1200 and 240 samples (Hann) inside transforms of
    1024, 2048 and 512, hops of 120, 240 and 50. Magnitudes are bounded below by 1e-4, logarithms natural. 0 is equal; silence against
    silence too. Differentiable in X.

References
    Yamamoto, Song, Kim 2020, Parallel WaveGAN, eq. 6 to 9, with the values that auraloss (Steinmetz and Reiss 2020) made standard.
    Steinmetz et al. 2021: the sum and the difference of the channels in addition.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch


def multi_resolution_loss(rendering: Any, target: Any) -> torch.Tensor:
    """The loss of a rendering [C, T] against a target [C, T], a scalar. Raises ValueError where their shapes differ."""
    x, y = (torch.as_tensor(audio) for audio in (rendering, target))
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"expected rendering and target of one shape [channels, time], got {list(x.shape)} and {list(y.shape)}")
    loss = loss_of_magnitudes(str(x.device))
    # One view at a time: auraloss divides the norms of a whole batch, in which a quiet view would be ignored.
    return torch.stack([loss(one[None, None], other[None, None]) for one, other in zip(_views(x), _views(y), strict=True)]).mean()


@cache
def loss_of_magnitudes(device: str = "cpu") -> Any:
    """auraloss's loss of [B, C, T] with its defaults. They do not weigh phases, which are not computed: two thirds of its time."""
    from auraloss.freq import MultiResolutionSTFTLoss

    def magnitudes(each: Any, audio: torch.Tensor) -> tuple[torch.Tensor, None]:
        spectra = torch.stft(audio, each.fft_size, each.hop_size, each.win_length, each.window, return_complex=True)
        return torch.sqrt(torch.clamp(spectra.real**2 + spectra.imag**2, min=each.eps)), None

    loss = MultiResolutionSTFTLoss().to(device)
    for each in loss.stft_losses:
        each.stft = partial(magnitudes, each)
    return loss


def _views(audio: torch.Tensor) -> torch.Tensor:
    """Left, right, sum and difference of a stereo signal; other signals as they are."""
    return torch.cat([audio, audio[:1] + audio[1:], audio[:1] - audio[1:]]) if len(audio) == 2 else audio
