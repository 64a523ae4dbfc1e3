"""Effects on a GPU: what they compute in parallel over time equals the recursions, here on the processor, and there on the device."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.dsp import dynamics, following, transfer
from stemwright.datagen.effects.settings import Range, draw, fields

RATE = 44_100
EVERY = pytest.mark.parametrize("name", EFFECTS.own)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return 0.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def outputs(name: str, seed: int, device: str, *, tensors: bool) -> dict[str, torch.Tensor]:
    """The wet batch and its gradients for the audio and, if they are tensors, the settings."""
    effect = EFFECTS[name]
    settings = draw(effect.Settings, np.random.default_rng(seed), effect.TYPICAL)
    if name == "chorus" and not tensors:
        settings = settings.model_copy(update={"feedback": 0.0})  # with it, a GPU leaves the recursion to the processor
    audio = noise(seed, 3, 2, 8000).to(device).requires_grad_()
    values = {}
    if tensors:
        for field_name, field in fields(effect.Settings).items():
            if isinstance(field, Range) and field.scale != "integer" and np.isfinite(getattr(settings, field_name)):
                value = torch.full((3,), float(getattr(settings, field_name)), dtype=torch.float64, device=device)
                values[field_name] = value.requires_grad_()
    apply = inspect.unwrap(effect.apply) if device == "cpu" else effect.apply
    wet = apply(audio, RATE, settings.model_copy(update=values))
    found = torch.autograd.grad(wet, [audio, *values.values()], noise(seed + 1, 3, 2, 8000).to(device), allow_unused=True)
    named = {"wet": wet, **dict(zip(["audio", *values], found, strict=True))}
    return {key: value.detach().cpu().double() for key, value in named.items() if value is not None}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() <= expected.keys()
    for key, value in found.items():
        scale = max(1.0, float(expected[key].abs().max()))
        torch.testing.assert_close(value / scale, expected[key] / scale, atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")


@pytest.fixture
def in_parallel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets every effect compute as it does on a GPU, with torch on the processor."""

    def enable() -> None:
        for module in [*(EFFECTS[name].module for name in EFFECTS.own), dynamics, transfer]:
            if hasattr(module, "on_gpu"):
                monkeypatch.setattr(importlib.import_module(module.__name__), "on_gpu", lambda _: True)

    return enable


@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
@EVERY
def test_parallel_computation_equals_the_recursion_with_every_gradient(name: str, tensors: bool, in_parallel: Any) -> None:
    expected = outputs(name, 1, "cpu", tensors=tensors)
    in_parallel()
    assert_equal(outputs(name, 1, "cpu", tensors=tensors), expected)


def test_items_of_a_batch_with_different_look_ahead_and_delay_stay_apart(in_parallel: Any) -> None:
    audio = noise(0, 2, 2, 6000)
    for name, field, pair in [("limiter", "lookahead_ms", (0.5, 4.0)), ("delay", "delay_ms", (11.0, 40.0))]:
        active = {"ceiling_db": -12.0} if name == "limiter" else {"mix": 0.5, "feedback": 0.6}
        effect = EFFECTS[name]
        alone = [effect.apply(item, RATE, effect.Settings(**active, **{field: value})) for item, value in zip(audio, pair, strict=True)]
        in_parallel()
        apply = inspect.unwrap(effect.apply)
        together = apply(audio, RATE, effect.Settings(**active, **{field: torch.tensor(pair, dtype=torch.float64)}))
        torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=0)


def test_a_response_longer_than_the_audio_does_not_wrap_around() -> None:
    # One feedback loop that loses a hundredth in each turn: after 1000 samples it is as loud as at the start.
    audio = torch.zeros(1, 1000, dtype=torch.float64)
    audio[0, 0] = 1.0
    found = transfer.through(audio, lambda delay: 1.0 / (1.0 - 0.99 * delay(100)))
    expected = torch.zeros_like(audio)
    expected[0, ::100] = 0.99 ** torch.arange(10, dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_gradients_of_a_follower_are_those_of_finite_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    arguments = [torch.rand(shape, dtype=torch.float64, generator=rng).requires_grad_() for shape in [(3, 40), (3,), (3,), (3,)]]
    assert torch.autograd.gradcheck(following.follow, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
@EVERY
def test_gpu_equals_processor_with_every_gradient(name: str, tensors: bool) -> None:
    assert_equal(outputs(name, 1, "cuda", tensors=tensors), outputs(name, 1, "cpu", tensors=tensors))


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in EFFECTS.own if hasattr(EFFECTS[name], "invert")])
def test_gpu_undoes_what_it_did(name: str) -> None:
    effect = EFFECTS[name]
    settings = draw(effect.Settings, np.random.default_rng(7), effect.TYPICAL)
    audio = noise(2, 2, 2, 8000).double().cuda()
    torch.testing.assert_close(effect.invert(effect.apply(audio, RATE, settings), RATE, settings), audio, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_some_settings_of_a_gpu_may_be_numbers() -> None:
    gain = torch.tensor([3.0, -3.0], dtype=torch.float64, device="cuda", requires_grad=True)
    audio = noise(3, 2, 2, 8000)
    found = EFFECTS["eq"].apply(audio.cuda(), RATE, EFFECTS["eq"].Settings(low_shelf_gain_db=gain, peak1_gain_db=2.0))
    expected = EFFECTS["eq"].apply(audio, RATE, EFFECTS["eq"].Settings(low_shelf_gain_db=gain.detach().cpu(), peak1_gain_db=2.0))
    torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_followers_on_a_gpu_are_kernels_and_equal_the_processors() -> None:
    assert following._triton("cuda") is not None, "expected Triton, which comes with PyTorch for CUDA"
    rng = torch.Generator().manual_seed(1)
    arguments = [torch.rand(shape, dtype=torch.float64, generator=rng) for shape in [(70, 1003), (70,), (70,), (70,)]]
    found = following.follow(*(argument.cuda() for argument in arguments))
    torch.testing.assert_close(found.cpu(), following.follow(*arguments), atol=1e-12, rtol=0)
