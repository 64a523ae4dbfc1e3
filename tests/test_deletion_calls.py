"""Every call in the sources that can take a file away or put another in its place, each with the reason why it takes nothing of anybody's.

A new call fails here until it is looked at and written down. It sees calls by their names (``unlink``, ``rmtree``, ``Path.replace`` ...),
not what they do: what is reached by another name, or by a program that is run, it does not see.
"""

import ast
from collections.abc import Iterator

import pytest
from test_house import FILES, name_of

ALWAYS = {"unlink", "rmtree", "rmdir", "removedirs", "truncate", "rename", "renames", "move", "swap"}
OF_MODULES = {"remove": ("os", "durable", "deletion"), "replace": ()}  # lists have the one, texts the other

OURS = "a name that only we give, in a folder of ours, directly below the corpus: no link is on the way, and a link there goes itself"
CHECKED = "reached through no link: the way is checked before"
HIDDEN = "a hidden name with our process in it, which we made in this function, or which a killed process of ours left"
REVIEWED = {
    ("datagen/sharing/export.py", "export", "remove"): HIDDEN,
    ("manifests/audio.py", "Writer.__exit__", "remove"): HIDDEN,
    ("manifests/audio.py", "remove_leftovers", "remove"): HIDDEN,
    ("manifests/durable.py", "FileGroup.__exit__", "remove"): HIDDEN,
    ("manifests/durable.py", "remove_earlier", "remove"): HIDDEN,
    ("separation/checkpoints.py", "fetch", "remove"): HIDDEN,
    ("separation/stem_files.py", "StemFolder._place", "remove"): "the stems that were put there a moment ago",
    ("separation/stem_files.py", "clear_work", "remove"): "names that only we give, in our hidden folder, which is no link",
    ("datagen/corpus.py", "Corpus.restore", "unlink"): OURS,
    ("datagen/corpus.py", "Corpus.locked", "remove"): HIDDEN,
    ("datagen/redraw.py", "Redraws.finish", "unlink"): OURS,
    ("datagen/runner.py", "finish", "unlink"): OURS,
    ("datagen/runner.py", "finish", "remove"): CHECKED,
    ("datagen/sharing/placing.py", "replaced", "replace"): "exchanges an export with an earlier one; what is somebody's was linked into it",
    ("datagen/sharing/placing.py", "replaced", "swap"): "exchanges an export with an earlier one; what is somebody's was linked into it",
    ("datagen/sharing/placing.py", "clear", "replace"): "puts an earlier export back that a kill left beside its place",
    ("datagen/sharing/placing.py", "clear", "rmtree"): "our hidden folder of an export, no link, with nothing in it but what we name",
    ("datagen/sharing/rebuild.py", "_link", "unlink"): "a link that an earlier rebuild made, never a file",
    ("datagen/stages/cataloguing.py", "_refuse_to_forget", "unlink"): OURS,
    ("datagen/stages/estimating.py", "_set_aside", "unlink"): OURS,
    ("datagen/stages/estimating.py", "_set_aside", "replace"): CHECKED,
    ("datagen/stages/estimating.py", "_finished_together", "unlink"): OURS,
    ("datagen/stages/kept_stems.py", "invalidate", "unlink"): CHECKED,
    ("datagen/stages/separating.py", "Separation._rows", "unlink"): "the stems that were written a moment ago, " + CHECKED,
    ("datagen/writers/cleaning.py", "forget_begun", "unlink"): OURS,
    ("datagen/writers/cleaning.py", "remove_stale", "remove"): "named by an earlier table or journal; " + CHECKED,
    ("datagen/writers/packing.py", "pack", "unlink"): OURS,
    ("datagen/writers/packing.py", "unpack", "remove"): "a shard that our table names; " + CHECKED,
    ("datagen/writers/packing.py", "unpack", "unlink"): OURS,
    ("datagen/writers/packing.py", "_assembled", "remove"): HIDDEN,
    ("datagen/writers/packing.py", "_remove_loose", "remove"): "named by an example's row, and in a shard by now; " + CHECKED,
    ("manifests/durable.py", "begin", "unlink"): HIDDEN,
    (
        "manifests/durable.py",
        "put",
        "replace",
    ): "what is replaced was ours, or is a link, which goes itself",
    ("manifests/durable.py", "FileGroup.__exit__", "replace"): "as put",
    ("manifests/durable.py", "remove", "unlink"): HIDDEN,
    ("manifests/deletion.py", "remove", "unlink"): "regular files only, and no link on the way",
    ("manifests/deletion.py", "remove_empty", "rmdir"): "empty folders only, which a file of ours was in",
    ("manifests/table.py", "write", "remove"): HIDDEN,
    ("separation/engines.py", "translation", "replace"): "in our cache, under a name that is a hash",
    ("separation/engines.py", "translation", "unlink"): HIDDEN,
    ("separation/precision.py", "_first", "replace"): "in our cache, under a name that is a hash",
    ("separation/precision.py", "_first", "unlink"): HIDDEN,
    ("separation/stem_files.py", "StemFolder.close", "rmdir"): "an empty folder that we made",
    ("separation/stem_files.py", "StemFolder._place", "replace"): "stems by their names into the track's folder; " + CHECKED,
    ("separation/stem_files.py", "clear_work", "rmdir"): "our hidden folder, empty and no link",
    ("separation/stem_files.py", "clear_all_work", "rmdir"): "an empty folder that our hidden one was in",
}


def taking(tree: ast.AST, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(function, verb, the call as it is written) of all calls below a node that may take a file away."""
    for node in ast.iter_child_nodes(tree):
        inner = where
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = f"{where}.{node.name}" if where else node.name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            verb, base = node.func.attr, ast.unparse(node.func.value)
            path_replaced = verb == "replace" and len(node.args) == 1 and not node.keywords and base not in ("table", "dataclasses")
            if verb in ALWAYS or base in OF_MODULES.get(verb, ()) or path_replaced or (verb == "replace" and base == "os"):
                yield inner, verb, ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (*ALWAYS, "remove"):  # by its bare name
            yield inner, node.func.id, ast.unparse(node)
        yield from taking(node, inner)


def test_every_call_that_may_take_a_file_away_has_been_looked_at():
    found = {
        (name_of(path), function, verb): text
        for path in FILES
        for function, verb, text in taking(ast.parse(path.read_text(encoding="utf-8")))
    }
    new = {key: found[key] for key in found.keys() - REVIEWED.keys()}
    assert not new, "look at manifests/deletion.py: does it take only what is ours, and nothing through a link? Then write down why"
    assert not REVIEWED.keys() - found.keys(), "these calls are gone; strike them out"


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def f(p):\n    p.unlink()", [("f", "unlink")]),
        ("def f(p):\n    shutil.rmtree(p)", [("f", "rmtree")]),
        ("class A:\n    def f(self, p, q):\n        p.replace(q)", [("A.f", "replace")]),
        ("os.replace(a, b)", [("", "replace")]),
        ("os.remove(a)", [("", "remove")]),
        ("text.replace('a', 'b')", []),
        ("table.replace(path)", []),
        ("items.remove(a)", []),
        ("remove([a])", [("", "remove")]),
    ],
)
def test_this_test_sees_what_takes_files_away(source, seen):
    assert [(function, verb) for function, verb, _ in taking(ast.parse(source))] == seen


def test_a_table_that_is_set_aside_is_not_moved_through_a_link(tmp_path):
    from datagen.corpus import Corpus
    from datagen.stages.estimating import _set_aside
    from manifests.records import Refused

    corpus, home = Corpus(tmp_path / "corpus"), tmp_path / "home"
    home.mkdir()
    corpus.folder.mkdir()
    (home / "features.parquet").write_text("mine")
    corpus.table("features").write_text("ours")
    corpus.unused("features").parent.symlink_to(home)
    with pytest.raises(Refused, match="is a link: nothing is written or deleted through it"):
        _set_aside(corpus, {"features": False})
    assert (home / "features.parquet").read_text() == "mine"
    assert [path.name for path in home.iterdir()] == ["features.parquet"]
