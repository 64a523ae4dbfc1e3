"""The published contracts (``stemwright.testing``) hold for every extension of ours, and find what breaks them."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stemwright import testing
from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.dataset.writers.shard_plan import ShardContent
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column
from stemwright.datagen.pairs.recipes import RECIPES, mix

SECTIONS = {"remix": {"mode": "console"}}  # noise has no key by which songs would match
PAIRS = {"musdb": {"mix": {"per_track": 2, "target": "sum"}}}  # what the layout can hold


@pytest.mark.parametrize("kind", RECIPES)
def test_every_recipe_keeps_the_contract(kind):
    testing.check_recipe(kind, SECTIONS.get(kind))


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_keeps_the_contract(name):
    testing.check_format(name, PAIRS.get(name))


class Settings(EffectSettings):
    depth: float = setting(0.0, low=0.0, high=0.9, description="how much softer")


def softer(audio, sample_rate, settings):
    checked(audio, sample_rate)
    return audio * (1.0 - column(settings.depth, audio))


def louder(audio, sample_rate, settings):
    return audio / (1.0 - column(settings.depth, audio))


def in_place(audio, sample_rate, settings):
    return audio.mul_(1.0 - column(settings.depth, audio))


def hummed(audio, sample_rate, settings):
    return softer(audio, sample_rate, settings) + 0.01 * column(settings.depth, audio)


def squared(audio, sample_rate, settings):
    checked(audio, sample_rate)
    return audio + column(settings.depth, audio) * audio.square()


def of_the_first(audio, sample_rate, settings):
    checked(audio, sample_rate)
    return audio * (1.0 - torch.as_tensor(settings.depth).reshape(-1)[0])


def effect(apply=softer, **more):
    return SimpleNamespace(NAME="toy", Settings=Settings, TYPICAL={"depth": (0.3, 0.9)}, apply=apply, **more)


def test_an_effect_that_is_right_passes():
    testing.check_effect(effect(invert=louder, TRAITS=frozenset({"linear"})))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (effect(louder), "toy accepts NaN"),
        (effect(in_place), "toy changes its input in place"),
        (effect(hummed), "toy makes a sound of silence"),
        (effect(squared, TRAITS=frozenset({"linear"})), "toy states that it is linear, and is not: by"),
        (effect(of_the_first), "do not act each on its item of a batch: by"),
        (effect(invert=softer), "invert of toy does not undo apply with {'depth'"),
        (effect(lambda audio, *_: audio), "toy with the settings .* changes nothing"),
        (effect(lambda audio, *_: audio[..., 1:]), "neutral settings of toy change the sound at 8000 Hz"),
    ],
)
def test_an_effect_that_breaks_the_contract_is_found(broken, said):
    with pytest.raises(AssertionError, match=said):
        testing.check_effect(broken)


def test_a_recipe_that_draws_elsewhere_than_from_its_generator_is_found(monkeypatch):
    others, draft = np.random.default_rng(), mix.draft
    monkeypatch.setattr(mix, "draft", lambda material, config, _: draft(material, config, others))
    with pytest.raises(AssertionError, match=r"pairs of mix depend on how many there are|the same seed gives other pairs of mix"):
        testing.check_recipe("mix")


def test_a_recipe_with_more_signals_than_it_states_is_found(monkeypatch):
    monkeypatch.setattr(mix.Config, "num_signals", lambda *_: 2)
    with pytest.raises(AssertionError, match="a mix pair has 5 signals; its num_signals states 2"):
        testing.check_recipe("mix")


def test_a_recipe_that_gives_no_pair_is_found_with_its_reasons():
    with pytest.raises(AssertionError, match=r"mix gives no pair of songs with the stems bass, .*: no stem 'harp'"):
        testing.check_recipe("mix", {"stems": ["harp"]})


def test_a_format_whose_bytes_differ_from_time_to_time_is_found(monkeypatch):
    count = itertools.count()
    monkeypatch.setattr(ShardContent, "labels", lambda *_: f'{{"number": {next(count):9d}}}')
    with pytest.raises(AssertionError, match=r"the format webdataset gives other bytes|a second run"):
        testing.check_format("webdataset", {"mix": {"per_track": 1}})


def separator(answer, names=("vocals", "other")):
    answer.stem_names = names
    return answer


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (separator(lambda mixture, _: {"vocals": mixture[:, 1:], "other": mixture}), "returned vocals with the shape"),
        (separator(lambda mixture, _: {"vocals": mixture}), "returned the stems vocals; its stem_names are vocals, other"),
        (separator(lambda mixture, _: {"vocals": mixture * math.nan, "other": mixture}), "NaN or infinite samples as vocals"),
        (separator(lambda mixture, _: {"Lead Voice": mixture}, ("Lead Voice",)), "are to be file names in small letters"),
        (separator(lambda *_: {}, ()), "names no stems"),
        (separator(lambda mixture, _: {"vocals": mixture * np.random.default_rng().random(), "other": mixture}), "gives other bits again"),
    ],
)
def test_a_separator_that_breaks_the_contract_is_found(broken, said):
    with pytest.raises(AssertionError, match=said):
        testing.check_separator(broken)


def in_place_peak(stem, sample_rate):
    stem *= 0.5
    return float(stem.max())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (in_place_peak, "in_place_peak changes the stem that it is given"),
        (lambda stem, _: stem.max(axis=1), "gives more numbers for some stems than for others: 2 of noise, 1 of mono"),
        (lambda stem, _: math.log10(stem.max()) if stem.any() else -math.inf, "of silence is -inf; expected finite numbers, or None"),
        (lambda *_: np.random.default_rng().random(), "gives other numbers for the same stem"),
        (lambda *_: None, "gives no number for any stem"),
    ],
)
def test_a_statistic_that_breaks_the_contract_is_found(broken, said):
    with pytest.raises(AssertionError, match=said):
        testing.check_statistic(broken)
