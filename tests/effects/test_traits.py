"""What effects state about themselves is true of their sound, and nothing is left unsaid: traits, thresholds, gains, steps, channels."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, Range, draw, fields
from stemwright.datagen.effects.traits import MEANINGS, Trait

RATE = 22_050
EVERY = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)


def having(trait: Trait) -> list[Any]:
    return [effect for effect in EFFECTS.values() if trait in effect.TRAITS]


def noise(seed: int, seconds: float = 1.0, level: float = 0.2) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    frames = int(seconds * RATE)
    swell = 0.2 + np.abs(np.sin(np.linspace(0.0, 9.0, frames)))  # so that a gain that follows the level moves
    return torch.from_numpy(level * swell * rng.standard_normal((2, frames)))


def drawn(effect: Any, seed: int = 0) -> Any:
    ranges = {**effect.TYPICAL}
    for name, field in fields(effect.Settings).items():
        if isinstance(field, Range) and field.bound:
            ranges[name] = -30.0  # reached by the noise, before and after a gain
        if name == "target_db":
            ranges[name] = -30.0
        if name == "step_s":
            ranges[name] = (0.02, 0.03)  # so that every point of a ride is within the noise
        if name.endswith("_hz") and name != "rate_hz":
            low, high = ranges.get(name, (field.low, field.high))  # type: ignore[union-attr]
            ranges[name] = (min(low, 8000.0), min(high, 9000.0))
    return draw(effect.Settings, np.random.default_rng(seed), ranges)


def off_db(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(10.0 * torch.log10((one - other).square().sum() / other.square().sum() + 1e-40))


def is_linear(effect: Any) -> bool:
    settings, a, b = drawn(effect), noise(1), noise(2)
    together = effect.apply(a + 0.3 * b, RATE, settings)
    return off_db(effect.apply(a, RATE, settings) + 0.3 * effect.apply(b, RATE, settings), together) < -90.0


def is_time_invariant(effect: Any) -> bool:
    # The gates of a loudness are not on the grid of its blocks, nor is the swing of a delay, after a delay of a prime number of samples.
    settings, quiet, late = drawn(effect), torch.zeros(2, 2000, dtype=torch.float64), 3001
    audio = torch.cat([quiet, noise(3)], -1)
    moved = torch.nn.functional.pad(audio, (late, 0))[:, : audio.shape[-1]]
    expected = torch.nn.functional.pad(effect.apply(audio, RATE, settings), (late, 0))[:, : audio.shape[-1]]
    stop = audio.shape[-1] - RATE // 20  # a look-ahead that leaves the excerpt
    return off_db(effect.apply(moved, RATE, settings)[:, :stop], expected[:, :stop]) < -90.0


def is_level_dependent(effect: Any) -> bool:
    settings, audio = drawn(effect), noise(4)
    return off_db(effect.apply(0.5 * audio, RATE, settings), 0.5 * effect.apply(audio, RATE, settings)) > -90.0


def is_level(effect: Any) -> bool:
    settings, audio = drawn(effect), noise(5)
    ratio = effect.apply(audio, RATE, settings) / audio
    return float((ratio.amax(-1) - ratio.amin(-1)).abs().max()) < 1e-9


def is_normalising(effect: Any) -> bool:
    settings, audio = drawn(effect), noise(6)
    return off_db(effect.apply(0.02 * audio, RATE, settings), effect.apply(audio, RATE, settings)) < -90.0


def is_late(effect: Any) -> bool:
    # Filters ring at a low frequency; an echo is a sound of all frequencies. So the impulse has no low ones.
    impulse = torch.zeros(2, RATE, dtype=torch.float64)
    impulse[:, 200:202] = torch.tensor([0.01, -0.01])
    wet = effect.apply(impulse, RATE, drawn(effect))
    change = torch.diff(wet, dim=-1)
    return float(change[:, 200 + RATE // 300 :].square().sum()) > 1e-3 * float(change.square().sum())


def is_flattening(effect: Any) -> bool:
    audio = noise(7)
    crests = [float(each.abs().max() / each.square().mean().sqrt()) for each in (audio, effect.apply(audio, RATE, drawn(effect)))]
    return crests[1] < 0.95 * crests[0]


def is_stereo(effect: Any) -> bool:
    audio = noise(8)[:1].expand(2, -1).contiguous()
    settings = drawn(effect)
    try:
        effect.apply(audio[:1], RATE, settings)
    except ValueError:
        return off_db(effect.apply(audio, RATE, settings), audio) < -90.0
    return False


def is_stochastic(effect: Any) -> bool:
    if "seed" not in fields(effect.Settings):
        return False
    settings, audio = drawn(effect), noise(9)
    parts = [effect.apply(audio, RATE, settings.model_copy(update={"seed": seed})) - audio for seed in (1.0, 2.0)]
    return abs(float((parts[0] * parts[1]).sum()) / float(parts[0].norm() * parts[1].norm())) < 0.2


def is_dynamic(effect: Any) -> bool:
    if not hasattr(effect, "gain_curve"):
        return False
    settings, audio = drawn(effect), noise(10)
    gain = effect.gain_curve(audio, RATE, settings)
    expected = gain * audio * 10.0 ** (settings.final_gain_db() / 20.0)
    return float(gain.amax() / gain.amin()) > 1.05 and off_db(effect.apply(audio, RATE, settings), expected) < -90.0


MEASURED = {
    "linear": is_linear,
    "time-invariant": is_time_invariant,
    "level-dependent": is_level_dependent,
    "level": is_level,
    "normalising": is_normalising,
    "late": is_late,
    "flattening": is_flattening,
    "stereo": is_stereo,
    "stochastic": is_stochastic,
    "dynamic": is_dynamic,
}


@EVERY
@pytest.mark.parametrize("trait", MEASURED)
def test_a_trait_is_stated_where_it_is_true_of_the_sound(effect: Any, trait: Trait) -> None:
    # A stereo effect moves what a limiter of the crest would hear, and a codec leaves out bands: a crest says something of the others only.
    if trait == "flattening" and effect.TRAITS & {"linear", "coded"}:
        assert trait not in effect.TRAITS
        return
    assert MEASURED[trait](effect) == (trait in effect.TRAITS)


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.combinations(having("commutes"), 2)),
    ids=lambda effect: effect.NAME if hasattr(effect, "NAME") else "",
)
def test_effects_that_commute_change_places(first: Any, second: Any) -> None:
    audio, one, other = torch.nn.functional.pad(noise(11, 0.5), (0, RATE // 2)), drawn(first, 1), drawn(second, 2)
    if second.NAME == "room" or first.NAME == "room":  # a tail that ends within the excerpt
        one, other = (each.model_copy(update={"rt60_s": 0.2}) if hasattr(each, "rt60_s") else each for each in (one, other))
    there = second.apply(first.apply(audio, RATE, one), RATE, other)
    back = first.apply(second.apply(audio, RATE, other), RATE, one)
    assert off_db(there, back) < -80.0


def test_traits_agree_with_one_another() -> None:
    for effect in EFFECTS.values():
        traits = effect.TRAITS
        assert not ({"linear", "level-dependent"} <= traits), effect
        assert {"linear", "time-invariant"} <= traits or "commutes" not in traits, effect
        assert ("commutes" in traits and "late" not in traits) or "filter" not in traits, effect
        assert "level" in traits or "normalising" not in traits, effect
        assert "level-dependent" in traits or "dynamic" not in traits, effect
    assert set(MEANINGS) == set(get_args(Trait)) == {trait for effect in EFFECTS.values() for trait in effect.TRAITS}


def settings_with(**wanted: Any) -> list[Any]:
    return [
        pytest.param(effect, field, id=f"{effect.NAME}.{field.name}")
        for effect in EFFECTS.values()
        for field in fields(effect.Settings).values()
        if all(getattr(field, name, None) == value for name, value in wanted.items())
    ]


@pytest.mark.parametrize(("effect", "field"), settings_with(bound="threshold") + settings_with(bound="ceiling"))
def test_what_is_softer_than_a_threshold_passes_and_a_ceiling_holds(effect: Any, field: Range) -> None:
    audio = noise(12)
    settings = effect.Settings(**{**drawn(effect).plain(), field.name: -12.0}).model_copy(update={"makeup_db": 0.0})
    peak = float(audio.abs().max())
    assert off_db(effect.apply(audio * (0.2 / peak), RATE, settings), audio * (0.2 / peak)) < -90.0
    wet = effect.apply(audio * (0.9 / peak), RATE, settings)
    assert off_db(wet, audio * (0.9 / peak)) > -60.0
    if field.bound == "ceiling":
        assert float(wet.abs().max()) <= 10.0 ** (-12.0 / 20.0) * (1.0 + 1e-9)


@pytest.mark.parametrize(("effect", "field"), settings_with(gain=True))
def test_a_final_gain_is_a_gain_after_all_else(effect: Any, field: Range) -> None:
    audio, settings = noise(13), drawn(effect)
    more = settings.model_copy(update={field.name: getattr(settings, field.name) + 2.0})
    assert off_db(effect.apply(audio, RATE, more), 10.0 ** (2.0 / 20.0) * effect.apply(audio, RATE, settings)) < -90.0


@EVERY
def test_a_setting_is_stepped_where_a_small_change_of_it_changes_nothing(effect: Any) -> None:
    audio, settings = noise(14), drawn(effect, 3)
    wet = effect.apply(audio, RATE, settings)
    for field in fields(effect.Settings).values():
        if (
            not isinstance(field, Range)
            or field.scale == "integer"
            or field.name == "gate_db"
            or getattr(settings, field.name) == field.off
        ):
            continue
        value = field.to_unit(getattr(settings, field.name))
        moved = settings.model_copy(update={field.name: field.from_unit(value + (1e-6 if value < 0.5 else -1e-6))})
        assert torch.equal(effect.apply(audio, RATE, moved), wet) == field.stepped, field.name


@EVERY
def test_a_setting_needs_the_channels_that_it_states(effect: Any) -> None:
    audio, settings = noise(15), drawn(effect, 4)
    equal = audio[:1].expand(2, -1).contiguous()
    for field in fields(effect.Settings).values():
        other = not getattr(settings, field.name) if isinstance(field, Choice) and True in field.options else None
        if field.needs == "difference":
            moved = settings.model_copy(update={field.name: other})
            torch.testing.assert_close(effect.apply(equal, RATE, moved), effect.apply(equal, RATE, settings), atol=1e-12, rtol=0)
            assert off_db(effect.apply(audio, RATE, moved), effect.apply(audio, RATE, settings)) > -60.0
        elif field.needs == "stereo":
            with pytest.raises(ValueError, match="two channels"):
                effect.apply(audio[:1], RATE, settings)
        elif field.needs == "own":
            one = settings.model_copy(update={field.name: field.neutral})
            parts = [effect.apply(audio[:1], RATE, each) - effect.Settings().dry * audio[:1] * settings.dry for each in (one, settings)]
            factor = float((parts[0] * parts[1]).sum() / parts[1].square().sum())
            assert off_db(factor * parts[1], parts[0]) < -90.0
