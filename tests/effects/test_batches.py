"""Batches on a processor: items in threads, errors and gradients as without them."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.dsp import item_batches, memory
from stemwright.datagen.effects.settings import Range, draw, fields

RATE = 44_100


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def noise(*shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("two_threads")
def test_items_run_in_threads_in_order() -> None:
    barrier = threading.Barrier(2, timeout=120)  # breaks unless two items are under way at once

    def run(number: int) -> int:
        barrier.wait()
        return number

    assert item_batches.in_threads(run, 4) == [0, 1, 2, 3]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", EFFECTS.own)
def test_a_batch_in_threads_has_the_bits_of_its_items(name: str, mode: type) -> None:
    effect = EFFECTS[name]
    low, high = next(iter(value for value in effect.TYPICAL.values() if isinstance(value, tuple)))
    settings = effect.Settings(**{next(key for key, value in effect.TYPICAL.items() if isinstance(value, tuple)): (low + high) / 2})
    audio = noise(5, 2, 3000)
    with mode():
        together = effect.apply(audio, RATE, settings)
        for item, wet in zip(audio, together, strict=True):
            assert torch.equal(wet, effect.apply(item, RATE, settings))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("tensors", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("name", EFFECTS.own)
def test_gradients_of_a_batch_are_those_of_its_items(name: str, tensors: bool) -> None:
    effect = EFFECTS[name]
    settings = draw(effect.Settings, np.random.default_rng(5), effect.TYPICAL)
    audio, bar = noise(3, 2, 9000).double().requires_grad_(), noise(3, 2, 9000).double().flip(0)
    numeric = [key for key, field in fields(effect.Settings).items() if isinstance(field, Range) and field.scale != "integer"]
    values = {key: torch.full((3,), getattr(settings, key), dtype=torch.float64, requires_grad=True) for key in numeric if tensors}
    leaves = [audio, *values.values()]
    together = effect.apply(audio, RATE, settings.model_copy(update=values))
    alone = [
        effect.apply(item, RATE, settings.model_copy(update={key: value[number] for key, value in values.items()}))
        for number, item in enumerate(audio)
    ]
    found = torch.autograd.grad(together, leaves, bar, allow_unused=True, materialize_grads=True)
    expected = torch.autograd.grad(torch.stack(alone), leaves, bar, allow_unused=True, materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9 * (1.0 + float(other.abs().max())), rtol=0)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", EFFECTS.own)
def test_a_batch_with_a_sample_that_is_not_finite_is_refused(name: str) -> None:
    effect = EFFECTS[name]
    settings = draw(effect.Settings, np.random.default_rng(5), effect.TYPICAL)
    audio = noise(3, 2, 3000)
    audio[1, 1, 7] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinite"):
        effect.apply(audio, RATE, settings)


def test_a_gradient_is_possible_after_a_rendering_that_keeps_none() -> None:
    effect = EFFECTS["room"]  # it keeps noise from one call to the next
    audio = noise(2, 500)
    with torch.inference_mode():
        effect.apply(audio, RATE, effect.Settings(rt60_s=0.0625, wet_db=-6.0))
    level_db = torch.tensor(-6.0, requires_grad=True)
    effect.apply(audio, RATE, effect.Settings(rt60_s=0.0625, wet_db=level_db)).square().sum().backward()
    assert level_db.grad is not None
    assert float(level_db.grad) > 0.0


def test_memory_is_used_again_once_nothing_refers_to_it() -> None:
    size = memory.LEAST // 4 + 17  # of no other test
    first = torch.from_numpy(memory.empty((size,), np.float32))
    place, view = first.data_ptr(), first[5:]
    second = memory.empty((size,), np.float32)
    assert not np.shares_memory(second, first.numpy())
    del first
    assert not np.shares_memory(memory.empty((size,), np.float32), view.numpy())
    del view
    assert memory.empty((size,), np.float32).ctypes.data == place


def test_memory_that_is_kept_has_a_limit() -> None:
    arrays = [memory.empty((memory.MOST // 3 + 8 * number,), np.uint8) for number in range(4)]
    del arrays
    assert sum(size * len(each) for size, each in memory._free.items()) <= memory.MOST


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("leading", [(4,), (2, 2)])
def test_gradients_of_a_batch_are_those_without_items(leading: tuple[int, ...]) -> None:
    effect = EFFECTS["compressor"]
    results = []
    for apply in (effect.apply, inspect.unwrap(effect.apply)):
        audio = noise(*leading, 2, 3000).double().requires_grad_()
        own = torch.linspace(-40.0, -20.0, 4, dtype=torch.float64).reshape(leading).requires_grad_()
        common = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        wet = apply(audio, RATE, effect.Settings(threshold_db=own, ratio=common))
        results.append([wet, *torch.autograd.grad(wet.square().sum(), [audio, own, common])])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_an_item_is_that_of_the_batch() -> None:
    audio = noise(3, 2, 1000)
    audio[2, 0, 5] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        EFFECTS["fader"].apply(audio, RATE, EFFECTS["fader"].Settings(gain_db=-3.0))


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        EFFECTS["clip"].apply(noise(3, 2, 1000), RATE, EFFECTS["clip"].Settings(ceiling_db=-12.0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
