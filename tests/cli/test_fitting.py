"""``stemwright fit``: the console behind a mixture, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.fitting import load_multitrack, read_console
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

SAMPLE_RATE = 44_100
FADERS = {"drums": (-4.0, 0.3), "vocals": (2.0, -0.5)}


@pytest.fixture(scope="module")
def place(synthetic_song: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mix.wav and, in dry/, two stems, which two faders mixed."""
    folder = tmp_path_factory.mktemp("console")
    mix = torch.zeros(2, 2 * SAMPLE_RATE)
    for name, (gain_db, pan) in FADERS.items():
        stem = synthetic_song[name][:, : 2 * SAMPLE_RATE].copy()
        save(folder / "dry" / f"{name}.wav", stem, SAMPLE_RATE, encoding="wav32f")
        fader = ("fader", EFFECTS["fader"].Settings(gain_db=gain_db, pan=pan))
        mix = mix + apply_chain(torch.from_numpy(stem), SAMPLE_RATE, [fader])
    save(folder / "mix.wav", mix.numpy(), SAMPLE_RATE, encoding="wav32f")
    return folder


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["fit", *(str(argument) for argument in arguments)])


def test_the_console_is_printed_rendered_and_drawn(place: Path, tmp_path: Path) -> None:
    again, picture = tmp_path / "again.wav", tmp_path / "console.png"
    done = run(place / "mix.wav", "--stems", place / "dry", "--chain", "fader", "--render", again, "--plot", picture)
    assert done.exit_code == 0, done.output
    assert "gain -4 dB, pan 0.3" in done.output
    assert "with gain and pan only" in done.output
    np.testing.assert_allclose(load(again)[0], load(place / "mix.wav")[0], atol=1e-4)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_mix_that_peaks_above_full_scale_is_rendered_as_its_suffix_says(place: Path, tmp_path: Path) -> None:
    loud = np.float32(1.5 / np.abs(load(place / "mix.wav")[0]).max()) * load(place / "mix.wav")[0]
    save(tmp_path / "loud.wav", loud, load(place / "mix.wav")[1])
    words = [tmp_path / "loud.wav", "--stems", place / "dry", "--chain", "fader", "--excerpt", "0.2:1.8", "--render", tmp_path / "a.flac"]
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.flac").read_bytes().startswith(b"fLaC")
    gain_db = json.loads(done.stdout)["render"]["gain_db"]
    assert gain_db == pytest.approx(-20 * np.log10(1.5), abs=0.02)
    np.testing.assert_allclose(load(tmp_path / "a.flac")[0], loud * 10 ** (gain_db / 20), atol=1e-4)


def test_json_holds_settings_with_units_and_the_losses(place: Path) -> None:
    done = run(place / "mix.wav", "--stems", place / "dry", "--chain", "fader", "--json", "--excerpt", "0.2:1.8")
    told = json.loads(done.stdout)
    gains = {row["stem"]: row for row in told["console"] if row["setting"] == "gain_db"}
    assert {name: round(row["value"], 2) for name, row in gains.items()} == {name: gain_db for name, (gain_db, _) in FADERS.items()}
    assert gains["drums"]["unit"] == "dB"
    assert told["loss"] <= 1.0001 * told["gain_and_pan_loss"] < 1e-3  # faders alone: both are of the same console, up to rounding
    assert told["excerpts_s"] == [[0.2, 1.8]]


def test_stems_of_a_stem_file_are_its_own(stem_folder: Callable[..., Path]) -> None:
    path = next(stem_folder(train=1, test=0).rglob("*.stem.mp4"))
    own = load_multitrack(path, None)
    assert list(own.stems) == ["drums", "bass", "other", "vocals"]
    assert all(stem.shape == own.mixture.shape for stem in own.stems.values())
    assert own.sample_rate == SAMPLE_RATE


def test_a_folder_is_a_multitrack_and_a_mono_stem_gets_two_channels(place: Path, tmp_path: Path) -> None:
    save(tmp_path / "mixture.wav", load(place / "mix.wav")[0], SAMPLE_RATE, encoding="wav32f")
    save(tmp_path / "drums.wav", load(place / "dry" / "drums.wav")[0][:1, :-500], SAMPLE_RATE, encoding="wav32f")
    own = load_multitrack(tmp_path, None)
    assert list(own.stems) == ["drums"]
    assert own.stems["drums"].shape == own.mixture.shape
    assert "stem drums is mono: put in the middle" in own.findings.all_notes


def test_chains_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "console.toml"
    path.write_text('default = ["fader"]\nbus = ["limiter"]\n[stems]\nvocals = ["eq", "fader"]\n')
    assert read_console(path, ["drums", "vocals"]) == ({"drums": ("fader",), "vocals": ("eq", "fader")}, ("limiter",))
    with pytest.raises(ValueError, match=r"there is no stem vocals; the stems are drums"):
        read_console(path, ["drums"])
    for wrong in ('stems = "eq"', '[stems]\ndrums = "eq"', "default = 3", "bus = [1]"):
        path.write_text(wrong)
        with pytest.raises(
            UsageError, match=r"console\.toml: expected (stems as a table|a list of effects for (drums|default|bus)), such as"
        ):
            read_console(path, ["drums"])
    path.write_text("buss = []\n")
    with pytest.raises(ValueError, match="expected stems, default and bus, got buss"):
        read_console(path, ["drums"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mix.wav"], r"no stems of its own; give the folder with the stems: --stems FOLDER"),
        (["nothing.wav", "--stems", "dry"], "nothing.wav does not exist"),
        (["mix.wav", "--stems", "dry", "--excerpt", "soon"], "START:END in seconds such as 30:36, got 'soon'"),
        (["mix.wav", "--stems", "dry", "--excerpt", "0:nan"], "START:END in seconds such as 30:36, got '0:nan'"),
        (["mix.wav", "--stems", "dry", "--excerpt", "1.5:9999"], "at least a second within 0:2.0"),
        (["mix.wav", "--stems", "dry", "--excerpt", "5:9"], "at least a second within 0:2.0, got 5:9"),
        (["mix.wav", "--stems", "dry", "--chain", "equalizer"], "there is no effect 'equalizer'"),
        (
            ["mix.wav", "--stems", "dry", "--chain", ""],
            "the chain is empty: expected the effects of every stem in order, such as eq,compressor",
        ),
    ],
)
def test_input_that_cannot_be_fitted_is_reported(place: Path, arguments: list[str], message: str) -> None:
    given = [str(place / each) if each in ("mix.wav", "nothing.wav", "dry") else each for each in arguments]
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(app, ["fit", *given], catch_exceptions=False)
