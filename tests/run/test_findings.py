"""What was found in the songs and handled is listed by the check and shown on the report's page; where there is nothing, nothing is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import STEM_NAMES, make_song
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.report.page import report_html
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.findings import findings_of
from stemwright.datagen.run.stages.kept_stems import KeptStems
from stemwright.manifests import table
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.records import Rejected, Stem, Track, seal


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two multitracks that sum. Not to be changed."""
    place = tmp_path_factory.mktemp("found")
    for number in range(2):
        folder = place / "songs" / f"Artist {number} - Song {number}"
        folder.mkdir(parents=True)
        song = make_song(number, 1.0)
        for name in ("mixture", *STEM_NAMES):
            soundfile.write(folder / f"{name}.wav", song[name].T, 44_100, subtype="PCM_24")
    run("catalog", place / "songs", place / "corpus")
    run("separate", place / "corpus")
    return place / "corpus"


@pytest.fixture
def remarkable(plain: Path, tmp_path: Path) -> Corpus:
    """The same with a mended stem, a dropped copy, a clipped and offset mixture, and a note of a decoder."""
    corpus = Corpus(shutil.copytree(plain, tmp_path / "corpus"))
    first, second = corpus.rows("tracks", Track)
    drums = first.references[0].model_copy(update={"lag_frames": -441.0, "fit_gain_db": 6.02, "gain_db": 6.02, "inverted": True})
    notes = ("stem drums is inverted and at -6.02 dB against the mixture: undone (was it rescaled?)", "<b>its header</b> states no length")
    changed = first.model_copy(update={"references": (drums, *first.references[1:]), "closure_db": -93.3, "notes": notes})
    table.write(corpus.table("tracks"), [changed, second], Track)
    copy = "the same recording as a.wav by its sound: 2 % of its fingerprint differs"
    row = seal(Rejected, stage="catalog", row_id="copy.mp3", subject="copy.mp3", reason=copy, same_as=second.id)
    corpus.replace_rejected("catalog", [row])
    stem = next(row for row in corpus.rows("stems", Stem) if row.track_id == second.id)
    file = (corpus.folder / stem.audio.path).parent / KEPT_STEMS
    kept = KeptStems.model_validate_json(file.read_bytes())
    figures = kept.figures.model_copy(update={"clipped": (0.02, 0.0), "offsets": (0.0, -0.05)})
    file.write_text(kept.model_copy(update={"figures": figures}).model_dump_json())
    return corpus


def test_each_finding_names_the_song_the_stem_and_how_far(remarkable):
    found = {finding.kind: finding for finding in findings_of(remarkable)}
    assert list(found) == ["stems", "copy", "clipping", "offset", "note"]
    assert (found["stems"].file, found["stems"].stem) == ("Artist 0 - Song 0/mixture.wav", "drums")
    assert found["stems"].details == {
        "lag_frames": -441.0,
        "lag_ms": -10.0,
        "fit_gain_db": 6.02,
        "gain_db": 6.02,
        "inverted": True,
        "swapped": False,
        "closure_db": -93.3,
    }
    assert (found["copy"].file, found["copy"].what) == (
        "copy.mp3",
        "dropped: the same recording as a.wav by its sound: 2 % of its fingerprint differs",
    )
    assert found["clipping"].what == "clipped: left 2 %, right 0 % of the samples"
    assert found["offset"].what == "constant offset: left none, right -0.0500 (-26 dBFS)"


def test_the_check_lists_findings_and_calls_none_a_problem(remarkable):
    shown = run("check", remarkable.folder)
    assert "findings (4), no problems" in shown
    assert "check: 0 problems, 0 warnings" in shown
    assert "states no length" not in shown  # notes of the catalog are many
    listed = json.loads(run("check", remarkable.folder, "--json"))["findings"]
    assert [one["kind"] for one in listed] == ["stems", "copy", "clipping", "offset", "note"]
    assert listed[0]["details"]["lag_ms"] == -10.0


def test_the_page_shows_findings_in_tables_and_escapes_them(remarkable):
    html = report_html(remarkable.folder, num_players=0)
    for text in ("−10.00 ms", "6.02 dB", "inverted", "−93.3 dB", "2 % of its fingerprint differs", "2.00 %", "−0.0500"):
        assert text in html
    assert "&lt;b&gt;its header&lt;/b&gt; states no length" in html
    assert "<b>its header" not in html


def test_where_nothing_is_found_nothing_is_shown(plain):
    assert findings_of(Corpus(plain)) == []
    assert json.loads(run("check", plain, "--json"))["findings"] == []
    assert "findings" not in run("check", plain)
    assert 'id="findings"' not in report_html(plain, num_players=0)
