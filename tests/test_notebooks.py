"""The notebooks run, show what they say, and are stored with the outputs of a run."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "notebooks"))

from store_outputs import executed  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOWN = {  # notebook -> what its run has to show
    "01_training_corpus": r"rejected: \[\]  problems: \[\]  everything in order: True",
    "02_mix_balance": r"mean error [01]\.\d\d LU, of the plain loudness [3-9]\.\d\d LU",
    "03_effect_removal": r"error of the inverse: -3\d\d dBFS",
    "04_train_a_mixer": r"STFT loss of the mix: 0\.0[0-3]\d trained, 0\.0[4-9]\d at equal loudness",
    "05_fit_a_mix": r"residual -(?:[3-9]\d|1\d\d) dB of the mixture; with gain and pan alone -[12]\d dB",
    "06_edit_in_words": r"is not understood as an edit; the nearest is",
    "07_blind_estimates": r"12} songs in the profile",
}
QUICK = ("01_training_corpus", "06_edit_in_words")  # the others take about twenty seconds each
MACHINE = re.compile(r"/(tmp|home|root|work|usr|var|Users)/|site-packages|Traceback|Warning")


def quick_or_slow(path):
    return pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)


def outputs_of(notebook):
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def types_of(notebook):
    return [[output.output_type for output in outputs] for outputs in outputs_of(notebook)]


def text_of(notebook):
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for outputs in outputs_of(notebook) for output in outputs]
    return "".join(shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_the_outputs_of_one_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert re.search(SHOWN[path.stem], text_of(notebook))
    assert not MACHINE.search(text_of(notebook)), "an output names a folder of the machine, or holds a warning"
    assert path.stat().st_size < 400_000
    assert not any(re.search(r"^\s*(def|class)\s", cell.source, re.MULTILINE) for cell in code), (
        "what is worth a function belongs into a module"
    )


@pytest.mark.parametrize("path", [quick_or_slow(path) for path in NOTEBOOKS])
def test_a_notebook_runs_and_shows_what_is_stored(path, tmp_path):
    ran = executed(path, tmp_path)
    assert re.search(SHOWN[path.stem], text_of(ran))
    stored = nbformat.read(path, as_version=4)
    assert types_of(ran) == types_of(stored)


def test_every_notebook_is_named_where_a_reader_looks_for_it():
    index = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert all(path.name in index for path in NOTEBOOKS)
    assert sorted(SHOWN) == [path.stem for path in NOTEBOOKS]
