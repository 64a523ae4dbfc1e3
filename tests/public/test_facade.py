"""The facade: every public name is where its table says, loads lazily, pickles, and has the type that a type checker sees."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import stemwright as sw

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "demucs", "musdb", "pandas", "numba", "scipy", "librosa", "matplotlib", "pyarrow", "soundfile")
NAMES = sorted(sw.PUBLIC)


def output_of(program: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_library_loads_no_heavy_package(tmp_path):
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert output_of(f"import stemwright; dir(stemwright); {report}", tmp_path) == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_in_the_module_that_the_table_gives(name):
    module, _, attribute = sw.PUBLIC[name].partition(":")
    assert getattr(sw, name) is getattr(sys.modules[module], attribute)


def test_the_table_the_list_and_the_imports_for_type_checkers_name_the_same():
    tree = ast.parse((ROOT / "stemwright" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == sw.PUBLIC
    assert sw.__all__ == sorted([*sw.PUBLIC, "__version__"], key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_tab_completion_and_star_give_the_public_names(tmp_path):
    assert set(dir(sw)) == set(sw.__all__)
    assert output_of("from stemwright import *; print(load.__name__, PairDataset.__name__, __version__)", tmp_path) == (
        f"load PairDataset {sw.__version__}"
    )


def test_a_wrong_name_gives_an_error_with_the_nearest_one():
    with pytest.raises(AttributeError, match="no attribute 'measure_balence'; did you mean 'measure_balance'"):
        _ = sw.measure_balence
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'$"):
        _ = sw.zzz


@pytest.mark.parametrize("name", [name for name in NAMES if name != "EFFECTS"])
def test_public_objects_pickle(name):
    assert pickle.loads(pickle.dumps(getattr(sw, name))) is getattr(sw, name)
