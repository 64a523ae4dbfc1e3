import numpy as np
import pytest
from rows import stems_of, track

from stemwright.datagen.run.track_estimation import estimate_track
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.writing import save
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100


def written(folder, audio, *, gain_db=0.0, origin="reference"):
    """Stem rows of one track whose files hold the audio."""
    row = track(0, duration_s=next(iter(audio.values())).shape[1] / RATE)
    stems = []
    for stem in stems_of(row, names=tuple(audio), gain_db=gain_db):
        (folder / stem.audio.path).parent.mkdir(parents=True, exist_ok=True)
        save(folder / stem.audio.path, audio[stem.name] * np.float32(10 ** (gain_db / 20)), RATE)
        stems.append(stem.model_copy(update={"origin": origin}))
    return stems


@pytest.fixture
def parts(synthetic_song):
    return {name: synthetic_song[name] for name in ("drums", "bass", "other", "vocals")}


def test_levels_are_loudness_against_the_sum_of_the_stems(tmp_path, parts, synthetic_song):
    rows = {row.name: row for row in estimate_track(written(tmp_path, parts), tmp_path)}
    mixture = integrated_loudness(synthetic_song["mixture"], RATE)
    for name, audio in parts.items():
        assert rows[name].loudness_lufs == pytest.approx(integrated_loudness(audio, RATE), abs=0.01)
        assert rows[name].peak_dbfs == pytest.approx(20 * np.log10(np.abs(audio).max()), abs=0.001)
        assert rows[name].level_lu == pytest.approx(integrated_loudness(audio, RATE) - mixture, abs=0.01)


def test_the_joint_gain_changes_nothing_but_the_file(tmp_path, parts):
    plain = estimate_track(written(tmp_path / "a", parts), tmp_path / "a")
    lowered = estimate_track(written(tmp_path / "b", parts, gain_db=-6.0), tmp_path / "b")
    for one, other in zip(plain, lowered, strict=True):
        assert other.loudness_lufs == pytest.approx(one.loudness_lufs, abs=0.01)
        assert other.level_lu == pytest.approx(one.level_lu, abs=0.01)
        assert other.peak_dbfs == pytest.approx(one.peak_dbfs, abs=0.01)
        assert other.active == one.active


def test_a_silent_stem_has_no_level_and_never_sounds(tmp_path, parts):
    silent = {**parts, "vocals": np.zeros_like(parts["vocals"])}
    row = next(row for row in estimate_track(written(tmp_path, silent), tmp_path) if row.name == "vocals")
    assert (row.loudness_lufs, row.level_lu, row.pan, any(row.active)) == (None, None, None, False)


def test_activity_follows_the_stem_second_by_second(tmp_path, parts):
    gated = parts["bass"].copy()
    gated[:, : 2 * RATE] = 0.0
    row = next(row for row in estimate_track(written(tmp_path, {**parts, "bass": gated}), tmp_path) if row.name == "bass")
    assert row.active == (False, False, True, True)


def test_mono_has_neither_pan_nor_width(tmp_path, parts):
    mono = {name: audio[:1] for name, audio in parts.items()}
    assert {(row.pan, row.width) for row in estimate_track(written(tmp_path, mono), tmp_path)} == {(None, None)}


def test_a_track_of_silence_is_refused(tmp_path, parts):
    with pytest.raises(Refused, match="silence"):
        estimate_track(written(tmp_path, {name: np.zeros_like(audio) for name, audio in parts.items()}), tmp_path)


def test_stems_of_unequal_length_are_refused_by_name(tmp_path, parts):
    with pytest.raises(Refused, match=r"expected stems of one shape, got blocks of drums .*, vocals"):
        estimate_track(written(tmp_path, {**parts, "vocals": parts["vocals"][:, :-1]}), tmp_path)
