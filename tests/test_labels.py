"""The label vector: what is drawn comes back out of it."""

import numpy as np
import pytest

from datagen.effects import EFFECTS
from datagen.effects.setting import Range, draw, fields
from datagen.labels import Vocabulary
from manifests.records import EffectUse

WHOLE = Vocabulary()


@pytest.mark.parametrize("effect", EFFECTS)
def test_decoding_undoes_encoding(effect):
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = draw(EFFECTS[effect].Settings, rng)
        values, mask = WHOLE.encode([EffectUse(effect=effect, settings=drawn.plain())])
        assert values.min() >= 0.0
        assert values.max() <= 1.0
        (found,) = WHOLE.decode(values, mask).items()
        assert found[0] == effect
        for name, field in fields(type(drawn)).items():
            value = getattr(drawn, name)
            if isinstance(field, Range):
                assert field.to_unit(found[1][name]) == pytest.approx(field.to_unit(value), abs=1e-6)
            else:
                assert found[1][name] == value


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_number_that_is_switched_off_is_said_to_be_and_comes_back(effect):
    for name, field in fields(EFFECTS[effect].Settings).items():
        if isinstance(field, Range) and field.off is not None and not field.low <= field.off <= field.high:
            settings = EFFECTS[effect].Settings(**{name: field.off})
            values, mask = WHOLE.encode([EffectUse(effect=effect, settings=settings.plain())])
            assert values[WHOLE.names.index(f"{effect}.{name}=off")] == 1.0
            assert not mask[WHOLE.names.index(f"{effect}.{name}")]
            assert WHOLE.decode(values, mask)[effect][name] == field.off


def test_effects_of_a_chain_do_not_touch_each_other_and_the_later_of_two_counts():
    chain = [
        EffectUse(effect="fader", settings={"gain_db": -3.0}),
        EffectUse(effect="width", settings={}),
        EffectUse(effect="fader", settings={"gain_db": 6.0}),
    ]
    found = WHOLE.decode(*WHOLE.encode(chain))
    assert list(found) == ["fader", "width"]
    assert found["fader"]["gain_db"] == pytest.approx(6.0, abs=1e-5)


def test_an_empty_chain_has_nothing():
    values, mask = WHOLE.encode([])
    assert not mask.any()
    assert not values.any()
    assert WHOLE.decode(values, mask) == {}


def test_a_setting_that_a_row_does_not_name_is_there_with_its_neutral_value():
    values, mask = WHOLE.encode([EffectUse(effect="fader", settings={"gain_db": 0.0})])
    assert mask[WHOLE.names.index("fader.pan")]
    assert values[WHOLE.names.index("fader.pan")] == pytest.approx(0.5)


def test_slots_have_names_of_their_own():
    assert len(set(WHOLE.names)) == len(WHOLE.names) == len(WHOLE)
    assert {name.partition(".")[0] for name in WHOLE.names} == set(EFFECTS)
