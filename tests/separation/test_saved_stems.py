"""Separated stems that are kept: measured again with the same figures, and as what they are."""

import json

import numpy as np
import pytest

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.writing import save
from stemwright.separation.balance.recordings import RecordingOptions, measure_recording
from stemwright.separation.balance.saved_stems import save_stems
from stemwright.separation.balance.track_balance import as_json

RATE = 44_100


class Halves:
    """A separator at half the rate: lowest frequencies are bass, the rest is other; both leave something."""

    sample_rate, origin = RATE // 2, "halves@1"

    def separate(self, mixture, sample_rate, **_):
        from scipy.signal import butter, sosfilt

        from stemwright.manifests.sound.resampling import resample

        at_rate = resample(mixture, sample_rate, self.sample_rate)
        low = sosfilt(butter(4, 500, fs=self.sample_rate, output="sos"), at_rate).astype(np.float32)
        return {"bass": 1.3 * low, "other": 0.9 * (at_rate - low)}


@pytest.fixture
def song(tmp_path):
    noise = np.random.default_rng(3).normal(0, 0.3, (2, 5 * RATE)).astype("float32")
    save(tmp_path / "song.wav", noise * [[1.0], [0.5]], RATE, encoding="wav32f")
    return tmp_path / "song.wav"


def keep_in(folder):
    return lambda path, stems, rate, origin, key: save_stems(folder / path.stem, stems, rate, origin, key)


def test_kept_stems_give_the_same_balance_and_are_no_measurement(song, tmp_path):
    first = measure_recording(song, Halves(), options=RecordingOptions(keep_in(tmp_path / "kept")))
    again = measure_recording(song, None, stems=tmp_path / "kept")
    assert as_json(again) == as_json(first)
    assert (again.basis, again.origin) == ("estimated", "halves@1")
    assert again.notes == ()  # nothing is taken for a rescaled stem


def test_kept_stems_of_a_recording_of_another_length_are_refused(song, tmp_path):
    measure_recording(song, Halves(), options=RecordingOptions(keep_in(tmp_path / "kept")))
    save(tmp_path / "other" / "song.wav", np.full((2, 4 * RATE), 0.1, "float32"), RATE, encoding="wav32f")
    with pytest.raises(Refused, match=r"last 5\.000 s and this recording 4\.000 s: they were separated from another; leave out --stems"):
        measure_recording(tmp_path / "other" / "song.wav", None, stems=tmp_path / "kept")


@pytest.mark.parametrize(
    "facts", ["{}", "not json", '{"format": 99}', '{"format": 1, "origin": "x", "sample_rate": 1, "num_frames": 1, "stems": ["a"]}']
)
def test_stems_with_other_facts_beside_them_are_measured_as_any(song, tmp_path, facts):
    measure_recording(song, Halves(), options=RecordingOptions(keep_in(tmp_path / "kept")))
    (tmp_path / "kept" / "song" / "stems.json").write_text(facts)
    assert measure_recording(song, None, stems=tmp_path / "kept").origin == ""


def test_facts_name_the_separation(song, tmp_path):
    measure_recording(song, Halves(), options=RecordingOptions(keep_in(tmp_path)))
    said = json.loads((tmp_path / "song" / "stems.json").read_text())
    assert said == {"format": 1, "origin": "halves@1", "sample_rate": RATE // 2, "num_frames": 5 * RATE // 2, "stems": ["bass", "other"]}


def test_kept_parts_of_drums_give_the_same_balance(song, tmp_path):
    class Apart(Halves):
        def separate(self, mixture, sample_rate, **_):
            bass, other = super().separate(mixture, sample_rate).values()
            return {"bass": bass, "drums": other, "drums/kick": 0.5 * other, "drums/snare": 0.25 * other}

    first = measure_recording(song, Apart(), options=RecordingOptions(keep_in(tmp_path / "kept")))
    again = measure_recording(song, None, stems=tmp_path / "kept")
    assert list(first.stems) == ["bass", "drums", "drums/kick", "drums/snare"]
    assert as_json(again) == as_json(first)
    (tmp_path / "kept" / "song" / "drums" / "snare.wav").unlink()
    with pytest.raises(Refused, match=r"names .*snare\.wav, and there is no such file"):
        measure_recording(song, None, stems=tmp_path / "kept")


@pytest.mark.parametrize("name", ["../song", "drums/../../song", "/etc/x", "drums/a/b"])
def test_a_part_is_never_read_from_elsewhere(song, tmp_path, name):
    measure_recording(song, Halves(), options=RecordingOptions(keep_in(tmp_path / "kept")))
    facts = tmp_path / "kept" / "song" / "stems.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"parts": [name]}))
    assert measure_recording(song, None, stems=tmp_path / "kept").origin == ""
