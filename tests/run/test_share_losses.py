"""Shares that lose something: a song that is rejected, the end of a journal, a signal that arrives twice."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from commands import stemwright
from living_corpus import contents, write_song

from stemwright.datagen.cli import preemption
from stemwright.manifests import table
from stemwright.manifests.records import Rejected

CONFIG = """
[separation]
separator = "stub_separator:parts"
[separation.limits]
closure_db = 60.0
bleed = 1.0
"""
SONGS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A catalogued corpus, and the same separated by one process."""
    place = tmp_path_factory.mktemp("share losses")
    for number in range(SONGS):
        write_song(place / "songs" / f"{number}.wav", number, {"artist": f"artist {number}"})
    (place / "config.toml").write_text(CONFIG)
    stemwright("catalog", place / "songs", place / "catalogued", "--config", place / "config.toml")
    shutil.copytree(place / "catalogued", place / "one")
    stemwright("separate", place / "one")
    return place


@pytest.fixture
def corpus(made, tmp_path):
    return shutil.copytree(made / "catalogued", tmp_path / "corpus")


def separated(corpus: Path) -> dict[str, str]:
    return {name: data for name, data in contents(corpus).items() if name.startswith("stems")}


def first_of_status(corpus: Path) -> dict[str, object]:
    return json.loads(stemwright("status", corpus, "--json").stdout)["stages"][0]


def test_a_song_that_a_share_rejects_is_seen_by_status_and_by_the_merge(made, corpus):
    song = made / "songs" / "0.wav"
    data = song.read_bytes()
    song.write_bytes(data[:-2] + b"\x01\x02")
    try:
        done = stemwright("separate", corpus, "--share", "0/2", check=False)
        assert done.returncode == 3
        assert "rejected 0.wav: 0.wav changed since it was cataloged" in done.stdout
        assert first_of_status(corpus) == {"stage": "separate", "done": 1, "of": SONGS, "rejected": 1, "finished": False}
        stemwright("separate", corpus, "--share", "1/2")
        assert first_of_status(corpus)["rejected"] == 1
        assert stemwright("separate", corpus, check=False).returncode == 3
    finally:
        song.write_bytes(data)
    assert [row.subject for row in table.read(corpus / "rejected.parquet", Rejected) if row.stage == "separate"] == ["0.wav"]
    assert first_of_status(corpus) == {"stage": "separate", "done": 3, "of": SONGS, "rejected": 1, "finished": True}
    assert not table.journals(corpus / "rejected.jsonl.part")
    stemwright("separate", corpus)
    assert first_of_status(corpus) == {"stage": "separate", "done": SONGS, "of": SONGS, "rejected": 0, "finished": True}
    assert separated(corpus) == separated(made / "one")


def test_what_a_share_rejected_and_does_now_is_not_rejected_any_more(made, corpus):
    moved = (made / "songs" / "0.wav").rename(made / "0.wav")
    assert stemwright("separate", corpus, "--share", "0/2", check=False).returncode == 3
    moved.rename(made / "songs" / "0.wav")
    stemwright("separate", corpus, "--share", "0/2")
    assert (first_of_status(corpus)["done"], first_of_status(corpus)["rejected"]) == (2, 0)
    assert not table.journals(corpus / "rejected.jsonl.part")


@pytest.mark.parametrize("lost", [1, 100, 1500])
def test_the_end_of_one_journal_that_is_lost_costs_no_byte(made, corpus, lost):
    for number in range(2):
        stemwright("separate", corpus, "--share", f"{number}/2")
    journal = corpus / "stems.0of2.jsonl.part"
    os.truncate(journal, journal.stat().st_size - lost)
    stemwright("separate", corpus)
    assert separated(corpus) == separated(made / "one")


def test_a_second_signal_of_a_preemption_does_not_disturb_what_tidies_up(monkeypatch):
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    monkeypatch.setattr("sys.argv", ["stemwright", "separate", "corpus", "--share", "0/2"])
    try:
        preemption.listen()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert preemption.preempted()
        with pytest.raises(KeyboardInterrupt):
            preemption.check()  # as progress does, where a library swallowed the first
    finally:
        preemption._heard.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
