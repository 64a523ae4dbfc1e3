"""Evaluations run case by case: what is kept, what is rejected, what is shown, and what given models may return."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from commands import stemwright

from stemwright.datagen.evaluate import evaluation, figures_plot
from stemwright.datagen.evaluate.evaluated_songs import songs_of, stamp
from stemwright.datagen.evaluate.figures_plot import plot_figures
from stemwright.datagen.evaluate.given_models import GivenModel, call, checked_audio, checked_stems
from stemwright.datagen.evaluate.protocol import (
    PROTOCOLS,
    Case,
    EvaluationProtocol,
    EvaluationRequest,
    Figure,
    check_protocol,
    published,
    table,
)
from stemwright.datagen.evaluate.steps import step
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError


def nothing(_):
    return []


def toy(measure, songs=("a", "b", "c")):
    return EvaluationProtocol(
        name="toy",
        title="Lengths of names",
        source="A. Author 2026",
        data="names",
        free="three names",
        model="",
        published=(published("all", "length", "letters", "the author", 2.0, "A. Author 2026, table 1"),),
        cases=lambda request: [Case({"song": song}, song, lambda song=song: measure(song)) for song in songs[: request.num_songs]],
        figures=lambda rows: [Figure("all", "length", "letters", "ours", float(np.mean([row["length"] for row in rows])), count=len(rows))],
        options={"unit": "of length"},
    )


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_table(tmp_path):
    heard = []

    def measure(song):
        heard.append(song)
        if song == "c" and heard.count("c") == 1:
            raise KeyboardInterrupt
        return [{"length": float(len(heard) * 0 + ord(song))}]

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path)
    found = evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path)
    assert heard == ["a", "b", "c", "c"]
    assert found.finished_before == 2
    assert found.figures == evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path / "fresh").figures


def test_a_changed_seed_model_or_code_is_measured_again(tmp_path, monkeypatch):
    heard = []

    def measure(song):
        heard.append(song)
        return [{"length": 1.0}]

    evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path)
    evaluation.evaluate(toy(measure), EvaluationRequest(seed=1), tmp_path)
    assert len(heard) == 6
    monkeypatch.setattr(evaluation, "code_digest", lambda: "other")
    evaluation.evaluate(toy(measure), EvaluationRequest(), tmp_path)
    assert len(heard) == 9


def test_a_case_that_fails_is_rejected_with_its_reason_and_tried_again(tmp_path):
    def fails(song):
        if song == "b":
            raise Refused("it is silent")
        return [{"length": 1.0}]

    found = evaluation.evaluate(toy(fails), EvaluationRequest(), tmp_path)
    assert found.rejected == (("b", "it is silent"),)
    assert [each.count for each in found.figures if each.origin == "measured"] == [2]
    assert not evaluation.evaluate(toy(lambda _: [{"length": 2.0}]), EvaluationRequest(), tmp_path).rejected


def test_published_figures_stand_before_what_was_measured_and_without_it():
    protocol = toy(nothing)
    assert [each.origin for each in table(protocol, [{"length": 3.0}])] == ["published", "measured"]
    assert [each.value for each in table(protocol, [])] == [2.0]


def test_what_is_no_number_is_none_in_a_row(tmp_path):
    found = evaluation.evaluate(toy(lambda _: [{"length": 1.0, "sdr_db": float("nan")}], songs="a"), EvaluationRequest(), tmp_path)
    assert found.rows == ({"length": 1.0, "sdr_db": None},)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EvaluationRequest(models=(GivenModel("a:b"),)), "the protocol toy evaluates no model"),
        (EvaluationRequest(options={"rate": "1"}), "--set rate: the protocol toy has no such option; its options: unit"),
    ],
)
def test_what_a_protocol_does_not_take_is_refused(tmp_path, request_, message):
    with pytest.raises(UsageError, match=message):
        evaluation.evaluate(toy(nothing), request_, tmp_path)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.zeros((2, 9)), r"returned audio of the shape \[2, 9\]; expected \[2, 10\], that of its input"),
        (np.full((2, 10), np.nan), "NaN or infinite samples"),
        (np.full((2, 10), "a"), "an array of <U1; expected audio"),
        (None, "returned NoneType; expected audio"),
        ([[0.0] * 10] * 2, "returned list; expected audio"),
    ],
)
def test_a_model_that_returns_something_else_is_named(found, message):
    with pytest.raises(Refused, match=message):
        checked_audio(found, (2, 10), "their.model:run")


def test_a_tensor_is_audio():
    import torch

    assert checked_audio(torch.ones(2, 4, requires_grad=True), (2, 4), "m").tolist() == [[1.0] * 4] * 2


def test_stems_are_a_mapping_and_each_is_checked():
    with pytest.raises(Refused, match="returned list; expected a dict of stems"):
        checked_stems([np.zeros((2, 4))], (2, 4), "m")
    with pytest.raises(Refused, match="the stem bass of the shape"):
        checked_stems({"bass": np.zeros((1, 4))}, (2, 4), "m")


def test_what_a_model_raises_is_a_reason_and_its_input_is_a_copy():
    def raises(audio):
        audio += 1.0
        raise RuntimeError("out of ideas")

    audio = np.zeros((1, 4))
    with pytest.raises(Refused, match="the model m failed: RuntimeError: out of ideas"):
        call("m", raises, audio)
    assert not audio.any()


@pytest.mark.parametrize("text", ["no_such_package:run", "stemwright.testing:no_such_name"])
def test_a_model_that_cannot_be_imported_is_a_usage_error(text):
    with pytest.raises(UsageError, match=f"the model {text} cannot be imported"):
        _ = GivenModel(text).function


def test_the_excerpt_is_evaluated_without_data_and_a_limit_is_from_its_middle():
    whole, part = (songs_of(EvaluationRequest(duration_s=limit))[0].load() for limit in (None, 1.0))
    np.testing.assert_allclose(sum(whole.stems.values()), whole.mixture, atol=1e-6)
    start = (whole.mixture.shape[1] - 44_100) // 2
    np.testing.assert_array_equal(part.mixture, whole.mixture[:, start : start + 44_100])


def test_data_without_multitracks_says_what_was_looked_for(tmp_path):
    save(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, (2, 44_100)), 44_100)
    with pytest.raises(
        UsageError, match=r"has no multitrack \(1 recordings without stems\); looked for folders with a file called mixture"
    ):
        songs_of(EvaluationRequest(data=tmp_path))


def test_multitracks_of_a_folder_are_found_and_their_key_follows_the_files(tmp_path, synthetic_song):
    for name in ("One", "Two"):
        (tmp_path / name).mkdir()
        for stem, audio in synthetic_song.items():
            save(tmp_path / name / f"{stem}.wav", audio[:, :44_100], 44_100)
    found = songs_of(EvaluationRequest(data=tmp_path))
    assert [each.title for each in found] == ["One", "Two"]
    assert set(found[0].load().stems) == set(synthetic_song) - {"mixture"}
    before = found[0].key
    save(tmp_path / "One" / "bass.wav", synthetic_song["bass"][:, :30_000], 44_100)
    assert songs_of(EvaluationRequest(data=tmp_path))[0].key != before
    with pytest.raises(UsageError, match="no song has the stems banjo"):
        songs_of(EvaluationRequest(data=tmp_path), stems=["banjo"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Toy"}, "lower-case letters"),
        ({"title": " "}, "it has no title"),
        ({"published": (Figure("all", "length", "", "ours", 1.0),)}, "has no source or no name"),
        ({"options": {"unit": ""}}, "its option 'unit' has no description"),
        (
            {"published": (Figure("all", "length", "", "them", 1.0, 2.0, 0.5, origin="published", note="x"),)},
            "2.0 to 0.5; expected a low end",
        ),
        ({"published": (Figure("all", "length", "", "them", 1.0, 0.5, origin="published", note="x"),)}, "0.5 to None; expected a low end"),
        ({"published": (Figure("all", "length", "", "them", 3.0, 0.5, 2.0, origin="published", note="x"),)}, "the value between the ends"),
    ],
)
def test_a_protocol_that_breaks_the_contract_is_named(change, message):
    protocol = replace(toy(nothing), **change)
    with pytest.raises(ValueError, match=message):
        check_protocol("toy" if "name" not in change else "Toy", protocol)


def test_a_protocol_whose_figures_have_their_ends_in_the_wrong_order_is_named():
    protocol = replace(toy(nothing), figures=lambda _: [Figure("all", "length", "", "ours", 1.0, 2.0, 0.5)])
    with pytest.raises(ValueError, match=r"the measured figure all length has the interval 2\.0 to 0\.5"):
        table(protocol, [{"length": 1.0}])


@pytest.mark.parametrize("name", [*PROTOCOLS])
def test_every_protocol_keeps_the_contract(name):
    check_protocol(name, PROTOCOLS[name])


def test_figures_are_drawn(tmp_path):
    figures = [published("bass", "SDR", "dB", "them", 8.0, "somewhere"), Figure("bass", "SDR", "dB", "ours", 7.9, 7.5, 8.1, 50)]
    plot_figures("A title", [*figures, Figure("all", "RMSE", "LU", "ours", None)], tmp_path / "figures.svg")
    text = (tmp_path / "figures.svg").read_text()
    assert "ours" in text
    assert "SDR, dB" in text
    assert "RMSE" not in text


def test_listing_the_protocols_loads_nothing_that_measures():
    heavy = ("torch", "numba", "scipy.signal", "scipy.stats", "pandas", "matplotlib", "librosa")
    program = f"""
import sys
from contextlib import suppress
from stemwright.datagen.cli.app import main
sys.argv = ["stemwright", "evaluate", "--list", "--json"]
with suppress(SystemExit):
    main()
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_verb_lists_and_refuses():
    listed = json.loads(stemwright("evaluate", "--list", "--json").stdout)["protocols"]
    assert [each["name"] for each in listed] == [*PROTOCOLS]
    shown = stemwright("evaluate", *[*PROTOCOLS][:1], "--list").stdout
    assert "--model:" in shown
    assert "\\n" not in shown
    done = stemwright("evaluate", check=False)
    assert done.returncode == 2
    assert "expected a protocol; for what there is: stemwright evaluate --list" in done.stderr


def test_a_model_that_ends_the_program_or_prints_fails_that_song_alone(tmp_path, capsys):
    def leaves(song):
        print("progress of a model")  # noqa: T201 - as models do
        if song == "b":
            raise SystemExit(0)
        return [{"length": 1.0}]

    found = evaluation.evaluate(toy(leaves), EvaluationRequest(), tmp_path)
    assert found.rejected == (("b", "the code of a model ended the program with 0"),)
    assert capsys.readouterr().out == ""
    with pytest.raises(Refused, match="the model m failed: SystemExit: 3"):
        call("m", lambda: sys.exit(3))


def test_finished_cases_are_measured_again_on_request(tmp_path):
    first = evaluation.evaluate(toy(lambda _: [{"length": 1.0}]), EvaluationRequest(), tmp_path)
    second = evaluation.evaluate(toy(lambda _: [{"length": 2.0}]), EvaluationRequest(), tmp_path, again=True)
    assert first.figures != second.figures
    assert evaluation.evaluate(toy(nothing), EvaluationRequest(), tmp_path).rows == second.rows


def test_an_edited_module_beside_a_callable_is_another_version(tmp_path, monkeypatch):
    (tmp_path / "their_model_7.py").write_text("import their_layers_7\n\ndef run(audio, rate):\n    return audio\n")
    (tmp_path / "their_layers_7.py").write_text("GAIN = 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = GivenModel("their_model_7:run").version
    assert GivenModel("their_model_7:run").version == before
    (tmp_path / "their_layers_7.py").write_text("GAIN = 0.5\n")
    assert GivenModel("their_model_7:run").version != before
    assert not GivenModel("their_model_7:run").states_version


def test_a_file_that_is_written_again_is_another_though_size_and_time_are_the_same(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"0" * 100)
    before, about = stamp(path), path.stat()
    path.write_bytes(b"1" * 100)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert stamp(path) != before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "extent=quick", "--set", "extent=full"], "--set extent is given twice"),
        (["--model", ""], "--model '' names nothing; expected package.module:callable"),
        (["--model", "package:"], "--model 'package:' names nothing"),
        (["--seconds", "inf"], "--seconds inf: expected a number of seconds"),
    ],
)
def test_options_that_say_nothing_are_refused(words, message):
    done = stemwright("evaluate", "labels", *words, check=False)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_a_step_of_a_case_is_reported_as_a_fraction(tmp_path):
    heard = []

    def measure(song):
        step("bass, 7 dB", 0.5)
        return [{"length": 1.0}]

    evaluation.evaluate(toy(measure, "ab"), EvaluationRequest(), tmp_path, lambda *said: heard.append(said))
    assert (1.5, 2, "b: bass, 7 dB") in heard


def test_a_long_value_of_an_option_is_no_path():
    done = stemwright("evaluate", "labels", "--set", f"effects={'a' * 300}", check=False)
    assert done.returncode == 2
    assert "File name too long" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "{data}/kept"], "is in a folder that is read"),
        (["--csv", "{data}/a.txt"], "is one of the files to read"),
        (["--csv", "{other}/a.csv", "--rows", "{other}/../other/a.csv"], "name two files"),
    ],
)
def test_nothing_is_written_over_what_is_read(tmp_path, words, message):
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "a.txt").write_text("theirs")
    places = {name: tmp_path / name for name in ("data", "other")}
    done = stemwright("evaluate", "declip", tmp_path / "data", *(word.format(**places) for word in words), check=False)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert (tmp_path / "data" / "a.txt").read_text() == "theirs"


def test_values_that_hardly_differ_are_not_drawn_apart():
    from matplotlib.figure import Figure as Sheet

    axes = Sheet().subplots()
    figures_plot._draw_panel(axes, [Figure("all", "SI-SDR", "dB", who, 5.0 + 1e-9 * number) for number, who in enumerate("ab")], {})
    low, high = axes.get_xlim()
    assert high - low >= 1.0
    assert low < 5.0 < high
