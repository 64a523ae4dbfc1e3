"""Group normalisation for a GPU where a batch has few groups.

PyTorch's kernel gives each group of each item one block of threads. Demucs normalises a segment as one group: a batch of 16 then occupies
16 of a large GPU's hundred or more multiprocessors. Reductions of PyTorch spread one sum over all of them.

Conventions
    Input and output are [B, C, ...]; mean and variance (biased) of a group are taken in float32 over its channels and everything after
    them. Differences to PyTorch's kernel are those of another summation order.

References
    Wu, He, Group normalization (2018), equations 1 to 6.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FEW_GROUPS = 256  # in a batch: from here on PyTorch's own kernel has enough blocks


def group_norm(x: torch.Tensor, groups: int, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float) -> torch.Tensor:
    """``torch.nn.functional.group_norm`` by reductions over the whole device: [B, C, ...] -> the same shape, float32."""
    import torch

    x = x.float()
    batch, channels = x.shape[:2]
    variance, mean = torch.var_mean(x.reshape(batch, groups, -1), dim=-1, correction=0)
    scale = torch.rsqrt(variance + eps)
    per_channel = (batch, groups, channels // groups)
    shift, scale = (-mean * scale)[..., None].expand(per_channel), scale[..., None].expand(per_channel)
    if weight is not None:
        gains = weight.float().reshape(1, groups, -1)
        shift, scale = shift * gains, scale * gains
    if bias is not None:
        shift = shift + bias.float().reshape(1, groups, -1)
    shape = (batch, channels, *(1,) * (x.ndim - 2))
    return torch.addcmul(shift.reshape(shape), x, scale.reshape(shape))


def spread(network: torch.nn.Module) -> None:
    """Makes the group normalisations of a Demucs network use the whole GPU; the network's weights and modules stay."""
    import torch
    from torch.nn import functional

    def normalise(module: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
        few = x.shape[0] * module.num_groups < FEW_GROUPS
        return (group_norm if few else functional.group_norm)(x, module.num_groups, module.weight, module.bias, module.eps)

    def channels_last(module: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
        return normalise(module, x.transpose(1, 2)).transpose(1, 2)

    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            run = {"GroupNorm": normalise, "MyGroupNorm": channels_last}.get(type(module).__name__)  # PyTorch's, Demucs's
            if run is not None:
                module.forward = partial(run, module)  # type: ignore[method-assign]
