"""Packing that ends at any change of the file system, by a kill or by a power cut: the next start ends with the bytes of a run that nothing
disturbed, and with nothing else."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import soundfile
from conftest import make_song
from interrupting import Interruption, Tree, lay_out, tree_of

from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers

RATE = 8_000
FORMATS = ("folder", "webdataset", "huggingface")
FAST = (("webdataset", "huggingface", 7), ("huggingface", "folder", 7))  # from, to, every which change
WHOLE = tuple((before, after, 1) for before in FORMATS for after in FORMATS if before != after)
each_change = pytest.mark.parametrize(
    ("before", "after", "step"), [*FAST, *(pytest.param(*one, marks=pytest.mark.slow, id="-".join(one[:2])) for one in WHOLE)]
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, dict[str, Tree]]:
    """A corpus of one song, and what is in its folder with its dataset in each format."""
    place = tmp_path_factory.mktemp("interrupted")
    for stem, audio in make_song(0, 0.6, sample_rate=RATE).items():
        path = place / "songs" / "Artist - Title" / f"{stem}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio.T, RATE, subtype="PCM_24")
    corpus, found = Corpus(place / "corpus"), {}
    for name in FORMATS:
        configure(corpus, name)
        if not found:
            stages.run_catalog(corpus, Workers())
            stages.run_separate(corpus)
            stages.run_estimate(corpus, Workers())
            stages.run_plan(corpus)
        pack(corpus)
        found[name] = tree_of(corpus.folder)
    return corpus, found


def configure(corpus: Corpus, name: str) -> None:
    pairs = {"duration_s": 0.2, "mix": {"per_track": 0}, "removal": {"per_track": 2, "effects": ["eq"]}}
    dataset = {"format": name, **({"shard_examples": 1} if name != "folder" else {})}
    songs = {"folder": str(corpus.folder.parent / "songs")}
    corpus.create(check({"seed": 3, "songs": songs, "pairs": pairs, "dataset": dataset}, where="test"))


def pack(corpus: Corpus) -> None:
    stages.run_render(Corpus(corpus.folder), Workers())


def begun(corpus: Corpus, found: dict[str, Tree], before: str, after: str) -> Tree:
    """What is in the folder when the dataset is in one format and the configuration asks for another."""
    lay_out(found[before], corpus.folder)
    configure(corpus, after)
    return tree_of(corpus.folder)


def differences(found: Tree, expected: Tree) -> list[str]:
    return sorted(path for path in {*found, *expected} if found.get(path, 0) != expected.get(path, 0))


@each_change
def test_a_kill_at_any_change_of_the_file_system_loses_nothing(before, after, step, rendered):
    corpus, found = rendered
    start, points = begun(corpus, found, before, after), 0
    for point in itertools.count(1, step):
        lay_out(start, corpus.folder)
        with Interruption(corpus.folder, point) as interruption:
            pack(corpus)
        if not interruption.died:
            break
        pack(corpus)
        assert differences(tree_of(corpus.folder), found[after]) == [], f"killed before change {point}, {interruption.what}"
        points += 1
    assert points > 40 // step


@each_change
def test_two_kills_lose_nothing(before, after, step, rendered):
    """The second one is on the way back from the first."""
    corpus, found = rendered
    start, rng = begun(corpus, found, before, after), random.Random(before + after)
    with Interruption(corpus.folder) as whole:
        pack(corpus)
    for _ in range(40 // step):
        lay_out(start, corpus.folder)
        said = []
        for _ in range(2):
            with Interruption(corpus.folder, rng.randint(1, whole.count)) as interruption:
                pack(corpus)
            said.append(interruption.what)
        pack(corpus)
        assert differences(tree_of(corpus.folder), found[after]) == [], f"killed before {said}"


@each_change
def test_a_power_cut_loses_nothing_and_brings_nothing_back(before, after, step, rendered):
    corpus, found = rendered
    start = begun(corpus, found, before, after)
    with Interruption(corpus.folder, watch_disk=True) as whole:
        pack(corpus)
    assert [path for path in differences(whole.disk(), found[after]) if not path.endswith(".part")] == []
    for point in range(1, whole.count + 1, 2 * step):
        lay_out(start, corpus.folder)
        with Interruption(corpus.folder, point, watch_disk=True) as interruption:
            pack(corpus)
        lay_out(interruption.disk(random.Random(point) if point % 4 == 3 else None), corpus.folder)
        pack(corpus)
        assert differences(tree_of(corpus.folder), found[after]) == [], f"power cut before change {point}, {interruption.what}"


def test_what_is_not_synced_is_lost(tmp_path: Path):
    """The test of the tests: a file that is renamed before it is synced is empty after a power cut, and its name may be missing."""
    (tmp_path / "kept").write_bytes(b"kept")
    with Interruption(tmp_path, 3, watch_disk=True) as interruption:
        (tmp_path / "a.part").write_bytes(b"whole")
        (tmp_path / "a.part").rename(tmp_path / "a")
        (tmp_path / "kept").unlink()
    assert (interruption.died, interruption.what) == (True, "os.remove kept")
    assert interruption.disk() == {"kept": b"kept"}
    left = [interruption.disk(random.Random(seed)) for seed in range(30)]
    assert {tree.get("a") for tree in left} == {None, b"", bytes(5), b"whole"}
