"""The multi-resolution spectral loss."""

import numpy as np
import pytest
import torch

from stemwright.datagen.effects.dsp.spectral_loss import multi_resolution_loss


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    audio = torch.from_numpy(rng.standard_normal((2, 12_000)))
    return audio, audio + 0.1 * torch.from_numpy(rng.standard_normal((2, 12_000)))


def test_equal_audio_has_no_loss(pair):
    assert float(multi_resolution_loss(pair[0], pair[0])) == 0.0


def test_a_gain_costs_its_logarithm_and_its_part(pair):
    # |log 0.5| for the magnitudes and 0.5 for the convergence, at every resolution and in every view
    assert float(multi_resolution_loss(0.5 * pair[0], pair[0])) == pytest.approx(np.log(2.0) + 0.5, rel=1e-6)


def test_the_values_are_those_of_auraloss(pair):
    auraloss = pytest.importorskip("auraloss")
    peer = auraloss.freq.MultiResolutionSTFTLoss()
    target, rendering = pair
    views = [torch.cat([x, x[:1] + x[1:], x[:1] - x[1:]]) for x in (rendering, target)]
    expected = np.mean([float(peer(x[None, None], y[None, None])) for x, y in zip(*views, strict=True)])
    assert float(multi_resolution_loss(rendering, target)) == pytest.approx(expected, rel=1e-5)


def test_other_shapes_are_refused(pair):
    with pytest.raises(ValueError, match=r"one shape .*got \[2, 12000\] and \[1, 12000\]"):
        multi_resolution_loss(pair[0], pair[0][:1])
