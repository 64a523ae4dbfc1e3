"""The log of a corpus, and what --verbose and --quiet say."""

import json
import logging
import os
import re
import warnings

import pytest
from commands import stemwright
from test_build import CONFIG
from typer.testing import CliRunner

from stemwright.datagen.cli import logs
from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.logs import LogFile, logging_of, to_file
from stemwright.datagen.run import runner
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Stage, shared
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.manifests.records import Refused, Track

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \d+ (INFO|WARNING|ERROR)\s+[\w.]+: .*")


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


@pytest.fixture
def songs(songs_folder):
    folder = songs_folder(1)
    (folder / "broken\x1b[31m\nnow.mp3").write_text("no music")
    return folder


def test_a_log_has_the_command_the_versions_and_what_was_rejected(tmp_path, songs):
    corpus = tmp_path / "corpus"
    done = stemwright("catalog", songs, corpus, check=False)
    assert done.returncode == 3
    written = (corpus / "stemwright.log").read_text()
    assert all(LINE.fullmatch(line) for line in written.splitlines()), written
    assert f"cli: stemwright catalog {songs} {corpus}" in written
    assert re.search(r"stemwright \S+, Python 3\.\S+, torch ", written)
    assert re.search(r"catalog begins$.*catalog took \d+\.\d s$", written, re.MULTILINE | re.DOTALL)
    assert re.search(r"WARNING datagen\.run\.corpus: catalog rejected broken\\x1b\[31m\\nnow\.mp3: not a readable sound file", written)
    assert re.search(r"catalog: 1 done, 0 skipped, 1 rejected$", written, re.MULTILINE)
    assert re.search(r"catalog ended with exit code 3 after \d+\.\d s\n$", written)
    stemwright("catalog", songs, corpus, check=False)
    assert (corpus / "stemwright.log").read_text().startswith(written)
    assert json.loads(stemwright("check", corpus, "--json").stdout)["problems"] == []


def test_an_unexpected_error_of_a_task_leaves_its_traceback_in_the_log(tmp_path):
    def work(payload):
        raise (ZeroDivisionError if payload else Refused)("as meant")

    tasks = [Task(f"{number}" * 16, f"song {number}", f"{number}" * 16, number) for number in (0, 1)]
    with logging_of("stage", verbose=False):
        to_file(tmp_path / "stemwright.log")
        runner.run(Stage("stage", tmp_path, "tracks", Track), tasks, shared(work, Workers()))
    written = (tmp_path / "stemwright.log").read_text()
    assert "ERROR   datagen.run.runner: stage failed on song 1: unexpected ZeroDivisionError: as meant\n    Traceback" in written
    assert "    ZeroDivisionError: as meant\n" in written
    assert written.count("Traceback") == 1  # what was refused is no error


def test_an_error_of_a_verb_and_a_warning_are_in_the_log(tmp_path):
    before = warnings.showwarning

    def verb():
        with warnings.catch_warnings(), logging_of("verb", verbose=False):
            warnings.simplefilter("always")
            to_file(tmp_path / "log")
            warnings.warn("odd", stacklevel=1)
            raise ValueError("expected 2\x1b[2J")

    with pytest.raises(ValueError, match="expected"):
        verb()
    assert warnings.showwarning is before
    written = (tmp_path / "log").read_text()
    assert "WARNING cli: UserWarning: odd\n" in written
    assert "verb failed: expected 2\\x1b[2J\n    Traceback" in written


def test_a_log_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 10_000)
    with logging_of("verb", verbose=False):
        to_file(tmp_path / "log")
        for number in range(1000):
            logging.getLogger("stemwright.test").info("line %d", number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())
    assert "line 999\n" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("what", ["pipe", "folder", "link", "full"])
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, what, capfd):
    path, elsewhere = tmp_path / "log", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "link": elsewhere.symlink_to, "full": lambda _: None}
    if what == "link":
        path.symlink_to(elsewhere)
    elif what == "full":
        path.symlink_to("/dev/full")
    else:
        make[what](path)
    with logging_of("verb", verbose=False):
        to_file(path)
        logging.getLogger("stemwright.test").error("this goes nowhere")
    assert elsewhere.read_text() == "mine"
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_stops_nothing(tmp_path, capfd):
    handler = LogFile(tmp_path / "log")
    handler.stream = open("/dev/full", "a")  # noqa: PTH123, SIM115  # as the handler opens it
    handler.emit(logging.LogRecord("stemwright", logging.INFO, "", 0, "lost", (), None))
    handler.close()
    assert capfd.readouterr() == ("", "")


def test_two_processes_append_without_tearing_each_others_lines(tmp_path):
    one, other = LogFile(tmp_path / "log"), LogFile(tmp_path / "log")
    for number in range(50):
        for handler in (one, other):
            handler.emit(logging.LogRecord("stemwright", logging.INFO, "", 0, f"line {number}", (), None))
    one.close()
    other.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 100


def test_the_library_alone_writes_no_log_and_prints_nothing(tmp_path, songs, capfd):
    from stemwright.datagen.run import stages
    from stemwright.datagen.run.configuration import check

    corpus = Corpus(tmp_path / "corpus")
    with corpus.locked():
        corpus.create(check({"songs": {"folder": str(songs)}}, where="the test"))
        stages.run_catalog(corpus, Workers())
    assert not corpus.log.exists()
    assert capfd.readouterr() == ("", "")


def test_a_folder_with_a_log_and_a_configuration_may_become_a_corpus(tmp_path, songs_folder):
    corpus = tmp_path / "corpus"
    run("init", corpus)
    (corpus / "stemwright.log").write_text("earlier\n")
    (corpus / "stemwright.log.1").write_text("still earlier\n")
    run("catalog", songs_folder(1), corpus, "--config", corpus / "stemwright.toml")
    assert (corpus / "stemwright.log").read_text().startswith("earlier\n")
    run("check", corpus)


def test_quiet_prints_nothing_if_all_is_well(tmp_path, multitrack_folder):
    (tmp_path / "config.toml").write_text(CONFIG)
    done = run("build", multitrack_folder(1, 0), tmp_path / "corpus", "--config", tmp_path / "config.toml", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")


def test_quiet_still_shows_what_was_rejected(tmp_path, songs):
    done = run("catalog", songs, tmp_path / "corpus", "-q", code=3)
    assert "not a readable sound file" in done.stdout
    assert "1 done" not in done.stdout
    assert done.stderr == ""


def test_verbose_has_a_line_for_every_step_and_no_bar(tmp_path, songs):
    done = run("catalog", songs, tmp_path / "corpus", "-v", code=3)
    assert re.search(r"^catalog begins$.*^catalog: 2 of 2 .*^warning: catalog rejected broken", done.stderr, re.MULTILINE | re.DOTALL)
    assert "DEBUG" not in (tmp_path / "corpus" / "stemwright.log").read_text()


def test_verbose_gives_the_traceback_of_an_error(tmp_path):
    done = stemwright("plan", tmp_path / "none", "-v", check=False)
    assert "Traceback" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("stemwright: ")
    assert "not both" in run("plan", tmp_path / "none", "-v", "-q", code=2).output
