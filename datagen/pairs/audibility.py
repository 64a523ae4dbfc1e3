"""Whether what a pair is about can be heard: its wet and dry must differ, and each effect that it is about must change the sound.

Conventions
    Audio is float32 [C, T].
    Alike: the multi-resolution STFT distance of the first input (wet) and the first target (dry) is smaller than the pair's
    ``redraw_below``. The distance is auraloss's ``MultiResolutionSTFTLoss`` with its defaults: for three resolutions the spectral
    convergence plus the mean difference of the log magnitudes, averaged.
    Inaudible: leaving out one removed or added effect changes its signal by less than the pair's ``min_change_db``
    (``stemwright.datagen.pairs.chain_runs``), what an edit names cannot be heard in the excerpt, or a signal is too soft to be brought to
    its loudness.

References
    Yamamoto et al. 2020 for the distance. RemFX (Rice et al. 2023) draws a pair again while it is below 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stemwright.datagen.pairs.render import Rendered, one_thread
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio

if TYPE_CHECKING:
    import torch

ALIKE = "wet and dry sound alike"
INAUDIBLE = "part of what the pair is about is inaudible"
MOST_TELLING = (1, 0, 2)  # the resolutions, the one with the fewest frames first


def check_audible(pair: Pair, signals: Mapping[str, Audio]) -> None:
    """Raises Refused with what was measured if the wet and the dry of a pair sound alike, or an effect does nothing by itself."""
    if pair.redraw_below and pair.inputs and pair.targets:
        distance = distance_below(signals[pair.inputs[0].name], signals[pair.targets[0].name], pair.redraw_below)
        if distance is not None:
            raise Refused(f"{ALIKE}: their MR-STFT distance is {distance:.3g}, expected at least {pair.redraw_below:g}")
    if isinstance(signals, Rendered) and signals.inaudible:
        raise Refused(f"{INAUDIBLE}: {signals.inaudible}")


def distance_below(wet: Audio, dry: Audio, limit: float) -> float | None:
    """The MR-STFT distance of wet and dry, both [C, T], if it is below a limit; otherwise None.

    Every resolution, and in it every frame, adds something positive: once a part has reached the limit the rest need not be measured. A
    tenth of the frames of one resolution nearly always has.
    """
    import torch

    from stemwright.datagen.effects.dsp.spectral_loss import loss_of_magnitudes

    loss = loss_of_magnitudes()
    one, other = torch.from_numpy(wet)[None], torch.from_numpy(dry)[None]
    if one.shape[1] != other.shape[1]:  # a chain may have made stereo of mono
        one, other = torch.broadcast_tensors(one, other)
    missing = max(0, max(loss.fft_sizes) - one.shape[-1])  # shorter than one window: silence follows
    one, other = (torch.nn.functional.pad(signal, (0, missing)) for signal in (one, other))
    total = 0.0
    with one_thread():
        if share_of_middle(loss.stft_losses[MOST_TELLING[0]], one[0], other[0]) / len(MOST_TELLING) >= limit:
            return None
        for index in MOST_TELLING:
            total += float(loss.stft_losses[index](one, other)) / len(MOST_TELLING)
            if total >= limit:
                return None
    return total


def share_of_middle(loss: Any, wet: torch.Tensor, dry: torch.Tensor) -> float:
    """What the middle tenth of the frames of [C, T] adds to one resolution's mean difference of log magnitudes: less than the whole."""
    frames = wet.shape[-1]
    start = int(0.45 * frames) // loss.hop_size * loss.hop_size  # on the grid of the whole signal's frames
    part = slice(start, start + max(frames // 10, 2 * loss.fft_size))
    edge = -(-loss.fft_size // 2 // loss.hop_size) + 1  # frames that reach beyond the part
    logs = [loss.stft(signal[:, part])[0][..., edge:-edge].log() for signal in (wet, dry)]
    return float((logs[0] - logs[1]).abs().sum()) / (logs[0].shape[0] * logs[0].shape[1] * (1 + frames // loss.hop_size))
