"""The wheel: it holds stemwright and nothing else, and works beside packages that are called like our folders.

On the registry there are a package ``manifests`` and one, ``datagen-tech``, whose module is called ``datagen``. Stand-ins for both are
installed before and after ours, and ours runs from a folder that holds a ``datagen.py`` and a ``manifests.py`` of somebody's own.

Conventions
    No network: the wheel is built by the setuptools of this environment, and the new one sees this one's packages, but for our checkout.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from stemwright.manifests import __version__

ROOT = Path(__file__).parent.parent
ROOMS = ("manifests", "separation", "datagen")
SHADOW = 'raise RuntimeError("a file of the user was imported in place of a package of stemwright")\n'


def finished(command: list[str], cwd: Path, **environment: str) -> str:
    """The standard output of a command that must succeed."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, so that nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*ROOMS, "stemwright"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc"))
    finished([sys.executable, "-c", f"import setuptools.build_meta as backend; backend.build_wheel({str(out)!r})"], source)
    (built,) = out.glob("*.whl")
    return built


def stand_in(folder: Path, package: str, module: str) -> Path:
    """A wheel of a package that has a module which is called like a folder of ours."""
    path, info = folder / f"{package.replace('-', '_')}-1.0-py3-none-any.whl", f"{package.replace('-', '_')}-1.0.dist-info"
    files = {
        f"{module}/__init__.py": f"NAME = {package!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


class Environment:
    """A new environment without our checkout; it sees the packages of this one."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=os.name != "nt")
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = str(self.programs / "python")
        (place,) = finished([self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).split()
        # A folder in a .pth file is searched, but its own .pth files are not read: an editable install of ours stays out of sight.
        self.packages = Path(place)
        (self.packages / "others.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n")
        self.home = folder / "work"
        self.home.mkdir()

    def pip(self, *arguments: str) -> None:
        """Runs this environment's pip on the new one."""
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        finished([sys.executable, "-m", "pip", "--python", self.python, *arguments, *quiet], self.home)

    def install(self, path: Path) -> None:
        """Installs a wheel without its dependencies."""
        self.pip("install", "--no-deps", "--no-index", "--no-compile", str(path))

    def run(self, *arguments: str, **environment: str) -> str:
        """Runs Python in a folder whose files are called like our folders; they come first on the path."""
        for name in ("datagen", "manifests"):
            (self.home / f"{name}.py").write_text(SHADOW)
        return finished([self.python, *arguments], self.home, PYTHONPATH=str(self.home), **environment).strip()


@pytest.fixture(scope="module")
def beside(wheel, tmp_path_factory) -> Environment:
    """An environment with ours between both stand-ins: one was installed before, the other after."""
    environment, stands = Environment(tmp_path_factory.mktemp("environment")), tmp_path_factory.mktemp("stand-ins")
    environment.install(stand_in(stands, "manifests", "manifests"))
    environment.install(wheel)
    environment.install(stand_in(stands, "datagen-tech", "datagen"))
    return environment


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_one_package(wheel):
    assert {name.split("/")[0] for name in names_in(wheel)} == {"stemwright", f"stemwright-{__version__}.dist-info"}


def test_the_wheel_holds_every_file_of_every_room(wheel):
    inside = names_in(wheel)
    files = {path for name in (*ROOMS, "stemwright") for path in (ROOT / name).rglob("*") if path.is_file()}
    wanted = {path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts and path.suffix not in (".nbi", ".nbc")}
    wanted = {path for path in wanted if path.parts[0] != "stemwright" or len(path.parts) == 2}  # the others are links to the rooms
    named = {path.as_posix() if path.parts[0] == "stemwright" else f"stemwright/{path.as_posix()}" for path in wanted}
    missing = sorted(named - inside)
    assert not missing, "name their folders in pyproject.toml under [tool.setuptools] packages, or package-data"
    assert {name for name in inside if name.startswith("stemwright/")} == named


def test_every_folder_that_is_named_for_the_wheel_is_there():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert packages == sorted(set(packages), key=packages.index)
    for name in packages:
        assert (ROOT / name.removeprefix("stemwright.").replace(".", "/") / "__init__.py").is_file(), name


def test_it_runs_as_a_module_and_as_a_program_beside_files_of_its_folders_names(beside):
    assert beside.run("-m", "stemwright", "--version") == f"stemwright {__version__}"
    program = beside.programs / ("stemwright.exe" if os.name == "nt" else "stemwright")
    assert finished([str(program), "--version"], beside.home, PYTHONPATH=str(beside.home)).strip() == f"stemwright {__version__}"


def test_it_is_the_installed_one_that_is_imported(beside):
    found = Path(beside.run("-c", "import stemwright; print(stemwright.load.__code__.co_filename)"))
    assert found.is_relative_to(Path(beside.python).parent.parent)


def test_the_other_packages_stay_as_they_were(beside):
    program = (
        "import sys; sys.path.remove(sys.argv[1]); sys.path.remove(''); import datagen, manifests; print(datagen.NAME, manifests.NAME)"
    )
    assert beside.run("-c", program, str(beside.home)) == "datagen-tech manifests"


WORKERS = """
import joblib, stemwright as sw
from dask.distributed import Client
if __name__ == "__main__":
    texts = ("mute drums", "isolate vocals")
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(sw.parse_edit)(text) for text in texts)
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        found += client.gather(client.map(sw.parse_edit, texts))
    print(*[edit.operation for edits in found for edit in edits])
"""


def test_workers_of_joblib_and_dask_import_it_by_its_one_name(beside):
    pytest.importorskip("distributed")
    (beside.home / "job.py").write_text(WORKERS)
    assert beside.run("job.py") == "mute isolate mute isolate"


CORPUS = """
import numpy, stemwright as sw
stems = dict(zip(("drums", "vocals"), numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 9_000)), strict=True))
for name, audio in {**stems, "mixture": sum(stems.values())}.items():
    sw.save(f"songs/one/{name}.wav", audio, 8000)
removal = {"per_track": 2, "effects": ["fader", "width"], "kept": [0, 0], "removed": [1, 1]}
pairs = {"duration_s": 0.5, "sample_rate": 8000, "mix": {"per_track": 1}, "removal": removal}
made = sw.build("songs", "corpus", {"songs": {"kind": "multitracks"}, "pairs": pairs})
print(made.ok, len(sw.PairDataset(made.dataset, kind="removal")))
"""


def test_a_corpus_is_built_from_another_folder(beside):
    assert beside.run("-c", CORPUS, NUMBA_DISABLE_JIT="1") == "True 2"  # to compile takes longer than so little sound


@pytest.mark.slow
def test_the_demonstration_runs_from_another_folder(beside):
    assert "0 rejected" in beside.run("-m", "stemwright", "demo", "demo-corpus").splitlines()[-1]


def test_uninstalling_the_others_leaves_ours_and_uninstalling_ours_leaves_nothing(beside):
    # The last test of this file: it empties the environment.
    beside.pip("uninstall", "--yes", "manifests", "datagen-tech")
    assert beside.run("-m", "stemwright", "--version") == f"stemwright {__version__}"
    assert beside.run("-c", "import stemwright as sw; print(sw.parse_edit('mute drums')[0].operation)") == "mute"
    beside.pip("uninstall", "--yes", "stemwright")
    kept = [path for path in beside.packages.rglob("stemwright*") if "__pycache__" not in path.parts]
    assert not [path for path in kept if path.is_file()]
