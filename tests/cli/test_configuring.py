"""``init`` writes a configuration and nothing over another; ``config`` explains every key."""

import json

import pytest
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.run.config_reference import sections
from stemwright.datagen.run.configuration import Config, keys, read
from stemwright.manifests.usage import UsageError


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_init_writes_a_file_that_changes_nothing_and_not_over_another(tmp_path):
    path = tmp_path / "deep" / "my.toml"
    assert str(path) in run("init", path)
    assert read(path) == Config()
    path.write_text("seed = 3")
    with pytest.raises(UsageError, match=r"my\.toml exists; .*--force"):
        run("init", path)
    assert path.read_text() == "seed = 3"
    run("init", path, "--force")
    assert "#seed = 0" in path.read_text()


@pytest.mark.parametrize("there", [True, False])
def test_init_for_a_folder_writes_into_it(tmp_path, there):
    folder = tmp_path / "corpus"
    if there:
        folder.mkdir()
    assert json.loads(run("init", folder, "--json")) == {"written": str(folder / "stemwright.toml")}
    assert read(folder / "stemwright.toml") == Config()


def test_init_at_a_path_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        run("init", tmp_path / "file" / "my.toml")


def test_config_lists_every_key_within_80_columns():
    said = run("config")
    assert all(f" {key.name} " in said for section in sections() for key in section.keys)
    assert max(map(len, said.splitlines())) <= 80
    listed = [key["key"] for key in json.loads(run("config", "--json"))["keys"]]
    assert set(keys(Config)) - set(listed) == {section.path for section in sections() if section.path}


def test_config_explains_one_key_in_full_and_a_section_with_what_is_below_it():
    said = run("config", "pairs.removal.kept")
    assert all(part in said for part in ("smallest and largest number of kept effects", "list of 2 whole numbers", "[0, 1]", "0.1"))
    assert {key["section"] for key in json.loads(run("config", "songs", "--json"))["keys"]} == {"songs", "songs.shares"}
    assert json.loads(run("config", "songs.kind", "--json"))["keys"][0]["choices"][0] == '"auto"'


@pytest.mark.parametrize(
    ("key", "meant"),
    [("pairs.remval.kept", "'pairs.removal.kept'"), ("kept_first", "'pairs.removal.kept_first'"), ("removal", "'pairs.removal'")],
)
def test_config_names_the_key_that_was_meant(key, meant):
    with pytest.raises(UsageError, match=f"no key '{key}'; did you mean {meant}"):
        run("config", key)
    with pytest.raises(UsageError, match="`stemwright config` lists all"):
        run("config", "zzz")
