import numpy as np
import pytest
from rows import corpus_rows
from test_render import RATE, pair, signal, sources  # noqa: F401  # the fixture

from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.pairs.render import render
from stemwright.datagen.run.configuration import ConfigError, check
from stemwright.manifests.pair_records import Signal
from stemwright.manifests.records import EffectUse, Refused
from stemwright.manifests.sound.decoding import load
from stemwright.separation.loudness.meter import integrated_loudness


def planned(per_track=4, tracks=1, duration_s=1.0, **keys):
    config = check(
        {
            "seed": 5,
            "pairs": {
                "duration_s": duration_s,
                "mix": {"per_track": 0},
                "removal": {"per_track": 0},
                "limit": {"per_track": per_track, **keys},
            },
        },
        where="test",
    )
    result = plan_pairs(config, *corpus_rows(tracks))
    assert not result.rejected
    return result.pairs


@pytest.fixture
def read(synthetic_song):
    names = {stem.id: stem.name for stem in corpus_rows(1)[1]}

    def reader(source_id, start_frame, num_frames, sample_rate):
        audio = synthetic_song.get(names[source_id], np.zeros_like(synthetic_song["mixture"]))  # the residual is silent
        return np.ascontiguousarray(np.take(audio, np.arange(start_frame, start_frame + num_frames) % audio.shape[1], axis=1))

    return reader


def test_limited_is_mix_times_gain_and_mix_is_limited_over_gain(read):
    for one in planned(ceiling_db=-6.0, drive_lufs=[-6.0, 0.0]):
        out = render(one, read)
        assert list(out) == ["limited", "mix", "gain"]
        assert out["gain"].shape == (1, one.num_frames)
        assert out["gain"].min() < 0.9  # driven as hard as it is, the limiter has work to do
        assert out["gain"].max() <= 1.0
        np.testing.assert_allclose(out["mix"] * out["gain"], out["limited"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(out["limited"] / out["gain"], out["mix"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_written_files_rebuild_one_another(read, tmp_path, encoding):
    for one in planned(2):
        example = FolderWriter(encoding).write(tmp_path, one, render(one, read))
        files = {file.name: load(tmp_path / file.audio.path)[0] for file in example.signals}
        step = 2.0**-23 if encoding == "flac24" else 2.0**-25  # half a step for each of two files, and float32 besides
        np.testing.assert_allclose(files["mix"] * files["gain"], files["limited"], rtol=1e-6, atol=2 * step)
        error = np.abs(files["limited"] / files["gain"] - files["mix"])
        assert (error <= 1e-6 * np.abs(files["mix"]) + 2 * step / files["gain"]).all()


def test_loudness_before_and_after_the_limiter_is_that_of_the_row(read):
    for one in planned(3):
        bus = one.inputs[0].bus
        assert [use.effect for use in bus] == ["loudness", "limiter", "loudness"]
        before = one.model_copy(update={"inputs": (Signal(name="limited", branches=one.inputs[0].branches, bus=bus[:1]),), "targets": ()})
        assert integrated_loudness(render(before, read)["limited"], RATE) == pytest.approx(bus[0].settings["target_db"], abs=0.01)
        assert integrated_loudness(render(one, read)["limited"], RATE) == pytest.approx(-14.0, abs=0.01)


def test_no_sample_exceeds_the_ceiling_before_the_last_gain(read):
    (one, *_) = planned(1, ceiling_db=-1.0, drive_lufs=(-4.0, 0.0))  # so loud that any excerpt reaches it
    bus = one.inputs[0].bus
    limited = one.model_copy(update={"inputs": (Signal(name="limited", branches=one.inputs[0].branches, bus=bus[:2]),), "targets": ()})
    assert np.abs(render(limited, read)["limited"]).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)


@pytest.mark.parametrize(("preset", "mean", "deviation"), [("XL", -8.6, 1.17), ("L", -10.9, 1.19)])
def test_drives_are_drawn_from_the_published_distributions(preset, mean, deviation):
    pairs = planned(100, tracks=5, duration_s=2.0, preset=preset)
    drives = np.array([one.inputs[0].bus[0].settings["target_db"] for one in pairs])
    assert drives.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(len(drives)))
    assert drives.std() == pytest.approx(deviation, rel=0.15)
    releases = np.array([one.inputs[0].bus[1].settings["release_ms"] for one in pairs])
    assert 30.0 <= releases.min() < 35.0
    assert 170.0 < releases.max() <= 200.0
    assert {one.inputs[0].bus[1].settings["ceiling_db"] for one in pairs} == {0.0}


def test_a_key_that_is_given_wins_over_the_preset():
    drives = [one.inputs[0].bus[0].settings["target_db"] for one in planned(3, preset="L", drive_lufs=[-20.0, 0.0])]
    assert drives == [-20.0] * 3


def test_the_sum_leaves_the_residual_out():
    (released,), (summed,) = planned(1), planned(1, mixture="sum")
    assert len(released.inputs[0].branches) == len(summed.inputs[0].branches) + 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"drive_lufs": [3.0, 1.0]}, "drive_lufs: expected a number from -70 to 0"),
        ({"release_ms": [200.0, 30.0]}, "release_ms: expected .low, high. with low <= high"),
        ({"preset": "XXL"}, "preset"),
    ],
)
def test_a_wrong_key_is_named(keys, said):
    with pytest.raises(ConfigError, match=said):
        planned(**keys)


def test_views_agree_with_the_audio_on_any_bus_of_gains_and_limiters(sources):  # noqa: F811
    read, ids = sources
    fader = EffectUse(effect="fader", settings={"gain_db": 20.0})
    limiters = [
        EffectUse(effect="limiter", settings={"ceiling_db": ceiling, "linked": linked})
        for ceiling, linked in ((-6.0, True), (-12.0, False))
    ]
    level = EffectUse(effect="loudness", settings={"target_db": -18.0})
    bus = (fader, limiters[0], level, limiters[1])
    views = [signal(view, ids["mixture"], bus=bus).model_copy(update={"view": view}) for view in ("audio", "gain", "unlimited")]
    out = render(pair(views, []), read)
    assert out["gain"].shape[0] == 2
    np.testing.assert_allclose(out["unlimited"] * out["gain"], out["audio"], rtol=1e-5, atol=1e-7)


def test_a_bus_without_a_limiter_has_a_gain_of_one(sources):  # noqa: F811
    read, ids = sources
    plain = signal("gain", ids["mixture"]).model_copy(update={"view": "gain"})
    np.testing.assert_array_equal(render(pair([plain], []), read)["gain"], np.ones((1, 20_000), np.float32))


def test_the_gain_of_a_bus_with_another_effect_is_refused(sources):  # noqa: F811
    read, ids = sources
    use = EffectUse(effect="distortion", settings={"drive_db": 10.0})
    with pytest.raises(Refused, match="a bus with distortion has no gain curve"):
        render(pair([signal("gain", ids["mixture"], bus=(use,)).model_copy(update={"view": "gain"})], []), read)
