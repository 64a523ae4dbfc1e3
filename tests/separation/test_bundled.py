"""The model in the box: its file, and that it separates."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stemwright.datagen.evaluate.scores import si_sdr_db

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "separation" / "demucs" / "models"
STEMS = ["drums", "bass", "other", "vocals"]
SAMPLE_RATE = 44_100


def _signature() -> str:
    bag = yaml.safe_load((MODELS / "bundled.yaml").read_text())
    (signature,) = bag["models"]
    return signature


@pytest.fixture(scope="module")
def songs():
    spec = importlib.util.spec_from_file_location("bundled_songs", ROOT / "benchmarks" / "songs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def model():
    from demucs.hf import load_safetensors_model

    return load_safetensors_model(MODELS / f"{_signature()}.safetensors").eval()


def _separated(model, mixture: np.ndarray) -> np.ndarray:
    from demucs.apply import apply_model

    with torch.no_grad():
        return apply_model(model, torch.from_numpy(mixture)[None], shifts=0, overlap=0.25)[0].numpy()


def _si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Of both channels together, unlike the mean over channels of ``scores``."""
    return si_sdr_db(estimate.reshape(1, -1), reference.reshape(1, -1))


def test_file_fits_into_the_box_and_is_named_after_its_checksum():
    data = (MODELS / f"{_signature()}.safetensors").read_bytes()
    assert len(data) <= 8_000_000
    assert hashlib.sha256(data).hexdigest().startswith(_signature())
    assert [path.stem for path in MODELS.glob("*.safetensors")] == [_signature()]


def test_demucs_loads_it_with_four_stems_in_stereo_at_44100(model):
    assert list(model.sources) == STEMS
    assert (model.samplerate, model.audio_channels) == (SAMPLE_RATE, 2)


def test_each_stem_of_a_held_out_song_is_closer_to_its_reference_than_the_mixture_is(model, songs):
    references = songs.render_song(9000, 8.0, SAMPLE_RATE)
    mixture = songs.mixture_of(references)
    separated = dict(zip(STEMS, _separated(model, mixture), strict=True))
    gains = {stem: _si_sdr(separated[stem], references[stem]) - _si_sdr(mixture, references[stem]) for stem in STEMS}
    assert min(gains.values()) > 1.0, gains
    assert np.mean(list(gains.values())) > 3.0, gains


def test_silence_separates_into_silence(model):
    stems = _separated(model, np.zeros((2, SAMPLE_RATE), np.float32))
    assert stems.shape == (4, 2, SAMPLE_RATE)
    np.testing.assert_allclose(stems, 0.0, atol=1e-6)


def test_same_seed_gives_the_same_song_and_another_seed_another(songs):
    one, again, other = (songs.mixture_of(songs.render_song(seed, 2.0, SAMPLE_RATE)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("sample_rate", [22_050, 48_000])
def test_rendered_stems_have_the_requested_length_and_a_mixture_within_full_scale(songs, sample_rate):
    stems = songs.render_song(5, 1.5, sample_rate)
    assert list(stems) == STEMS
    assert {stem.shape for stem in stems.values()} == {(2, round(1.5 * sample_rate))}
    assert 0.29 < np.abs(songs.mixture_of(stems)).max() < 0.96


def test_unknown_timbre_is_refused(songs):
    with pytest.raises(ValueError, match="soundfont"):
        songs.render_song(1, 1.0, timbre="midi")
