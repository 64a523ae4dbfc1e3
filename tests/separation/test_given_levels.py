"""Levels of given stems in mixtures that are not their sum: mastered, coded, or with stems that leak into each other."""

import numpy as np
import pytest
from conftest import make_song, write_song_file
from scipy.signal import butter, sosfilt

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_estimate, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.records import Estimate
from stemwright.manifests.stems.stem_leaks import as_if_without, leaks
from stemwright.separation.balance.given_levels import in_mixture, measure_given
from stemwright.separation.balance.recordings import measure_recording
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100
LEAK = 0.1


@pytest.fixture(scope="module")
def stems():
    """The stems of six seconds."""
    return {name: audio for name, audio in make_song(3, 6.0).items() if name != "mixture"}


def mastered(audio, mixture, *, to):
    """What equaliser, compressor and saturation do to a part of a mixture whose equalised sum is ``to``."""
    power = np.convolve(np.mean(np.square(to), axis=0), np.ones(2000) / 2000, "same")
    gain = (1 + power / np.mean(power)) ** -0.4 * 0.5
    pushed = gain * to
    return audio * gain * np.where(pushed == 0, 1, np.tanh(3 * pushed) / (3 * np.where(pushed == 0, 1, pushed)))


def equalised(audio):
    return audio + 0.8 * sosfilt(butter(1, 3000, "highpass", fs=RATE, output="sos"), audio)


def leaking(stems):
    names = list(stems)
    return {name: stems[name] + np.float32(LEAK) * stems[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}


def rescaled(stems):
    return {name: (0.9 * audio / np.abs(audio).max()).astype(np.float32) for name, audio in stems.items()}


def levels(mixture, parts):
    whole = integrated_loudness(mixture, RATE)
    return {name: integrated_loudness(part, RATE) - whole for name, part in parts.items()}


def in_a_master(stems):
    """The master of stems, and the level of each in it."""
    to = equalised(sum(stems.values()))
    mixture = mastered(to, to, to=to)
    truth = levels(mixture, {name: mastered(equalised(audio), to, to=to) for name, audio in stems.items()})
    return mixture.astype(np.float32), truth


def test_levels_in_a_master_are_those_of_the_stems_through_what_was_done_to_their_sum(stems):
    mixture, truth = in_a_master(stems)
    found = measure_given(mixture, stems, RATE)
    off = [abs(level - truth[name]) for name, level in levels(mixture, stems).items()]
    for name, stem in found.items():
        assert stem.level_lu == pytest.approx(truth[name], abs=0.3)
        assert stem.level_low_lu <= truth[name] <= stem.level_high_lu
        assert stem.loudness_lufs == pytest.approx(integrated_loudness(stems[name], RATE), abs=0.01)
    assert max(off) > 3.0


def test_estimate_and_balance_give_one_level_to_the_stems_of_a_master(stems, tmp_path):
    mixture, truth = in_a_master(stems)
    folder = tmp_path / "songs" / "Band - Song"
    for name, audio in {"mixture": mixture, **stems}.items():
        write_song_file(folder / f"{name}.wav", audio)
    corpus = Corpus(tmp_path / "corpus")
    corpus.create(check({"songs": {"folder": str(tmp_path / "songs"), "kind": "multitracks"}}, where="test"))
    run_catalog(corpus, Workers())
    assert not run_separate(corpus).rejected
    assert not run_estimate(corpus, Workers()).rejected
    found = {row.name: row.level_lu for row in corpus.rows("estimates", Estimate)}
    for name, stem in measure_recording(folder, None).stems.items():
        assert found[name] == pytest.approx(stem.level_lu, abs=0.05)
        assert found[name] == pytest.approx(truth[name], abs=0.3)


@pytest.mark.parametrize("writer", [leaking, lambda stems: rescaled(leaking(stems))], ids=["as they are", "rescaled"])
def test_stems_that_leak_into_each_other_have_their_own_level_and_a_width(stems, writer, tmp_path):
    mixture = sum(stems.values())
    for name, audio in {"mixture": mixture, **writer(stems)}.items():
        write_song_file(tmp_path / f"{name}.wav", audio)
    found = measure_recording(tmp_path, None)
    truth = levels(mixture, stems)
    for name, stem in found.stems.items():
        assert stem.level_low_lu <= truth[name] <= stem.level_high_lu
        assert stem.level_high_lu - stem.level_low_lu > 0.05
    errors = [abs(stem.level_lu - truth[name]) for name, stem in found.stems.items()]
    assert sorted(errors)[-2] < 0.3  # a stem that never sounds without another may have a leak that is not found
    assert found.closure_db == pytest.approx(-20.0, abs=3.0)
    if writer is not leaking:
        assert any("also holds" in note for note in found.notes)


def test_leaks_are_found_where_they_are_and_nowhere_else(stems):
    def found(parts):
        return leaks(np.stack(list(parts.values()))[None])

    assert not found(stems).any()
    ring = found(leaking(stems))
    there = np.roll(np.eye(len(stems)), 1, axis=1) > 0
    assert not ring[~there].any()
    assert np.count_nonzero(ring) >= len(stems) - 1
    np.testing.assert_allclose(ring[ring > 0], LEAK, atol=0.01)
    np.testing.assert_allclose(as_if_without(np.full(2, 1 / 1.1), np.array([[0, 0.1], [0.1, 0]])), 1.0)


def test_stems_that_sum_are_left_alone(stems):
    there, _ = in_mixture(sum(stems.values()), stems, RATE)
    assert all(there[name] is audio for name, audio in stems.items())
