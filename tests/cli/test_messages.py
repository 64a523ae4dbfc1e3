"""What a person types wrong is answered before any work, by a sentence that says what was expected, what it got, and what to do."""

import pytest
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.separation.demucs import checkpoints

SEPARATING = (("--model", "bundled"), ("--model-folder", "."), ("--device", "cpu"), ("--engine", "torch"), ("--separator", "a:b"))


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("option", SEPARATING, ids=[name for name, _ in SEPARATING])
@pytest.mark.parametrize("verb", [("balance", "song.wav"), ("edit", "song.wav", "mute drums", "out.wav")], ids=["balance", "edit"])
def test_a_setting_of_the_separation_is_refused_where_stems_are_given(verb, option):
    done = invoke(*verb, "--stems", "stems", *option)
    assert getattr(done.exception, "exit_code", 2) == 2
    assert str(done.exception).startswith(f"{option[0]}: for a separation, and nothing is separated with --stems stems")


def test_a_model_is_refused_where_stems_are_given_in_python_as_well():
    for call in (sw.balance, lambda *given, **more: sw.edit(given[0], "mute drums", "out.wav", **more)):
        with pytest.raises(ValueError, match=r"expected stems or a model, got both: .*leave out model"):
            call("song.wav", stems=".", model="bundled")


def test_a_misspelt_model_is_not_fetched(monkeypatch):
    monkeypatch.setattr(checkpoints, "fetch", lambda *_, **__: pytest.fail("the hub was asked"))
    done = invoke("models", "fetch", "htdemucs_tf")
    assert str(done.exception) == "there is no model 'htdemucs_tf'; did you mean 'htdemucs_ft'? `stemwright models` lists them"
