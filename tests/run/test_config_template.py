"""The configuration to start from changes nothing, and without its ``#`` says the same."""

import re

from stemwright.datagen.run.config_reference import NOT_GIVEN, sections
from stemwright.datagen.run.config_template import commented
from stemwright.datagen.run.configuration import Config, parse, to_toml


def test_it_is_toml_that_changes_nothing():
    assert to_toml(parse(commented())) == to_toml(Config())


def test_without_its_comment_signs_every_key_has_its_default():
    text = re.sub(r"^#(?! )", "", commented(), flags=re.MULTILINE)
    for section in sections():
        for key in section.keys:
            assert (f"\n{key.name} = {key.default}\n" in text) or key.default == NOT_GIVEN
    assert to_toml(parse(text)) == to_toml(Config())


def test_every_key_is_explained_in_its_section():
    tables = dict(re.findall(r"^\[([^]]+)\]\n(.*?)(?=^\[|\Z)", commented(), re.MULTILINE | re.DOTALL))
    for section in sections():
        if section.path:
            assert all(re.search(rf"^#(?: )?{key.name} = ", tables[section.path], re.MULTILINE) for key in section.keys)


def test_its_head_names_the_file_it_is_written_to():
    assert "--config here/my.toml" in commented("here/my.toml")
    assert max(map(len, commented().splitlines())) <= 140
