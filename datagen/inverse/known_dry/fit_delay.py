"""The settings of a delay from a dry and a wet signal: the first strong echo of the deconvolved response, then linear regression."""

from __future__ import annotations

import torch

from stemwright.datagen.effects import delay
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair


def fit_delay(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> delay.Settings:
    """Time, feedback and mix that turn dry into wet, both [C, T].

    The time is the first strong echo of the deconvolved response; the rest is linear: wet[n] is a sum of dry[n], dry[n-D], wet[n-D].
    """
    wet, dry = pair(wet, dry)
    frames = dry.shape[-1]
    spectra = [torch.fft.rfft(audio, 2 * frames) for audio in (wet, dry)]
    power = spectra[1].abs().square().sum(0)
    response = torch.fft.irfft((spectra[0] * spectra[1].conj()).sum(0) / (power + 1e-6 * power.mean()))[:frames].abs()
    first = max(round(0.001 * sample_rate), 1)
    if frames <= first or float(response[first:].max()) < 1e-3 * float(response.max()):
        raise NotIdentifiableError("wet holds no echo of dry")
    candidates = (torch.topk(response[first:], min(8, frames - first)).indices + first).tolist()
    error, lag, direct, echo, feedback = min(_regressed(wet, dry, lag) for lag in candidates)
    if error > 0.1 * float(wet.square().sum()):
        raise NotIdentifiableError("wet is more than echoes of dry: there is another effect between them")
    # direct = 1 - mix and echo = mix - (1 - mix) feedback, up to one common gain.
    mix = (echo + direct * feedback) / (direct + echo + direct * feedback)
    found = {"delay_ms": 1000.0 * lag / sample_rate, "feedback": feedback, "mix": mix}
    return delay.Settings(**{name: range_of(delay.Settings, name).limited(value) for name, value in found.items()})


def _regressed(wet: torch.Tensor, dry: torch.Tensor, lag: int) -> tuple[float, int, float, float, float]:
    """Squared error, lag, and the weights of dry[n], dry[n - lag], wet[n - lag] that make wet[n]."""
    late = [torch.nn.functional.pad(audio, (lag, 0))[:, : audio.shape[-1]].flatten() for audio in (dry, wet)]
    table = torch.stack([dry.flatten(), *late], dim=1)
    gram = table.T @ table
    weights = torch.linalg.solve(gram + 1e-12 * gram.trace() * torch.eye(3, dtype=gram.dtype), table.T @ wet.flatten())
    error = float((table @ weights - wet.flatten()).square().sum())
    return error, lag, float(weights[0]), float(weights[1]), float(weights[2])
