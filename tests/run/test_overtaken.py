"""A process that was believed dead goes on, after another has done its work: nothing that a row names is changed by it."""

import hashlib
import shutil
from functools import partial

import numpy as np
import pytest
from commands import stemwright
from living_corpus import write_song

from stemwright.datagen.dataset.writers import writer_of
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import rendering, writing_pairs
from stemwright.manifests.disk import durable
from stemwright.manifests.disk.durable import FileGroup, OvertakenError, state_of
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Refused, Stem, Track

CONFIG = """
seed = 3
[separation]
separator = "stub_separator:parts"
[separation.limits]
closure_db = 60.0
bleed = 1.0
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 1
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A corpus whose pairs are planned."""
    place = tmp_path_factory.mktemp("overtaken")
    write_song(place / "songs" / "a.wav", 0, {"artist": "a"})
    (place / "config.toml").write_text(CONFIG)
    stemwright("catalog", place / "songs", place / "corpus", "--config", place / "config.toml")
    for verb in ("separate", "estimate", "plan"):
        stemwright(verb, place / "corpus")
    return place / "corpus"


@pytest.fixture
def corpus(planned, tmp_path):
    return Corpus(shutil.copytree(planned, tmp_path / "corpus"))


def attempt_at(corpus):
    """Renders the first pair, as a worker does it; and where its files are."""
    rows = {kind: {row.id: row for row in corpus.rows(name, kind)} for name, kind in (("tracks", Track), ("stems", Stem))}
    pair, writer = corpus.rows("pairs", Pair)[0], writer_of(corpus.config.dataset, corpus.config.encoding, lambda: ())
    (task,) = rendering.PairTasks(writer, [pair], rows[Track], rows[Stem])
    work = partial(writing_pairs._write, corpus.folder, writer, rendering._signals, task.payload)
    return work, [corpus.folder / path for path in writer.paths(pair).values()]


def while_stopped(monkeypatch, do):
    """Lets ``do`` happen while the next attempt is between its rendering and its writing."""
    render = rendering.render

    def stopped(*arguments):
        monkeypatch.setattr(rendering, "render", render)
        signals = render(*arguments)
        do()
        return signals

    monkeypatch.setattr(rendering, "render", stopped)


def test_a_zombie_leaves_the_files_that_its_successor_rendered(corpus, monkeypatch):
    attempt, places = attempt_at(corpus)
    successors = []
    while_stopped(monkeypatch, lambda: successors.append((attempt(), [state_of(path) for path in places])))
    late = attempt()
    ((row, before),) = successors
    assert [state_of(path) for path in places] == before
    assert late == row
    assert [signal.audio.sha256 for signal in row[0].signals] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in places]
    assert not list((corpus.folder / "dataset").rglob(".*"))


def test_a_zombie_of_other_bytes_changes_nothing_and_gives_no_row(corpus, monkeypatch):
    attempt, places = attempt_at(corpus)
    (written,) = attempt()
    for path in places:
        path.unlink()
    render = rendering.render

    def louder(*arguments):
        signals = render(*arguments)
        return {name: audio * np.float32(0.999) for name, audio in signals.items()}

    while_stopped(monkeypatch, attempt)
    stopped = rendering.render
    monkeypatch.setattr(rendering, "render", lambda *arguments: (stopped(*arguments), louder(*arguments))[1])
    with pytest.raises(Refused, match=r"another process wrote \S+ at the same time, with other contents; the next run tries it again"):
        attempt()
    assert [signal.audio.sha256 for signal in written.signals] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in places]


def test_what_was_there_before_an_attempt_is_replaced_by_it(corpus):
    attempt, places = attempt_at(corpus)
    places[0].parent.mkdir(parents=True)
    places[0].write_bytes(b"of a process that was killed, or of another version")
    (row,) = attempt()
    assert [signal.audio.num_bytes for signal in row.signals] == [path.stat().st_size for path in places]


def put(places, data=b"mine", meanwhile=lambda: None):
    """Writes a group of files that were not there when the work on them began."""
    with FileGroup(dict.fromkeys(places)) as files:
        for path in places:
            files.write(path, data)
        meanwhile()


@pytest.mark.parametrize("has_links", [True, False])
def test_of_a_group_that_another_process_has_begun_to_write_nothing_is_put(tmp_path, monkeypatch, has_links):
    places = [tmp_path / name for name in ("a", "b")]
    if not has_links:
        monkeypatch.setattr(durable.os, "link", lambda *_: (_ for _ in ()).throw(OSError(durable.errno.EPERM, "no links here")))
    with pytest.raises(OvertakenError):
        put(places, meanwhile=lambda: places[1].write_bytes(b"theirs"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"theirs"}
    places[1].unlink()
    put(places)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"mine", "b": b"mine"}


def test_of_two_that_put_a_new_file_at_the_same_moment_the_first_keeps_it(tmp_path, monkeypatch):
    def just_before(path):
        path.write_bytes(b"theirs")

    monkeypatch.setattr(durable, "state_of", just_before)  # it is written right after it was looked at
    with pytest.raises(OvertakenError):
        put([tmp_path / "a"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"theirs"}
