"""What a script gets wrong is answered by a sentence that names the file or the setting, what was expected and what it got."""

import numpy as np
import pandas
import pytest

import stemwright as sw

NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 8000)).astype("float32")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "empty.wav").touch()
    (tmp_path / "a" / "text.m4a").write_text("hello")
    sw.save("a/song.wav", NOISE, 8000)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a/none.wav", "file not found"),
        ("a/empty.wav", "empty file"),
        ("a/text.m4a", "not a readable sound file"),
        ("a", "a folder, not a sound file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(path, reason):
    def read_in_blocks(path):
        return list(sw.blocks(path, 1000))

    def balance(path):
        return sw.balance(path, model="bundled")

    def separate(path):
        return sw.separate(path, model="bundled")

    for read in (sw.load, read_in_blocks, balance, separate):
        with pytest.raises(ValueError, match=f"^{path}: {reason}"):
            read(path)


def test_a_file_that_is_too_short_is_named():
    with pytest.raises(ValueError, match=r"^a/song.wav: .*ends 1000 frames before frame 9000"):
        sw.load("a/song.wav", 1000, 8000)


@pytest.mark.parametrize("read", [lambda: sw.load("a/song.wav", num_frames=-1), lambda: sw.blocks("a/song.wav", 0)])
def test_a_number_of_frames_that_cannot_be_is_refused(read):
    with pytest.raises(ValueError, match=r"num_frames must be . or more.*; got"):
        read()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fader", {"gain": 3.0}, "the effect 'fader': there is no setting 'gain'; did you mean 'gain_db'? Its settings are gain_db, pan"),
        ("fader", {"gain_db": 300}, "the effect 'fader': gain_db must be between -48 and 24 dB; got 300"),
        ("fader", {"pan": "left"}, "the effect 'fader': pan must be a number between -1 and 1 left -1, right 1; got 'left'"),
        ("compressor", {"detector": "mean"}, "the effect 'compressor': detector must be 'peak' or 'rms'; got 'mean'"),
        ("compressor", {"ratio": 0.5, "linked": 7}, "the effect 'compressor': ratio must be between 1 and inf:1; got 0.5; linked must be "),
        ("noise", {"colour": "green"}, "the effect 'noise': colour must be 'white' or 'pink' or "),
        ("codec", {"codec": "wma"}, "the effect 'codec': codec must be 'mp3' or 'aac' or 'opus' or 'vorbis'; got 'wma'"),
        ("clip", {"threshold_db": -3.0}, "the effect 'clip': there is no setting 'threshold_db'. Its settings are ceiling_db"),
    ],
)
def test_a_wrong_setting_is_named_with_its_effect_value_and_range(name, settings, message):
    for attempt in (lambda: sw.EFFECTS[name].Settings(**settings), lambda: sw.apply_chain(NOISE, 8000, [(name, settings)])):
        with pytest.raises(ValueError, match="the effect") as raised:
            attempt()
        assert str(raised.value).startswith(message)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("audio", "sample_rate", "chain", "message"),
    [
        (NOISE, "8k", [("fader", {"gain_db": 3.0})], "a sample rate must be a positive number in Hz; got '8k'"),
        (NOISE.tolist(), 8000, [("fader", {"gain_db": 3.0})], "numpy array or a torch tensor; got list"),
        (NOISE, 8000, ("fader", {"gain_db": 3.0}), r'expected a list of effects .*\[\("fader"'),
        (NOISE, 8000, "fader", "expected a list of effects"),
        (NOISE, 8000, [("fader", "{gain_db: 3}")], "as a mapping or its JSON text"),
    ],
)
def test_what_is_no_audio_and_no_chain_is_refused_with_what_is_expected(audio, sample_rate, chain, message):
    with pytest.raises(ValueError, match=message):
        sw.apply_chain(audio, sample_rate, chain)


def test_a_folder_given_as_a_table_is_answered_with_its_tables():
    pandas.DataFrame({"name": ["vocals"]}).to_parquet("a/stems.parquet")
    with pytest.raises(ValueError, match=r"a is a folder; expected the file of a table in it: stems.parquet"):
        sw.read_table("a")
    with pytest.raises(FileNotFoundError, match=r"a/pairs.parquet does not exist; expected the file of a table"):
        sw.read_table("a/pairs.parquet")
    with pytest.raises(ValueError, match=r"^a/song.wav is no table: expected a Parquet file"):
        sw.read_table("a/song.wav")


def test_a_vocabulary_shows_what_it_holds():
    assert repr(sw.Vocabulary(["fader", "eq.peak1_hz", "removed"])) == (
        f"<Vocabulary: {3 + len(sw.EFFECTS)} slots of fader, eq; roles removed>"
    )
    with pytest.raises(TypeError, match=r"expected a list of names, such as \['fader'\]"):
        sw.Vocabulary("fader")
