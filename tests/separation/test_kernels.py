"""Where compiled code is kept: for an ordinary user of another account's installation too, with a home or without."""

import ast
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile
from conftest import make_song

ROOT = Path(__file__).parents[2]
RATE = 44_100
# numba looks for a place by this method; here nothing but `writable` can be written, and the installation least of all.
ONLY = """
import sys
import tempfile
from pathlib import Path
from numba.core import caching
before = caching._CacheLocator.ensure_cache_path
def only(self):
    path = Path(self.get_cache_path()).resolve()
    if not any(path.is_relative_to(folder) for folder in writable):
        raise PermissionError(13, "Permission denied", str(path))
    before(self)
caching._CacheLocator.ensure_cache_path = only
"""
# Ours, and a library's that keeps its own as librosa does: functions, and ufuncs of both kinds, compiled when it is imported.
USE = """
import sys
import numpy as np
from pathlib import Path
from stemwright.separation import kernels
from stemwright.separation.loudness.true_peak import true_peak
noise = np.random.default_rng(0).standard_normal((1, 4_800)).astype(np.float32)
kernels.prepare(Path(sys.argv[1]))
sys.path.append(sys.argv[1])
import library
print(true_peak(noise, 48_000), library.double(2.0), library.half(np.float32(3.0)), library.total(np.ones(5, np.float32)))
"""
LIBRARY = """
import numba
@numba.njit(cache=True)
def double(value):
    return 2 * value
@numba.vectorize(["float32(float32)"], cache=True)
def half(value):
    return value / 2
@numba.guvectorize(["void(float32[:], float32[:])"], "(n)->()", cache=True)
def total(values, out):
    out[0] = values.sum()
"""
LIBROSA = """
import numpy as np
from stemwright.separation.tempo import find_beats
beat = np.zeros((1, 441_000), np.float32)
beat[:, :: 22_050] = 0.9
print(round(find_beats(beat, 44_100).tempo_bpm))
"""


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "library.py").write_text(LIBRARY)
    return folder


def run(code, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
    )


def test_kernels_are_compiled_where_only_the_temporary_folder_can_be_written(tmp_path, library):
    expected = run(USE, library, HOME=str(tmp_path))
    assert (expected.returncode, expected.stderr) == (0, "")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = run(
        f"from pathlib import Path\nwritable = [Path({str(temporary)!r})]\n{ONLY}{USE}", library, HOME="/nowhere", TMPDIR=str(temporary)
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected.stdout)
    kept = {path.name.split(".")[0] for path in temporary.rglob("*.nbi")}
    assert kept == {"true_peak", "library", "guf-library"}
    assert stat.S_IMODE((temporary / f"stemwright-{os.geteuid()}").stat().st_mode) == 0o700


def test_kernels_are_compiled_where_nothing_can_be_written(tmp_path, library):
    done = run(f"writable = []\n{ONLY}{USE}", library, HOME="/nowhere", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]


def test_kernels_without_a_cache_take_no_part_of_one_that_is_there(tmp_path, library):
    expected = run(USE, library, HOME=str(tmp_path))
    assert (expected.returncode, expected.stderr) == (0, "")
    cached = {path: path.stat().st_mtime_ns for path in library.rglob("*.nb?")}
    assert any(path.name.startswith("guf-library.total") for path in cached), "a generalised ufunc's wrapper, by itself"
    others = "import numba\nnumba.njit(lambda: 0)()\n"  # so that the next kernels are given other names than those in the cache
    without = others + USE.replace("import library", "kernels.keep_nothing()\nimport library")
    done = run(without, library, HOME=str(tmp_path))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected.stdout)
    assert {path: path.stat().st_mtime_ns for path in library.rglob("*.nb?")} == cached


@pytest.mark.slow
def test_librosa_is_imported_where_no_file_system_gives_locks(tmp_path):
    no_locks = """
import errno, fcntl
def no(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = no
"""
    done = run(no_locks + LIBROSA, HOME=str(tmp_path), TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "120\n")


def test_numba_is_used_in_one_module_only():
    for path in sorted([*(ROOT / "manifests").rglob("*.py"), *(ROOT / "separation").rglob("*.py"), *(ROOT / "datagen").rglob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if path != ROOT / "separation" / "kernels.py":
            assert "numba" not in names, f"{path.name} decorates its kernels itself; use stemwright.separation.kernels.njit"


@pytest.mark.slow
def test_the_lock_of_the_kernels_is_not_everybodys_to_write(tmp_path):
    cache = tmp_path / "numba"
    cache.mkdir(mode=0o755)
    assert run(LIBROSA, HOME=str(tmp_path), NUMBA_CACHE_DIR=str(cache)).returncode == 0
    assert stat.S_IMODE((cache / "stemwright-compiling.lock").stat().st_mode) & 0o022 == 0


# A user who may read everything (the tests' own folders may be root's alone) and write only what is everybody's.
NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def as_nobody(command, folder):
    environment = [
        "env",
        "-i",
        "HOME=/",
        f"PATH={os.environ['PATH']}",
        f"TMPDIR={folder / 'tmp'}",
        f"PYTHONPATH={ROOT}",
        "OMP_NUM_THREADS=1",
    ]
    return subprocess.run(["setpriv", *NOBODY, *environment, *command], capture_output=True, text=True, cwd=folder)


@pytest.fixture
def nobodys():
    """A folder that everybody can write to, with a temporary folder, for a user without rights and without a home."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become a user who may write nowhere")
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are root's alone
        folder = Path(made)
        (folder / "tmp").mkdir()
        folder.chmod(0o777)
        (folder / "tmp").chmod(0o1777)
        tried = as_nobody([sys.executable, "-c", f"import stemwright; open({str(ROOT / 'x')!r}, 'w')"], folder)
        if not tried.stderr.strip().endswith(f"Permission denied: {str(ROOT / 'x')!r}"):
            pytest.skip(f"no such user can be made here: {tried.stderr.strip()[-200:]}")
        yield folder


@pytest.mark.slow  # half a minute of compiling; the kernels alone: ..._where_only_the_temporary_folder_can_be_written
def test_a_user_without_home_and_without_rights_balances_and_draws(nobodys):
    song = make_song(3, 4.0)
    for name, audio in song.items():
        soundfile.write(nobodys / f"{name}.wav", audio.T, RATE, subtype="PCM_24")
    verb = [sys.executable, "-c", "from stemwright.datagen.cli.app import main; main()", "balance"]
    done = as_nobody([*verb, "mixture.wav", "--stems", ".", "--plot", "picture.png"], nobodys)
    assert done.returncode == 0
    assert all(line.startswith("balance: ") for line in done.stderr.splitlines()), "progress, and no warning"
    assert (nobodys / "picture.png").stat().st_size > 10_000
    kept = nobodys / "tmp" / "stemwright-65534"
    assert (stat.S_IMODE(kept.stat().st_mode), kept.stat().st_uid) == (0o700, 65534)


@pytest.mark.slow
def test_a_user_without_home_and_without_rights_finds_beats(nobodys):
    done = as_nobody([sys.executable, "-W", "error", "-c", LIBROSA], nobodys)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "120\n")
