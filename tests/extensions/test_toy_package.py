"""Another package brings an effect, a kind of pair, a format, a separator, a statistic and a layout, and nothing of ours is touched."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from toy_package import blocks, entry_points, install

from stemwright.manifests import table
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.feature_rows import StemStatistic
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Stem
from stemwright.manifests.sound.decoding import load

ROOT = Path(__file__).parent.parent.parent

ONE_AFTER_ANOTHER = """
import json, os, sys
from commands import stemwright
done = {}
for name, (folder, words) in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    made = stemwright(*words, check=False)
    done[name] = [made.returncode, made.stdout, made.stderr]
print(json.dumps(done))
"""


class Ended(NamedTuple):
    """How a verb ended."""

    returncode: int
    stdout: str
    stderr: str


def run(arguments, folder, *paths):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT))), "PYTHONWARNINGS": "error"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, package):
    """A corpus that was built by the command line with the toys of the pages."""
    from conftest import make_song, write_song_file

    folder = tmp_path_factory.mktemp("toys")
    for index in range(2):
        path = folder / "songs" / f"{index} song.flac"
        path.parent.mkdir(exist_ok=True)
        write_song_file(path, make_song(index, 3.0)["mixture"], title=f"Song {index}", artist=f"Artist {index}", copyright="CC0")
    (folder / "build.toml").write_text("\n".join(blocks()["build.toml"]))
    done = run(["-m", "stemwright", "build", "songs", "corpus", "--config", "build.toml"], folder, package)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "corpus"


@pytest.fixture(scope="module")
def ended(tmp_path_factory, corpus, package):
    """What verbs say of the corpus and of the package, by the name of the verb: exit code, output, errors. In one process, to save time."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    song = elsewhere / "songs" / "0001"
    song.mkdir(parents=True)
    (song / "session.json").write_text('{"title": "A Song", "takes": {}}')
    (song / "full.wav").write_bytes(b"RIFF")
    verbs = {
        "check": (corpus.parent, ["check", "corpus", "--json"]),
        "build": (corpus.parent, ["build", "songs", "corpus", "--json"]),
        "rules": (corpus, ["rules", str(corpus), "--rule", "no_silence", "--rule", "slope_5_db", "--json"]),
        "evaluate": (elsewhere, ["evaluate", "crest", "--out", "kept", "--json"]),
        "effects": (elsewhere, ["effects", "tremolo", "--json"]),
        "help": (elsewhere, ["catalog", "--help"]),
        "catalog": (elsewhere, ["catalog", "songs", "corpus", "--kind", "sessions", "--dry-run"]),
    }
    given = json.dumps({name: (str(folder), words) for name, (folder, words) in verbs.items()})
    done = run(["-c", ONE_AFTER_ANOTHER, given], elsewhere, package, ROOT / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: Ended(*each) for name, each in json.loads(done.stdout).items()}


def test_every_page_shows_an_entry_point_of_its_group():
    kinds = ("effects", "formats", "layouts", "protocols", "quantities", "recipes", "rules", "separators", "statistics")
    assert sorted(entry_points()) == [f"stemwright.{kind}" for kind in kinds]


def test_stems_are_those_of_the_separator_of_another_package(corpus):
    stems = table.read(corpus / "stems.parquet", Stem)
    assert {stem.origin for stem in stems} == {"midside@1"}
    assert {stem.name for stem in stems} == {"vocals", "other", "residual"}
    of_track = [stem for stem in stems if stem.track_id == stems[0].track_id and stem.name == "vocals"]
    audio, _ = load(corpus / of_track[0].audio.path)
    np.testing.assert_array_equal(audio[0], audio[1])  # the middle


def test_pairs_are_of_the_kind_and_with_the_effect_of_another_package(corpus):
    pairs = table.read(corpus / "dataset" / "pairs.parquet", WrittenPair)
    assert {pair.kind for pair in pairs} == {"duet", "removal"}
    duet = next(pair for pair in pairs if pair.kind == "duet")
    assert [signal.name for signal in duet.inputs] == ["other", "vocals"]
    uses = {use.effect for pair in pairs if pair.kind == "removal" for branch in pair.inputs[0].branches for use in branch.chain}
    assert "tremolo" in uses


def test_dataset_is_written_in_the_format_of_another_package_and_the_loader_reads_it(corpus):
    from stemwright.datagen.dataset.loader import PairDataset

    examples = table.read(corpus / "dataset" / "examples.parquet", Example)
    assert list((corpus / "dataset" / "duet").glob("*.zip"))
    assert not list((corpus / "dataset").rglob("*.flac"))
    assert "archive.namelist()" in (corpus / "dataset" / "README.md").read_text()
    data = PairDataset(corpus / "dataset", kind="duet", split="all")
    inputs, targets, mask = data[0]
    assert inputs.shape == (2, 2, 8000)
    assert bool(mask.all())
    np.testing.assert_allclose(inputs.sum(0), targets[0], atol=2.0**-21)
    assert len(examples) == len(PairDataset(corpus / "dataset", kind="removal", split="all")) + len(data)


def test_statistic_of_another_package_is_in_the_profile(corpus):
    from stemwright.datagen.inverse.blind.profile import Profile

    rows = table.read(corpus / "statistics.parquet", StemStatistic)
    assert {(row.name, row.statistic) for row in rows} == {("vocals", "brightness"), ("other", "brightness")}
    profile = Profile.load(corpus / "profile.parquet")
    in_profile = {row.stem_id for row in profile["vocals"].rows}
    expected = sorted(row.values[0] for row in rows if row.stem_id in in_profile)
    assert expected
    assert sorted(profile["vocals"].values("brightness")) == expected
    assert profile["vocals"].typical("brightness").songs == len(expected)


def test_corpus_passes_the_check_and_a_second_build_does_nothing(ended):
    assert ended["check"].returncode == 0, ended["check"]
    done = ended["build"]
    assert done.returncode == 0, done
    assert all(stage["done"] == 0 for stage in json.loads(done.stdout)["stages"])


def test_another_format_is_packed_from_that_of_another_package(ended, corpus, package):
    assert ended["check"].returncode == 0  # of the format of the package
    done = run(["-m", "stemwright", "render", "corpus", "--format", "folder", "--json"], corpus.parent, package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((corpus / "dataset").rglob("*.zip"))
    assert len(list((corpus / "dataset").rglob("*.flac"))) > 0
    done = run(["-m", "stemwright", "render", "corpus", "--format", "zipped", "--json"], corpus.parent, package)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_of_another_package_is_measured_like_ours(ended):
    done = ended["rules"]
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["songs"] if row["rule"] == "no_silence"]
    assert len(rows) == 2
    assert all(0 <= row["value"] < 1 for row in rows)


def test_a_protocol_of_another_package_is_run_like_ours(ended):
    done = ended["evaluate"]
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [row["origin"] for row in shown["figures"]] == ["published", "measured"]
    assert 0 < shown["figures"][1]["value"] < 30
    assert shown["not_run"] == "needs any multitracks"


def test_the_toys_keep_the_contracts_by_the_test_that_the_page_shows(package, tmp_path):
    done = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", package / "tests" / "test_toys.py"], tmp_path, package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_settings_of_the_effect_of_another_package_are_listed(ended):
    assert {row["setting"] for row in json.loads(ended["effects"].stdout)["effects"]} == {"depth", "rate_hz"}


def test_an_installed_package_changes_no_configuration_that_does_not_name_it(package, tmp_path):
    program = "from stemwright.datagen.run import configuration; print(configuration.to_toml(configuration.Config()))"
    without, with_package = run(["-c", program], tmp_path), run(["-c", program], tmp_path, package)
    assert with_package.returncode == 0, with_package.stderr
    assert with_package.stdout == without.stdout


def test_a_package_that_cannot_be_imported_is_named_when_it_is_requested(package, tmp_path):
    broken = tmp_path / "broken_toy-0.1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-toy\nVersion: 0.1\n")
    (broken / "entry_points.txt").write_text("[stemwright.recipes]\nsolo = absent_module\n")
    (tmp_path / "build.toml").write_text("[pairs.solo]\nper_track = 1\n")
    (tmp_path / "songs").mkdir()
    done = run(["-W", "default", "-m", "stemwright", "build", "songs", "corpus", "--config", "build.toml"], tmp_path, tmp_path)
    assert done.returncode == 2
    assert "'solo' of broken-toy 0.1 (entry point absent_module in stemwright.recipes) cannot be used: ModuleNotFoundError" in done.stderr


def test_the_layout_of_another_package_is_named_in_the_help_and_listed(ended):
    assert "cambridge, sessions." in " ".join(ended["help"].stdout.replace("│", " ").split())
    done = ended["catalog"]
    assert "session.json names no takes" in " ".join((done.stdout + done.stderr).replace("│", " ").split())
