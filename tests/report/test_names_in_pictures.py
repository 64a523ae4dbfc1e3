"""Names from outside in the other pictures: long, with dollar signs or letters that no font has. None warns, fails or is mathematics."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.report import plots
from stemwright.datagen.report.estimates_plot import plot_estimates
from stemwright.datagen.report.rules_plot import plot_verdicts

NAMES = ("$x_2$ and \\frac{a", "東京 \N{MULTIPLE MUSICAL NOTES}", "a" * 60 + "1" + "b" * 40, "a" * 60 + "2" + "b" * 40, "tab\there")


def console():
    fader = EFFECTS["fader"].Settings(gain_db=-2.0)
    chains = dict.fromkeys(NAMES, (("fader", fader),))
    return SimpleNamespace(chains=chains, faders=dict.fromkeys(NAMES, fader))


def estimates():
    quantity = SimpleNamespace(name="gain", unit="dB", value=1.0, low=0.0, high=2.0)
    answer = SimpleNamespace(quantity=quantity, confidence=0.5, settings=None)
    rows = [SimpleNamespace(effect="eq", stem=name, answer=answer, typical=None, label="eq: gain (dB)") for name in NAMES]
    return SimpleNamespace(song=Path("$\\bad 東京 " + "long " * 40), stems=list(NAMES), effects=["eq"], rows=rows)


PICTURES = {
    "console": lambda path: plots.plot_console(console(), 44_100, path),
    "estimates": lambda path: plot_estimates(estimates(), path),
    "rules": lambda path: plot_verdicts(NAMES[0] + NAMES[1] + "long " * 40, [], path),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_any_name_is_drawn_without_a_warning_and_as_it_is(picture, tmp_path, monkeypatch):
    texts = []
    write = plots.write_picture

    def seen(figures, path):
        write(figures, path)
        texts.extend(text for figure in figures for text in figure.findobj(Text) if text.get_text().strip())

    monkeypatch.setattr(plots, "write_picture", seen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PICTURES[picture](tmp_path / "one.png")
    assert not any(text.get_parse_math() for text in texts)
    drawn = [text.get_text() for text in texts]
    assert any("$" in text for text in drawn)
    assert max(len(line) for text in drawn for line in text.split("\n")) <= 110
    if picture != "rules":
        assert len({text for text in drawn if text.startswith("aaa")}) == 2


def test_bytes_of_other_pictures_are_the_same_again(tmp_path):
    for kind in ("svg", "pdf"):
        for name in ("one", "two"):
            plots.plot_console(console(), 44_100, tmp_path / f"{name}.{kind}")
        assert np.array_equal(*(np.fromfile(tmp_path / f"{name}.{kind}", np.uint8) for name in ("one", "two")))
