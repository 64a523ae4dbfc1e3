"""Incremental equals fresh: after any history of edits a build leaves what a corpus made today of the same songs and settings holds."""

from __future__ import annotations

import copy
import csv
import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from living_corpus import (
    FilterSeparator,
    Killed,
    build,
    contents,
    differences,
    dying,
    stub_separator,
    write_multitrack,
    write_song,
)

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_separate
from stemwright.datagen.run.stages.kept_stems import folder_name
from stemwright.datagen.run.tasks import StoppedError
from stemwright.manifests import table
from stemwright.manifests.check import KEPT_STEMS, check_corpus
from stemwright.manifests.records import Rejected, Stem, Track
from stemwright.manifests.usage import UsageError

STEPS, LONG = 180, 5_000  # how many random steps `make test` takes at least, and the slow test
FOLDERS = ("", "Album/", "Other album/")
NAMES = ("a", "b", "c", "d (1)", "Copy of a", "e")
TEXTS = ("Ünder", "Lumera", "Jo-K", "The Lanterns")
RIGHTS = ("CC-BY-4.0", "CC0-1.0", "all rights reserved")
CONFIGS: dict[str, tuple[dict[str, Any], ...]] = {
    "seed": ({"seed": 1}, {"seed": 2}),
    "model": tuple({"separation": {"model": name}} for name in ("one", "two")),
    "drums": tuple({"separation": {"drums": {"model": name}}} for name in (None, "kit", "kick and snare")),
    "precision": tuple({"separation": {"precision": name}} for name in ("auto", "fp32")),
    "separator": tuple({"separation": {"separator": name}} for name in ("auto", "demucs", "reference")),
    "ignore": tuple({"songs": {"ignore": patterns}} for patterns in ([], ["*Copy*", "b.*"])),
    "longest": tuple({"songs": {"longest_s": length_s}} for length_s in (60.0, 1.0)),
    "limits": tuple({"separation": {"limits": {"closure_db": limit, "bleed": 1.0}}} for limit in (60.0, -6.0)),
    "pairs": (
        {"pairs": {"mix": {"per_track": 1}, "removal": {"per_track": 1}}},
        {"pairs": {"mix": {"per_track": 2}, "removal": {"per_track": 0}}},
        {
            "pairs": {
                "mix": {"per_track": 0},
                "removal": {"per_track": 2, "effects": ["eq", "clip"]},
                "restore": {"per_track": 1, "target": "stems"},
            }
        },
        {"pairs": {"mix": {"per_track": 1, "stems": ["drums", "bass"]}, "removal": {"per_track": 0}, "remix": {"per_track": 1}}},
        {"pairs": {"mix": {"per_track": 0}, "removal": {"per_track": 1, "redraw_below": 0.3}}},
        {"pairs": {"mix": {"per_track": 2, "preset": "drums"}, "removal": {"per_track": 1}}},
    ),
    "duration": tuple({"pairs": {"duration_s": length_s}} for length_s in (0.5, 0.7, 2.0)),
    "rights": (
        {"rights": {"render": ["*"], "recipes_only": []}},
        {"rights": {"render": ["CC*", "unknown"], "recipes_only": []}},
        {"rights": {"render": ["CC*"], "recipes_only": ["*"]}},
    ),
    "shares": tuple(
        {"songs": {"shares": {"train": a, "valid": b, "test": c}}} for a, b, c in ((0.8, 0.1, 0.1), (0.2, 0.4, 0.4), (0.0, 1.0, 0.0))
    ),
    "format": tuple(
        {"dataset": {"format": name, "encoding": encoding}}
        for name, encoding in (
            ("folder", "auto"),
            ("folder", "wav32f"),
            ("webdataset", "auto"),
            ("huggingface", "auto"),
            ("huggingface", "wav32f"),
            ("musdb", "auto"),
        )
    ),
    "shards": ({"dataset": {"shard_examples": 1}}, {"dataset": {"shard_examples": 3}}, {"dataset": {"shard_examples": None}}),
}
START: dict[str, Any] = {"pairs": {"sample_rate": 8_000}}


def over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values with the changes, table within table."""
    both = copy.deepcopy(values)
    for key, value in changes.items():
        both[key] = over(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


def described(seed: int) -> dict[str, str]:
    return {"title": f"Song {seed}", "artist": f"Artist {seed % 3}", "copyright": RIGHTS[0]}


class LivingCorpus(RuleBasedStateMachine):
    """A songs folder and a configuration that change at random; every build is compared with a corpus made from nothing."""

    steps: ClassVar[int] = 0
    builds: ClassVar[int] = 0
    kills: ClassVar[int] = 0
    refused: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="living-"))
        self.songs, self.corpus = self.root / "songs", self.root / "corpus"
        self.songs.mkdir()
        self.away: dict[str, bytes] = {}
        self.columns: dict[str, dict[str, str]] = {}  # of the CSV, by path
        self.listed = False
        self.values = START
        self.asked = {key: choices[0] for key, choices in CONFIGS.items()}
        self.stub = stub_separator()
        self.stub.__enter__()
        for seed in range(2):
            write_song(self.songs / f"{NAMES[seed]}.flac", seed, described(seed))

    def teardown(self) -> None:
        self.stub.__exit__(None, None, None)
        shutil.rmtree(self.root)

    def files(self) -> list[Path]:
        return sorted(path for path in self.songs.rglob("*") if path.suffix in (".flac", ".wav") and not path.parent.name.startswith("M"))

    def some(self, number: int) -> Path:
        files = self.files()
        return files[number % len(files)]

    def free(self, name: str) -> bool:
        return not (self.songs / name).exists()

    # ---- songs ----

    @rule(name=st.sampled_from(NAMES), folder=st.sampled_from(FOLDERS), suffix=st.sampled_from((".flac", ".wav")), seed=st.integers(0, 4))
    def add(self, name: str, folder: str, suffix: str, seed: int) -> None:
        if self.free(f"{folder}{name}{suffix}") and len(self.files()) < 4:
            write_song(self.songs / f"{folder}{name}{suffix}", seed, described(seed))

    @rule(seed=st.integers(5, 6))
    def add_or_remove_multitrack(self, seed: int) -> None:
        if (self.songs / f"M{seed}").exists():
            shutil.rmtree(self.songs / f"M{seed}")
        else:
            write_multitrack(self.songs / f"M{seed}", seed)

    @rule(number=st.integers(0, 9))
    @precondition(lambda self: len(self.files()) > 1)
    def remove(self, number: int) -> None:
        path = self.some(number)
        self.away[path.relative_to(self.songs).as_posix()] = path.read_bytes()
        path.unlink()

    @rule()
    @precondition(lambda self: self.away)
    def put_back(self) -> None:
        for path, data in self.away.items():
            (self.songs / path).parent.mkdir(parents=True, exist_ok=True)
            (self.songs / path).write_bytes(data)
        self.away.clear()

    @rule(number=st.integers(0, 9), name=st.sampled_from(NAMES), folder=st.sampled_from(FOLDERS))
    @precondition(lambda self: self.files())
    def rename_or_move(self, number: int, name: str, folder: str) -> None:
        path = self.some(number)
        if self.free(f"{folder}{name}{path.suffix}"):
            (self.songs / folder).mkdir(exist_ok=True)
            path.rename(self.songs / f"{folder}{name}{path.suffix}")

    @rule(number=st.integers(0, 9), name=st.sampled_from(NAMES))
    @precondition(lambda self: self.files())
    def copy(self, number: int, name: str) -> None:
        path = self.some(number)
        if self.free(f"{name}{path.suffix}") and len(self.files()) < 4:
            shutil.copy(path, self.songs / f"{name}{path.suffix}")

    @rule(
        number=st.integers(0, 9),
        seed=st.integers(0, 4),
        title=st.sampled_from(TEXTS),
        artist=st.sampled_from(TEXTS),
        rights=st.sampled_from(RIGHTS),
    )
    @precondition(lambda self: self.files())
    def write_again(self, number: int, seed: int, title: str, artist: str, rights: str) -> None:
        """Other tags where the seed is the file's own, else another song under the name."""
        write_song(self.some(number), seed, {"title": title, "artist": artist, "copyright": rights})

    # ---- the CSV ----

    @rule()
    def list_in_a_csv_or_not(self) -> None:
        self.listed = not self.listed

    @rule(number=st.integers(0, 9), column=st.sampled_from(("title", "artist", "album")), text=st.sampled_from((*TEXTS, "")))
    @precondition(lambda self: self.files())
    def describe(self, number: int, column: str, text: str) -> None:
        self.listed = True
        self.columns.setdefault(self.some(number).relative_to(self.songs).as_posix(), {})[column] = text

    @rule(number=st.integers(0, 9), rights=st.sampled_from((*RIGHTS, "")), split=st.sampled_from(("train", "valid", "test", "")))
    @precondition(lambda self: self.files())
    def decide(self, number: int, rights: str, split: str) -> None:
        self.listed = True
        self.columns.setdefault(self.some(number).relative_to(self.songs).as_posix(), {}).update(rights=rights, split=split)

    def write_csv(self) -> Path:
        text = io.StringIO()
        writer = csv.DictWriter(text, ("path", "title", "artist", "album", "rights", "split"))
        writer.writeheader()
        folders = [folder.name for folder in sorted(self.songs.glob("M*"))]
        for path in [*(path.relative_to(self.songs).as_posix() for path in self.files()), *folders]:
            writer.writerow({"path": path, **self.columns.get(path, {})})
        (self.songs / "songs.csv").write_text(text.getvalue())
        return self.songs / "songs.csv"

    # ---- settings, and what goes wrong ----

    @rule(data=st.data(), key=st.sampled_from(sorted(CONFIGS)))
    def set(self, data: st.DataObject, key: str) -> None:
        self.asked[key] = data.draw(st.sampled_from(CONFIGS[key]))

    @rule(number=st.integers(0, 50), cut=st.booleans())
    def damage_a_stem(self, number: int, cut: bool) -> None:
        stems = sorted((self.corpus / "stems").rglob("*.flac"))
        if stems:
            path = stems[number % len(stems)]
            path.write_bytes(path.read_bytes()[:100]) if cut else path.unlink()

    @rule(number=st.integers(0, 3))
    def lose_a_table(self, number: int) -> None:
        tables = sorted(self.corpus.glob("*.parquet"))
        if tables and number == 0:
            (self.corpus / "stems.parquet").unlink(missing_ok=True)
        elif tables:
            tables[number % len(tables)].unlink()

    def configured(self) -> dict[str, Any]:
        values = self.values
        for changes in self.asked.values():
            values = over(values, changes)
        if values["dataset"]["format"] == "musdb":
            only = {"removal": {"per_track": 0}, "remix": {"per_track": 0}, "mix": {"per_track": 1, "stems": []}}
            values = over(values, {"pairs": only, "dataset": {"encoding": "auto"}})
        return over(values, {"songs": {"folder": str(self.write_csv() if self.listed else self.songs)}})

    @rule(at=st.integers(0, 250))
    def die_while_building(self, at: int) -> None:
        try:
            with dying(self.corpus, at):
                build(self.corpus, self.configured())
        except Killed:
            LivingCorpus.kills += 1
        except (UsageError, StoppedError):
            pass

    @rule()
    def build_as_if_fresh(self) -> None:
        values, fresh = self.configured(), self.root / "fresh"
        try:
            build(fresh, values)
        except (UsageError, StoppedError) as expected:
            with pytest.raises((UsageError, StoppedError)):
                build(self.corpus, values)
            LivingCorpus.refused += 1
            self.refusal = str(expected)
        else:
            if self.would_lose_every_track(fresh):
                with pytest.raises(UsageError, match="The corpus is unchanged"):
                    build(self.corpus, values)
                LivingCorpus.refused += 1
            else:
                build(self.corpus, values)
                found = differences(contents(self.corpus), contents(fresh))
                assert found == [], f"these differ: {found}"
                LivingCorpus.builds += 1
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def would_lose_every_track(self, fresh: Path) -> bool:
        """Whether a corpus that has tracks would be left with none: it asks to be shown the right folder, and stays as it is."""
        here, there = (table.column(folder / "tracks.parquet", "id") for folder in (self.corpus, fresh))
        return bool(here) and not there

    def check_invariants(self, *arguments: Any, **options: Any) -> None:  # called after every step
        LivingCorpus.steps += 1
        super().check_invariants(*arguments, **options)


VALUES = over(over(START, CONFIGS["pairs"][0]), over(CONFIGS["limits"][0], CONFIGS["duration"][0]))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with ``songs``, three of them; nothing in it is separated by a network."""
    for seed in range(3):
        write_song(tmp_path / "songs" / f"{NAMES[seed]}.flac", seed, described(seed))
    with stub_separator():
        yield tmp_path


def built(place: Path, **separation: Any) -> int:
    """Builds, compares with a fresh corpus, and says how many tracks were separated in the first."""
    values = over(VALUES, {"songs": {"folder": str(place / "songs")}, "separation": {"model": "one", **separation}})
    before = FilterSeparator.count
    build(place / "corpus", values)
    separated = FilterSeparator.count - before
    build(place / "fresh", values)
    assert differences(contents(place / "corpus"), contents(place / "fresh")) == []
    shutil.rmtree(place / "fresh")
    return separated


def tracks(corpus: Path) -> list[str]:
    return sorted(row.audio.path for row in table.read(corpus / "tracks.parquet", Track))


def test_a_build_without_a_limit_resumes_one_with_a_limit_and_ends_with_the_same_bytes(place):
    for seed in range(3, 9):
        write_song(place / "songs" / "Album" / f"{seed}.flac", seed, described(seed))
    values = over(VALUES, {"songs": {"folder": str(place / "songs")}, "separation": {"model": "one"}})
    found: list[list[str]] = [[]]
    for limit in (2, 5, 3):  # a smaller one takes nothing away
        build(place / "corpus", values, limit=limit)
        found.append(tracks(place / "corpus"))
        assert set(found[-2]) <= set(found[-1])
    assert [len(names) for names in found] == [0, 2, 5, 5]
    assert built(place) == 9 - 5


def test_a_limit_takes_the_same_songs_wherever_they_are_and_in_whatever_order_they_are_found(place, tmp_path):
    values = over(VALUES, {"separation": {"model": "one"}})
    names = [f"{FOLDERS[seed % 3]}{seed}.flac" for seed in range(8)]
    for where, order in (("one", names), ("two", names[::-1])):
        for name in order:
            write_song(tmp_path / where / "songs" / name, names.index(name), described(names.index(name)))
        build(tmp_path / where / "corpus", over(values, {"songs": {"folder": str(tmp_path / where / "songs")}}), limit=4)
    assert len(tracks(tmp_path / "one" / "corpus")) == 4
    assert tracks(tmp_path / "one" / "corpus") == tracks(tmp_path / "two" / "corpus") != sorted(names)[:4]


def test_a_song_that_returns_is_not_separated_again(place):
    song = place / "songs" / "a.flac"
    assert built(place) == 3
    song.rename(place / "a.flac")
    assert built(place) == 0
    (place / "a.flac").rename(song)
    assert built(place) == 0
    assert built(place, model="two") == 3
    assert built(place, precision="fp32") == 3
    assert built(place, model="one") == 0
    (place / "corpus" / "stems.parquet").unlink()
    assert built(place) == 0
    assert len(list((place / "corpus" / "stems").iterdir())) == 3


def test_other_tags_names_and_containers_separate_nothing_again(place):
    songs = place / "songs"
    assert built(place) == 3
    write_song(songs / "a.flac", 0, {"title": "Corrected", "artist": "Somebody else", "copyright": RIGHTS[1]})
    (songs / "b.flac").rename(songs / "z.flac")
    (songs / "c.flac").unlink()
    write_song(songs / "c.wav", 2, {})
    assert built(place) == 0


def test_a_list_that_names_stems_in_another_order_gives_the_rows_in_that_order(place):
    write_multitrack(place / "songs" / "M", 5)
    built(place)
    (place / "songs" / "songs.csv").write_text("path\nM\n")  # stems in the order of their files
    values = over(VALUES, {"songs": {"folder": str(place / "songs" / "songs.csv")}, "separation": {"model": "one"}})
    for folder in ("corpus", "fresh"):
        build(place / folder, values)
    assert [row.name for row in table.read(place / "corpus" / "stems.parquet", Stem)] == ["bass", "drums", "other", "vocals", "residual"]
    assert differences(contents(place / "corpus"), contents(place / "fresh")) == []


def test_stems_that_are_damaged_are_made_again_and_no_others(place):
    assert built(place) == 3
    first, second, _ = sorted((place / "corpus" / "stems").glob("*/*/drums.flac"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert built(place) == 2


def test_other_limits_are_applied_to_existing_stems(place):
    assert built(place) == 3
    assert built(place, limits={"closure_db": -60.0, "bleed": 1.0}) == 0
    rejected = table.read(place / "corpus" / "rejected.parquet", Rejected)
    assert {row.stage for row in rejected} == {"separate"}
    assert table.read(place / "corpus" / "stems.parquet", Stem) == []
    assert built(place) == 0
    assert len(table.read(place / "corpus" / "stems.parquet", Stem)) == 15


def test_refused_stems_are_not_separated_again_to_be_refused(place):
    strict = {"closure_db": -60.0, "bleed": 1.0}
    assert built(place, limits=strict) == 3
    assert built(place, limits=strict) == 0
    assert list((place / "corpus").rglob("*.flac")) == []
    assert built(place) == 3


def test_folders_of_models_differ_by_the_requested_settings():
    usual = {"weights": {"a": "1"}, "precision": "auto", "input_lufs": None}
    assert folder_name("htdemucs_ft", usual, own_weights=False) == "htdemucs_ft"
    asked = [folder_name("htdemucs", usual, own_weights=True), folder_name("htdemucs", {**usual, "precision": "fp32"}, own_weights=False)]
    asked += [folder_name("htdemucs", {**usual, "input_lufs": -14.0}, own_weights=False)]
    asked += [folder_name(name, usual, own_weights=False) for name in ("hf://Some/Model", "reference", "0123456789abcdef")]
    assert len({*asked, "htdemucs"}) == len(asked) + 1
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*-[0-9a-f]{8}", name) for name in asked)


def test_stems_of_the_first_layout_are_named_once(place):
    built(place)
    track = table.read(place / "corpus" / "stems.parquet", Stem)[0].track_id
    shutil.copytree(place / "corpus" / "stems" / "one" / track, place / "corpus" / "stems" / track)
    (place / "corpus" / "stems" / track / KEPT_STEMS).unlink()
    corpus = Corpus(place / "corpus")
    (note,) = run_separate(corpus).notes
    assert note.startswith("1 folder in stems/ of version 0.1, not used any more")
    (problem,) = [problem for problem in check_corpus(corpus.folder, place / "songs") if problem.table == ""]
    assert (problem.level, problem.what.partition(" are ")[0]) == ("warning", "stems in 1 folders")


def test_corpus_with_the_tables_of_another_version_is_refused_with_what_to_do(place):
    built(place)
    path = place / "corpus" / "tracks.parquet"
    found = pq.read_table(path)
    pq.write_table(found.drop_columns(["sound"]), path)
    with pytest.raises(ValueError, match=r"tracks.parquet: row 0.sound: Field required.*build the corpus again, into a new folder"):
        built(place)
    assert any("into a new folder" in problem.what for problem in check_corpus(place / "corpus", place / "songs"))


def live(examples: int, steps_each: int, **options: Any) -> str:
    LivingCorpus.steps = LivingCorpus.builds = LivingCorpus.kills = LivingCorpus.refused = 0
    run_state_machine_as_test(
        LivingCorpus,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps_each,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )
    return f"{LivingCorpus.steps} steps, {LivingCorpus.builds} builds, {LivingCorpus.kills} kills, {LivingCorpus.refused} refused"


def test_a_corpus_that_lived_is_the_same_as_one_made_today():
    said = live(8, 26, derandomize=True, phases=(Phase.generate,))
    assert LivingCorpus.steps >= STEPS, said
    assert LivingCorpus.builds >= STEPS // 20, said


@pytest.mark.slow
def test_a_corpus_that_lived_long_is_the_same_as_one_made_today(record_property):
    said = live(100, 55, derandomize=False, phases=(Phase.generate, Phase.shrink))
    record_property("lived", said)
    assert LivingCorpus.steps >= LONG, said


@pytest.mark.parametrize(
    "pairs",
    [CONFIGS["pairs"][3], {"pairs": {"mix": {"per_track": 0}, "removal": {"per_track": 4, "redraw_below": 1.0}}}],
    ids=("refused by plan", "drawn again by render"),
)
def test_a_lost_table_of_what_was_refused_is_made_again_whole(pairs):
    lived = LivingCorpus()
    try:
        lived.asked["pairs"] = pairs
        lived.build_as_if_fresh()
        assert {row.stage for row in table.read(lived.corpus / "rejected.parquet", Rejected)} & {"plan", "render"}
        (lived.corpus / "rejected.parquet").unlink()
        lived.build_as_if_fresh()
    finally:
        lived.teardown()


def test_without_the_songs_folder_separating_gives_one_error_and_rejects_no_song(place):
    built(place)
    (place / "songs").rename(place / "elsewhere")
    run_separate(Corpus(place / "corpus"))  # all stems are there
    rows = table.read(place / "corpus" / "stems.parquet", Stem)
    shutil.rmtree(place / "corpus" / "stems")
    with pytest.raises(UsageError, match=rf"the songs folder {place / 'songs'} does not exist, and 3 songs .*stemwright build FOLDER"):
        run_separate(Corpus(place / "corpus"))
    assert table.read(place / "corpus" / "stems.parquet", Stem) == rows
    assert not (place / "corpus" / "stems.jsonl.part").exists()
