import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stemwright.datagen.pairs.section import range_of
from stemwright.datagen.run import config_changes
from stemwright.datagen.run.configuration import Config, ConfigError, check, parse, plain, read, to_toml
from stemwright.manifests.catalog.tracks import SplitShares


def test_empty_text_is_a_whole_configuration():
    assert parse("") == Config()


def test_written_configuration_reads_back_equal():
    config = parse(
        'seed = 7\n[songs]\nfolder = "a b"\n[pairs]\nduration_s = 2.5\n[pairs.removal]\neffects = ["eq"]\nremoved = [1, 1]\n'
        "[pairs.removal.ranges.eq]\nlow_shelf_gain_db = [-6, 6]\n"
    )
    assert parse(to_toml(config)) == config
    assert check(plain(config), where="here") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", "unknown key 'sed'; did you mean 'seed'"),
        ("[separation]\nmodell = 'x'", "unknown key 'separation.modell'; did you mean 'separation.model'"),
        ("[pairs.mix]\nper_trck = 3", "did you mean 'pairs.mix.per_track'"),
        ("[pairs]\nsamplerate = 44100", "did you mean 'pairs.sample_rate'"),
        ("[pairs.remval]\nper_track = 3", "did you mean 'pairs.removal'"),
        ("seed = -1", "seed: "),
        ("seed = ", "is not TOML"),
        ("[dataset]\nencoding = 'mp3'", "here: [dataset] encoding: expected 'auto', "),
        ("[songs.shares]\ntrain = 1.5", "here: [songs.shares] train: expected a number from 0 to 1"),
        ("[pairs.removal]\neffects = ['eq', 'eq']", "[pairs.removal] effects: expected each effect once; got eq, eq"),
        ("[pairs.removal]\nkept = [2, 1]", "[pairs.removal] kept: expected [fewest, most]"),
        ("[pairs.removal]\nremoved = [0, 1]", "at least 1"),
        ("[pairs.removal]\neffects = ['compresser']", "did you mean 'compressor'"),
        ("[pairs.removal.ranges.delay]\nmix = [0.1, 0.2]", "not among the effects drawn"),
        ("[pairs.removal.ranges.eq]\nnonsense = [0.1, 0.2]", "no setting 'nonsense'"),
        (
            "[pairs.removal.ranges.compressor]\nratio = [0.1, 0.2]",
            "here: [pairs.removal.ranges.compressor]: a range for ratio must be within 1 to inf:1; got 0.1 to 0.2",
        ),
        ("[pairs]\nduration_s = 0", "here: [pairs] duration_s: expected a number above 0.05 to 600 (s); got 0"),
        ("[pairs]\nduration_s = nan", "here: [pairs] duration_s: expected a finite number; got nan"),
        ("[separation]\ninput_lufs = inf", "[separation] input_lufs: expected a finite number"),
        ("[separation.limits]\nclosure_db = nan", "[separation.limits] closure_db: expected a finite number"),
        ("[pairs.removal.ranges.compressor]\nratio = [nan, 2.0]", "must be within 1 to"),
        ("[pairs.limit]\nrelease_ms = [2.0, 1.0]", "here: [pairs.limit] release_ms: expected [low, high] with low <= high; got [2.0, 1.0]"),
        ("[pairs.limit]\nrelease_ms = [1, 9000]", "here: [pairs.limit] release_ms: expected a number from 1 to 5,000 (ms); got 9000"),
        ("[pairs.limit]\ndrive_lufs = [-8, -1]", "here: [pairs.limit] drive_lufs: expected a number from 0 to 70 (LUFS); got -1"),
        ("[pairs.limit]\nrelease_ms = 3", "here: [pairs.limit] release_ms: expected a list; got 3"),
        ("[pairs.limit]\nrelease_ms = [1, 2, 3]", "here: [pairs.limit] release_ms: expected a list of 2 values; got [1, 2, 3]"),
        ("[pairs.remix]\nmix_peak_dbfs = [-1, 2]", "here: [pairs.remix] mix_peak_dbfs: expected a number from -60 to 0 (dBFS); got 2"),
        ("[pairs.remix.ranges.eq]\nfoo = 1", "here: [pairs.remix.ranges.eq]: there is no setting 'foo'"),
        ("[pairs.mix]\nper_track = 1.5", "here: [pairs.mix] per_track: expected a whole number from 0 to 100,000 (pairs a track); got 1.5"),
        ("[pairs.mix]\nstems = 'drums'", "here: [pairs.mix] stems: expected a list; got 'drums'"),
        ("[pairs.restore]\nbus_removed_weights = [1, 1, 0]", "bus_removed_weights: expected a number above 0 to 1,000 (weight); got 0"),
        ("[pairs.restore.group_weights]\na = -1", "[pairs.restore.group_weights.a] expected a number above 0 to 1,000 (weight); got -1"),
        (
            "[pairs.restore.degradations.a]\nweight = 0",
            "[pairs.restore.degradations.a] weight: expected a number above 0 to 1,000 (weight)",
        ),
        ("[pairs.restore.degradations.a]\ngroop = 'b'", "unknown key 'pairs.restore.degradations.a.groop'"),
        ("[pairs.removal.ranges.compressor]\nratio = {a = 1}", "here: [pairs.removal.ranges.compressor] ratio: expected a value, a range"),
        ("[pairs]\nmix = 3", "here: [pairs.mix] expected a table; got 3"),
        ("[dataset]\nformat = 'musdb'", "here: [dataset] format: 'musdb' holds stems and their mix, no 'removal' pairs"),
        ("[separation.limits]\nbleed = 7", "here: [separation.limits] bleed: expected a number from 0 to 1 (correlation); got 7"),
        ("seed = 18446744073709551616", "seed: "),
    ],
)
def test_wrong_configuration_names_the_key_and_the_right_one(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(text, where="here")


def numbers(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The keys of a section, and of those below it, that are numbers or lists of so many numbers."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from numbers(kind, f"{path}{name}.")
        elif {int, float} & set(leaves(kind)):
            yield f"{path}{name}", field


def leaves(annotation: Any) -> Iterator[Any]:
    parts = () if get_origin(annotation) is Literal else get_args(annotation)
    yield from (leaf for part in parts for leaf in leaves(part)) if parts else (annotation,)


CHECKED_ELSEWHERE = [  # by the effect that a table is for, whose settings have ranges of their own
    "pairs.removal.ranges",
    "pairs.remix.ranges",
    "pairs.restore.ranges",
]


def test_every_number_of_every_section_has_a_lowest_and_a_highest_value():
    found = dict(numbers(Config))
    assert {"seed", "separation.limits.bleed", "pairs.limit.release_ms", "dataset.shard_examples", *CHECKED_ELSEWHERE} <= set(found)
    for path, field in found.items():
        if path not in CHECKED_ELSEWHERE:
            for each in range_of(field).split("; "):
                assert re.fullmatch(r"(from|above) \S+ (to|below) \S+", each), f"{path}: {each!r}"


@pytest.mark.parametrize("section", CHECKED_ELSEWHERE)
def test_ranges_of_effects_are_within_what_the_effect_takes(section):
    with pytest.raises(ConfigError, match=rf"\[{section}\.compressor\]: a range for ratio must be within"):
        parse(f"[{section}.compressor]\nratio = [0.1, 0.2]")


def test_a_ratio_may_be_infinite():
    assert parse("[pairs.removal.ranges.compressor]\nratio = [2.0, inf]").pairs.removal.ranges["compressor"]["ratio"] == (2.0, float("inf"))


def test_an_error_names_its_section_once():
    with pytest.raises(ConfigError) as error:
        parse("[songs.shares]\ntrain = 0.5", where="here")
    assert str(error.value) == "here: [songs.shares] train, valid and test must sum to 1; they sum to 0.7"


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml does not exist; .*stemwright init .*none\.toml"):
        read(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"is a folder; expected a TOML file"):
        read(tmp_path)


def test_validation_is_another_name_of_valid_in_the_shares(tmp_path):
    assert parse("[songs.shares]\ntrain = 0.7\nvalidation = 0.2").songs.shares == SplitShares(train=0.7, valid=0.2, test=0.1)
    (tmp_path / "more.toml").write_text("[songs.shares]\nvalidation = 0.0\ntest = 0.2")
    changed = config_changes.changed(Config(), file=tmp_path / "more.toml")
    assert changed.songs.shares == SplitShares(train=0.8, valid=0.0, test=0.2)
    with pytest.raises(ConfigError, match="valid and validation are the same split"):
        parse("[songs.shares]\nvalid = 0.1\nvalidation = 0.1")


def test_shares_of_the_splits_must_be_shares():
    with pytest.raises(ConfigError, match=r"\[songs\.shares\] train: expected a number from 0 to 1 .*; got 2\.0"):
        parse("[songs.shares]\ntrain = 2.0")


def test_every_form_of_a_range_is_kept_as_it_was_written():
    ranges = parse(
        "[pairs.removal.ranges.compressor]\ndetector = 'rms'\nlinked = [true, false]\nratio = 4\nattack_ms = [1, 5]"
    ).pairs.removal.ranges
    assert ranges == {"compressor": {"detector": "rms", "linked": (True, False), "ratio": 4.0, "attack_ms": (1.0, 5.0)}}
    assert [type(value) for value in ranges["compressor"]["linked"]] == [bool, bool]


def test_a_relative_model_folder_is_relative_to_its_file(tmp_path):
    (tmp_path / "corpus.toml").write_text("[separation]\nmodel_folder = 'models'\n")
    assert read(tmp_path / "corpus.toml").separation.model_folder == str(tmp_path / "models")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "flac24"),
        ('[pairs.removal]\npreset = "remfx-5-1"', "wav32f"),
        ('[pairs.removal]\npreset = "remfx"\nper_track = 0', "flac24"),
        ('[pairs.removal]\npreset = "remfx"\n[dataset]\nencoding = "flac24"', "flac24"),
        ('[pairs.removal]\npreset = "wide"', "flac24"),
        ('[pairs.mix]\ntarget = "sum"\n[pairs.removal]\nper_track = 0\n[dataset]\nformat = "musdb"', "wav32f"),
    ],
)
def test_what_was_published_as_float_is_written_as_float_unless_the_encoding_is_given(text: str, encoding: str) -> None:
    assert parse(text).encoding == encoding
