"""The label vector: what is drawn comes back out of it."""

import numpy as np
import pytest

from stemwright.datagen.dataset.labels import Vocabulary
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.scaling import written
from stemwright.datagen.effects.settings import Range, draw, fields
from stemwright.manifests.records import EffectUse

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
def test_a_number_that_is_switched_off_is_encoded_as_off_and_decoded_again(effect):
    for name, field in fields(EFFECTS[effect].Settings).items():
        if isinstance(field, Range) and field.off is not None and not field.low <= field.off <= field.high:
            settings = EFFECTS[effect].Settings(**{name: field.off})
            values, mask = WHOLE.encode([EffectUse(effect=effect, settings=settings.plain())])
            assert values[WHOLE.names.index(f"{effect}.{name}=off")] == 1.0
            assert not mask[WHOLE.names.index(f"{effect}.{name}")]
            assert WHOLE.decode(values, mask)[effect][name] == field.off


def test_effects_of_a_chain_do_not_touch_each_other_and_each_use_has_slots_of_its_own():
    chain = [
        EffectUse(effect="fader", settings={"gain_db": -3.0}),
        EffectUse(effect="width", settings={}),
        EffectUse(effect="fader", settings={"gain_db": 6.0}),
    ]
    vocabulary = Vocabulary(uses={"fader": 2})
    found = vocabulary.decode(*vocabulary.encode(chain))
    assert list(found) == ["fader", "width", "fader#2"]
    assert found["fader"]["gain_db"] == pytest.approx(-3.0, abs=1e-5)
    assert found["fader#2"]["gain_db"] == pytest.approx(6.0, abs=1e-5)
    assert vocabulary.names[: len(WHOLE)] == WHOLE.names  # later uses come after: the slots of the first are where they always are


def test_a_use_too_many_is_refused_and_not_lost():
    with pytest.raises(ValueError, match="a chain uses fader 2 times; this vocabulary has slots for 1"):
        WHOLE.encode([EffectUse(effect="fader"), EffectUse(effect="fader")])


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (("fader",), ["fader.gain_db", "fader.pan", "fader#2.gain_db", "fader#2.pan"]),
        (("fader#2",), ["fader#2.gain_db", "fader#2.pan"]),
        (("fader.pan",), ["fader.pan", "fader#2.pan"]),
        (("fader#2.pan", "width"), ["width.width", "fader#2.pan"]),
    ],
)
def test_uses_and_settings_can_be_chosen(wanted, names):
    assert list(Vocabulary(wanted, {"fader": 2}).names) == names


def test_roles_are_sets_of_effects_that_are_there_for_every_chain():
    vocabulary = Vocabulary(("removed", "kept"))
    assert len(vocabulary) == 2 * len(EFFECTS)
    chain = [EffectUse(effect="eq", role="removed"), EffectUse(effect="clip", role="kept"), EffectUse(effect="fader")]
    values, mask = vocabulary.encode(chain)
    assert mask.all()
    found = vocabulary.decode(values, mask)
    assert [effect for effect, has in found["removed"].items() if has] == ["eq"]
    assert [effect for effect, has in found["kept"].items() if has] == ["clip"]
    assert not vocabulary.encode([])[0].any()


def test_a_level_that_a_joint_gain_moved_out_of_its_range_is_not_cut_off():
    use = written(EffectUse(effect="distortion", settings={"drive_db": 39.0, "asymmetry": 0.25}), -18.0)
    values, mask = WHOLE.encode([use])
    assert values[WHOLE.names.index("distortion.drive_db")] > 1.0
    assert WHOLE.decode(values, mask)["distortion"] == pytest.approx(use.settings, abs=1e-4)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no effect, setting or role 'remved' to label; did you mean 'removed'"):
        Vocabulary(("remved",))


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
