"""A termination (of a batch system, a container) and Ctrl-C end every verb alike: exit code 130 and one sentence of what is kept.

Processes and signals are real; each process is stopped where it logs that the part in question has begun.
"""

import json
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from commands import PROGRAM, stemwright
from test_build import CONFIG
from tiny_model import write_tiny_model

KEPT = "stemwright: stopped; finished work is kept, and the same command resumes it"
UNCHANGED = "stemwright: stopped; the existing files are unchanged"
MARK = "here the signal comes; process group "
STOPPED = f"""
import logging, os, re, sys
when, how, number = sys.argv[1:4]
del sys.argv[1:4]
class Stop(logging.Handler):
    def emit(self, record):
        if re.search(when, record.getMessage()):
            sys.stderr.write(f"{MARK}{{os.getpid()}}\\n")
            sys.stderr.flush()
            getattr(os, how)(os.getpid(), int(number))
logging.getLogger("stemwright").addHandler(Stop())
{PROGRAM}
"""


def ended(*arguments, when, number=signal.SIGTERM, group=False):
    """Runs a verb that is stopped (or its whole process group) when it logs what matches ``when``.

    It sends the signal to itself, so that it is stopped in that very place however busy the machine is.
    """
    verb = [*map(str, arguments), "-v"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, when, "killpg" if group else "kill", str(int(number)), *verb],
        capture_output=True,
        text=True,
        timeout=600,
        start_new_session=True,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # tests that run in the background inherit its being ignored
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    group_id = int(done.stderr.split(MARK)[1].splitlines()[0])
    until = time.monotonic() + 300.0  # what watches over the workers ends after them
    while left := workers_of(group_id):
        assert time.monotonic() < until, left
        time.sleep(0.1)
    return done


def stopped(*arguments, **how):
    """What such a verb says on standard error once it was stopped."""
    return ended(*arguments, **how).stderr.split(MARK)[1].splitlines()[1:]


def workers_of(group):
    """Processes that are left in a process group."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[1] == str(group) and not line.split()[2].startswith("Z")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus of one multitrack, its exported tables, and a model with small networks."""
    place = tmp_path_factory.mktemp("stopping")
    write_tiny_model(place / "models", "tiny", seed=0)
    (place / "config.toml").write_text(CONFIG)
    return place


@pytest.fixture
def corpus(place, songs_folder):
    """A finished corpus, made once."""
    if not (place / "corpus").exists():
        songs = songs_folder(2, 4.0).rename(place / "songs")
        model = ["--model", "tiny", "--model-folder", place / "models"]
        stemwright("build", songs, place / "corpus", "--config", place / "config.toml", *model)
        stemwright("export", place / "corpus", place / "recipes", "--no-audio")
    return place / "corpus"


def slow(*values):
    """A case that costs several seconds and proves little more than its neighbours."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("when", "number"),
    [
        slow("catalog begins", signal.SIGTERM),
        slow("separate begins", signal.SIGTERM),
        ("separate: 1 of", signal.SIGTERM),
        slow("separate: 1 of", signal.SIGINT),
        slow("estimate begins", signal.SIGTERM),
        slow("render: 1 of", signal.SIGTERM),
    ],
)
def test_a_build_that_is_stopped_in_a_stage(place, tmp_path, songs_folder, when, number):
    model = ["--model", "tiny", "--model-folder", place / "models", "--config", place / "config.toml"]
    said = stopped("build", songs_folder(3, 8.0), tmp_path / "corpus", *model, when=when, number=number)
    assert said[-1] == KEPT
    assert "build was stopped after" in (tmp_path / "corpus" / "stemwright.log").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "group"),
    [
        slow(signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGINT, True),
    ],
    ids=["the main process is terminated", "all processes are terminated", "Ctrl-C, which a terminal sends to all"],
)
def test_work_that_is_shared_out_to_processes_is_stopped_with_them(corpus, tmp_path, number, group):
    again = tmp_path / "again"
    songs = corpus.parent / "songs"
    said = stopped("catalog", songs, again, "--jobs", "2", when="catalog: 1 of", number=number, group=group)
    assert said[0] == KEPT
    assert "resource_tracker" in "".join(said[1:2]) or said == [KEPT]  # joblib's own process says what killed workers left to it


@pytest.mark.parametrize(
    ("arguments", "when", "sentence"),
    [
        slow(("export", "{corpus}", "{tmp}/out"), "export begins", UNCHANGED),
        (("report", "{corpus}", "{tmp}/report.html"), "report begins", UNCHANGED),
        slow(("check", "{corpus}"), "check begins", UNCHANGED),
        slow(("rebuild", "{recipes}", "{songs}", "{tmp}/again", "--model-folder", "{models}"), "find begins", KEPT),
        slow(("rebuild", "{recipes}", "{songs}", "{tmp}/again", "--model-folder", "{models}"), "separate begins", KEPT),
        slow(("balance", "{song}", "--model", "tiny", "--model-folder", "{models}"), "balance begins", UNCHANGED),
        slow(("edit", "{song}", "mute drums", "{tmp}/out.wav", "--model", "tiny", "--model-folder", "{models}"), "edit begins", UNCHANGED),
        slow(("demo", "{tmp}/demo"), "catalog begins", KEPT),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else value,
)
def test_every_other_verb(corpus, tmp_path, arguments, when, sentence):
    place = corpus.parent
    where = {"corpus": corpus, "tmp": tmp_path, "recipes": place / "recipes", "songs": place / "songs", "models": place / "models"}
    where["song"] = next((place / "songs").glob("*.wav"))
    said = stopped(*(argument.format(**where) for argument in arguments), when=when)
    assert said[-1] == sentence
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out") or path.suffix == ".html"]


def test_a_verb_that_is_stopped_reports_it_in_json(corpus, tmp_path):
    done = ended("catalog", corpus.parent / "songs", tmp_path / "again", "--json", when="catalog begins")
    assert json.loads(done.stdout) == {"error": KEPT.removeprefix("stemwright: "), "exit_code": 130}
