"""A dry run says what a build then does, and leaves everything as it is."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import stemwright
from living_corpus import RATE, FilterSeparator, build, stub_separator, write_multitrack, write_song

import stemwright as sw
from stemwright.datagen.run import configuration, rates
from stemwright.datagen.run import forecast as forecasting
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.forecast import forecast, measured_rate
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example

PAIRS = {"sample_rate": RATE, "duration_s": 0.5, "mix": {"per_track": 1}, "removal": {"per_track": 2}}
SEPARATION = {"model": "one", "limits": {"closure_db": 60.0, "bleed": 1.0}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three songs and a multitrack, a cache without rates, and the separator without networks."""
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    for seed in range(3):
        write_song(tmp_path / "songs" / f"{seed}.flac", seed, {"artist": f"Artist {seed}"})
    write_multitrack(tmp_path / "songs" / "M", 7)
    with stub_separator():
        yield tmp_path


def values(place: Path, **more) -> dict:
    return {"pairs": PAIRS, "separation": SEPARATION, "songs": {"folder": str(place / "songs")}, **more}


def foreseen(place: Path, limit=None, test=None, **more):
    config = configuration.check(values(place, **more), where="the test")
    return forecast(Corpus(place / "corpus"), config, limit=limit, test=test)


def counts(found) -> dict[str, int]:
    return {step.stage: step.count for step in found.steps}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.relative_to(folder).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_first_build_is_foreseen_and_not_a_folder_is_made(place):
    before = tree(place)
    found = foreseen(place)
    assert tree(place) == before
    assert (found.songs.new, found.songs.kept, found.songs.removed) == (4, 0, 0)
    assert counts(found) == {"catalog": 4, "separate": 3, "estimate": 4, "render": 12}
    assert found.steps[1].audio_s == pytest.approx(sum(step.audio_s for step in found.steps[:1]) - 1.3)
    build(place / "corpus", values(place))
    assert len(table.column(place / "corpus" / "examples.parquet", "id")) == 12
    assert FilterSeparator.count == 3


def test_a_finished_corpus_has_nothing_to_do(place):
    build(place / "corpus", values(place))
    before = tree(place)
    found = foreseen(place)
    assert tree(place) == before
    assert counts(found) == {"catalog": 0, "separate": 0, "estimate": 0, "render": 0}
    assert (found.deleted_files, found.time_s, [space.num_bytes for space in found.spaces]) == (0, 0.0, [0, 0])


def test_new_missing_changed_and_moved_songs_are_distinguished(place):
    build(place / "corpus", values(place))
    songs = place / "songs"
    (songs / "0.flac").unlink()
    (songs / "1.flac").rename(songs / "moved.flac")
    write_song(songs / "2.flac", 5, {})
    write_song(songs / "new.flac", 6, {})
    found = foreseen(place)
    assert (found.songs.new, found.songs.changed, found.songs.kept, found.songs.removed) == (1, 1, 2, 1)
    assert counts(found)["separate"] == 2
    examples = len(table.column(place / "corpus" / "examples.parquet", "id"))
    build(place / "corpus", values(place))
    assert FilterSeparator.count == 3 + 2
    assert len(table.column(place / "corpus" / "examples.parquet", "id")) == examples == counts(found)["render"] + 6


def test_other_tags_are_foreseen_to_separate_nothing_again(place):
    build(place / "corpus", values(place))
    write_song(place / "songs" / "0.flac", 0, {"artist": "Artist 0", "title": "The same sound " * 20})
    found = foreseen(place)
    assert (found.songs.new, found.songs.changed, found.songs.kept, found.songs.removed) == (0, 1, 3, 0)
    assert counts(found) == {"catalog": 1, "separate": 0, "estimate": 0, "render": 0}
    before = FilterSeparator.count
    build(place / "corpus", values(place))
    assert FilterSeparator.count == before


def test_other_settings_are_foreseen_as_what_they_cost(place):
    build(place / "corpus", values(place))
    assert counts(foreseen(place, separation={**SEPARATION, "model": "two"}))["separate"] == 3
    other = foreseen(place, seed=5)
    rows = table.read(place / "corpus" / "examples.parquet", Example)
    assert counts(other) == {"catalog": 0, "separate": 0, "estimate": 0, "render": 12}
    assert other.deleted_files == sum(len(row.signals) for row in rows)
    assert counts(foreseen(place, pairs={**PAIRS, "duration_s": 60.0}))["render"] == 0  # no song is as long


def test_a_limit_is_foreseen_as_build_takes_it(place):
    found = foreseen(place, limit=2)
    assert (found.songs.new, found.songs.later) == (2, 2)
    build(place / "corpus", values(place), limit=2)
    assert len(table.column(place / "corpus" / "tracks.parquet", "id")) == 2
    assert foreseen(place, limit=2).songs.new == 0


def test_times_follow_the_rates_of_earlier_runs_else_a_test_else_are_unknown(place):
    assert foreseen(place).time_s is None
    found = foreseen(place, test=lambda _: 2.0)
    assert (found.steps[1].rate, "measured now" in found.steps[1].source) == (2.0, True)
    assert found.steps[1].time_s == pytest.approx(found.steps[1].audio_s / 2.0)
    for key, rate in (
        ("separate one@filter on cpu", 4.0),
        *((rates.of_stage(name, 1), 10.0) for name in ("catalog", "estimate", "render")),
    ):
        rates.remember(key, 100.0 * rate, 100.0)
    found = foreseen(place, test=lambda _: 2.0)
    assert [step.rate for step in found.steps] == [10.0, 4.0, 10.0, 10.0]
    assert found.time_s == pytest.approx(sum(step.audio_s / step.rate for step in found.steps))


def test_a_run_that_is_too_short_leaves_no_rate_and_a_damaged_file_of_rates_is_ignored(place):
    rates.remember("separate", 9.0, 3.0)
    assert rates.known("separate") is None
    rates.remember("separate", 90.0, 30.0)
    rates.remember("render", 20.0, 2.0)
    assert (rates.known("separate"), rates.known("render")) == (3.0, 10.0)
    for text in ("{", "[]", '{"separate": "fast", "render": -1}'):
        (place / "cache" / rates.FILE).write_text(text)
        assert (rates.known("separate"), rates.known("render")) == (None, None)


def test_a_separator_is_measured_by_its_second_run():
    clock = SimpleNamespace(now=0.0)

    class Slow:
        def separate(self, sound, sample_rate):
            clock.now += 100.0 if sound.shape[1] < sample_rate else 4.0  # the first one loads a network
            assert np.isfinite(sound).all()

    assert measured_rate(Slow(), lambda: clock.now) == forecasting.TEST_S / 4.0


def test_room_is_that_of_the_disk_a_folder_is_linked_to(place, monkeypatch):
    build(place / "corpus", values(place))
    (place / "disk").mkdir()
    shutil.rmtree(place / "corpus" / "dataset")
    (place / "corpus" / "dataset").symlink_to(place / "disk")
    asked = []
    monkeypatch.setattr(forecasting.shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=1000))
    found = foreseen(place, seed=5)
    assert (place / "disk").resolve() in asked
    assert found.lacking_bytes == sum(space.num_bytes for space in found.spaces) - 1000 > 0


def test_sizes_are_near_those_that_are_written(place):
    build(place / "corpus", values(place))
    rows = table.read(place / "corpus" / "examples.parquet", Example)
    written = sum(file.audio.num_bytes for row in rows for file in row.signals)
    assert foreseen(place, seed=5).spaces[1].num_bytes == pytest.approx(written, rel=0.01)  # as those that are there


def test_the_command_shows_it_in_json_and_writes_nothing(tmp_path, multitrack_folder, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    songs = multitrack_folder(1, 0, duration_s=6.0)
    before = tree(tmp_path)
    said = json.loads(stemwright("build", songs, tmp_path / "corpus", "--dry-run", "--json").stdout)
    assert {name: value for name, value in tree(tmp_path).items() if not name.startswith("cache")} == before
    assert said["songs"] == {"new": 1, "changed": 0, "kept": 0, "removed": 0, "later": 0}
    assert [step["stage"] for step in said["steps"]] == ["catalog", "separate", "estimate", "render"]
    assert said["lacking_bytes"] == 0


def test_songs_that_would_be_refused_are_named_with_the_exit_code_of_the_build(tmp_path, multitrack_folder, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    songs = multitrack_folder(1, 0, duration_s=1.5)
    (folder,) = songs.rglob("mixture.wav")
    (songs / "damaged.wav").write_text("no sound")
    shutil.copytree(folder.parent, songs / "short")
    for path in (songs / "short").iterdir():
        audio, rate = sw.load(path)
        sw.save(path, audio[:, : rate // 2], rate)
    listed = [folder.parent.relative_to(songs).as_posix(), "none.flac", "damaged.wav", "neither.mp3", "short"]
    (songs / "list.csv").write_text("\n".join(["path", *listed]))
    (tmp_path / "c.toml").write_text("[pairs]\nduration_s = 1.0\n")
    arguments = ("build", songs / "list.csv", tmp_path / "corpus", "--config", tmp_path / "c.toml", "--json")
    said = stemwright(*arguments, "--dry-run", check=False)
    refused = {row["path"]: row["reason"] for row in json.loads(said.stdout)["refused"]}
    assert set(refused) == {"none.flac", "damaged.wav", "neither.mp3", "short/mixture.wav"}
    assert "line 3: file not found" in refused["none.flac"]
    assert refused["short/mixture.wav"] == "shorter than one excerpt (0.50 s of 1 s)"
    assert "4 songs would be refused, 2 of them since there is no such file" in said.stderr
    for _ in range(2):  # before the first build, and after it
        built = stemwright(*arguments, check=False)
        foreseen = stemwright(*arguments, "--dry-run", check=False)
        assert foreseen.returncode == built.returncode == said.returncode == 3
        rejected = {row["subject"]: row["reason"] for row in json.loads(built.stdout)["rejected"]}
        assert {row["path"]: row["reason"] for row in json.loads(foreseen.stdout)["refused"]} == rejected


def test_a_build_that_could_do_nothing_is_foreseen_as_a_failure(tmp_path):
    (tmp_path / "list.csv").write_text("path\nnone.wav\n")
    assert stemwright("build", tmp_path / "list.csv", tmp_path / "corpus", "--dry-run", check=False).returncode == 1
