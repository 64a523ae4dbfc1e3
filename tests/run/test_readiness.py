"""What a configuration asks of this machine: a device is needed only for songs that are left to separate, and a share that fails for want
of it, or of anything else, leaves the configuration as it was.
"""

from __future__ import annotations

import shutil

import pytest
from commands import stemwright
from living_corpus import write_song
from tiny_model import write_tiny_model

from stemwright.datagen.run import shares
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Share
from stemwright.manifests import table
from stemwright.manifests.records import ReferenceStem, Track

CONFIG = """
[separation]
model = "tiny"
model_folder = "models"
engine = "torch"
[separation.limits]
closure_db = 60.0
bleed = 1.0
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 1
[pairs.removal]
per_track = 0
"""
NO_DEVICE = "device 'cuda:77' was requested"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model with small networks, and a corpus of two songs that were cataloged."""
    place = tmp_path_factory.mktemp("readiness")
    write_tiny_model(place / "models", "tiny", seed=0)
    (place / "config.toml").write_text(CONFIG)
    for number in range(2):
        write_song(place / "songs" / f"{number}.wav", number, {"artist": f"artist {number}"})
    stemwright("catalog", place / "songs", place / "catalogued", "--config", place / "config.toml")
    return place


@pytest.fixture(scope="module")
def built(made):
    """The same corpus when it was built."""
    shutil.copytree(made / "catalogued", made / "built")
    stemwright("build", made / "songs", made / "built")
    return made / "built"


@pytest.fixture
def corpus(made, tmp_path):
    return shutil.copytree(made / "catalogued", tmp_path / "corpus")


def refused(*arguments):
    done = stemwright(*arguments, check=False)
    assert done.returncode in (1, 2), done.stderr
    return done.stderr.splitlines()[-1]


def test_a_build_of_songs_that_are_separated_needs_no_device_until_there_is_a_new_one(made, built, tmp_path):
    songs, corpus = shutil.copytree(made / "songs", tmp_path / "songs"), shutil.copytree(built, tmp_path / "corpus")
    for options in (["--device", "cuda:77"], ["--device", "cuda:77", "--dry-run"], ["--device", "cuda:77", "--engine", "openvino"]):
        done = stemwright("build", songs, corpus, *options)
        assert "rejected" not in done.stdout or "0 rejected" in done.stdout
    before = {name: (corpus / name).read_bytes() for name in ("config.toml", "tracks.parquet")}
    write_song(songs / "new.wav", 7, {"artist": "new"})
    assert NO_DEVICE in refused("build", songs, corpus, "--engine", "torch")
    assert NO_DEVICE in refused("build", songs, corpus, "--engine", "torch", "--dry-run")
    assert {name: (corpus / name).read_bytes() for name in before} == before


def test_songs_without_a_catalog_or_by_another_model_need_the_device(made, built, tmp_path):
    corpus = shutil.copytree(built, tmp_path / "corpus")
    write_tiny_model(made / "models", "other", seed=1)
    assert NO_DEVICE in refused("build", made / "songs", corpus, "--device", "cuda:77", "--model", "other", "--again")
    assert NO_DEVICE in refused("build", made / "songs", tmp_path / "new", "--device", "cuda:77", "--config", made / "config.toml")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        ("separate", ["--device", "cuda:77"], NO_DEVICE),
        ("separate", ["--device", "gpu"], "there is no device 'gpu'"),
        ("separate", ["--model-folder", "nowhere"], "nowhere"),
        ("separate", ["--separator", "no_such_module:parts"], "no_such_module"),
        ("estimate", ["--config", "profile.toml"], "stems.parquet is missing"),
    ],
)
def test_shares_that_fail_leave_the_configuration_as_it_was(corpus, tmp_path, monkeypatch, verb, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.toml").write_text("[estimate]\neffects = true\n")
    before = (corpus / "config.toml").read_bytes()
    for number in range(2):
        assert said in refused(verb, corpus, *options, "--share", f"{number}/2")
    assert (corpus / "config.toml").read_bytes() == before
    assert shares.leases(corpus) == []


def test_a_share_that_lacks_the_device_fails_before_it_takes_the_stems_of_a_multitrack(corpus):
    first, second = table.read(corpus / "tracks.parquet", Track)
    own = ReferenceStem(name="vocals", audio=first.audio, sound="0" * 64)
    table.write(corpus / "tracks.parquet", [first.model_copy(update={"references": (own,)}), second], Track)
    before = (corpus / "config.toml").read_bytes()
    assert NO_DEVICE in refused("separate", corpus, "--device", "cuda:77", "--share", "0/1")
    assert (corpus / "config.toml").read_bytes() == before
    assert not (corpus / "stems").exists()


def test_a_share_that_is_refused_leaves_the_configuration_and_one_that_works_stores_its_own(corpus):
    before = (corpus / "config.toml").read_bytes()
    with shares.working(corpus, "separate", Share(1, 2), "another configuration"):
        assert "asks for another configuration" in refused("separate", corpus, "--precision", "fp32", "--share", "0/2")
    assert (corpus / "config.toml").read_bytes() == before
    stemwright("separate", corpus, "--precision", "fp32", "--share", "0/2")
    assert Corpus(corpus).config.separation.precision == "fp32"
