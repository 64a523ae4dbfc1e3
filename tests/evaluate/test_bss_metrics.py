"""BSS Eval version 4 against museval itself, on synthetic and on real stems, and what museval stops at."""

import numpy as np
import pytest
import stempeg

from stemwright.datagen.evaluate import bss_metrics
from stemwright.datagen.evaluate.bss_metrics import RATIOS, bss_medians
from stemwright.manifests.sound.decoding import load

museval = pytest.importorskip("museval")
RATE = 8000


def made(num_frames=3 * RATE + 100, num_channels=2, names=("drums", "bass"), seed=0):
    """References and estimates with a filter, leakage and noise in them."""
    rng = np.random.default_rng(seed)
    references = {name: rng.normal(0, 0.1, (num_channels, num_frames)).astype(np.float32) for name in names}
    mixture = sum(references.values())
    estimates = {
        name: 0.8 * audio + 0.1 * np.roll(audio, 3, axis=1) + 0.05 * mixture + rng.normal(0, 0.01, audio.shape).astype(np.float32)
        for name, audio in references.items()
    }
    return references, estimates


def by_museval(references, estimates, rate=RATE):
    """{stem: {ratio: median}} as museval's aggregation has it."""
    wanted, given = (np.stack([audio.T for audio in stems.values()]).astype(np.float64) for stems in (references, estimates))
    found = dict(zip(("SDR", "ISR", "SIR", "SAR"), museval.evaluate(wanted, given, win=rate, hop=rate), strict=True))
    return {stem: {ratio: np.nanmedian(found[ratio][number]) for ratio in RATIOS} for number, stem in enumerate(references)}


def assert_same(found, expected, within_db):
    for stem, ratios in expected.items():
        np.testing.assert_allclose([found[stem][ratio] for ratio in RATIOS], [ratios[ratio] for ratio in RATIOS], rtol=0, atol=within_db)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("num_frames", [3 * RATE + 100, RATE // 2], ids=lambda n: f"{n} frames")
def test_medians_equal_those_of_museval(num_frames, num_channels):
    references, estimates = made(num_frames, num_channels)
    found = bss_medians(references, {"model": estimates}, RATE)["model"]
    assert_same(found, by_museval(references, estimates), 1e-6)


def test_medians_of_a_real_song_with_a_lossy_codec_equal_those_of_museval():
    path = stempeg.example_stem_path()
    references = {name: load(path, 0, 90_000, stream=number)[0] for number, name in ((1, "drums"), (4, "vocals"))}
    mixture = load(path, 0, 90_000)[0]
    estimates = {name: 0.7 * audio + 0.2 * mixture for name, audio in references.items()}
    found = bss_medians(references, {"model": estimates}, 44_100)["model"]
    assert_same(found, by_museval(references, estimates, 44_100), 0.01)


def test_separators_that_are_scored_together_have_the_ratios_that_each_has_alone():
    references, estimates = made()
    softer = {name: 0.5 * audio for name, audio in estimates.items()}
    both = bss_medians(references, {"one": estimates, "other": softer}, RATE)
    alone = bss_medians(references, {"other": softer}, RATE)["other"]
    for stem in references:
        assert both["other"][stem] == pytest.approx(alone[stem], abs=1e-9)
    assert both["one"]["bass"]["SDR"] > both["other"]["bass"]["SDR"] + 3


def test_a_frame_in_which_a_stem_is_silent_counts_for_none_as_in_museval():
    references, estimates = made()
    references["bass"][:, :RATE] = 0
    found = bss_medians(references, {"model": estimates}, RATE)["model"]
    assert [found[stem]["frames"] for stem in references] == [2, 2]
    assert_same(found, by_museval(references, estimates), 1e-6)


def test_a_silent_reference_is_left_out_where_museval_loses_the_track():
    references, estimates = made(names=("drums", "bass", "vocals"))
    references["vocals"][:] = 0
    with pytest.raises(ValueError, match="should be non-silent"):
        by_museval(references, estimates)
    found = bss_medians(references, {"model": estimates}, RATE)["model"]
    assert found["vocals"] == {"frames": 0}
    heard = [{name: stems[name] for name in ("drums", "bass")} for stems in (references, estimates)]
    assert_same(found, by_museval(*heard), 1e-6)


def test_a_silent_estimate_has_no_ratios_and_leaves_those_of_the_others():
    references, estimates = made()
    with_it = bss_medians(references, {"model": estimates}, RATE)["model"]
    found = bss_medians(references, {"model": {**estimates, "bass": np.zeros_like(estimates["bass"])}}, RATE)["model"]
    assert found["bass"] == {"frames": 0}
    assert found["drums"] == pytest.approx(with_it["drums"], abs=1e-9)


def test_nothing_but_silence_has_no_ratios():
    silent = {"bass": np.zeros((2, RATE), np.float32)}
    assert bss_medians(silent, {"model": silent}, RATE) == {"model": {"bass": {"frames": 0}}}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_channels_have_the_ratios_of_one_channel(seed):
    references, estimates = made(num_channels=1, seed=seed)
    twice = [{name: np.repeat(audio, 2, axis=0) for name, audio in stems.items()} for stems in (references, estimates)]
    one, two = bss_medians(references, {"m": estimates}, RATE)["m"], bss_medians(twice[0], {"m": twice[1]}, RATE)["m"]
    for stem in references:
        assert two[stem] == pytest.approx(one[stem], abs=0.01)


def test_blocks_of_any_length_give_the_same_ratios(monkeypatch):
    references, estimates = made()
    whole = bss_medians(references, {"m": estimates}, RATE)["m"]
    monkeypatch.setattr(bss_metrics, "BLOCK_FRAMES", 1500)
    for stem, ratios in bss_medians(references, {"m": estimates}, RATE)["m"].items():
        assert ratios == pytest.approx(whole[stem], abs=1e-6)


def test_an_exact_estimate_has_a_high_ratio_and_no_error():
    references, _ = made()
    assert bss_medians(references, {"m": references}, RATE)["m"]["bass"]["SDR"] == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stems: stems.pop("bass"), "expected estimates of drums, bass; got drums"),
        (lambda stems: stems.update(bass=stems["bass"][:, 1:]), r"bass has \[2, 24100\], its estimate \[2, 24099\]"),
    ],
)
def test_stems_that_cannot_be_compared_are_named(change, message):
    references, estimates = made()
    change(estimates)
    with pytest.raises(ValueError, match=message):
        bss_medians(references, {"m": estimates}, RATE)
