"""What a shell is given when it asks for completions, by the protocol of the shells."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.effects import EFFECTS


def completed(line):
    """The words that bash would offer for the last word of a line."""
    words = line.split(" ")
    environment = {"_STEMWRIGHT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, [], env=environment, prog_name="stemwright").stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stemwright bui", ["build"]),
        ("stemwright models fe", ["fetch"]),
        ("stemwright build --inp", ["--input-lufs"]),
        ("stemwright effects comp", ["compressor"]),
        ("stemwright effects eq comp", ["compressor"]),
        ("stemwright fit --chain eq,comp", ["eq,compressor"]),
        ("stemwright render --format web", ["webdataset"]),
        ("stemwright catalog --kind musdb", ["musdb18", "musdb18hq"]),
        ("stemwright build --separator r", ["reference"]),
        ("stemwright build --model bun", ["bundled"]),
        ("stemwright models verify bun", ["bundled"]),
        ("stemwright plan --reset pairs.removal.kept_", ["pairs.removal.kept_effects", "pairs.removal.kept_first"]),
        ("stemwright config pairs.mi", ["pairs.mix"]),
        ("stemwright build --precision b", ["bf16"]),
        ("stemwright build --engine o", ["openvino"]),
        ("stemwright build --device cu", ["cuda"]),
        ("stemwright effects nothing", []),
    ],
)
def test_a_word_is_completed(line, offered):
    found = completed(line)
    assert found[: len(offered)] == offered
    assert offered or not found


def test_every_effect_is_offered():
    assert completed("stemwright effects ") == list(EFFECTS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_this_program(shell):
    without_detection = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the tests run in no shell
    command = [sys.executable, "-m", "stemwright", "--show-completion", shell]
    said = subprocess.run(command, capture_output=True, text=True, env=without_detection, check=True).stdout
    assert f"_STEMWRIGHT_COMPLETE=complete_{shell}" in said
