"""The rules of the house that a reader could break without noticing: who imports whom, when, and who speaks."""

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from conftest import LONGEST
from import_walk import Sources, circles, forget, layer_of, nodes_of, parsed

from stemwright.datagen.effects import MODULES

ROOT = Path(__file__).parent.parent
ROOMS = ("manifests", "separation", "datagen")  # each imports only itself and those before it
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
HEAVY = {"torch", "demucs", "musdb"}
# Effects are torch, and so are an equaliser without bands and consoles of them; a torch Dataset and a network are classes of torch's.
MADE_OF_TORCH = (
    "datagen/effects/",
    "datagen/inverse/",
    "datagen/dataset/items.py",
    "datagen/dataset/label_encoder.py",
    "datagen/dataset/loader.py",
    "datagen/mixing/mixer_network.py",
)
DOORS = {  # what only these files may import
    "soundfile": {
        "manifests/sound/decoding.py",
        "manifests/sound/plain_reader.py",
        "manifests/sound/embedded.py",
        "manifests/sound/writing.py",
        "manifests/sound/song_writing.py",
        "manifests/sound/lossy_coding.py",
    },
    "av": {
        "manifests/sound/containers.py",
        "manifests/sound/packets.py",
        "manifests/sound/coded_reader.py",
        "manifests/sound/lossy_coding.py",
    },
    "soxr": {"manifests/sound/resampling.py"},
    "musdb": set(),
    "demucs": {"separation/demucs/separator.py"},
    "onnxruntime": {"separation/onnx_separator.py"},
    "numba": {"separation/kernels.py"},
    "filelock": {"manifests/disk/locks.py"},
    "huggingface_hub": {"separation/demucs/hub.py"},
    "joblib": {"datagen/run/processes.py"},
    "obstore": {"manifests/disk/stores/bucket_store.py"},
    "dask": {"datagen/run/connection.py"},
    "distributed": {"datagen/run/connection.py"},
}
NEVER = {"pedalboard", "pyloudnorm", "pyebur128", "museval", "stempeg", "random"}  # peers to measure against; global random state
SPEAKS = {"print", "input", "exit", "quit", "breakpoint"}

# Each layer imports only itself and those above it in this list. A module is in the layer of the nearest name around it.
LAYERS = (
    ("manifests", "stemwright.manifests"),  # names, records, words: what has no files
    ("manifests.disk",),
    ("manifests.sound",),
    (
        "manifests.table",
        "manifests.table_rows",
        "manifests.row_columns",
        "manifests.row_text",
        "manifests.joined_rows",
        "manifests.grouped_rows",
        "manifests.spooled_rows",
        "manifests.spooled_sounds",
        "manifests.pair_columns",
        "manifests.journal_index",
        "manifests.shard_members",
        "manifests.shards",
        "manifests.dataset_rows",
    ),
    ("manifests.stems",),
    ("manifests.catalog",),
    ("manifests.deduplication",),
    ("manifests.check",),
    ("separation", "separation.kernels"),
    ("separation.loudness",),
    ("separation.balance", "separation.stem_files", "separation.jobs"),
    ("separation.calibrating",),
    ("separation.rules",),
    ("separation.separator",),
    ("separation.demucs",),
    ("separation.function_separator", "separation.onnx_separator", "separation.part_separator"),
    ("separation.choosing",),
    ("datagen.effects", "datagen"),
    ("datagen.inverse",),
    ("datagen.mixing",),
    ("datagen.edit",),
    ("datagen.pairs",),
    ("datagen.dataset",),
    ("datagen.run",),
    ("datagen.share", "datagen.report"),
    ("datagen.evaluate",),
    ("datagen.cli", "datagen.public", "stemwright"),
)
# One name in two rooms: each is the public name of an extension point, or its common name.
SAME_MODULE_NAMES = {
    "balance": "the room of levels, and the evaluation of levels of separated stems",
    "base": "what a recipe, and what a writer, is made of: one for each of two extension points",
    "blind": "the room of estimates without the dry sound, and their evaluation",
    "edit": "the room of the verb, the kind of pair, and the evaluation of editors",
    "fit": "how a console is fitted, and the evaluation of fits",
    "labels": "settings as a model trains on them, and the audit of whether they are true",
    "limit": "the kind of pair, and the evaluation of what removes a limiter",
    "loudness": "the room of the meter, and the effect that brings to a loudness",
    "musdb": "the writer of the data set's layout, and the evaluation on it",
    "progress": "the callback of a caller, and how a terminal shows it",
    "removal": "the kind of pair, and the evaluation of removers",
    "separator": "the door for any separator, and Demucs behind it",
}
# (file, name) -> what is called like an effect there, and is none: the only comparisons with such a name outside ``datagen/effects``.
OTHER_NAMES = {
    ("datagen/inverse/blind/estimators.py", "width"): "what is learnt from a profile, by name",
    ("datagen/inverse/known_dry/fit_reverb.py", "width"): "a setting of the reverb",
    ("datagen/pairs/recipes/base.py", "loudness"): "a kind of level",
    ("datagen/pairs/recipes/mix.py", "loudness"): "a kind of level",
    ("datagen/report/page_charts.py", "width"): "a column of the estimates",
}
ASKING_METHODS = {"get", "count", "index", "startswith", "endswith", "__contains__"}
# One class name in several modules, which find it by this name.
SAME_CLASS_NAMES = {
    "Config": "of each recipe, and of a corpus: its sections",
    "Settings": "of each effect",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(node: ast.AST, package: str, *, at_import_only: bool) -> Iterator[tuple[str, int]]:
    """(module, line) of the imports below a node; with ``at_import_only`` those that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if at_import_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and at_import_only:
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (f"{package}.{child.module or ''}" if child.level else child.module or "", child.lineno)
        else:
            yield from imports(child, package, at_import_only=at_import_only)


def all_imports(file: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of all imports of a file, those in functions and for types included."""
    room = file.relative_to(ROOT).parts[0]
    for node in nodes_of(file):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(ast.Module([node], []), room, at_import_only=False)


def calls(file: Path) -> Iterator[tuple[str, int]]:
    """(what is called, line) of every call of a file."""
    for node in nodes_of(file):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.fixture(scope="module", autouse=True)
def trees_are_freed():
    yield
    forget()


def test_no_room_imports_a_higher_one():
    wrong = []
    for file in FILES:
        room = file.relative_to(ROOT).parts[0]
        higher = set(ROOMS[ROOMS.index(room) + 1 :]) | {"tests", "benchmarks"}
        for module, line in all_imports(file):
            if module.removeprefix("stemwright.").split(".")[0] in higher:
                wrong.append(f"{name_of(file)}:{line} imports {module}")
    assert not wrong, "imports from a higher room"


@pytest.fixture(scope="module")
def sources():
    return Sources(ROOT, (*ROOMS, "stemwright"))


def test_no_circle_of_imports(sources):
    assert not circles(sources.graph), "these modules import one another, functions and types included; move what both need into one below"


def test_imports_go_one_way(sources):
    wrong = [str(found) for found in sources.imports if layer_of(found.importer, LAYERS) < layer_of(found.imported, LAYERS)]
    assert not wrong, "imports against the order of the rooms (LAYERS)"


def test_no_module_uses_a_private_name_of_another(sources):
    found = [text for module in sources.paths for _, text in sources.private_uses(module)]
    assert not found, "make the name public, or ask its module for what is needed"


def test_no_two_modules_share_a_name_by_accident(sources):
    counted = Counter(module.rsplit(".", 1)[-1] for module in sources.paths)
    assert {name for name, count in counted.items() if count > 1} == set(SAME_MODULE_NAMES), "give one of them a name that says more"


def test_no_two_classes_share_a_name_by_accident(sources):
    places = defaultdict(list)
    for module in sources.paths:
        for name in sources.public_classes(module):
            places[name].append(module)
    wrong = {name: found for name, found in places.items() if len(found) > 1 and name not in SAME_CLASS_NAMES}
    assert not wrong, "give one of them a name that says more"


def test_every_module_of_datagen_is_in_a_room(sources):
    loose = [
        module for module in sources.paths if module.count(".") == 1 and not sources.is_package(module) and module.startswith("datagen.")
    ]
    assert not loose, "put the module into the room that it belongs to"


def test_heavy_packages_are_imported_where_they_are_used():
    wrong = [
        f"{name_of(file)}:{line} imports {module}"
        for file in FILES
        if not name_of(file).startswith(MADE_OF_TORCH)
        for module, line in imports(parsed(file), "", at_import_only=True)
        if module.split(".")[0] in HEAVY
    ]
    assert not wrong, "imported at the top, what only a function needs"


def test_each_outside_thing_has_one_door():
    wrong = []
    for file in FILES:
        for module, line in all_imports(file):
            top = module.split(".")[0]
            if name_of(file) not in DOORS.get(top, {name_of(file)}):
                wrong.append(f"{name_of(file)}:{line} imports {top}; expected only in {DOORS[top] or 'no file'}")
            if top in NEVER:
                wrong.append(f"{name_of(file)}:{line} imports {top}; expected in no file")
    assert not wrong


def test_only_the_command_line_prints():
    speaking = SPEAKS | {"sys.exit", "os._exit", "sys.stdout.write"}
    files = [file for file in FILES if name_of(file) not in ("datagen/cli/app.py", "datagen/cli/terminal.py")]
    wrong = [f"{name_of(file)}:{line} calls {call}" for file in files for call, line in calls(file) if call in speaking]
    assert not wrong, "speaks or exits"


def test_stems_are_read_where_they_are_located():
    reading = re.compile(r"(?:load|blocks|opened|probe)\([\w.]* / \w+\.audio\.path")
    wrong = [f"{name_of(file)}: {found}" for file in FILES for found in reading.findall(file.read_text(encoding="utf-8"))]
    assert not wrong, "the bytes may be in a store: read them at located(corpus, stem.audio)"


def asked_effects(nodes: Iterable[ast.AST], names: frozenset[str]) -> Iterator[tuple[str, int]]:
    """(effect's name, line) wherever code asks for an effect by its name: in a comparison, a match, a look-up in what a call returned."""
    for node in nodes:
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call):
            asked = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING_METHODS:
            asked = [*node.args[:1]]
        for part in asked:
            for each in part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]:
                if isinstance(each, ast.Constant) and each.value in names:
                    yield each.value, node.lineno
                elif (
                    isinstance(each, ast.Attribute) and each.attr == "NAME" and isinstance(each.value, ast.Name) and each.value.id in names
                ):
                    yield each.value.id, node.lineno


def test_no_code_asks_for_an_effect_by_its_name():
    wrong = [
        f"{name_of(file)}:{line} asks for {name}"
        for file in FILES
        if not name_of(file).startswith("datagen/effects/")
        for name, line in asked_effects(nodes_of(file), frozenset(MODULES))
        if (name_of(file), name) not in OTHER_NAMES
    ]
    assert not wrong, "ask for a trait of the effect, what its setting is, or a verb of the tables in datagen/inverse/__init__.py"


def test_names_that_only_look_like_effects_are_there():
    found = {(name_of(file), name) for file in FILES for name, _ in asked_effects(nodes_of(file), frozenset(MODULES))}
    assert set(OTHER_NAMES) <= found, "a line of OTHER_NAMES is no longer needed"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('x == "eq"', ["eq"]),
        ('"fader" in names', ["fader"]),
        ('x not in ("eq", "room", "width")', ["eq", "room", "width"]),
        ('match x:\n    case "clip":\n        pass', ["clip"]),
        ('dict(chain)["eq"]', ["eq"]),
        ('dict(chain).get("fader")', ["fader"]),
        ('names.count("eq")', ["eq"]),
        ("name == eq.NAME", ["eq"]),
        ('TABLE["eq"]', []),
        ('STRIP = ("eq", "fader")', []),
        ('EffectUse(effect="loudness")', []),
        ("name == other.NAME", []),
    ],
)
def test_this_test_sees_who_asks_for_an_effect(source, found):
    assert [name for name, _ in asked_effects(ast.walk(ast.parse(source)), frozenset(MODULES))] == found


def test_no_global_random_state():
    allowed = {"default_rng", "Generator", "BitGenerator", "bit_generator", "SeedSequence", "PCG64", "Philox"}
    drawing = {"torch.manual_seed", "torch.rand", "torch.randn", "torch.randint"}
    wrong = []
    for file in FILES:
        for node in nodes_of(file):
            if isinstance(node, ast.Attribute):
                of_numpy = node.attr not in allowed and ast.unparse(node.value) in ("np.random", "numpy.random")
                if of_numpy or ast.unparse(node) in drawing:
                    wrong.append(f"{name_of(file)}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "drawn from a global generator; take rng as an argument"


def without_docstring(file: Path) -> Iterator[str]:
    """The head of a module, its public classes and functions, and public methods, as far as they have no docstring."""
    tree = parsed(file)
    if not ast.get_docstring(tree):
        yield f"{name_of(file)}: its head"
    for node in tree.body:
        overload = "overload" in map(ast.unparse, node.decorator_list) if isinstance(node, ast.FunctionDef) else False
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not overload:
            if not ast.get_docstring(node):
                yield f"{name_of(file)}:{node.lineno} {node.name}"
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and not ast.get_docstring(method):
                    yield f"{name_of(file)}:{method.lineno} {node.name}.{method.name}"


def test_every_module_class_and_public_function_has_a_docstring():
    wrong = [found for file in FILES for found in without_docstring(file)]
    assert not wrong, "no docstring"


def loaded_after(program: str) -> set[str]:
    """The top-level packages that a program loads."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_packages_loads_nothing_heavy():
    assert loaded_after("import stemwright.manifests, stemwright.separation, stemwright.datagen") & HEAVY == set()


def test_no_module_of_the_lower_rooms_loads_torch_when_imported():
    names = [
        "stemwright." + ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if not name_of(path).startswith("datagen")
    ]
    assert "stemwright.manifests.sound.decoding" in names
    assert loaded_after("import " + ", ".join(name.removesuffix(".__init__") for name in names)) & HEAVY == set()


def test_command_line_loads_nothing_heavy():
    slow = HEAVY | {"numba", "scipy", "pandas", "pyarrow", "librosa", "matplotlib"}  # `--help` answers in under half a second
    assert loaded_after("import stemwright.datagen.cli.app") & slow == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch", ["torch"]),
        ("from torch import nn", ["torch"]),
        ("try:\n    import torch\nexcept ImportError:\n    pass", ["torch"]),
        ("class A:\n    import torch", ["torch"]),
        ("def f():\n    import torch", []),
        ("if TYPE_CHECKING:\n    import torch", []),
    ],
)
def test_this_test_sees_what_runs_at_import(source, found):
    assert [module for module, _ in imports(ast.parse(source), "", at_import_only=True)] == found


def test_this_test_sees_imports_of_every_kind(tmp_path):
    (tmp_path / "manifests").mkdir()
    texts = {
        "a": "def f():\n    from stemwright.manifests import b\n    return b._hidden\n",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import thing\n",
        "c": "import stemwright.manifests.a\nfrom stemwright.manifests.b import _private\n",
        "d": "import numpy\nfrom stemwright.manifests.c import thing\n",
    }
    for name, text in texts.items():
        (tmp_path / "manifests" / f"{name}.py").write_text(text)
    walked = Sources(tmp_path, ("manifests",))
    assert circles(walked.graph) == [["manifests.a", "manifests.b", "manifests.c"]]
    assert walked.graph["manifests.d"] == {"manifests.c"}
    assert [text for module in walked.paths for _, text in walked.private_uses(module)] == [
        "b._hidden",
        "manifests.c:2 imports manifests.b (_private)",
    ]


def test_a_module_without_a_room_is_found():
    assert layer_of("datagen.pairs.recipes.mix", LAYERS) == layer_of("datagen.pairs", LAYERS) > layer_of("datagen.effects.eq", LAYERS)
    with pytest.raises(LookupError, match=r"elsewhere\.thing has no place"):
        layer_of("elsewhere.thing", LAYERS)


def test_no_two_test_files_share_a_name():
    """Pytest imports them by their names alone: of two that are alike it runs the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("__init__.py", "conftest.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_longest_test_files_are_there():
    """They are begun first; a name that none has would be of no use."""
    assert set(LONGEST) <= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
