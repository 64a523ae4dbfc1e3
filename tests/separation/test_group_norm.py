"""Group normalisation by reductions, and the networks that use it, against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_model import build_tiny

from stemwright.separation.demucs.group_norm import FEW_GROUPS, group_norm, spread


@pytest.mark.parametrize("shape", [(3, 8, 501), (2, 12, 7, 33), (1, 4, 2)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("affine", [True, False])
def test_it_is_pytorchs(shape: tuple[int, ...], groups: int, affine: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = 3.0 + 0.5 * torch.randn(shape, generator=generator)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2)) if affine else (None, None)
    expected = torch.nn.functional.group_norm(
        x.double(), groups, *(None if one is None else one.double() for one in (weight, bias)), eps=1e-5
    )
    torch.testing.assert_close(group_norm(x, groups, weight, bias, 1e-5).double(), expected, atol=2e-5, rtol=1e-5)


def test_bf16_is_normalised_in_float32() -> None:
    x = torch.randn(2, 4, 1000, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = group_norm(x, 1, None, None, 1e-5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.nn.functional.group_norm(x.float(), 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["htdemucs", "hdemucs"])
@pytest.mark.parametrize("items", [1, FEW_GROUPS])
def test_a_network_gives_the_same_stems(kind: str, items: int) -> None:
    network = build_tiny(kind, 6)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert norms
    spread(changed := copy.deepcopy(network))
    norm, other = (next(each for each in tree.modules() if isinstance(each, torch.nn.GroupNorm)) for tree in (network, changed))
    x = torch.randn(items, norm.num_channels, 9, generator=torch.Generator().manual_seed(3))
    if type(norm) is not torch.nn.GroupNorm:  # Demucs's own has channels last
        x = x.transpose(1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(other(x), norm(x), atol=1e-5, rtol=1e-5)
        segment = 0.1 * torch.randn(1, 2, int(network.segment * network.samplerate), generator=torch.Generator().manual_seed(4))
        torch.testing.assert_close(changed(segment), network(segment), atol=1e-4, rtol=1e-4)
