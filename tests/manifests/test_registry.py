"""The registry: our names and other packages', lazily; a broken package is named and breaks no other."""

import re
import sys
import warnings

import pytest

from stemwright.manifests.registry import BrokenExtensionError, ExtensionWarning, Registry, UnknownNameError, load, requires
from stemwright.manifests.usage import UsageError

GROUP = "stemwright.fruits"
OWN = {"apple": "math:pi", "pear": "decimal"}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package of one module, with the entry points that are given as ``name = value`` lines."""

    def install(name, points, **sources):
        folder = tmp_path / name
        info = folder / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points, ""]))
        for module, text in sources.items():
            (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)

    before = set(sys.modules)
    yield install
    for module in set(sys.modules) - before:
        del sys.modules[module]


def fruits(**how):
    return Registry("fruit", GROUP, OWN, **how)


def test_nothing_is_imported_before_it_is_looked_up():
    registry = Registry("fruit", GROUP, {"late": "xmlrpc.server"})
    sys.modules.pop("xmlrpc.server", None)
    assert list(registry) == ["late"]
    assert "late" in registry
    assert "xmlrpc.server" not in sys.modules
    assert registry["late"] is sys.modules["xmlrpc.server"]


def test_own_names_keep_their_order_and_come_first(installed):
    installed("fruit_box", ["banana = box:BANANA", "aprikose = box"], box="BANANA = 3")
    registry = fruits()
    assert list(registry) == ["apple", "pear", "aprikose", "banana"]
    assert registry["banana"] == 3
    assert len(registry) == 4
    assert registry.package("banana") == "fruit_box 1.2"
    assert registry.package("apple") is None
    assert registry.packages(["pear", "banana", "apple", "banana"]) == {"banana": "fruit_box 1.2"}


@pytest.mark.parametrize("name", ["aple", "zzz", 3, ""])
def test_unknown_name_gets_the_nearest_if_any_is_near_and_all_names(name):
    near = "; did you mean 'apple'?" if name == "aple" else "."
    with pytest.raises(UnknownNameError, match=re.escape(f"there is no fruit {name!r}{near} The fruits are apple, pear")) as caught:
        fruits()[name]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, UsageError)
    assert name not in fruits()


def test_broken_package_is_named_and_the_others_work(installed):
    installed("rotten", ["plum = rot", "fig = absent_module", "cherry = rot:NOTHING"], rot="raise RuntimeError('worms')")
    installed("fresh", ["melon = good"], good="SEEDS = 4")
    registry = fruits()
    with pytest.warns(ExtensionWarning) as caught:
        names = list(registry)
    assert names == ["apple", "pear", "melon"]
    assert len(caught) == 3
    assert re.search(r"'plum' of rotten 1\.2 .*cannot be used: RuntimeError: worms", str(caught[2].message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert list(registry.values())[2].SEEDS == 4
    with pytest.raises(
        BrokenExtensionError, match=r"'fig' of rotten 1\.2 \(entry point absent_module in stemwright\.fruits\).*ModuleNotFound"
    ):
        registry["fig"]
    with pytest.raises(BrokenExtensionError, match="RuntimeError: worms"):
        registry["cherry"]
    assert "plum" not in registry


def test_our_own_name_wins_over_another_package_with_a_warning(installed):
    installed("impostor", ["apple = other"], other="")
    with pytest.warns(ExtensionWarning, match=r"'apple' of impostor 1\.2 .*is not used: 'apple' is one of stemwright's own names"):
        names = list(fruits())
    assert names == ["apple", "pear"]


def test_name_that_two_packages_give_is_refused_with_both(installed):
    installed("one", ["kiwi = one_kiwi"], one_kiwi="")
    installed("two", ["kiwi = two_kiwi"], two_kiwi="")
    with pytest.raises(BrokenExtensionError, match=r"'kiwi' is provided by one 1\.2 and two 1\.2; uninstall one"):
        fruits()["kiwi"]


@pytest.mark.parametrize("name", ["Kiwi", "ki/wi", "../kiwi", "k-wi", "1kiwi", "k" * 41])
def test_name_that_could_be_no_key_folder_or_column_is_refused(installed, name):
    installed("wild", [f"{name} = kiwi_module"], kiwi_module="")
    with pytest.raises(BrokenExtensionError, match="a name has lower-case letters"):
        fruits()[name]


def test_what_lacks_what_is_required_is_refused_with_what_is_missing(installed):
    installed("half", ["grape = grape_module", "lime = lime_module"], grape_module="SEEDS = 'many'", lime_module="SEEDS = 2; peel = len")
    registry = fruits(check=requires(SEEDS=int, peel=callable))
    with pytest.raises(BrokenExtensionError, match="TypeError: it has no peel; expected SEEDS, peel"):
        registry["grape"]
    assert registry["lime"].SEEDS == 2
    with pytest.raises(TypeError, match="its SEEDS is 'many'"):
        requires(SEEDS=int)("grape", sys.modules["grape_module"])


def test_reference_names_a_module_or_what_is_in_it():
    assert load("decimal") is sys.modules["decimal"]
    assert load("decimal:Decimal.from_float")(0.5) == load("decimal:Decimal")("0.5")
    with pytest.raises(AttributeError):
        load("decimal:Nothing")
