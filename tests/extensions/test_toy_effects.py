"""Effects of another package are started, searched, pruned and shown as ours are, by what they state: no search knows their names."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_effects import install

from stemwright import testing

ROOT = Path(__file__).parent.parent.parent
SONG = """
import json, sys
import numpy as np, torch
from conftest import make_song
import stemwright as sw

song = {name: np.ascontiguousarray(make_song(0, 2.0)[name][:, :66_150], dtype=float) for name in ("drums", "vocals")}
TRUE = {
    "drums": [("leveller", {"knee_db": -30.0, "strength": 0.6}), ("trim", {"trim_db": -4.0})],
    "vocals": [("tilt", {"tilt_db": 5.0}), ("trim", {"trim_db": 2.0})],
}
"""
CHAIN = """
chain = [("tilt", {"tilt_db": -4.0}), ("leveller", {"knee_db": -28.0, "strength": 0.5}), ("trim", {"trim_db": -3.0})]
found = sw.fit_chain(sw.apply_chain(song["drums"], 44_100, chain), song["drums"], 44_100, [name for name, _ in chain])
print(json.dumps({"uses": found.plain(), "confidence": found.confidence, "error_db": found.error_db}))
"""
CONSOLE = """
from rich.console import Console as Terminal
from stemwright.datagen.cli.fitting import console_table
from stemwright.datagen.report.plots import plot_console

mixture = sum(sw.apply_chain(song[name], 44_100, chain) for name, chain in TRUE.items())
names = ["tilt", "leveller", "trim"]
found = sw.fit_console(mixture, song, 44_100, names)
plot_console(found, 44_100, "console.png")
Terminal(file=sys.stderr, width=80).print(console_table(found))
pruned = {name: list(chain.pruned) for name, chain in found.chains.items()}
faders = {name: settings.plain() for name, settings in found.faders.items()}
print(json.dumps({"rows": found.rows(), "pruned": pruned, "faders": faders, "error_db": found.error_db}))
"""


def told(program, folder, package):
    paths = os.pathsep.join(map(str, (package, ROOT, ROOT / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", SONG + program], cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("with_fit_response", [False, True], ids=["plain", "equaliser"])
def test_settings_of_a_chain_of_another_package_are_recovered(tmp_path, with_fit_response):
    package = install(tmp_path / "site", with_fit_response=with_fit_response)
    found, _ = told(CHAIN, tmp_path, package)
    settings = {use["effect"]: use["settings"] for use in found["uses"]}
    assert settings["tilt"]["tilt_db"] == pytest.approx(-4.0, abs=0.1)
    assert settings["leveller"] == pytest.approx({"knee_db": -28.0, "strength": 0.5}, abs=0.1)
    assert settings["trim"]["trim_db"] == pytest.approx(-3.0, abs=0.1)
    assert min(found["confidence"].values()) > 0.9


@pytest.mark.parametrize("with_fit_response", [False, True], ids=["plain", "equaliser"])
def test_a_console_of_effects_of_another_package_is_recovered_pruned_and_shown(tmp_path, with_fit_response):
    package = install(tmp_path / "site", with_fit_response=with_fit_response)
    found, shown = told(CONSOLE, tmp_path, package)
    values = {(row["stem"], row["setting"]): row for row in found["rows"]}
    assert found["pruned"] == {"drums": ["tilt"], "vocals": ["leveller"]}
    for key, wanted, tolerance in (
        (("drums", "knee_db"), -30.0, 0.5),
        (("drums", "strength"), 0.6, 0.03),
        (("drums", "trim_db"), -4.0, 0.2),
        (("vocals", "tilt_db"), 5.0, 0.2),
        (("vocals", "trim_db"), 2.0, 0.2),
    ):
        assert values[key]["value"] == pytest.approx(wanted, abs=tolerance), key
        assert values[key]["confidence"] > 0.9, key
    assert {(row["stem"], row["effect"]) for row in found["rows"]} == {
        ("drums", "leveller"),
        ("drums", "trim"),
        ("vocals", "tilt"),
        ("vocals", "trim"),
    }
    assert "trim 2 dB" in shown
    assert (tmp_path / "console.png").stat().st_size > 1000


NORMALISING = """
from stemwright import testing

testing.check_effect("even")
section = {"effects": ["eq"], "removed": [1, 1], "kept_effects": ["even"], "kept": [1, 1]}
testing.check_recipe("removal", section)  # planned, rendered and read: who asks it what it measured
print("{}")
"""


def test_a_normalising_effect_of_another_package_is_rendered_and_read(tmp_path):
    told(NORMALISING, tmp_path, install(tmp_path / "site"))


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("reached", None, "even is normalising, and has no function reached"),
        ("reached", lambda *_: True, "reached of even is true for silence"),
        ("reached", lambda *_: False, "reached of even is false for what apply has brought to its level"),
        ("is_too_soft", lambda *_: False, "is_too_soft of even is false for silence"),
        ("is_too_soft", lambda *_: True, "is_too_soft of even is true for noise"),
        ("levelled", lambda audio, *_: (audio, torch.zeros(audio.shape[:-2])), "levelled of even gives another sound than apply"),
        ("gain_db", lambda audio, *_: torch.zeros(audio.shape[:-2]), "gain_db of even is not the gain of levelled"),
    ],
)
def test_a_normalising_effect_that_breaks_its_contract_is_found(tmp_path, monkeypatch, name, wrong, message):
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    for module in ("toy_effects", "toy_effects.even"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    even = importlib.import_module("toy_effects.even")
    broken = SimpleNamespace(**{**vars(even), name: wrong})
    with pytest.raises(AssertionError, match=message):
        testing.check_effect(broken)
