"""Small networks that take one effect off a recording: a gain for compression, the inverse of a curve for distortion, a filter for reverb.

Conventions
    wet [B, T] to an estimate of dry [B, T], mono, at RATE; at any level, since what is judged does not depend on it. What a network reads
    of the sound is a function here (``levels``, ``magnitudes``, ``cepstrum``), so that training computes it once for each excerpt.
    Compression   a convolutional network over frames of HOP samples gives a gain for each. What is trained is SI-SDR, which for a gain by
                  frames follows from three sums of each frame (``frame_sums``, ``si_sdr_of_gain``).
    Distortion    a perceptron reads how the magnitudes lie below the peak and says how far up the curve of tanh the peak went.
    Reverb        a filter multiplies spectra and adds cepstra. Of training pairs, the cepstra of wet less those of dry lie near few
                  directions, from ECHOES on, where a recording's own cepstrum is small: the least-squares map from the wet cepstrum onto
                  these directions says which filter it was, and its inverse of minimum phase is applied.
    Each learns the devices that it is shown: another curve, another room is another pair.

References
    Oppenheim, Schafer, Stockham 1968, "Nonlinear filtering of multiplied and convolved signals" (cepstra of echoes). The networks are our
    own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RATE, HOP = 48_000, 128
LONGEST, ECHOES = 24_000, 1_000  # samples of a cepstrum: half a second; and where that of echoes begins, 21 ms
TAILS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
DIRECTIONS, RIDGE = 16, 0.01


def levels(sound: Tensor, hop: int = HOP) -> Tensor:
    """[B, T] -> [B, 3, F]: of frames of ``hop`` samples the logarithms of peak, RMS and RMS of the differences, the excerpt's RMS at 0."""
    missing = -sound.shape[-1] % hop
    sound = sound / sound.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-9)
    frames = nn.functional.pad(sound, (0, missing)).unflatten(-1, (-1, hop))
    steps = nn.functional.pad(sound[..., 1:] - sound[..., :-1], (0, 1 + missing)).unflatten(-1, (-1, hop))
    found = torch.stack([frames.abs().amax(-1), frames.square().mean(-1).sqrt(), steps.square().mean(-1).sqrt()], 1)
    return found.clamp_min(1e-4).log10()


def magnitudes(sound: Tensor) -> Tensor:
    """[B, T] -> [B, P]: sorted magnitudes by the peak: the logarithm of each at TAILS, and of what it lacks to the peak."""
    level = sound.abs() / sound.abs().amax(-1, keepdim=True).clamp_min(1e-9)
    level = level.sort(-1, descending=True).values[:, [int(tail * sound.shape[-1]) for tail in TAILS]]
    return torch.cat([level.clamp_min(1e-5).log(), (1.0 - level).clamp_min(1e-6).log() / 3.0], -1)


def _padded(frames: int) -> int:
    return 1 << (2 * frames - 1).bit_length()


def cepstrum(sound: Tensor) -> Tensor:
    """[B, T] -> [B, LONGEST]: of the logarithm of the magnitude spectrum; 0 at 0, where the level is."""
    power = torch.fft.rfft(sound, _padded(sound.shape[-1])).abs().square()
    log = 0.5 * (power + 1e-8 * power.mean(-1, keepdim=True) + 1e-30).log()
    found = torch.fft.irfft(log)[..., :LONGEST].clone()
    found[..., 0] = 0.0
    return found


def frame_sums(wet: Tensor, dry: Tensor, hop: int = HOP) -> Tensor:
    """[B, T] twice -> [B, 3, F]: of each frame the sums of wet squared, wet times dry, and dry squared."""
    wet, dry = (nn.functional.pad(each, (0, -each.shape[-1] % hop)).unflatten(-1, (-1, hop)) for each in (wet, dry))
    return torch.stack([(wet * wet).sum(-1), (wet * dry).sum(-1), (dry * dry).sum(-1)], 1)


def si_sdr_of_gain(gain: Tensor, sums: Tensor) -> Tensor:
    """SI-SDR [B] in dB of wet times a gain [B, F] that is constant in each frame, from ``frame_sums``."""
    shared = (gain * sums[:, 1]).sum(-1).square()
    share = shared / ((gain.square() * sums[:, 0]).sum(-1) * sums[:, 2].sum(-1)).clamp_min(1e-12)
    return 10.0 * torch.log10(share.clamp_min(1e-9) / (1.0 - share).clamp_min(1e-9))


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """SI-SDR [B] in dB of [B, T]."""
    scale = (estimate * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True).clamp_min(1e-9)
    wanted = scale * target
    return 10.0 * torch.log10(wanted.square().sum(-1).clamp_min(1e-9) / (estimate - wanted).square().sum(-1).clamp_min(1e-9))


class Block(nn.Module):
    """A dilated convolution with what the whole excerpt is like, added to its input [B, W, F]."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.context = nn.Linear(2 * width, width)
        self.leave = nn.Conv1d(width, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """One step."""
        inner = self.norm(hidden)
        context = self.context(torch.cat([inner.mean(-1), inner.std(-1)], -1))
        answer: Tensor = hidden + self.leave(nn.functional.gelu(self.conv(inner) + context[..., None]))
        return answer


class GainRider(nn.Module):
    """Takes compression off: a gain for each frame from the levels around it and of the whole excerpt. It begins as doing nothing."""

    def __init__(self, width: int = 24, depth: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv1d(3, width, 5, padding=2)
        self.blocks = nn.Sequential(*(Block(width, 2**step) for step in range(depth)))
        self.leave = nn.Conv1d(width, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def gain(self, level: Tensor) -> Tensor:
        """[B, 3, F] of ``levels`` -> [B, F]."""
        return torch.exp(self.leave(self.blocks(self.enter(level)))[:, 0])

    def forward(self, wet: Tensor) -> Tensor:
        """The wet sound times the gain, which is linear between the middles of frames."""
        gain = nn.functional.interpolate(self.gain(levels(wet))[:, None], scale_factor=float(HOP), mode="linear")
        return wet * gain[:, 0, : wet.shape[-1]]


class CurveInverter(nn.Module):
    """Takes distortion off: the inverse of tanh, by one number for the excerpt."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * len(TAILS)))
        self.register_buffer("spread", torch.ones(2 * len(TAILS)))
        self.head = nn.Sequential(nn.Linear(2 * len(TAILS), width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        nn.init.zeros_(self.head[-1].weight)  # type: ignore[arg-type]
        nn.init.constant_(self.head[-1].bias, -2.0)  # type: ignore[arg-type]

    def unbent(self, sound: Tensor, features: Tensor) -> Tensor:
        """Samples [B, T] of a sound whose peak is 1 through the inverse, by ``magnitudes`` of the sound."""
        reach = nn.functional.softplus(self.head((features - self.mean) / self.spread)).clamp_min(0.02)  # drive times the dry peak
        bent = (torch.tanh(reach) * sound).double().clamp(-1.0 + 1e-9, 1.0 - 1e-9)
        return (torch.atanh(bent) / reach).to(sound.dtype)

    def forward(self, wet: Tensor) -> Tensor:
        """The wet sound through the inverse of the curve."""
        peak = wet.abs().amax(-1, keepdim=True).clamp_min(1e-9)
        return self.unbent(wet / peak, magnitudes(wet)) * peak


class EchoFilter(nn.Module):
    """Takes reverb off: the inverse of the filter that the cepstrum tells of. Before it is fitted it does nothing."""

    def __init__(self, directions: int = DIRECTIONS) -> None:
        super().__init__()
        self.register_buffer("typical", torch.zeros(LONGEST))  # cepstrum of the filters of training pairs, the mean
        self.register_buffer("basis", torch.zeros(directions, LONGEST))
        self.register_buffer("heard", torch.zeros(LONGEST))  # of wet sounds, the mean
        self.register_buffer("map", torch.zeros(directions + 1, directions))

    def fitted(self, wet: Tensor, dry: Tensor) -> EchoFilter:
        """Fits to the cepstra [N, LONGEST] of both sides of training pairs."""
        filters = wet - dry
        filters[:, :ECHOES] = 0.0
        typical = filters.mean(0)
        filters = filters - typical
        _, vectors = torch.linalg.eigh((filters @ filters.T).double())
        basis = vectors[:, -len(self.basis) :].T.float() @ filters
        basis = basis / basis.norm(dim=1, keepdim=True).clamp_min(1e-9)
        seen = nn.functional.pad((wet - wet.mean(0)) @ basis.T, (0, 1), value=1.0).double()
        price = RIDGE * len(wet) * seen[:, :-1].square().mean() * torch.eye(len(basis) + 1, dtype=torch.float64)
        price[-1, -1] = 1e-9
        wanted = (filters @ basis.T).double()
        solved = torch.linalg.solve(seen.T @ seen + price, seen.T @ wanted).float()
        for buffer, value in ((self.typical, typical), (self.basis, basis), (self.heard, wet.mean(0)), (self.map, solved)):
            buffer.copy_(value)
        return self

    def filter_of(self, cepstra: Tensor) -> Tensor:
        """Cepstra [B, LONGEST] of wet sounds -> those of the filters that they went through."""
        seen = nn.functional.pad((cepstra - self.heard) @ self.basis.T, (0, 1), value=1.0)
        return self.typical + seen @ self.map @ self.basis

    def forward(self, wet: Tensor) -> Tensor:
        """The wet sound through the inverse of minimum phase."""
        frames = _padded(wet.shape[-1])
        response = torch.fft.rfft(2.0 * self.filter_of(cepstrum(wet)), frames)  # folded: all of it after 0
        return torch.fft.irfft(torch.fft.rfft(wet, frames) * torch.exp(-response), frames)[..., : wet.shape[-1]]


REMOVERS: dict[str, type[nn.Module]] = {"distortion": CurveInverter, "compressor": GainRider, "reverb": EchoFilter}
