"""The protocol ``limit``: mixtures made again from gains as the authors' recipe makes them, another limiter's among them, and scores."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import soundfile

from stemwright.datagen.evaluate.evaluated_songs import excerpt
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.limited_songs import LOUDNESS_LUFS, as_16_bit, limited_by_us, musdb_limited
from stemwright.datagen.evaluate.protocol import EvaluationRequest
from stemwright.datagen.evaluate.protocols.limit import BLIND, KNOWN, LIMITED, PROTOCOL
from stemwright.datagen.evaluate.scores import si_sdr_db
from stemwright.manifests.catalog.musdb_gains import SUMMED, musdb_gains
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.usage import UsageError
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100
STEMS = ("vocals", "bass", "drums", "other")
MODELS = """
import numpy as np
def same(mixture, sample_rate): return mixture
def mono(mixture, sample_rate): return mixture[:1]
def no_numbers(mixture, sample_rate): return np.full_like(mixture, np.inf)
"""


@pytest.fixture(scope="module")
def song():
    """A real mixture [2, T] of three seconds, its peak at full scale, and four parts of it that sum to it."""
    multitrack = excerpt()
    parts = [audio[:, : 3 * RATE] for audio in multitrack.stems.values()]
    scale = 1.0 / np.abs(parts[0] + parts[1]).max()
    guitar, backing = (np.round(scale * part * 32768.0 / 4.0) * 4.0 / 32768.0 for part in parts)  # parts of whole 16-bit steps
    return {"vocals": guitar, "bass": 0.5 * backing, "drums": 0.25 * backing, "other": 0.25 * backing}


@pytest.fixture(scope="module")
def gain_of(song):
    """What pedalboard's limiter does to each sample of a mixture that is driven by 6 dB: a gain of another library."""
    pedalboard = pytest.importorskip("pedalboard")

    def gain(mixture):
        limited = pedalboard.Limiter(-3.0, 80.0)(2.0 * mixture, RATE)
        quotient = np.divide(limited, mixture, out=np.zeros_like(mixture), where=np.abs(mixture) > 1e-5)
        return quotient.astype(np.float32)

    return gain


@pytest.fixture
def musdb(tmp_path, song, gain_of):
    """MUSDB18-HQ of two test songs, one of them the one whose mixture.wav is wrong, and gains as musdb-XL lays them out."""
    root = tmp_path / "musdb18hq"
    mixture = sum(song.values()).astype(np.float32)
    for name in ("Artist - Song", SUMMED):
        write_song(root / "test" / name, song, mixture if name != SUMMED else mixture * np.float32([[1.0], [0.0]]))
        (tmp_path / "gains" / "musdb_XL_ratio").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "gains" / "musdb_XL_ratio" / f"{name}.npy", gain_of(mixture))
    return root


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "delimiters_of_tests.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda *names: tuple(GivenModel(f"delimiters_of_tests:{name}") for name in names)


def write_song(folder, stems, mixture):
    folder.mkdir(parents=True)
    for name, audio in {**stems, "mixture": mixture}.items():
        soundfile.write(folder / f"{name}.wav", audio.T, RATE, subtype="PCM_16")


def asked(musdb, **options):
    gains = {"gains": str(musdb.parent / "gains"), **options.pop("options", {})}
    return EvaluationRequest(musdb, options=gains, **options)


def found_in(found, name, who, group="musdb-XL"):
    return next(each for each in found.figures if (each.group, each.name, each.who) == (group, name, who))


def test_sixteen_bits_are_those_that_a_file_holds(tmp_path):
    audio = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 20_000)).astype(np.float32)
    audio[0, :5] = (1.0, -1.0, 0.0, 1e-5, -1e-5)
    soundfile.write(tmp_path / "a.wav", audio.T, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(as_16_bit(audio), load(tmp_path / "a.wav")[0])


@pytest.mark.parametrize("name", ["Artist - Song", SUMMED])
def test_a_limited_mixture_is_what_the_published_recipe_writes(musdb, song, name):
    ratio = np.load(musdb.parent / "gains" / "musdb_XL_ratio" / f"{name}.npy")
    read = {stem: soundfile.read(musdb / "test" / name / f"{stem}.wav", dtype="float32")[0].T for stem in (*STEMS, "mixture")}
    whole = sum(read[stem] for stem in STEMS) if name == SUMMED else read["mixture"]
    soundfile.write(musdb.parent / "limited.wav", (ratio * whole).T, RATE, subtype="PCM_16")
    expected, _ = load(musdb.parent / "limited.wav")
    gain = next(each for each in musdb_gains(musdb.parent / "gains", "XL") if each.name == name)
    made = musdb_limited(gain, {each.name: each for each in (musdb / "test").iterdir()})
    scale = 10.0 ** ((LOUDNESS_LUFS - integrated_loudness(expected, RATE)) / 20.0)
    np.testing.assert_allclose(made.limited, expected * scale, atol=2.0**-15)
    assert integrated_loudness(made.limited, RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.01)
    assert integrated_loudness(made.unlimited, RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.01)
    assert made.limited_lufs == pytest.approx(integrated_loudness(expected, RATE), abs=0.01)


def test_what_a_known_gain_gives_back_is_bounded_by_sixteen_bits_alone_and_a_model_is_scored_beside_it(musdb, models, tmp_path):
    (given,) = models("same")
    found = evaluate(PROTOCOL, asked(musdb, models=(given,), duration_s=1.0), tmp_path / "out")
    assert not found.rejected
    limited = found_in(found, "SI-SDR", LIMITED)
    assert 5.0 < limited.value < 40.0
    assert limited.count == 2
    assert found_in(found, "SI-SDR", KNOWN).value > 70.0
    assert found_in(found, "SI-SDRi", given.text).value == pytest.approx(0.0, abs=1e-6)
    assert found_in(found, "PLR change", LIMITED).value < -1.0
    assert abs(found_in(found, "PLR change", KNOWN).value) < 0.01
    assert abs(found_in(found, "crest change", KNOWN).value) < 0.01
    assert found_in(found, "MR-STFT", KNOWN).value < found_in(found, "MR-STFT", LIMITED).value
    assert found_in(found, "SI-SDR", BLIND).value is not None
    assert found_in(found, "SI-SDR", "De-limiter network").value == 24.0
    again = evaluate(PROTOCOL, asked(musdb, models=(given,), duration_s=1.0), tmp_path / "out")
    assert (again.finished_before, again.figures) == (2, found.figures)


def test_the_score_is_that_of_the_peer_that_published_it(musdb):
    """asteroid's SI-SDR, which the publication takes: no mean is taken off, each channel by itself."""
    gain = musdb_gains(musdb.parent / "gains", "XL")[0]
    made = musdb_limited(gain, {each.name: each for each in (musdb / "test").iterdir()})
    one, other = made.limited.astype(np.float64), made.unlimited.astype(np.float64)
    scaled = (one * other).sum(-1, keepdims=True) / (other**2).sum(-1, keepdims=True) * other
    expected = np.mean(10 * np.log10((scaled**2).sum(-1) / ((one - scaled) ** 2).sum(-1)))
    assert si_sdr_db(made.limited, made.unlimited, zero_mean=False) == pytest.approx(expected, abs=1e-4)


def test_gains_that_are_missing_or_do_not_fit_are_rejected_by_name(musdb, tmp_path, song):
    gains = tmp_path / "gains" / "musdb_XL_ratio"
    right = np.load(gains / "Artist - Song.npy")
    mixture = sum(song.values())
    for name, gain in {
        "Long": np.ones((2, 7), np.float32),
        "Many": np.ones((3, right.shape[1]), np.float32),
        "NaN": right * np.nan,
        "Torn": None,
        "Without": None,
    }.items():
        write_song(musdb / "test" / name, song, mixture)
        if gain is not None:
            np.save(gains / f"{name}.npy", gain)
    (gains / "Torn.npy").write_bytes(b"torn")
    np.save(gains / "Elsewhere.npy", right)
    found = evaluate(PROTOCOL, asked(musdb, duration_s=1.0, options={"blind": "no"}), tmp_path / "out")
    reasons = dict(found.rejected)
    assert "its song is missing: expected the folder test/Elsewhere of MUSDB18-HQ" in reasons["Elsewhere"]
    assert re.search("has 7 gains and its mixture .*not of MUSDB18", reasons["Long"])
    assert re.search(r"\[3, .*expected floats \[2, ", reasons["Many"])
    assert "NaN or infinite gains" in reasons["NaN"]
    assert "cannot be read" in reasons["Torn"]
    assert re.search(r"its gain file is missing: .*Without\.npy", reasons["Without"])
    assert found.cases - len(reasons) == 2


def test_segments_and_songs_of_the_training_set_follow_the_lines_of_its_csv(tmp_path, song, gain_of):
    root, gains = tmp_path / "musdb18hq", tmp_path / "xl-train"
    long = {name: np.tile(audio, (1, 3)).astype(np.float32) for name, audio in song.items()}
    write_song(root / "train" / "A", long, sum(long.values()))
    for folder in ("ozone_train_fixed", "ozone_train_random"):
        (gains / "np_ratio" / folder).mkdir(parents=True)
    with (gains / "ozone_train_fixed.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["song_name", "max_threshold", "max_character"], ["A", "-9.0", "2.0"]])
    columns = [f"{stem}_{what}" for stem in STEMS for what in ("name", "start_sec", "gain", "channelswap")]
    parts = ["A", "0.5", "0.8", "True", "A", "1.25", "1.1", "False", "A", "0.0", "0.5", "true", "A", "2.0", "1.0", "False"]
    with (gains / "ozone_train_random_0.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["song_name", "max_threshold", "max_character", *columns], ["seg_0", "-9.0", "2.0", *parts]])
    expected = np.zeros((2, 4 * RATE), np.float32)
    for stem, (start, level, swapped) in zip(
        STEMS, ((0.5, 0.8, True), (1.25, 1.1, False), (0.0, 0.5, True), (2.0, 1.0, False)), strict=True
    ):
        audio, _ = soundfile.read(root / "train" / "A" / f"{stem}.wav", start=int(start * RATE), frames=4 * RATE, dtype="float32")
        expected += np.float32(level) * (audio.T[::-1] if swapped else audio.T)
    np.save(gains / "np_ratio" / "ozone_train_random" / "seg_0.npy", gain_of(expected))
    whole = sum(load(root / "train" / "A" / f"{stem}.wav")[0] for stem in STEMS)
    np.save(gains / "np_ratio" / "ozone_train_fixed" / "A.npy", gain_of(whole))
    for version, mixture in (("segments", expected), ("train", whole)):
        (gain,) = musdb_gains(gains, version)
        made = musdb_limited(gain, {"A": root / "train" / "A"})
        assert si_sdr_db(made.unlimited, mixture) > 90.0
        assert si_sdr_db(made.limited / made.known_gain, mixture) > 50.0
    request = EvaluationRequest(root, options={"gains": str(gains), "version": "segments", "blind": "no"})
    (case,) = PROTOCOL.cases(request)
    assert {(row["group"], row["who"]) for row in case.measure()} == {("musdb-XL-train, segments", who) for who in (LIMITED, KNOWN)}
    (gains / "ozone_train_random_1.csv").write_text("head\nseg_1,1,2,A,0\n")
    with pytest.raises(UsageError, match=r"ozone_train_random_1.csv, line 2: expected 19 columns or more.*got 5"):
        PROTOCOL.cases(request)
    (gains / "ozone_train_random_1.csv").write_text("head\n" + ",".join(["../../etc", "1", "2", *parts]) + "\n")
    with pytest.raises(UsageError, match="expected the name of a song or segment"):
        PROTOCOL.cases(request)


def test_our_limiter_limits_at_full_scale_and_its_gain_is_the_label():
    mixture, rate = excerpt().mixture, excerpt().sample_rate
    made = limited_by_us(mixture, rate, "Excerpt", 0)
    np.testing.assert_allclose(made.unlimited * made.gain, made.limited, atol=1e-6)
    peak = np.abs(made.limited).max() * 10.0 ** ((made.limited_lufs - LOUDNESS_LUFS) / 20.0)
    assert peak == pytest.approx(1.0, abs=1e-3)
    assert made.gain.min() < 0.9 * made.gain.max()
    again, other = (limited_by_us(mixture, rate, "Excerpt", seed) for seed in (0, 1))
    assert np.array_equal(again.limited, made.limited)
    assert not np.array_equal(other.limited, made.limited)
    quiet = limited_by_us(0.001 * mixture, rate, "Excerpt", 0)
    assert si_sdr_db(quiet.limited, made.limited) > 60.0
    with pytest.raises(Refused, match="it is silent"):
        limited_by_us(np.zeros_like(mixture), rate, "Excerpt", 0)


def test_without_data_the_excerpt_is_limited_by_us_and_no_figure_is_taken_for_a_published_one(tmp_path):
    found = evaluate(PROTOCOL, EvaluationRequest(duration_s=2.0), tmp_path)
    measured = [each for each in found.figures if each.origin == "measured"]
    assert {each.group for each in measured} == {"our limiter"}
    assert not {each.group for each in measured} & {each.group for each in PROTOCOL.published}
    compared = {each.name for each in PROTOCOL.published}
    assert all(("another limiter" in each.note) == (each.name in compared) for each in measured)


@pytest.mark.parametrize(("name", "reason"), [("mono", "the shape [1, "), ("no_numbers", "NaN or infinite samples")])
def test_a_delimiter_that_returns_something_else_is_named(tmp_path, models, name, reason):
    found = evaluate(PROTOCOL, EvaluationRequest(models=models(name), duration_s=1.0), tmp_path)
    assert reason in found.rejected[0][1]
    assert f"delimiters_of_tests:{name}" in found.rejected[0][1]


def test_other_requests_are_refused_with_what_was_expected(musdb, tmp_path):
    (tmp_path / "empty").mkdir()
    for request, message in (
        (EvaluationRequest(options={"version": "XXL"}), "--set version=XXL: expected XL, L, train, segments"),
        (EvaluationRequest(options={"blind": "maybe"}), "--set blind=maybe: expected yes or no"),
        (EvaluationRequest(options={"version": "train"}), r"it needs musdb-XL's gains \(--set gains=FOLDER\)"),
        (EvaluationRequest(options={"gains": str(tmp_path)}), "expected DATA as well, the folder of MUSDB18-HQ"),
        (asked(musdb, options={"version": "L"}), r"has no gains of musdb-XL, version L; looked for musdb_L_ratio/SONG.npy"),
        (asked(tmp_path / "empty", options={"gains": str(tmp_path / "gains")}), r"is not MUSDB18-HQ.*looked for test/SONG/mixture.wav"),
    ):
        with pytest.raises(UsageError, match=message):
            PROTOCOL.cases(request)
