"""What an evaluation keeps of its cases: after a crash, an edit, a stop, and beside another evaluation."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stemwright.datagen.evaluate import evaluation
from stemwright.datagen.evaluate.evaluated_songs import songs_of
from stemwright.datagen.evaluate.kept_cases import State, kept_cases, plain_rows
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError


def toy(measure, songs="abc", audio_s=None):
    return EvaluationProtocol(
        name="toy",
        title="Numbers",
        source="A. Author 2026",
        data="letters",
        free="three letters",
        model="",
        published=(),
        cases=lambda _: [Case({"song": song}, song, lambda song=song: measure(song), (audio_s or {}).get(song)) for song in songs],
        figures=lambda rows: [Figure("all", "number", "", "ours", float(np.mean([row["number"] for row in rows])))],
    )


def number_of(song):
    return [{"number": ord(song) / 7.0, "text": song}]


def journal(folder):
    return folder / "toy.jsonl.part"


CRASHES = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_kept_cases import number_of, toy
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.protocol import EvaluationRequest
def measure(song):
    if song == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return number_of(song)
evaluate(toy(measure), EvaluationRequest(), Path({folder!r}))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_after_a_kill_the_song_is_named_and_comes_last_and_the_table_is_that_of_an_uninterrupted_run(tmp_path):
    program = CRASHES.format(here=str(Path(__file__).parent), folder=str(tmp_path / "kept"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    heard, remarks = [], []

    def measure(song):
        heard.append(song)
        return number_of(song)

    found = evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path / "kept", on_remark=remarks.append)
    assert heard == ["c", "b"]
    assert found.finished_before == 1
    assert [remark.split(":")[0] for remark in remarks] == ["b"]
    assert "the last run ended while it was measured" in remarks[0]
    fresh = evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path / "fresh")
    assert (found.rows, found.figures) == (fresh.rows, fresh.figures)


def _edited(line):
    entry = json.loads(line)
    entry["rows"][0]["rows"][0]["number"] = 99.0
    return json.dumps(entry)


@pytest.mark.parametrize(
    "damage",
    [
        _edited,
        lambda line: line.replace('"number"', '"nombre"'),
        lambda line: json.dumps({**json.loads(line), "rows": []}),
        lambda line: line.replace('"finished"', '"completed"'),
    ],
    ids=["a number", "a name", "no rows", "another state"],
)
def test_a_row_that_was_edited_is_measured_again_and_said(tmp_path, damage):
    before = evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path)
    lines = journal(tmp_path).read_text().splitlines()
    finished = [number for number, line in enumerate(lines) if '"finished"' in line]
    lines[finished[1]] = damage(lines[finished[1]])
    journal(tmp_path).write_text("".join(f"{line}\n" for line in lines))
    remarks = []
    again = evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path, on_remark=remarks.append)
    assert remarks == ["b: what was kept of it is damaged or was edited; it is measured again"]
    assert again.finished_before == 2
    assert again.rows == before.rows


def test_a_line_moved_to_another_case_is_not_believed(tmp_path):
    evaluation.evaluate(toy(number_of, "ab"), EvaluationRequest(), tmp_path)
    keys = [json.loads(line)["task"] for line in journal(tmp_path).read_text().splitlines()]
    one, other = dict.fromkeys(keys)
    swapped = journal(tmp_path).read_text().replace(one, "x").replace(other, one).replace("x", other)
    journal(tmp_path).write_text(swapped)
    assert evaluation.evaluate(toy(number_of, "ab"), EvaluationRequest(), tmp_path).finished_before == 0


def test_a_case_that_was_rejected_or_stopped_is_no_crash(tmp_path):
    def stops(song):
        if song == "b":
            raise Refused("it is silent")
        if song == "c":
            raise KeyboardInterrupt
        return number_of(song)

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(toy(stops), EvaluationRequest(), tmp_path)
    remarks = []
    assert evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path, on_remark=remarks.append).finished_before == 1
    assert remarks == []


def test_numbers_are_kept_exactly(tmp_path):
    rng = np.random.default_rng(0)
    rows = [{"number": float(number)} for number in np.concatenate([rng.normal(size=200), np.exp(rng.normal(0, 100, 200))])]
    with kept_cases(tmp_path, "toy") as kept:
        last = {"number": float("inf"), "flag": np.bool_(True), "whole": 2**53 + 1, "none": np.float32("nan"), "text": "\u00e9\n"}
        kept.finish("0123456789abcdef", plain_rows([*rows, last]))
    with kept_cases(tmp_path, "toy") as kept:
        assert kept.state("0123456789abcdef") == State.FINISHED
        assert kept.rows("0123456789abcdef")[:-1] == rows
        assert kept.rows("0123456789abcdef")[-1] == {"number": None, "flag": True, "whole": 2**53 + 1, "none": None, "text": "\u00e9\n"}
        assert kept.state("fedcba9876543210") == State.UNKNOWN


def test_rows_that_json_cannot_hold_reject_that_case_alone(tmp_path):
    found = evaluation.evaluate(toy(lambda song: [{"number": 1.0 if song != "b" else np.zeros(2)}]), EvaluationRequest(), tmp_path)
    assert found.rejected == (("b", "unexpected TypeError: Object of type ndarray is not JSON serializable"),)
    assert len(found.rows) == 2


def test_a_second_evaluation_in_one_folder_is_refused_with_what_to_do(tmp_path):
    with kept_cases(tmp_path, "toy"), pytest.raises(UsageError, match=r"another evaluation by toy keeps its cases in .* --out FOLDER"):
        evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path)
    assert evaluation.evaluate(toy(number_of), EvaluationRequest(), tmp_path).cases == 3


def test_progress_is_of_the_audio_that_is_left_to_measure(tmp_path):
    def stops(song):
        if song == "c":
            raise KeyboardInterrupt
        return number_of(song)

    lengths = {"a": 300.0, "b": 1.0, "c": 10.0, "d": 30.0}
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(toy(stops, "abcd", lengths), EvaluationRequest(), tmp_path)
    heard = []
    evaluation.evaluate(toy(number_of, "abcd", lengths), EvaluationRequest(), tmp_path, lambda *said: heard.append(said))
    assert heard == [(0.0, 2, "c", (0.0, 40.0)), (1.0, 2, "d", (10.0, 40.0)), (2, 2, "", (40.0, 40.0))]
    heard.clear()
    evaluation.evaluate(toy(number_of, "xy", {"x": 1.0}), EvaluationRequest(), tmp_path, lambda *said: heard.append(said))
    assert heard == [(0.0, 2, "x"), (1.0, 2, "y"), (2, 2, "")]


def test_copies_of_a_recording_in_other_encodings_count_once(tmp_path):
    from conftest import make_song

    songs = {"One": make_song(1, 8.0), "Two": make_song(2, 8.0)}
    for name, suffix, song in (("A", ".wav", "One"), ("B", ".wav", "Two"), ("C", ".mp3", "One"), ("D", ".ogg", "One")):
        for stem, audio in songs[song].items():
            place = tmp_path / name / f"{stem}{suffix if stem == 'mixture' else '.wav'}"
            place.parent.mkdir(exist_ok=True)
            if place.suffix == ".wav":
                save(place, audio, 44_100)
            else:
                import soundfile

                soundfile.write(place, audio.T, 44_100)
    found = songs_of(EvaluationRequest(tmp_path))
    assert [(song.title, song.copy_of) for song in found] == [("A", ""), ("B", ""), ("C", "A"), ("D", "A")]
    assert found[0].audio_s == pytest.approx(8.0)
    assert songs_of(EvaluationRequest(tmp_path, duration_s=3.0))[0].audio_s == pytest.approx(3.0)
    with pytest.raises(Refused, match="it is the same recording as A, by its sound; each counts once"):
        found[2].load()
    assert "copy_of" in found[2].key
    assert "copy_of" not in found[0].key
