"""The impulse response of one reverb that several stems are sent to, and how much of each is, by least squares on the waveform.

    model     r_c = h_c * u_c,    u = Σ_s g_s w_s       r: what is left of the mixture after the direct sounds w_s of the stems
    minimum   |W (r - h * u)|² / σ² + Σ_t h(t)² / v(t),    v(t) = v_0 10^(-6 t / T)

The response and the gains are found in turns: h by conjugate gradients with convolutions by FFT, g by non-negative least squares. The prior
v is a decay: it lets a few seconds of music determine a response of the same length. Its T and v_0 follow the response that was found
(``decay_of``), σ² follows the residual.

Conventions
    Audio is float [C, T]; W is the filter that whitens the mixture. A reverb either has one response for each channel (``Feed.EACH``) or is
    fed with the mean of the channels, as Freeverb is (``Feed.MEAN``); that with the smaller residual is taken. The energy of the response,
    mean over its channels, is 1: the gains say how much reverberation there is against the direct sound.

References
    Colonel and Reiss 2021: a stereo bus reverb in the reverse engineering of a mix. Moorer 1979; Polack 1988: decaying noise.
    Benichoux, Vincent, Gribonval 2013: decaying priors for room responses.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.optimize import nnls
from scipy.signal import lfilter

from stemwright.datagen.effects import room
from stemwright.datagen.inverse.console.rooms import HOP_S, ITERATIONS, START, maximum_likelihood, power
from stemwright.datagen.inverse.solver import Vector

LONGEST_S = 4.0
START_S = 1.0  # first T of the prior
LENGTH = 0.75  # of T: a response ends at -45 dB
TURNS = 8
STEPS = 15  # of conjugate gradients in a turn, each from the last response
LEAST = 1e-6  # of the residual's energy: the least noise
TURN_ITERATIONS = 20  # of the search for the room in a turn, each from the last room
LEAST_S = 0.4  # of T: echoes within it are found, too
MIDDLE_HZ = 1000.0
FURTHER, FARTHEST, MOST_CHANGE = 3.0, 6.0, 0.4  # a change of a gain is multiplied by so much; as a logarithm, before that, it is limited
ONSET_S, BEGUN, LATEST_MS = 0.001, 0.2, 200.0


class Feed(enum.Enum):
    """What a reverb is fed with: each channel for itself, or their mean."""

    EACH = "each"
    MEAN = "mean"

    def of(self, audio: torch.Tensor) -> torch.Tensor:
        """What reaches the reverb of audio [C, T]: each channel, or in each channel their mean; [C, T]."""
        return audio if self is Feed.EACH else audio.mean(0, keepdim=True).expand_as(audio)


@dataclass(frozen=True)
class Reverberation:
    """A response [C, L] of energy 1, the linear gain of each stem into it [S], and what it leaves of the whitened residual's energy."""

    response: Vector
    gains: Vector
    feed: Feed
    left: float
    settings: room.Settings

    def returned(self, wet: Sequence[torch.Tensor]) -> torch.Tensor:
        """What the reverb adds to the mix of the stems [C, T], float64 [C, T]."""
        return convolved(self.fed(wet), torch.from_numpy(self.response))

    def fed(self, wet: Sequence[torch.Tensor]) -> torch.Tensor:
        """What the reverb is fed with, of the stems [C, T]."""
        return self.feed.of(_sum(wet, self.gains))


@dataclass(frozen=True)
class DecayPrior:
    """Decay time T in seconds and the variance v_0 at the start, each sample."""

    rt60_s: float
    variance: float

    @classmethod
    def of(cls, rt60_s: float, energy: float, sample_rate: int) -> DecayPrior:
        """That of a response with so much energy: a sum of v_0 10^(-6 t / T)."""
        return cls(rt60_s, energy * 6.0 * math.log(10.0) / (rt60_s * sample_rate))

    def spread(self, frames: int, sample_rate: int) -> torch.Tensor:
        """Standard deviations [L]."""
        time_s = torch.arange(frames, dtype=torch.float32) / sample_rate
        return math.sqrt(self.variance) * torch.exp(-3.0 * math.log(10.0) * time_s / self.rt60_s)


def convolved(audio: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Audio [C, T] through a response [C, L], cut to the length of the audio."""
    frames = audio.shape[-1]
    response = response[..., :frames].to(audio)
    size = int(next_fast_len(frames + response.shape[-1] - 1, real=True))
    return torch.fft.irfft(torch.fft.rfft(audio, size) * torch.fft.rfft(response, size), size)[..., :frames]


def reverberation(left: torch.Tensor, wet: Sequence[torch.Tensor], sample_rate: int, taps: Vector) -> Reverberation:
    """The reverb that explains most of ``left`` [C, T] from the direct sounds of stems [C, T]."""
    goal = _white(left, taps)
    found = []
    for feed in Feed if len(left) == 2 else [Feed.EACH]:
        fed = [feed.of(audio) for audio in wet]
        found.append(_found(goal, [_white(audio, taps) for audio in fed], (left, fed), sample_rate, feed))
    return min(found, key=lambda each: each.left)


def _found(
    goal: torch.Tensor, wet: Sequence[torch.Tensor], audible: tuple[torch.Tensor, Sequence[torch.Tensor]], sample_rate: int, feed: Feed
) -> Reverberation:
    """By turns: the response for the gains, the gains for the response, the room that is most likely for the prior."""
    energy = max(float(goal.square().sum()), 1e-30)
    gains, reach, last = np.ones(len(wet)), np.full(len(wet), FURTHER), np.zeros(len(wet))
    noise = 0.5 * energy / goal.numel()
    prior = DecayPrior.of(START_S, energy / max(float(_sum(wet, gains).square().sum()), 1e-30), sample_rate)
    response, settings, left = None, START, 1.0
    for turn in range(TURNS):
        if turn:
            settings = most_likely_room(audible[0], audible[1], gains, sample_rate, near=settings, iterations=TURN_ITERATIONS)
            prior = DecayPrior.of(max(_middle_s(settings), LEAST_S), 10.0 ** (settings.wet_db / 10.0), sample_rate)
        frames = min(round(LENGTH * min(prior.rt60_s, LONGEST_S) * sample_rate), goal.shape[-1])
        fed = _sum(wet, gains)
        response = _response(goal, fed, prior.spread(frames, sample_rate), noise, response)
        parts = [convolved(audio, response) for audio in wet]
        ratios = _gains(goal, parts)
        left = float((goal - _sum(parts, ratios)).square().sum()) / energy
        unit = max(float(ratios @ gains) / max(float(gains @ gains), 1e-30), 1e-9)
        response, moved = response * unit, ratios / unit
        change = _change(gains, moved)
        reach = np.where(change * last > 0.0, np.minimum(1.6 * reach, FARTHEST), 1.0) if turn > 1 else reach
        gains, last = (gains * np.exp(change * reach), change) if turn + 1 < TURNS else (moved, change)
        noise = max(left, LEAST) * energy / goal.numel()
    assert response is not None
    settings = most_likely_room(audible[0], audible[1], gains, sample_rate, near=settings)
    level = 10.0 ** (settings.wet_db / 20.0)
    response = (response / level).double()
    settings = settings.model_copy(update={"wet_db": 0.0, "pre_delay_ms": _onset_ms(response, sample_rate, settings.pre_delay_ms)})
    return Reverberation(response.numpy(), gains * level, feed, left, settings)


def _change(before: Vector, after: Vector) -> Vector:
    """The change of gains, as a logarithm. Turns approach the gains slowly: one that keeps its direction is multiplied."""
    least = 1e-3 * max(after.max(), 1e-9)
    return np.asarray(np.clip(np.log(np.maximum(after, least) / np.maximum(before, least)), -MOST_CHANGE, MOST_CHANGE))


def _onset_ms(response: torch.Tensor, sample_rate: int, near_ms: float) -> float:
    """When a response [C, L] begins, from its own powers, whose frames are shorter than those of the mixture.

    Searched only within a frame of ``near_ms``: what is earlier are errors of the direct sound.
    """
    slot = max(round(ONSET_S * sample_rate), 1)
    count = response.shape[-1] // slot
    power = response[:, : count * slot].reshape(len(response), count, slot).square().mean((0, 2))
    edges = [min(max((near_ms / 1000.0 + sign * HOP_S) * sample_rate / slot, 0.0), count - 1.0) for sign in (-1.0, 1.0)]
    first, last = math.ceil(edges[0]), math.ceil(edges[1])
    begun = power[first:] > BEGUN * power[first:].max()
    return min(1000.0 * min(first + int(begun.int().argmax()), last) * slot / sample_rate, LATEST_MS)


def gains_in(found: Reverberation, left: torch.Tensor, wet: Sequence[torch.Tensor], taps: Vector, part: slice) -> Vector:
    """The gains that a part of the music calls for, with the same response."""
    response = torch.from_numpy(found.response).float()
    parts = [convolved(_white(found.feed.of(audio), taps), response)[:, part] for audio in wet]
    return _gains(_white(left, taps)[:, part], parts)


def most_likely_room(
    left: torch.Tensor,
    wet: Sequence[torch.Tensor],
    gains: Vector,
    sample_rate: int,
    *,
    near: room.Settings = START,
    iterations: int = ITERATIONS,
) -> room.Settings:
    """The room of which the reverberation of stems [C, T], sent with these gains, has the powers of ``left`` [C, T]."""
    fed, direct = power(_sum(wet, gains), sample_rate), power(_sum(wet, np.ones(len(wet))), sample_rate)
    found = maximum_likelihood(power(left, sample_rate), {"": fed}, direct, sample_rate / 2.0, near={"": near}, iterations=iterations)
    return found[""]


def _middle_s(settings: room.Settings) -> float:
    """The decay of middle frequencies."""
    return settings.rt60_s / (1.0 + settings.damping * MIDDLE_HZ / room.DAMPED_HZ)


def _response(goal: torch.Tensor, fed: torch.Tensor, spread: torch.Tensor, noise: float, start: torch.Tensor | None) -> torch.Tensor:
    """The most likely response [C, L] for a known input [C, T], by conjugate gradients on h = spread z."""
    frames, length = goal.shape[-1], len(spread)
    size = int(next_fast_len(frames + length - 1, real=True))
    spectrum = torch.fft.rfft(fed, size)
    last = None if start is None else torch.nn.functional.pad(start, (0, max(length - start.shape[-1], 0)))[..., :length] / spread

    def forward(z: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft(torch.fft.rfft(spread * z, size) * spectrum, size)[..., :frames]

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        return spread * torch.fft.irfft(torch.fft.rfft(y, size) * spectrum.conj(), size)[..., :length]

    return spread * _conjugate_gradients(lambda z: adjoint(forward(z)) + noise * z, adjoint(goal), last)


def _conjugate_gradients(matrix: Callable[[torch.Tensor], torch.Tensor], wanted: torch.Tensor, start: torch.Tensor | None) -> torch.Tensor:
    """A z = wanted for a positive definite A, each channel for itself."""
    z = torch.zeros_like(wanted) if start is None else start
    rest = wanted - matrix(z) if start is not None else wanted
    step, square = rest, rest.square().sum(-1, keepdim=True)
    for _ in range(STEPS):
        turned = matrix(step)
        far = square / (step * turned).sum(-1, keepdim=True).clamp(min=1e-30)
        z, rest = z + far * step, rest - far * turned
        after = rest.square().sum(-1, keepdim=True)
        step, square = rest + after / square.clamp(min=1e-30) * step, after
    return z


def _gains(goal: torch.Tensor, parts: Sequence[torch.Tensor]) -> Vector:
    """The non-negative gains of parts whose sum is nearest to the goal."""
    table = torch.stack([part.flatten() for part in parts]).double()
    gram, wanted = (table @ table.T).numpy(), (table @ goal.flatten().double()).numpy()
    scale = 1.0 / np.sqrt(np.maximum(np.diag(gram), 1e-30))
    root = np.linalg.cholesky(gram * np.outer(scale, scale) + 1e-9 * np.eye(len(scale)))
    return np.asarray(scale * nnls(root.T, np.linalg.solve(root, scale * wanted))[0])


def _white(audio: torch.Tensor, taps: Vector) -> torch.Tensor:
    return torch.from_numpy(np.asarray(lfilter(taps, [1.0], audio.numpy()))).float()


def _sum(parts: Sequence[torch.Tensor], gains: Vector) -> torch.Tensor:
    total = torch.zeros_like(parts[0])
    for gain, part in zip(gains.tolist(), parts, strict=True):
        total += gain * part
    return total
