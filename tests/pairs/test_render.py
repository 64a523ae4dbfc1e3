import numpy as np
import pytest
from rows import corpus_rows
from test_plan import planned as plan_rows

from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.run.configuration import check
from stemwright.manifests.pair_records import Branch, Pair, Signal
from stemwright.manifests.records import AudioFile, EffectUse, Refused, seal
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.writing import save

RATE = 44_100


def pair(inputs, targets, *, start_frame=1_000, num_frames=20_000, sample_rate=RATE, kind="mix", split="train"):
    return seal(
        Pair,
        kind=kind,
        number=0,
        track_id="0" * 16,
        split=split,
        start_frame=start_frame,
        num_frames=num_frames,
        sample_rate=sample_rate,
        inputs=tuple(inputs),
        targets=tuple(targets),
        seed=0,
    )


def signal(name, *sources, chain=(), bus=()):
    return Signal(name=name, branches=tuple(Branch(source_id=source, chain=chain) for source in sources), bus=bus)


@pytest.fixture
def sources(tmp_path, synthetic_song):
    files = {}
    for number, (name, audio) in enumerate(synthetic_song.items()):
        sha256 = save(tmp_path / f"{name}.flac", audio, RATE)
        files[f"{number:016x}"] = AudioFile(
            path=f"{name}.flac",
            sample_rate=RATE,
            num_channels=2,
            num_frames=audio.shape[1],
            num_bytes=(tmp_path / f"{name}.flac").stat().st_size,
            sha256=sha256,
        )
    return Sources(tmp_path, files), {file.path.removesuffix(".flac"): key for key, file in files.items()}


def test_a_signal_without_effects_is_the_source_bit_for_bit(sources, synthetic_song):
    read, ids = sources
    out = render(pair([signal("drums", ids["drums"])], []), read)
    np.testing.assert_array_equal(out["drums"], synthetic_song["drums"][:, 1_000:21_000])


def test_branches_are_summed(sources, synthetic_song):
    read, ids = sources
    stems = ("drums", "bass", "other", "vocals")
    out = render(pair([], [signal("mix", *(ids[stem] for stem in stems))]), read)
    np.testing.assert_array_equal(out["mix"], synthetic_song["mixture"][:, 1_000:21_000])


def test_a_chain_and_a_bus_are_applied_in_order(sources, synthetic_song):
    read, ids = sources
    up, down = (EffectUse(effect="fader", settings={"gain_db": gain}) for gain in (6.0, -12.0))
    out = render(pair([signal("a", ids["drums"], ids["bass"], chain=(up,), bus=(down,))], []), read)
    expected = (synthetic_song["drums"] + synthetic_song["bass"])[:, 1_000:21_000] * 10 ** (-6 / 20)
    np.testing.assert_allclose(out["a"], expected, atol=1e-6)


def test_offset_moves_one_branch_only(sources, synthetic_song):
    read, ids = sources
    moved = Signal(name="a", branches=(Branch(source_id=ids["drums"], offset_frames=500),))
    np.testing.assert_array_equal(render(pair([moved], []), read)["a"], synthetic_song["drums"][:, 1_500:21_500])


@pytest.mark.parametrize("kind", RECIPES)
def test_every_recipe_renders_the_planned_length_twice_alike(kind, synthetic_song):
    tracks, stems, estimates = corpus_rows(1)
    planned, _ = plan_rows(check({"pairs": {"duration_s": 1.0}}, where="test"), tracks, stems, estimates)
    names = {stem.id: stem.name for stem in stems}

    def read(source_id, start_frame, num_frames, sample_rate):
        audio = synthetic_song["mixture" if names[source_id] == "residual" else names[source_id]]
        return np.ascontiguousarray(np.take(audio, np.arange(start_frame, start_frame + num_frames) % audio.shape[1], axis=1))

    for one in (each for each in planned if each.kind == kind):
        first, second = render(one, read), render(one, read)
        assert list(first) == [planned_signal.name for planned_signal in (*one.inputs, *one.targets)]
        for name, audio in first.items():
            assert audio.shape == (2, one.num_frames)
            np.testing.assert_array_equal(audio, second[name])


def test_wet_minus_dry_is_what_the_removed_effect_did(sources, synthetic_song):
    import torch

    from stemwright.datagen.effects import apply_chain

    read, ids = sources
    use = EffectUse(effect="compressor", settings={"threshold_db": -30.0, "ratio": 4.0})
    out = render(pair([signal("wet", ids["drums"], chain=(use,))], [signal("dry", ids["drums"])]), read)
    expected = apply_chain(torch.from_numpy(out["dry"]), RATE, (use,)).numpy()
    np.testing.assert_array_equal(out["wet"], expected)
    assert np.abs(out["wet"] - out["dry"]).max() > 1e-3


@pytest.mark.parametrize("start_frame", [0, 1, 12_345, 100_000])
def test_an_excerpt_at_another_rate_is_cut_from_the_resampled_whole(sources, synthetic_song, start_frame):
    read, ids = sources
    whole = resample(synthetic_song["drums"], RATE, 48_000)
    excerpt = read(ids["drums"], start_frame, 30_000, 48_000)
    np.testing.assert_allclose(excerpt, whole[:, start_frame : start_frame + 30_000], atol=2e-6)


def test_an_excerpt_beyond_the_end_is_refused(sources):
    read, ids = sources
    with pytest.raises(Refused, match="ends"):
        read(ids["drums"], 170_000, 20_000, RATE)
    with pytest.raises(Refused, match="ends"):
        read(ids["drums"], 180_000, 20_000, 48_000)


def test_an_unknown_source_is_refused_by_its_id(sources):
    with pytest.raises(Refused, match="f" * 16):
        render(pair([signal("a", "f" * 16)], []), sources[0])
