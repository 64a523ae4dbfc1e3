"""The forward pass of an HTDemucs network in three parts, so that its core can run outside PyTorch.

``analyse`` (spectrogram, normalisation) and ``synthesise`` (inverse, sum of both branches) are cheap and stay here; the core between them,
nearly all of the work, sees real numbers of fixed shape only. It is written so that it can be traced, and differs from Demucs's own code
in three places that give the same numbers faster: transposed convolutions over time are ordinary convolutions with interleaved outputs,
the inverse spectrogram adds overlapping frames directly, and for OpenVINO the encoders have their channels last.

Conventions
    A batch of segments is float32 [B, C, T] with T the network's training length. Spectrograms of the core are [B, 2 C, F, N] with real
    and imaginary parts as channels; its results are [B, S, C, 2, N, F] (frames before frequencies, as the inverse needs them) and [B, S,
    C, T].
    At a hop of a quarter window the squared Hann window sums to 3/2 everywhere, so the inverse needs no envelope.
    A real signal has no imaginary part at 0 Hz; a network gives one. Inverse transforms on a CPU leave it out, as the mathematics
    has it. cuFFT in float32 does not (errors of -34 dB against its own float64 with random weights), so it is set to zero before.

References
    Rouard, Massa, Defossez (2023), figure 1. Tests compare with ``HTDemucs.forward``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

# (layer, its input, what the time branch adds) -> its output
Encode = Callable[[Any, "torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]
HANN_SQUARED_SUM = 1.5  # of four periodic Hann windows a quarter apart
BLOCK_BYTES = 1 << 19  # of frames that are transformed together on a CPU: they fit its L2 cache


class CoreInputs(NamedTuple):
    """The inputs of the core, and the means and deviations that its results are scaled back by."""

    spectrum: torch.Tensor
    waveform: torch.Tensor
    spectrum_level: tuple[torch.Tensor, torch.Tensor]
    waveform_level: tuple[torch.Tensor, torch.Tensor]


def can_be_split(network: Any) -> bool:
    """Whether a network is an HTDemucs of the published kind: complex as channels, fixed length, dense attention, fixed positions."""
    encoder = getattr(network, "crosstransformer", None)
    return (
        type(network).__name__ == "HTDemucs"
        and network.cac
        and network.use_train_segment
        and (encoder is None or (encoder.emb == "sin" and encoder.sin_random_shift == 0 and not _sparse(encoder)))
    )


def _sparse(encoder: Any) -> bool:
    return any(getattr(layer, "sparse", False) for layer in (*encoder.layers, *encoder.layers_t))


def analyse(network: Any, batch: torch.Tensor) -> CoreInputs:
    """Spectrogram and waveform of segments, each shifted and scaled to mean 0 and deviation 1."""
    spectrum = _spectrogram(network, batch)
    spectrum_level = (spectrum.mean(dim=(1, 2, 3), keepdim=True), spectrum.std(dim=(1, 2, 3), keepdim=True))
    waveform_level = (batch.mean(dim=(1, 2), keepdim=True), batch.std(dim=(1, 2), keepdim=True))
    return CoreInputs(
        spectrum.sub_(spectrum_level[0]).div_(1e-5 + spectrum_level[1]),
        (batch - waveform_level[0]).div_(1e-5 + waveform_level[1]),
        spectrum_level,
        waveform_level,
    )


def _spectrogram(network: Any, batch: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts as channels [B, 2 C, F, N], with a hop of a quarter window, a block of frames at a time.

    Demucs pads a segment by reflection so that the first and the last hop have four frames as well, and leaves out frames beyond them.
    """
    import torch
    from torch.nn import functional

    size, hop = network.nfft, network.hop_length
    (batch_size, channels, length), count = batch.shape, -(-batch.shape[-1] // hop)
    edge = hop // 2 * 3
    frames = functional.pad(batch, (edge, edge + count * hop - length), mode="reflect").unfold(-1, size, hop)
    window = torch.hann_window(size, device=batch.device)
    spectrum = torch.empty(batch_size, channels, 2, size // 2, count, device=batch.device)
    block = _block_frames(batch, size, count)
    for start in range(0, count, block):
        bins = torch.fft.rfft(frames[..., start : start + block, :] * window, norm="ortho")[..., :-1]
        spectrum[..., start : start + block] = torch.view_as_real(bins).permute(0, 1, 4, 3, 2)
    return spectrum.flatten(1, 2)


def _block_frames(like: torch.Tensor, size: int, count: int) -> int:
    """How many of a transform's frames are computed at a time, for tensors as ``like``, [B, C, ...]: all of them on a GPU.

    On a CPU a block and what is computed from it stay in its cache. Arrays of a whole segment would be taken from the system and
    given back for each step: two thirds of the time of these transforms went into that.
    """
    rows = like.shape[0] * like.shape[1]
    return max(1, BLOCK_BYTES // (rows * size * 4)) if like.device.type == "cpu" else count


def synthesise(network: Any, analysed: CoreInputs, spectrum: torch.Tensor, waveform: torch.Tensor) -> torch.Tensor:
    """Stems [B, S, C, T] from the core's two results, one stem after the other: to save memory."""
    mean, std = (level[:, None] for level in analysed.waveform_level)
    stems = (waveform * std).add_(mean)
    inverse = _Inverse(network, analysed.spectrum_level, spectrum)
    for number in range(stems.shape[1]):
        stems[:, number] += inverse.waveforms(spectrum[:, number], stems.shape[-1])
    return stems


class _Inverse:
    """The inverse spectrogram of one stem after another, a block of frames at a time, in the same memory."""

    def __init__(self, network: Any, level: tuple[torch.Tensor, torch.Tensor], spectrum: torch.Tensor) -> None:
        import torch

        batch, _, channels, _, count, _ = spectrum.shape
        device = spectrum.device
        self._hop, self._size = network.hop_length, network.nfft
        self._mean, self._std = (one.reshape(-1, 1, 1, 1) for one in level)
        self._window = torch.hann_window(self._size, device=device) * (self._size**0.5 / HANN_SQUARED_SUM)
        self._block = _block_frames(spectrum[:, 0], self._size, count)
        # The bin at half the sample rate stays zero.
        self._bins = torch.zeros(batch, channels, min(self._block, count), self._size // 2 + 1, dtype=torch.complex64, device=device)
        self._sums = torch.empty(batch, channels, count + 4, self._hop, device=device)

    def waveforms(self, spectrum: torch.Tensor, length: int) -> torch.Tensor:
        """One stem [B, C, T] from its normalised spectrum [B, C, 2, N, F]; the next call overwrites it."""
        import torch

        sums, (count, bins) = self._sums.zero_(), spectrum.shape[-2:]
        for start in range((count - 1) // self._block * self._block, -1, -self._block):  # later frames are added first
            part = spectrum[..., start : start + self._block, :]
            frames_here = part.shape[-2]
            values = self._bins[:, :, :frames_here]
            for number, parts in enumerate(torch.view_as_real(values[..., :bins]).unbind(-1)):
                torch.mul(part[:, :, number], self._std, out=parts).add_(self._mean)
            values[..., 0].imag.zero_()  # the network's imaginary part at 0 Hz, which a real signal does not have; see the head
            frames = torch.fft.irfft(values, n=self._size).mul_(self._window).unflatten(-1, (4, self._hop))
            for quarter in range(4):
                sums[..., start + quarter : start + quarter + frames_here, :] += frames[..., quarter, :]
        start = self._hop // 2 * 3
        return sums.flatten(-2)[..., start : start + length]


def zero_imaginary_dc(network: Any) -> None:
    """Makes the network's own inverse spectrogram drop the imaginary part at 0 Hz, as ours does; one without spectra is unchanged."""
    import torch

    inverse = getattr(network, "_ispec", None)
    if inverse is None or "_ispec" in vars(network):  # no spectra, or already done
        return

    def without(spectrum: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        parts = torch.view_as_real(spectrum).clone()  # [..., F, N, 2]
        parts[..., 0, :, 1] = 0.0
        result: torch.Tensor = inverse(torch.view_as_complex(parts), *arguments, **options)
        return result

    network._ispec = without


def build_core(network: Any, kept: Sequence[int], *, channels_last: bool = False) -> torch.nn.Module:
    """The core as a module: (spectrum [B, 2 C, F, N], waveform [B, C, T]) -> ([B, S, C, 2, N, F], [B, S, C, T]) with the kept stems.

    ``channels_last`` writes the encoders with channels as the last axis: the layout of OpenVINO, which then reorders nothing.
    """
    import torch

    class Core(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.kept = list(kept)

        def forward(self, x: torch.Tensor, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            bins, length = x.shape[-2:], xt.shape[-1]
            x, xt = _run_core(self.network, x, xt, _encode if channels_last else _encode_as_demucs)
            count = len(self.network.sources)
            x = x.reshape(x.shape[0], count, -1, 2, *bins)
            xt = xt.reshape(xt.shape[0], count, -1, length)
            if len(self.kept) < count:
                x, xt = x[:, self.kept], xt[:, self.kept]
            return x.transpose(-1, -2), xt

    return Core().eval()


def _run_core(network: Any, x: torch.Tensor, xt: torch.Tensor, encode: Encode) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoders, transformer and decoders of both branches."""
    skips, skips_t, lengths_t = [], [], []
    for number, layer in enumerate(network.encoder):
        inject = None
        if number < len(network.tencoder):
            lengths_t.append(xt.shape[-1])
            xt = encode(network.tencoder[number], xt, None)
            if network.tencoder[number].empty:
                inject = xt
            else:
                skips_t.append(xt)
        x = encode(layer, x, inject)
        if number == 0 and network.freq_emb is not None:
            x = x + network.freq_emb_scale * network.freq_emb.weight.t()[None, :, :, None]
        skips.append(x)
    if network.crosstransformer is not None:
        x, xt = _run_transformer(network, x, xt)
    first_t = network.depth - len(network.tdecoder)
    for number, decode in enumerate(network.decoder):
        x, before = decode(x, skips.pop(), None)
        if number >= first_t:
            layer = network.tdecoder[number - first_t]
            if layer.empty:
                xt = _decode_time(layer, before[:, :, 0], None, lengths_t.pop())
            else:
                xt = _decode_time(layer, xt, skips_t.pop(), lengths_t.pop())
    return x, xt


def _encode_as_demucs(layer: Any, x: torch.Tensor, inject: torch.Tensor | None) -> torch.Tensor:
    result: torch.Tensor = layer(x, inject)
    return result


def _encode(layer: Any, x: torch.Tensor, inject: torch.Tensor | None) -> torch.Tensor:
    """An encoder layer as HEncLayer runs it, with channels last between its convolution and its end where it is of the published kind."""
    from torch.nn import functional

    if layer.empty or not _is_published(layer):
        return _encode_as_demucs(layer, x, inject)
    if not layer.freq:
        x = functional.pad(x, (0, -x.shape[-1] % layer.stride))
    y = layer.conv(x)
    if inject is not None:
        y = y + (inject[:, :, None] if y.ndim > inject.ndim else inject)
    y = functional.gelu(y).movedim(1, -1)
    for branch in layer.dconv.layers:
        y = y + _residual(branch, y)
    return functional.glu(functional.linear(y, layer.rewrite.weight.flatten(1), layer.rewrite.bias), dim=-1).movedim(-1, 1)


def _is_published(layer: Any) -> bool:
    """Whether an encoder layer has only what htdemucs has: no norms of its own, and residual branches without attention or recurrence."""
    import torch

    if layer.rewrite is None or layer.dconv is None or set(layer.rewrite.kernel_size) != {1}:
        return False
    nn = torch.nn
    kinds = (nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU)
    branches = [list(branch) for branch in layer.dconv.layers]
    return all(isinstance(norm, nn.Identity) for norm in (layer.norm1, layer.norm2)) and all(
        len(branch) == len(kinds) + 1
        and all(isinstance(part, kind) for part, kind in zip(branch, kinds, strict=False))
        and branch[1].num_groups == branch[4].num_groups == 1
        and hasattr(branch[6], "scale")
        for branch in branches
    )


def _residual(branch: Any, y: torch.Tensor) -> torch.Tensor:
    """A residual branch of an encoder over [B, ..., T, C]: along T, each row of frequencies by itself."""
    from torch.nn import functional

    narrow, first, activation, wide, second, _, scale = branch
    kernel = narrow.weight if y.ndim == 3 else narrow.weight[:, :, None]
    convolve, rows = (functional.conv1d, ()) if y.ndim == 3 else (functional.conv2d, (0,))
    dilation = narrow.dilation if y.ndim == 3 else (1, *narrow.dilation)
    z = convolve(y.movedim(-1, 1), kernel, narrow.bias, padding=(*rows, *narrow.padding), dilation=dilation).movedim(1, -1)
    z = activation(_normalised(first, z))
    z = _normalised(second, functional.linear(z, wide.weight[:, :, 0], wide.bias))
    result: torch.Tensor = scale.scale * functional.glu(z, dim=-1)
    return result


def _normalised(norm: torch.nn.GroupNorm, y: torch.Tensor) -> torch.Tensor:
    """A group normalisation of one group, over the last two axes [T, C]."""
    from torch.nn import functional

    z = functional.layer_norm(y, y.shape[-2:], eps=norm.eps)
    return z if norm.weight is None else z * norm.weight + norm.bias


def _run_transformer(network: Any, x: torch.Tensor, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if not network.bottom_channels:
        both: tuple[torch.Tensor, torch.Tensor] = network.crosstransformer(x, xt)
        return both
    bins = x.shape[-2:]
    x = network.channel_upsampler(x.flatten(2)).unflatten(-1, bins)
    x, xt = network.crosstransformer(x, network.channel_upsampler_t(xt))
    return network.channel_downsampler(x.flatten(2)).unflatten(-1, bins), network.channel_downsampler_t(xt)


def _decode_time(layer: Any, x: torch.Tensor, skip: torch.Tensor | None, length: int) -> torch.Tensor:
    """A decoder layer over time, as HDecLayer does it, but for its transposed convolution."""
    from torch.nn import functional

    if skip is not None:
        x = x + skip
        if layer.rewrite is not None:
            x = functional.glu(layer.norm1(layer.rewrite(x)), dim=1)
        if layer.dconv is not None:
            x = layer.dconv(x)
    y = layer.norm2(_transposed_convolution(layer.conv_tr, x))[..., layer.pad : layer.pad + length]
    return y if layer.last else functional.gelu(y)


def _transposed_convolution(layer: torch.nn.ConvTranspose1d, x: torch.Tensor) -> torch.Tensor:
    """ConvTranspose1d with a kernel of two strides, as a convolution of two taps whose outputs are interleaved.

    y[s t + r] = sum_i w[i, r] x_i[t] + w[i, r + s] x_i[t - 1]: the r-th of s outputs per input frame. Runtimes have fast convolutions but
    slow transposed ones.
    """
    import torch
    from torch.nn import functional

    stride = layer.stride[0]
    if layer.kernel_size[0] != 2 * stride:
        return layer(x)
    inputs, outputs, _ = layer.weight.shape
    taps = layer.weight.reshape(inputs, outputs, 2, stride).permute(1, 3, 0, 2).flip(-1).reshape(outputs * stride, inputs, 2)
    bias = None if layer.bias is None else torch.repeat_interleave(layer.bias, stride)
    y = functional.conv1d(functional.pad(x, (1, 1)), taps, bias)
    return y.unflatten(1, (outputs, stride)).transpose(-1, -2).flatten(-2)
