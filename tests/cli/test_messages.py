"""What a person types wrong is answered before any work, by a sentence that says what was expected, what it got, and what to do."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.separation.balance.track_balance import measure_track, percentile_rows, table_rows, with_percentiles
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


@pytest.mark.parametrize("option", SEPARATING, ids=[name for name, _ in SEPARATING])
def test_a_setting_of_the_separation_is_refused_where_every_song_has_its_own_stems(option, tmp_path):
    for name in ("mixture", "vocals"):
        (tmp_path / f"{name}.wav").touch()
    done = invoke("balance", tmp_path, *option)
    assert getattr(done.exception, "exit_code", 2) == 2
    assert str(done.exception) == (
        f"{option[0]}: for a separation, and nothing is separated with {tmp_path}, which has its own stems; leave out {option[0]}"
    )


def test_a_model_is_refused_where_stems_are_given_in_python_as_well():
    for call in (sw.balance, lambda *given, **more: sw.edit(given[0], "mute drums", "out.wav", **more)):
        with pytest.raises(ValueError, match=r"expected stems or a model, got both: .*leave out model"):
            call("song.wav", stems=".", model="bundled")


def test_a_misspelt_model_is_not_fetched(monkeypatch):
    monkeypatch.setattr(checkpoints, "fetch", lambda *_, **__: pytest.fail("the hub was asked"))
    done = invoke("models", "fetch", "htdemucs_tf")
    assert str(done.exception) == "there is no model 'htdemucs_tf'; did you mean 'htdemucs_ft'? `stemwright models` lists them"


def test_percentiles_of_few_songs_and_of_a_song_among_itself_come_with_a_warning(tmp_path, multitrack_folder):
    songs = multitrack_folder(1, 0, duration_s=3.0)
    made = sw.build(songs, tmp_path / "corpus", {"pairs": {"mix": {"per_track": 0}, "removal": {"per_track": 0}}})
    song = next(songs.glob("train/*"))
    done = invoke("balance", song / "mixture.wav", "--stems", song, "--against", made.corpus, "--csv", tmp_path / "rows.csv")
    assert done.exit_code == 0, done.output
    assert "has levels of 1 song, of which nothing can be above or below: no percentiles; expected at least 10" in done.stderr
    assert f"{song / 'mixture.wav'} is a song of {made.corpus}: it is compared with itself" in done.stderr
    rows = pandas.read_csv(tmp_path / "rows.csv")
    assert rows["percentile"].isna().all()  # among one song a percentile says nothing
    assert rows["corpus_median_lu"].notna().any()
    assert set(rows["corpus_stems"]) == {1}
    shutil.copytree(song, tmp_path / "Copy")
    both = invoke("balance", song, tmp_path / "Copy", "--against", made.corpus)
    first, second = both.output.index(f"{song.name} against"), both.output.index("Copy against")
    assert [text.count("vocals") for text in (both.output[first:second], both.output[second:])] == [1, 1]


def test_every_column_of_a_balance_is_explained_in_its_guide(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype("float32")
    track = measure_track("noise", noise, {"drums": noise}, 44_100)
    rows = with_percentiles(table_rows([track]), percentile_rows([track], {"drums": np.array([-3.0])}))
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "balance.md").read_text()
    explained = {name for line in guide.splitlines() if line.startswith("| `") for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])}
    assert explained == set(rows[0])


def test_songs_without_an_artist_are_counted_on_the_terminal_and_in_the_report(tmp_path):
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 0.1, (2, 44_100)).astype("float32")
        sw.save(tmp_path / "songs" / f"{number}{'' if number else ' - Title'}.wav", noise, 44_100)
    (tmp_path / "list.csv").write_text("path,artist\nsongs/0 - Title.wav,Known\nsongs/1.wav,\nsongs/2.wav,\n")
    done = invoke("catalog", tmp_path / "list.csv", tmp_path / "corpus")
    said = "2 of 3 songs have no artist tag: each counts as an artist of its own, so an artist may be in several splits"
    assert said in done.stdout
    assert said in sw.report(tmp_path / "corpus", players=0).read_text()
