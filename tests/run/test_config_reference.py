"""Every key of the configuration is described where it is declared."""

import tomllib

import pytest

from stemwright.datagen.run.config_reference import NOT_GIVEN, REQUIRED, named_tables, sections
from stemwright.datagen.run.configuration import Config, keys, parse, to_toml

KEYS = [key for section in sections() for key in section.keys]
NAMED = [key for section in named_tables() for key in section.keys]


@pytest.mark.parametrize("key", [*KEYS, *NAMED], ids=lambda key: key.path)
def test_a_key_has_a_meaning_a_unit_and_the_version_that_added_it(key):
    assert len(key.description.split()) >= 2, "give the field a description"
    assert key.since, 'give the field json_schema_extra=since("VERSION", unit="...")'
    assert key.unit or "number" not in key.kind, "a number needs a unit"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.path or "top")
def test_a_section_has_a_description(section):
    assert section.description


def test_the_reference_has_every_key_and_no_other():
    found = [key.path for key in KEYS] + [section.path for section in sections() if section.path]
    assert sorted(found) == sorted(keys(Config))


def test_defaults_are_written_as_toml_and_mean_the_default():
    lines = []
    for section in sections():
        lines += [f"[{section.path}]" if section.path else ""]
        lines += [f"{key.name} = {key.default}" for key in section.keys if key.default != NOT_GIVEN]
    written = parse("\n".join(lines))
    assert written == Config()
    assert tomllib.loads(to_toml(written)) == tomllib.loads(to_toml(Config()))


def test_a_range_and_the_choices_are_those_of_the_field():
    found = {key.path: key for key in KEYS}
    assert found["songs.longest_s"].range == "above 0 to 604,800"
    assert found["pairs.mix.per_track"].range == "from 0 to 100,000"
    assert found["separation.precision"].choices == ('"auto"', '"fp32"', '"bf16"')
    assert found["separation.input_lufs"].default == NOT_GIVEN
    assert found["pairs.edit.operations"].kind == "list of choices"


def test_a_table_with_a_name_of_the_users_own_is_described_and_lists_the_keys_that_it_takes():
    (table,) = [each for each in named_tables() if each.path == "pairs.restore.degradations.NAME"]
    assert table.description
    assert {key.name: key.default for key in table.keys} == {
        "chain": REQUIRED,
        "group": NOT_GIVEN,
        "weight": "1.0",
        "relative_to": '"full_scale"',
        "sentences": "[]",
    }
