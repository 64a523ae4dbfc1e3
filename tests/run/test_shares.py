"""Shares of a stage: whatever is killed, preempted, refused or taken over, the end has the bytes of one process.

The separator has no networks. Processes are real where they are killed or get a signal.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import killed_at, signalled_at, stemwright
from living_corpus import contents, differences, write_song

from stemwright.datagen.cli import gpu_shares
from stemwright.datagen.run import configuration, shares
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.shares import SharesError
from stemwright.datagen.run.stages.kept_stems import KeptStems, put, read
from stemwright.datagen.run.tasks import Share
from stemwright.manifests import table
from stemwright.manifests.disk import durable, lease
from stemwright.manifests.disk.lease import Holder, LostError, Timing
from stemwright.manifests.records import Stem
from stemwright.separation.stem_files import attempt_folder

SHORT = Timing(every_s=0.05, dead_s=0.5, poll_s=0.02)
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
per_track = 2
"""
SONGS = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Corpora of the same songs: ``catalogued``, and ``one`` that one process made as a whole."""
    place = tmp_path_factory.mktemp("shares")
    for number in range(SONGS):
        write_song(place / "songs" / f"{number}.wav", number, {"artist": f"artist {number}"})
    (place / "config.toml").write_text(CONFIG)
    stemwright("catalog", place / "songs", place / "catalogued", "--config", place / "config.toml")
    shutil.copytree(place / "catalogued", place / "one")
    for verb in ("separate", "estimate", "plan", "render"):
        stemwright(verb, place / "one")
    return place


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The separator, in processes of their own."""
    tests = Path(__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tests.parent), str(tests)]))


@pytest.fixture
def corpus(made, tmp_path):
    shutil.copytree(made / "catalogued", tmp_path / "corpus")
    return tmp_path / "corpus"


def separated(corpus):
    """What a separation leaves, without the rest of a corpus."""
    return {name: data for name, data in contents(corpus).items() if name.startswith("stems")}


def leases(corpus):
    return [path.name for path in shares.leases(corpus)]


def refused(*arguments):
    """The sentence with which a verb refuses, and its exit code."""
    done = stemwright(*arguments, check=False)
    return done.stderr.strip().splitlines()[-1], done.returncode


def of_another_machine(corpus, name, counter=1, **work):
    """Writes the lease of a process whose machine cannot be looked into."""
    holder = Holder("other-1", counter, "gpu3", 4711, "another machine", "1", {"verb": "separate"} | work)
    text = json.dumps({each: getattr(holder, each) for each in Holder.__dataclass_fields__})
    durable.write_bytes(corpus / shares.LEASES / name, text.encode())


def test_two_shares_of_which_one_is_killed_end_as_one_process(made, corpus):
    stemwright("separate", corpus, "--share", "1/2")
    assert killed_at("separate 0/2: 2 of 3", "separate", corpus, "--share", "0/2", "-v") == -signal.SIGKILL
    assert leases(corpus) == ["0of2"]
    done = stemwright("separate", corpus, "--share", "0/2")
    assert "separate, share 0/2: 2 done, 1 skipped, 0 rejected" in done.stdout
    assert {path.name for path in table.journals(corpus / "stems.jsonl.part")} == {"stems.0of2.jsonl.part", "stems.1of2.jsonl.part"}
    assert f"separate: 0 done, {SONGS} skipped, 0 rejected" in stemwright("separate", corpus).stdout
    assert separated(corpus) == separated(made / "one")
    assert not (corpus / shares.LEASES).exists()
    assert not table.journals(corpus / "stems.jsonl.part")
    assert not list((corpus / "stems").glob("*/.*"))


def test_what_a_killed_share_left_undone_the_merge_does(made, corpus):
    assert killed_at("separate 0/3: 1 of 2", "separate", corpus, "--share", "0/3", "-v") == -signal.SIGKILL
    stemwright("separate", corpus)
    assert separated(corpus) == separated(made / "one")
    assert not (corpus / shares.LEASES).exists()


def test_every_stage_in_shares_ends_as_one_process(made, corpus):
    for verb in ("separate", "estimate", "plan", "render"):
        for number in range(2 if verb != "plan" else 0):
            stemwright(verb, corpus, "--share", f"{number}/2")
        stemwright(verb, corpus)
    assert differences(contents(corpus), contents(made / "one")) == []


def test_another_number_of_shares_goes_on_with_what_is_done(made, corpus):
    stemwright("separate", corpus, "--share", "0/3")
    done = [stemwright("separate", corpus, "--share", f"{number}/2", "--json").stdout for number in range(2)]
    assert [json.loads(text)["stages"][0]["skipped"] for text in done] == [1, 1]
    stemwright("separate", corpus)
    assert separated(corpus) == separated(made / "one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_preempted_share_drops_its_track_frees_its_lease_and_ends_with_0(corpus, number):
    done = signalled_at("separate 0/2: 2 of 3", number, "separate", corpus, "--share", "0/2", "-v")
    assert done.returncode == 0
    assert "share 0/2 of separate was preempted, and ends; finished work is kept, and the same command resumes it" in done.stderr
    assert "Traceback" not in done.stderr
    assert leases(corpus) == []
    assert "2 done, 1 skipped" in stemwright("separate", corpus, "--share", "0/2").stdout


def test_a_share_that_is_preempted_before_its_work_begins_ends_with_0(corpus):
    done = signalled_at("stemwright separate", signal.SIGTERM, "separate", corpus, "--share", "0/2", "-v")  # the first line of its log
    assert (done.returncode, leases(corpus)) == (0, [])
    script = "import os; from stemwright.datagen.cli import app, terminal; terminal.Terminal.__init__ = lambda *_: os.kill(os.getpid(), 15)"
    words = [sys.executable, "-c", f"{script}; app.main()", "separate", str(corpus), "--share", "0/2", "--json"]
    early = subprocess.run(words, capture_output=True, text=True)
    assert (early.returncode, json.loads(early.stdout)) == (0, {"preempted": True})
    assert early.stderr == "stemwright: preempted before the work began; the existing files are unchanged\n"


def test_ctrl_c_stops_a_share_as_it_stops_every_verb(corpus):
    done = signalled_at("separate 0/2: 1 of 3", signal.SIGINT, "separate", corpus, "--share", "0/2", "-v")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        130,
        "stemwright: stopped; finished work is kept, and the same command resumes it",
    )
    assert leases(corpus) == []


def test_while_a_share_is_at_work_every_other_verb_and_a_second_process_are_refused(made, corpus):
    with shares.working(corpus, "separate", Share(1, 2), "config"):
        at_work = rf"share 1/2 of separate is at work: process {os.getpid()} on .* \(its lease was renewed \d+ s ago\)"
        for verb in (["separate", corpus], ["estimate", corpus], ["catalog", made / "songs", corpus], ["clean", corpus, "--yes"]):
            said, code = refused(*verb)
            assert code == 2
            assert re.search(at_work, said), said
        assert refused("separate", corpus, "--share", "1/2")[1] == 2
        assert "check: 0 problems, 1 warning" in stemwright("check", corpus).stdout  # that work is under way
    stemwright("separate", corpus, "--share", "1/2")


@pytest.mark.parametrize(
    ("verb", "share", "said"),
    [
        ("separate", "3/64", "all shares at work must divide the corpus into the same number; got 3/64"),
        ("estimate", "0/32", "all shares at work must do the same; got estimate"),
        ("separate", "0/32", "this command asks for another configuration; give all shares the same options"),
    ],
)
def test_shares_that_do_not_fit_one_another_are_refused_in_a_sentence(corpus, verb, share, said):
    with shares.working(corpus, "separate", Share(3, 32), "config"):
        sentence, code = refused(verb, corpus, "--share", share)
        assert code == 2
        assert sentence.startswith("stemwright: share 3/32 of separate is at work: process")
        assert said in sentence
    assert leases(corpus) == []


def test_the_lease_of_a_dead_share_of_another_machine_is_taken_over_by_its_successor_and_by_the_merge(made, corpus, monkeypatch):
    monkeypatch.setattr(lease, "TIMING", SHORT)
    of_another_machine(corpus, "0of2", verb="separate")
    said = stemwright("separate", corpus, "--share", "0/2").stderr
    watched = r"watching the lease of share {}, for up to 0.5 s: process 4711 on gpu3 \(its lease was renewed \d+ s ago\) may have died"
    assert re.search(watched.format("0/2"), said)
    of_another_machine(corpus, "1of2", verb="separate")
    assert re.search(watched.format("1/2"), stemwright("separate", corpus).stderr)
    assert separated(corpus) == separated(made / "one")


def test_a_share_that_was_believed_dead_stops_before_it_writes_anything(corpus, monkeypatch):
    monkeypatch.setattr(lease, "machine", lambda: "")
    with shares.working(corpus, "separate", Share(0, 2), "config", replace(SHORT, every_s=60.0)) as (zombie, _):
        lease._held.clear()
        with shares.working(corpus, "separate", Share(0, 2), "config", SHORT) as (successor, _):
            with pytest.raises(LostError, match=r"taken over by process \d+ on .*: this process did not renew it in time, and stops"):
                zombie.check()
            successor.check()


def test_of_two_attempts_at_a_track_the_first_is_kept_whole_and_the_other_dropped(made, corpus):
    shutil.copytree(made / "one" / "stems", corpus / "stems")
    (place,) = list((corpus / "stems").glob("*/*"))[:1]
    kept = read(place)
    first, second = attempt_folder(place), attempt_folder(place)
    shutil.copytree(place, second)
    place.rename(first)
    other = KeptStems(**kept.model_dump() | {"stems": tuple(row.model_copy(update={"gain_db": -1.0}) for row in kept.stems)})
    for path in second.glob("*.flac"):
        path.write_bytes(b"what another GPU gives")

    def present(rows):
        return Corpus(corpus) and all((corpus / row.audio.path).stat().st_size == row.audio.num_bytes for row in rows)

    assert put(first, place, kept, present) == kept
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert put(second, place, other, present) == kept
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert not second.exists()


@pytest.mark.parametrize("share", ["2/2", "-1/2", "0/0", "a/b", "1", "/4", "0/2/3", "1.5/2"])
def test_a_share_that_is_none_is_refused(corpus, share):
    sentence, code = refused("separate", corpus, f"--share={share}")
    assert code == 2
    assert f"--share: expected K/N, share K of N with K from 0 to N - 1, such as 0/4; got '{share}'" in sentence
    assert not (corpus / shares.LEASES).exists()


def test_shares_of_a_corpus_without_a_catalog_say_what_to_do(corpus, tmp_path):
    assert "Create one with: stemwright catalog SONGS" in refused("separate", tmp_path / "none", "--share", "0/2")[0]
    (corpus / "tracks.parquet").unlink()
    assert "tracks.parquet is missing; make it with: stemwright catalog SONGS" in refused("separate", corpus, "--share", "0/2")[0]
    assert leases(corpus) == []


def test_a_full_disk_in_one_share_keeps_what_is_finished_and_hinders_no_other(made, corpus, monkeypatch):
    write, count = durable.put_all, 0

    def full(files):
        nonlocal count
        count += any(path.suffix == ".flac" for _, path in files)
        if count > 1:
            raise OSError(28, "No space left on device", str(files[0][1]))
        write(files)

    monkeypatch.setattr("stemwright.separation.stem_files.put_all", full)
    said, code = refused("separate", corpus, "--share", "0/2")
    assert code == 1
    assert "the disk is full" in said
    assert "finished work is kept" in said
    monkeypatch.undo()
    assert leases(corpus) == []
    assert len(table.journalled(corpus / "stems.jsonl.part", Stem)) == 1
    for number in (1, 0):
        stemwright("separate", corpus, "--share", f"{number}/2")
    stemwright("separate", corpus)
    assert separated(corpus) == separated(made / "one")


def test_a_lease_folder_that_is_a_link_is_not_followed(corpus, tmp_path):
    (tmp_path / "home").mkdir()
    (corpus / shares.LEASES).symlink_to(tmp_path / "home")
    for arguments in (["--share", "0/2"], []):
        assert "lease is a link" in refused("separate", corpus, *arguments)[0]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_share_tells_how_far_it_is(corpus):
    with shares.working(corpus, "separate", Share(0, 2), "config", SHORT) as (_, mine):
        shares.published(mine, None)(1.5, 3, "song.wav")
        mine.renew()
        (found,) = shares.at_work(corpus)
        assert (found.share, found.verb) == (Share(0, 2), "separate")
        assert {name: found.holder.work[name] for name in ("done", "total", "subject")} == {"done": 1.5, "total": 3, "subject": "song.wav"}
        with (
            pytest.raises(SharesError, match=r"share 0/2 of separate is at work.*Every share of .* must have ended"),
            Corpus(corpus).locked(),
        ):
            pass


def test_build_does_a_share_of_the_separation_and_the_rest_without_one(made, corpus):
    words = ["build", made / "songs", corpus, "--config", made / "config.toml"]
    assert "separate, share 1/2: 2 done" in stemwright(*words, "--share", "1/2").stdout
    assert "--share: expected" in refused(*words, "--share", "2/2")[0]
    assert "expected --share or --dask, not both" in refused(*words, "--share", "0/2", "--dask", "tcp://127.0.0.1:1")[0]
    (corpus / "tracks.parquet").unlink()
    assert "tracks.parquet is missing; make it with: stemwright catalog" in refused(*words, "--share", "0/2")[0]


def test_status_shows_the_journals_of_all_shares_and_who_is_at_work(made, corpus):
    stemwright("separate", corpus, "--share", "0/2")
    with shares.working(corpus, "separate", Share(1, 2), "config", SHORT) as (_, mine):
        shares.published(mine, None)(1, 2, "song.wav")
        mine.renew()
        said = json.loads(stemwright("status", corpus, "--json").stdout)
        assert said["stages"][0] == {"stage": "separate", "done": 3, "of": SONGS, "rejected": 0, "finished": False}
        (at_work,) = said["shares"]
        assert {name: at_work[name] for name in ("share", "verb", "process", "done", "total", "subject")} == {
            "share": "1/2",
            "verb": "separate",
            "process": os.getpid(),
            "done": 1,
            "total": 2,
            "subject": "song.wav",
        }
        assert "1/2" in stemwright("status", corpus).stdout
    assert [row["finished"] for row in json.loads(stemwright("status", made / "one", "--json").stdout)["stages"]] == [True] * 3


def test_a_share_for_each_gpu_of_this_machine_and_then_the_merge(made, corpus, monkeypatch):
    monkeypatch.setattr(gpu_shares, "list_gpus", lambda: ["0", "3"])
    monkeypatch.setattr(gpu_shares, "POLL_S", 0.05)
    done = stemwright("separate", corpus, "--gpus", "all", "--json")
    said = json.loads(done.stdout)
    assert said["stages"][0]["skipped"] == SONGS
    assert said["gpus"] == [
        {"gpu": "0", "share": "0/2", "done": 3, "skipped": 0, "rejected": 0},
        {"gpu": "3", "share": "1/2", "done": 2, "skipped": 0, "rejected": 0},
    ]
    assert done.stderr.count("separate: started") == 2  # of all shares together, and of the merge
    assert separated(corpus) == separated(made / "one")
    assert not (corpus / shares.LEASES).exists()


def test_progress_on_gpus_counts_once_all_shares_have_said_how_much_they_have(corpus, monkeypatch):
    monkeypatch.setattr(gpu_shares, "POLL_S", 0.0)
    reports, ended = [], []
    process = SimpleNamespace(pid=os.getpid(), returncode=0, poll=lambda: 0 if ended else None)
    children = [gpu_shares._Child(str(number), f"{number}/2", process, None, None) for number in range(2)]
    with ExitStack() as held:

        def report(done, total, subject, _=None):
            reports.append((done, total, subject))
            if len(reports) > 2:
                ended.append(True)
                return
            number = len(reports) - 1
            _, mine = held.enter_context(shares.working(corpus, "separate", Share(number, 2), "config", SHORT))
            shares.published(mine, None)(number, 3 - number, "song.wav")
            mine.renew()

        gpu_shares._wait(corpus, children, report)
    starting = (0, 0, f"starting 2 shares of {SONGS} songs")
    assert reports == [starting, starting, (1, SONGS, "song.wav"), (SONGS, SONGS, "")]


def test_a_share_on_a_gpu_that_fails_is_named_with_its_reason(corpus, monkeypatch):
    monkeypatch.setattr(gpu_shares, "list_gpus", lambda: ["0", "3"])
    with shares.working(corpus, "separate", Share(1, 2), "config"):
        said, code = refused("separate", corpus, "--gpus", "0,3")
    assert code == 1
    assert "share 1/2 on GPU 3 ended with exit code 2: share 1/2 of separate is at work" in said
    assert said.endswith("Finished work is kept, and the same command resumes it")


@pytest.mark.parametrize(
    ("there", "arguments", "said"),
    [
        ([], ["--gpus", "all"], "no GPU was found on this machine"),
        (["0", "1"], ["--gpus", "1,2"], "expected all, or some of 0,1, each once; got '1,2'"),
        (["0", "1"], ["--gpus", "1,1"], "expected all, or some of 0,1, each once; got '1,1'"),
        (["0", "1"], ["--gpus", "all", "--share", "0/2"], "expected --gpus or --share, not both"),
        (["0", "1"], ["--gpus", "all", "--device", "cpu"], "expected --gpus or --device, not both"),
    ],
)
def test_gpus_that_are_not_there_are_refused(corpus, monkeypatch, there, arguments, said):
    monkeypatch.setattr(gpu_shares, "list_gpus", lambda: there)
    sentence, code = refused("separate", corpus, *arguments)
    assert (said in sentence, code) == (True, 2)


def test_the_processes_of_gpus_get_the_command_without_what_is_about_the_output():
    given = ["separate", "corpus", "--gpus", "0,1", "--model", "x", "--json", "-q", "--gpus=all", "--again"]
    assert gpu_shares.words(given) == ["separate", "corpus", "--model", "x", "--again"]


@pytest.mark.parametrize(("text", "empty"), [("/64", True), ("3/", True), ("", True), ("1", False), ("64/64", False), ("1/2/3", False)])
def test_a_share_that_is_none_is_said_with_the_likely_reason(text, empty):
    with pytest.raises(ValueError, match="expected K/N, share K of N with K from 0 to N - 1") as raised:
        Share.parse(text)
    assert str(raised.value).endswith("Is the variable set that K or N is taken from?") is empty


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [("2, GPU-7f", 2, ["2", "GPU-7f"]), ("2,9", 1, ["2"]), ("0,1", 0, []), (None, 2, ["0", "1"])],  # 0: PyTorch without CUDA
)
def test_the_gpus_of_this_process_are_those_that_it_may_use_and_pytorch_sees(monkeypatch, visible, count, found):
    monkeypatch.delenv(gpu_shares.VARIABLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(gpu_shares.VARIABLE, visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert gpu_shares.list_gpus() == found


@pytest.mark.parametrize("left", ["tracks.parquet", "stems.jsonl.part", "stems.0of2.jsonl.part"])
def test_a_configuration_stays_where_a_stage_has_begun_and_goes_where_none_has(tmp_path, left):
    corpus = Corpus(tmp_path)
    corpus.create(configuration.check({}, where="the test"))
    (tmp_path / left).touch()
    corpus.restore(None)
    assert corpus.config_path.exists()
    (tmp_path / left).unlink()
    corpus.restore(None)
    assert not corpus.config_path.exists()
