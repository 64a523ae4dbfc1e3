"""What a command changes in a corpus's configuration: what it names, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemwright.datagen.run.config_changes import changed, differences, requested
from stemwright.datagen.run.configuration import ConfigError, parse, plain

KEPT = """
seed = 7
[songs]
ignore = ["*.txt.mp3"]
[separation]
model = "bundled"
input_lufs = -14.0
[pairs]
sample_rate = 32_000
duration_s = 2.0
[pairs.mix]
per_track = 3
[pairs.removal]
preset = "remfx"
per_track = 5
"""


def from_file(tmp_path, text, kept=KEPT, **more):
    (tmp_path / "c.toml").write_text(text)
    return changed(parse(kept), file=tmp_path / "c.toml", **more)


def leaves(values, prefix=""):
    found = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def changes(before, after):
    one, other = leaves(plain(before)), leaves(plain(after))
    return {key: other.get(key) for key in {*one, *other} if one.get(key) != other.get(key)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("[pairs.mix]\nper_track = 9\n", {"pairs.mix.per_track": 9}),
        ("[separation]\nprecision = 'fp32'\n", {"separation.precision": "fp32"}),
        ("[songs.shares]\ntrain = 0.7\nvalid = 0.2\n", {"songs.shares.train": 0.7, "songs.shares.valid": 0.2}),
        ("seed = 8\n[dataset]\nformat = 'webdataset'\n", {"seed": 8, "dataset.format": "webdataset"}),
    ],
)
def test_a_file_changes_what_it_names_and_nothing_else(tmp_path, text, expected):
    assert changes(parse(KEPT), from_file(tmp_path, text)) == expected


def test_options_win_over_a_file_and_leave_the_rest(tmp_path):
    options = {"": {"seed": None}, "separation": {"model": "htdemucs", "input_lufs": None}}
    after = from_file(tmp_path, "seed = 8\n[separation]\nmodel = 'mdx'\n", options=options)
    assert changes(parse(KEPT), after) == {"seed": 8, "separation.model": "htdemucs"}


def test_another_preset_sets_its_own_values_and_keeps_requested_ones(tmp_path):
    after = from_file(tmp_path, "[pairs.removal]\npreset = 'wide'\n")
    wanted = parse(KEPT.replace('"remfx"', '"wide"'))
    assert plain(after) == plain(wanted)
    assert after.pairs.removal.per_track == 5


def test_a_preset_sets_its_shape_unless_a_length_is_given(tmp_path):
    text = "[pairs.mix]\npreset = 'console'\n"
    after, fresh = from_file(tmp_path, text, kept="seed = 1\n"), parse(text)
    assert (after.pairs.sample_rate, after.pairs.duration_s) == (fresh.pairs.sample_rate, fresh.pairs.duration_s)
    assert fresh.pairs.duration_s != parse("").pairs.duration_s
    assert from_file(tmp_path, text, kept="[pairs]\nduration_s = 2.0\n").pairs.duration_s == 2.0
    without = from_file(tmp_path, "[pairs.mix]\nper_track = 1\n", kept=text)
    assert changes(fresh, without) == {"pairs.mix.per_track": 1}


@pytest.mark.parametrize("key", ["separation.input_lufs", "separation", "songs.ignore", "seed", "pairs.mix.per_track", "pairs.removal"])
def test_reset_gives_a_key_or_a_section_its_default_again(key):
    after = changed(parse(KEPT), reset=[key])
    default, before = leaves(plain(parse("[pairs]\nduration_s = 2.0"))), leaves(plain(parse(KEPT)))
    for name, value in leaves(plain(after)).items():
        if name == key or name.startswith(f"{key}."):
            assert value == default[name], name
        else:
            assert value == before[name], name


def test_reset_of_a_wrong_key_names_the_right_one():
    with pytest.raises(ConfigError, match=r"did you mean 'separation\.input_lufs'"):
        changed(parse(KEPT), reset=["separation.input_luf"])


def test_a_wrong_key_in_a_file_names_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"c\.toml: unknown key 'separation.modle'; did you mean 'separation.model'"):
        from_file(tmp_path, "[separation]\nmodle = 'x'\n")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(0, 9),
            "separation": st.fixed_dictionaries(
                {}, optional={"model": st.sampled_from(["htdemucs", "mdx"]), "input_lufs": st.floats(-30, 0)}
            ),
            "pairs": st.fixed_dictionaries(
                {},
                optional={
                    "duration_s": st.sampled_from([1.0, 5.0, 7.5]),
                    "removal": st.fixed_dictionaries(
                        {}, optional={"preset": st.sampled_from(["remfx", "wide"]), "per_track": st.integers(0, 5)}
                    ),
                    "mix": st.fixed_dictionaries({}, optional={"preset": st.just("console"), "per_track": st.integers(0, 5)}),
                },
            ),
        },
    )
)
def test_the_requested_changes_give_the_whole_configuration_again(values):
    from stemwright.datagen.run.configuration import check

    try:
        config = check(values, where="here")
    except ConfigError:  # presets of several lengths
        return
    assert plain(check(requested(config), where="here")) == plain(config)
    assert plain(changed(config)) == plain(config)


def test_differences_are_described_as_text():
    after = changed(parse(KEPT), options={"separation": {"model": "htdemucs", "precision": "fp32"}}, reset=["separation.input_lufs"])
    assert differences(parse(KEPT), after, "separation") == [
        "model bundled -> htdemucs",
        "precision auto -> fp32",
        "input_lufs -14 -> none",
    ]
