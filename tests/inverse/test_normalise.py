import numpy as np
import pytest
import torch
from test_blind import RATE, SONGS, stem

from stemwright.datagen.effects import apply_chain, compressor, eq, width
from stemwright.datagen.inverse.blind.features import onset_height, onset_peaks, whole_side
from stemwright.datagen.inverse.blind.normalise import SETTLED_DB, normalise, target_of
from stemwright.datagen.inverse.blind.profile import Profile, profile_of
from stemwright.manifests.records import Refused
from stemwright.separation.loudness.meter import integrated_loudness


@pytest.fixture(scope="module")
def profile():
    return profile_of(({"other": stem(seed).numpy()} for seed in range(SONGS)), RATE)


def processed(seed):
    """A stem with effects that the songs of the profile do not have."""
    wet = eq.apply(stem(seed), RATE, eq.Settings(low_shelf_gain_db=6.0, high_shelf_gain_db=-5.0))
    return (0.3 * width.apply(wet, RATE, width.Settings(width=1.7))).numpy()


@pytest.fixture(scope="module")
def once(profile):
    return normalise(processed(50), RATE, profile["other"])


def test_twice_is_once(once, profile):
    twice = normalise(once.audio, RATE, profile["other"])
    assert twice.chain == ()
    assert np.array_equal(twice.audio, once.audio)


def test_the_result_is_what_the_recorded_chain_gives(once):
    torch.testing.assert_close(apply_chain(torch.from_numpy(processed(50)), RATE, once.chain), torch.from_numpy(once.audio))


def test_every_feature_is_the_profiles(once, profile):
    target = target_of(profile["other"])
    assert integrated_loudness(once.audio, RATE) == pytest.approx(target.loudness_lufs, abs=SETTLED_DB["loudness"])
    assert whole_side(once.audio) == pytest.approx(target.side_db, abs=SETTLED_DB["width"] + 0.001)
    crest_db, peak_db, _ = onset_peaks(once.audio, RATE)
    assert onset_height(crest_db, peak_db) <= target.height_db + SETTLED_DB["compressor"] + 0.001
    order = [use.effect for use in once.chain]
    assert order == sorted(order, key=["eq", "compressor", "width", "fader"].index)


def test_the_spread_over_songs_is_at_least_halved(profile):
    before, after = [], []
    for seed in (60, 61, 62):
        audio = processed(seed) * np.float32(0.5 + seed % 3)
        before.append(
            (
                integrated_loudness(audio, RATE),
                whole_side(width.apply(torch.from_numpy(audio), RATE, width.Settings(width=0.6 + 0.4 * (seed % 3))).numpy()),
            )
        )
        done = normalise(
            width.apply(torch.from_numpy(audio), RATE, width.Settings(width=0.6 + 0.4 * (seed % 3))).numpy(), RATE, profile["other"]
        )
        after.append((integrated_loudness(done.audio, RATE), whole_side(done.audio)))
    assert (np.std(after, axis=0) < 0.5 * np.std(before, axis=0)).all()


def test_a_less_dynamic_stem_is_left_uncompressed(profile):
    flat = compressor.apply(
        stem(70), RATE, compressor.Settings(threshold_db=-35.0, ratio=4.0, detector_attack_ms=0.0, attack_ms=1.0, release_ms=60.0)
    )
    assert "compressor" not in {use.effect for use in normalise(flat.numpy(), RATE, profile["other"]).chain}


def test_silence_and_mono_stay_what_they_are(profile):
    assert normalise(np.zeros((2, RATE), np.float32), RATE, profile["other"]).chain == ()
    mono = processed(71).mean(0, keepdims=True)
    done = normalise(mono, RATE, profile["other"])
    assert "width" not in {use.effect for use in done.chain}
    assert done.audio.shape == mono.shape


def test_a_profile_of_two_songs_is_refused(profile):
    with pytest.raises(Refused, match="2 songs with a stem 'other'; at least 3"):
        normalise(processed(72), RATE, Profile(profile.rows[:2])["other"])


def test_a_chain_that_a_second_run_would_change_is_refused(profile, monkeypatch):
    faint = "stemwright.datagen.inverse.blind.normalise.within_fader"  # a fader that cannot reach the loudness
    monkeypatch.setattr(faint, lambda gain_db: min(max(gain_db, -1.0), 1.0))
    with pytest.raises(Refused, match="the stem 'other' is too unlike those of the profile"):
        normalise(0.1 * processed(50), RATE, profile["other"])


def test_onsets_out_of_reach_are_left_alone_instead_of_crushed_or_refused(profile):
    """Hits that no compressor brings to the target: lowered as far as one can, a second run would lower them again, and all was refused."""
    rng, time_s = np.random.default_rng(4), np.arange(4 * RATE) / RATE
    level = rng.uniform(0.25, 1.0, 8)[(time_s * 2.0).astype(int)]
    hits = 0.5 * level * np.exp(-((time_s * 2.0) % 1.0) / 0.03) * rng.standard_normal((2, len(time_s)))
    audio = (hits + 0.003 * rng.standard_normal(hits.shape)).astype(np.float32)
    done = normalise(audio / (1.2 * np.abs(audio).max()), RATE, profile["other"])
    assert "compressor" not in {use.effect for use in done.chain}
    crest_db, peak_db, _ = onset_peaks(done.audio, RATE)
    assert onset_height(crest_db, peak_db) > target_of(profile["other"]).height_db + 1.0
    assert normalise(done.audio, RATE, profile["other"]).chain == ()
