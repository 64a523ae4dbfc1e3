"""What the documents say is run: every verb has help and stands in the README, its code blocks run, and so do the notebooks."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = [sys.executable, "-c", "from stemwright.datagen.cli.app import main; main()"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def verbs() -> list[str]:
    from stemwright.datagen.cli.app import app

    group = typer.main.get_command(app)
    return sorted(group.commands)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    """A folder where `make demo` was run."""
    folder = tmp_path_factory.mktemp("demo")
    done = run([*COMMAND, "demo", "demo-corpus"], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


def test_the_demo_says_what_it_found_and_what_to_look_at(demo_folder):
    said = (demo_folder / "said").read_text()
    assert "Mix balance of" in said
    assert all(stem in said for stem in ("drums", "bass", "other", "vocals"))
    assert "check: 0 problems" in said
    assert "What to look at next" in said
    assert re.search(r"^demo: \d+ done, 0 skipped, 0 rejected$", said.rstrip().splitlines()[-1])


def test_every_verb_stands_in_the_readme_and_has_help_with_an_example():
    from stemwright.datagen.cli.app import app

    group = typer.main.get_command(app)
    for verb in verbs():
        assert f"stemwright {verb}" in README, verb
        help_text = group.commands[verb].help
        assert help_text, verb
        assert "Example: stemwright" in help_text, verb


def test_every_option_in_the_readme_exists():
    for block in blocks("sh"):
        for line in block.strip().splitlines():
            words = shlex.split(line)
            if words[0] == "stemwright":
                helped = run([*COMMAND, words[1], "--help"], ROOT)
                assert helped.returncode == 0
                for word in words[2:]:
                    if word.startswith("--"):
                        assert word in helped.stdout, line


def test_the_commands_of_the_readme_run(demo_folder, multitrack_folder, tmp_path):
    songs = multitrack_folder(1, 1, duration_s=6.0)
    (toml,) = blocks("toml")
    (tmp_path / "removal.toml").write_text(toml)
    places = {"SONGS": str(songs), "SONG": str(next(songs.glob("train/*/mixture.wav"))), "CORPUS": str(tmp_path / "corpus")}
    places["STEMS"] = str(Path(places["SONG"]).parent)
    ran = 0
    for block in blocks("sh"):
        for line in block.strip().splitlines():
            words = [re.sub(rf"^({'|'.join(places)})(?=/|$)", lambda found: places[found[0]], word) for word in shlex.split(line)]
            if words[0] == "stemwright":
                done = run([*COMMAND, *words[1:]], tmp_path)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                ran += 1
            else:
                assert words[0] == "make"
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    assert ran >= 5


def test_the_python_of_the_readme_runs_after_the_demo(demo_folder):
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 24
    done = run([sys.executable, "-c", code], demo_folder)
    assert done.returncode == 0, done.stderr
    assert "wet (4, 1, 2, 132300) dry (4, 1, 2, 132300)" in done.stdout
    assert re.search(r"vocals: -\d+\.\d LU", done.stdout)


def test_the_constraints_install_cpu_torch_and_the_packages_are_named():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    folders = {"stemwright"} | {
        "stemwright." + str(path.parent.relative_to(ROOT)).replace("/", ".")
        for room in ("manifests", "separation", "datagen")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == folders


SHOWN = {  # notebook -> what its run must show
    "01_quickstart": r"done=1",
    "02_balance": r"mean error [01]\.\d\d LU, without the correction [3-9]\.\d\d LU",
    "03_effects": r"error of the inverse: -3\d\d dBFS",
    "04_train_a_mixer": r"loss of the mix: \d\.\d+ trained, \d\.\d+ at equal loudness",
}


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run_define_nothing_and_are_stored_without_output(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(re.search(r"^\s*(def|class)\s", cell.source, re.MULTILINE) for cell in code)
    assert not any(cell.outputs for cell in code)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(str(output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    assert re.search(SHOWN[path.stem], shown)
