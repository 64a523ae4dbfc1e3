"""What can be known at once is said at once: a wrong number, a file that is no sound, a folder that is no corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be had: a verb that needs one fails."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "notes.txt").write_text("some words")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", ".", "corpus", "--jobs", "0"), "expected a whole number, 1 or more; got 0"),
        (("catalog", ".", "corpus", "--jobs", "-3"), "expected a whole number, 1 or more; got -3"),
        (("estimate", "corpus", "--jobs", "x"), "expected a whole number, 1 or more; got 'x'"),
        (("catalog", ".", "corpus", "--limit", "0.5"), "expected a whole number, 1 or more; got '0.5'"),
        (("report", "corpus", "--players", "-1"), "expected a whole number, 0 or more; got -1"),
        (("plan", "corpus", "--seed", "-1"), "expected a whole number, 0 or more; got -1"),
        (("separate", "corpus", "--input-lufs", "loud"), "expected a number, such as -14; got 'loud'"),
    ],
)
def test_a_number_that_an_option_does_not_take_is_wrong_usage_in_plain_words(arguments, message):
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("arguments", [("balance", "notes.txt"), ("edit", "notes.txt", "mute drums", "out.wav")])
def test_a_file_that_is_no_sound_is_named_before_a_model_is_needed(arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    said = done.output + str(done.exception)
    assert "notes.txt: not a readable sound file" in said
    assert "weights" not in said


def test_recordings_that_are_no_sound_are_rejected_with_the_others(tmp_path):
    done = CliRunner().invoke(app, ["balance", "notes.txt", "none.wav", "--json"])
    assert "weights" in str(done.exception)  # the other file may be a sound
    done = CliRunner().invoke(app, ["balance", "notes.txt", "--json"])
    assert [row["track"] for row in json.loads(done.stdout)["rejected"]] == ["notes.txt"]


def test_a_report_of_no_corpus_does_not_begin():
    done = CliRunner().invoke(app, ["report", "nosuch"])
    assert "is not a corpus: there is no such folder" in str(done.exception)
    assert "started" not in done.output
