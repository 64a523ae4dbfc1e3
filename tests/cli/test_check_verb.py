"""The verb check: beside a running stage, with songs that were moved, a card that was edited, a configuration that cannot be read."""

import json
import os
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import STEM_NAMES, make_song
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests.check import UNDER_WAY


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    place = tmp_path_factory.mktemp("checked")
    for number in range(2):
        folder = place / "songs" / f"Artist {number} - Song"
        folder.mkdir(parents=True)
        song = make_song(number, 1.5)
        for name in ("mixture", *STEM_NAMES):
            soundfile.write(folder / f"{name}.wav", song[name].T, 44_100, subtype="PCM_24")
    (place / "c.toml").write_text("[pairs]\nduration_s = 0.5\n[pairs.mix]\nper_track = 2\n[pairs.removal]\nper_track = 0\n")
    done = run("build", place / "songs", place / "corpus", "--config", place / "c.toml")
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def corpus(built, tmp_path):
    return shutil.copytree(built / "corpus", tmp_path / "corpus")


def problems(*arguments, code=0):
    done = run("check", *arguments, "--json")
    assert done.exit_code == code, done.output
    return [(problem["level"], problem["file"], problem["what"]) for problem in json.loads(done.stdout)["problems"]]


def under_way(corpus: Path) -> None:
    """What a stage leaves on the disk while it works."""
    (corpus / "examples.jsonl.part").write_text('{"task": "half')
    (corpus / "stems" / "reference" / "x" / ".separating").mkdir(parents=True)
    (corpus / "stems" / "reference" / "x" / ".separating" / "drums.flac").write_bytes(b"half")
    (corpus / "dataset" / "train" / ".input_drums.flac.7.part").write_bytes(b"half")
    (corpus / "dataset" / "train" / "new.flac").write_bytes(b"no row names it yet")


def test_beside_a_running_stage_nothing_that_is_under_way_is_called_wrong(corpus):
    under_way(corpus)
    assert any("killed" in what for _, _, what in problems(corpus, code=1))  # no process works on it: these are leftovers
    with Corpus(corpus).locked():
        assert problems(corpus) == [("warning", "", UNDER_WAY)]
        assert problems(corpus / "dataset") == [("warning", "", UNDER_WAY)]
        assert "delete" not in run("check", corpus).output


def test_beside_a_running_stage_what_is_finished_is_still_judged(corpus):
    victim = sorted((corpus / "stems").rglob("drums.flac"))[0]
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    with Corpus(corpus).locked():
        found = problems(corpus, code=1)
    assert [level for level, _, _ in found] == ["warning", "error"]
    assert found[1][1] == victim.relative_to(corpus).as_posix()


def test_songs_that_were_moved_can_be_given(built, corpus, tmp_path):
    config = corpus / "config.toml"
    config.write_text(config.read_text().replace(str(built / "songs"), str(tmp_path / "away")))
    ((level, _, what),) = problems(corpus)
    assert level == "warning"
    where = tmp_path / "away"
    expected = f"the songs folder {where} does not exist; give its new place with --songs: "
    assert what == expected + "sources and sums of stems were not checked (2 tracks)"
    assert problems(corpus, "--songs", built / "songs") == []
    (tmp_path / "other").mkdir()
    gone = {what for _, _, what in problems(corpus, "--songs", tmp_path / "other", code=1)}
    assert any(what.endswith(f"is no longer in {tmp_path / 'other'}") for what in gone)
    done = run("check", corpus, "--songs", tmp_path / "none")
    assert "--songs" in str(done.exception)


@pytest.mark.parametrize("where", ["corpus", "dataset", "moved"])
def test_a_card_that_was_edited_is_a_warning(corpus, tmp_path, where):
    card = corpus / "dataset" / "README.md"
    card.write_text(card.read_text().replace("2", "3"))
    place = {"corpus": corpus, "dataset": corpus / "dataset"}.get(where) or shutil.copytree(corpus / "dataset", tmp_path / "moved")
    ((level, file, what),) = problems(place)
    assert (level, Path(file).name) == ("warning", "README.md")
    assert "changed after it was written" in what


def test_a_card_that_was_deleted_is_written_again(corpus):
    card = corpus / "dataset" / "README.md"
    before = card.read_bytes()
    card.unlink()
    assert "the dataset card is missing" in problems(corpus)[0][2]
    assert run("render", corpus).exit_code == 0
    assert card.read_bytes() == before
    assert problems(corpus) == []


def test_a_configuration_that_cannot_be_read_is_one_problem_and_the_rest_is_checked(corpus):
    (corpus / "config.toml").write_text("seed = \n")
    victim = sorted((corpus / "stems").rglob("drums.flac"))[0]
    victim.unlink()
    found = problems(corpus, code=1)
    assert found[0][:2] == ("error", "config.toml")
    assert "is not TOML" in found[0][2]
    assert ("error", victim.relative_to(corpus).as_posix(), "is missing") in found


def test_a_configuration_that_is_a_pipe_is_a_problem(corpus):
    (corpus / "config.toml").unlink()
    os.mkfifo(corpus / "config.toml")
    done = run("check", corpus, "--json")
    assert done.exit_code == 1
    assert any("is a pipe or a device" in problem["what"] for problem in json.loads(done.stdout)["problems"])
