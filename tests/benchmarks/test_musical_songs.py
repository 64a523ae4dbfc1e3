"""Made songs that are mixed by what is heard: effects follow the sound of the parts."""

import musical_songs
import numpy as np
import pytest
from musical_songs import Arrangement, Effects, affected, musical_effects, render_musical_song
from scipy import signal
from songs import STEMS

RATE = 44_100


def noise(seed: int, low_hz: float, high_hz: float, *, every_s: float = 0.0) -> np.ndarray:
    """Two seconds of noise of a band [2, T], held or in bursts of 0.15 s."""
    audio = np.random.default_rng(seed).standard_normal((2, 2 * RATE))
    audio = signal.sosfilt(signal.butter(4, (low_hz, high_hz), "bandpass", fs=RATE, output="sos"), audio)
    return 0.1 * audio * ((np.arange(audio.shape[1]) / RATE % every_s < 0.15) if every_s else 1.0)


def effects_of(**changed: np.ndarray) -> dict[str, Effects]:
    """The rule's effects of four parts, some of them changed."""
    parts = {
        "drums": noise(1, 60, 8000, every_s=0.5),
        "bass": noise(2, 50, 200),
        "other": noise(3, 300, 3000),
        "vocals": noise(4, 900, 1300),
    }
    known = Arrangement({name: name for name in parts}, {"other": 200.0, "vocals": 300.0})
    return musical_effects(parts | changed, RATE, 0, arrangement=known, scatter=0.0)


def test_effects_follow_the_sound_of_a_part():
    dull, bright = effects_of(other=noise(3, 200, 400))["other"], effects_of(other=noise(3, 5000, 9000))["other"]
    assert dull.tilt_db > 0 > bright.tilt_db
    held, sparse = effects_of()["other"], effects_of(other=noise(3, 300, 3000, every_s=0.8))["other"]
    assert sparse.reverb_db > held.reverb_db + 3.0
    beats = noise(3, 300, 3000) * (1.0 + 4.0 * (np.arange(2 * RATE) / RATE % 1.0 < 0.1))
    assert effects_of(other=beats)["other"].ratio > held.ratio + 0.5
    assert held.highpass_hz == pytest.approx(140.0)


def test_room_is_made_for_the_voice_where_it_is_and_where_it_is_covered():
    effects = effects_of()
    assert 900 < effects["other"].bell_hz < 1300
    assert effects["other"].bell_db < -1.0
    assert effects["vocals"].bell_db == 0.0
    assert effects_of(other=noise(3, 6000, 12_000))["other"].bell_db > effects["other"].bell_db + 1.0


def test_neutral_effects_change_only_the_level():
    audio = noise(5, 200, 4000)
    out = affected(audio, Effects(), RATE, np.random.default_rng(0))
    np.testing.assert_allclose(out / np.std(out), audio / np.std(audio), atol=1e-4)


def test_song_is_the_same_for_a_seed_and_its_stems_keep_their_order():
    one, again, other = (render_musical_song(seed, 1.0, 22_050) for seed in (3, 3, 4))
    assert tuple(one) == STEMS
    for name in STEMS:
        assert one[name].dtype == np.float32
        np.testing.assert_array_equal(one[name], again[name])
    assert any(not np.array_equal(one[name], other[name]) for name in STEMS)
    assert 0.29 < np.abs(sum(one.values())).max() < 0.96
    assert musical_songs.render_musical_song(3, 1.0, 22_050, scatter=0.0)["drums"].std() != one["drums"].std()


def test_another_timbre_is_refused():
    with pytest.raises(ValueError, match='timbre is "synth" or "soundfont"'):
        render_musical_song(1, 1.0, timbre="midi")


def test_a_chorus_is_louder_by_what_is_said_and_nothing_else_changes():
    plain, ridden = (render_musical_song(3, 24.0, 8000, chorus=chorus) for chorus in (0.0, 1.0))
    for name in STEMS:
        heard = np.abs(plain[name]) > 0.02 * np.abs(plain[name]).max()
        gains_db = 20 * np.log10(np.abs(ridden[name][heard] / plain[name][heard]))
        assert np.ptp(gains_db) == pytest.approx(musical_songs.CHORUS_DB[name], abs=0.05)
