"""Chains: every form in which a chain is given is the same chain; what is applied is undone; what cannot be is named."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stemwright.datagen.effects import EFFECTS, apply_chain, invert_chain, resolve_chain
from stemwright.manifests.records import EffectUse
from stemwright.manifests.usage import UsageError

RATE = 8000
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, RATE))
VALUES = {"gain_db": -4.0, "pan": 0.25}


@pytest.mark.parametrize(
    "use",
    [
        ("fader", VALUES),
        ["fader", VALUES],
        ("fader", EFFECTS["fader"].Settings(**VALUES)),
        EFFECTS["fader"].Settings(**VALUES),
        EffectUse(effect="fader", settings=VALUES),
        {"effect": "fader", "settings": VALUES},
        {"effect": "fader", "settings": json.dumps(VALUES), "role": None},
    ],
    ids=["pair", "list", "pair with settings", "settings", "row", "mapping", "row of a table"],
)
def test_a_use_in_any_form_is_the_same_use(use):
    [(effect, settings)] = resolve_chain([use])
    assert effect.NAME == "fader"
    assert settings == EFFECTS["fader"].Settings(**VALUES)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("fader", "expected an effect with its settings, such as .* got 'fader'"),
        (("fader", 3.0), "expected settings of the effect 'fader'.* got 3.0"),
        (("fader", EFFECTS["width"].Settings()), "expected settings of the effect 'fader'"),
        (("fadre", {}), "there is no effect 'fadre'; did you mean 'fader'"),
        (("fader", {"gain_db": 100.0}), "gain_db must be between -48 and 24 dB"),
    ],
)
def test_what_is_no_use_of_an_effect_is_refused_with_what_is_expected(use, message):
    with pytest.raises(ValueError, match=message):
        apply_chain(NOISE, RATE, [use])


def test_numpy_and_torch_give_the_same_samples_and_keep_their_types():
    chain = [("eq", {"peak1_gain_db": 6.0}), ("compressor", {"threshold_db": -30.0, "ratio": 4.0}), ("fader", VALUES)]
    for dtype in (np.float32, np.float64):
        audio = NOISE.astype(dtype)
        audio.setflags(write=False)
        found = apply_chain(audio, RATE, chain)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, apply_chain(torch.tensor(audio), RATE, chain).numpy())


def test_gradients_pass_through_a_chain():
    audio = torch.tensor(NOISE, requires_grad=True)
    apply_chain(audio, RATE, [("fader", {"gain_db": 6.0})]).sum().backward()
    assert audio.grad is not None
    torch.testing.assert_close(audio.grad, torch.full_like(audio, 10 ** (6 / 20)))


@given(
    gain_db=st.floats(-24, 12),
    pan=st.floats(-0.9, 0.9),
    shelf_db=st.floats(-12, 12),
    peak_db=st.floats(-12, 12),
    eq_first=st.booleans(),
)
def test_inverting_a_chain_undoes_it(gain_db, pan, shelf_db, peak_db, eq_first):
    chain = [("eq", {"low_shelf_gain_db": shelf_db, "peak1_gain_db": peak_db}), ("fader", {"gain_db": gain_db, "pan": pan})]
    chain = chain if eq_first else chain[::-1]
    np.testing.assert_allclose(invert_chain(apply_chain(NOISE, RATE, chain), RATE, chain), NOISE, atol=1e-9)


def test_a_chain_is_inverted_from_its_end():
    chain = [("compressor", {"threshold_db": -30.0, "ratio": 3.0}), ("fader", {"gain_db": -6.0})]  # they do not commute
    wet = apply_chain(NOISE, RATE, chain)
    assert np.abs(invert_chain(wet, RATE, chain) - NOISE).max() < 1e-6
    assert np.abs(invert_chain(wet, RATE, chain[::-1]) - NOISE).max() > 1e-2


def test_an_effect_without_an_inverse_is_named_before_anything_is_computed():
    chain = [("reverb", {"wet": 0.3}), ("fader", VALUES), ("distortion", {"drive_db": 6.0})]
    with pytest.raises(UsageError, match=r"reverb, distortion has no inverse. Those that have one are .*fader"):
        invert_chain(NOISE, RATE, chain)
    np.testing.assert_array_equal(invert_chain(NOISE, RATE, [("reverb", {})]), NOISE)  # neutral: there is nothing to undo
