"""Which packages verbs import: those that compute no sound wait for none of the packages that do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rows
from conftest import write_song_file

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests import table
from stemwright.manifests.records import Estimate, Stem, Track

COMPUTING = {"torch", "numba", "scipy", "demucs", "librosa", "openvino"}
VERBS = {  # -> its exit code
    "--help": 0,
    "init": 0,
    "effects": 0,
    "config": 0,
    "models": 0,
    "plan corpus": 0,
    "plan corpus --seed 1": 0,
    "check corpus": 1,  # its files are missing
    "status corpus": 0,
    "clean corpus --dry-run": 0,
    "balance nosuch.wav": 2,
    "catalog songs corpus --dry-run": 0,
    "build songs other --dry-run": 1,  # without weights
    "catalog songs third": 0,
}
FINGERPRINTS = {"scipy"}  # made with its FFT
PROGRAM = """
import contextlib, io, json, sys
from stemwright.datagen.cli.app import main

found = {}
for verb in json.loads(sys.argv[1]):
    sys.argv, said = ["stemwright", *verb.split()], io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as done:
        code = done.code or 0
    found[verb] = code, sorted({name.partition(".")[0] for name in sys.modules}), said.getvalue()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Verb -> (exit code, what was imported until its end, what it printed), one after another in one process."""
    folder = tmp_path_factory.mktemp("verbs")
    corpus = Corpus(folder / "corpus")
    pairs = {"duration_s": 1.0, "mix": {"per_track": 2}, "removal": {"per_track": 8}, "edit": {"per_track": 4}, "limit": {"per_track": 2}}
    corpus.create(check({"songs": {"folder": "songs"}, "pairs": pairs}, where="test"))
    write_song_file(folder / "songs" / "song.flac", 0.1 * np.random.default_rng(0).standard_normal((2, 44_100)), artist="A", title="B")
    for (name, kind), made in zip((("tracks", Track), ("stems", Stem), ("estimates", Estimate)), rows.corpus_rows(1), strict=True):
        table.write(corpus.table(name), made, kind)
    command = [sys.executable, "-c", PROGRAM, json.dumps([*VERBS])]
    environment = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    return json.loads(done.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_computes_no_sound_imports_nothing_that_does(seen, verb):
    code, imported, said = seen[verb]
    assert code == VERBS[verb], said
    assert COMPUTING & {*imported} <= (FINGERPRINTS if verb == "catalog songs third" else set())


def test_pairs_were_planned(seen):
    assert "16 done" in seen["plan corpus"][2]
