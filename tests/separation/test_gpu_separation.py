"""Separation on a GPU: the processor's stems, whatever the batch, from the command line too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_song
from tiny_model import write_tiny_model

from stemwright.separation.demucs.separator import DemucsSeparator

RATE = 44_100
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "htdemucs", 1)
    write_tiny_model(folder, "hdemucs", 2, kind="hdemucs")
    write_tiny_model(folder, "bag", 3, members=3)
    return folder


def assert_near(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], relative: float) -> None:
    for name, stem in expected.items():
        np.testing.assert_allclose(found[name], stem, atol=relative * float(np.abs(stem).max()), rtol=0)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("model", ["htdemucs", "hdemucs", "bag"])
def test_stems_are_those_of_the_processor(models: Path, model: str, batch_size: int) -> None:
    mixture = make_song(3, 6.0)["mixture"]
    expected = DemucsSeparator(model, models, "cpu", "fp32", "torch").separate(mixture, RATE)
    found = DemucsSeparator(model, models, "cuda", "fp32", "torch", batch_size=batch_size).separate(mixture, RATE)
    assert_near(found, expected, 1e-4)
    mono = DemucsSeparator(model, models, "cuda", "fp32", "torch", batch_size=batch_size).separate(mixture[:1], RATE)
    assert_near(mono, DemucsSeparator(model, models, "cpu", "fp32", "torch").separate(mixture[:1], RATE), 1e-4)


def test_files_in_flight_together_have_the_stems_of_each_alone(models: Path, tmp_path: Path) -> None:
    separator = DemucsSeparator("htdemucs", models, "cuda", "fp32", batch_size=4)
    mixtures = [make_song(seed, 2.5 + seed)["mixture"] for seed in range(3)]
    for number, mixture in enumerate(mixtures):
        soundfile.write(tmp_path / f"{number}.wav", mixture.T, RATE, subtype="FLOAT")
    jobs = [(tmp_path / f"{number}.wav", tmp_path / f"stems{number}", 0) for number in range(3)]
    for _, outcome in separator.separate_files(jobs):  # type: ignore[arg-type]
        assert not isinstance(outcome, Exception), outcome
    for number, mixture in enumerate(mixtures):
        alone = separator.separate(mixture, RATE)
        for name, stem in alone.items():
            written, _ = soundfile.read(tmp_path / f"stems{number}" / f"{name}.flac", dtype="float32", always_2d=True)
            np.testing.assert_allclose(written.T, stem, atol=1e-4 * float(np.abs(stem).max()) + 2.0**-23, rtol=0)


def test_memory_that_runs_out_makes_the_batch_smaller(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    separator = DemucsSeparator("htdemucs", models, "cuda", "fp32", batch_size=16)
    mixture = make_song(4, 20.0)["mixture"]
    expected = separator.separate(mixture, RATE)
    torch.cuda.reset_peak_memory_stats()
    separator.separate(mixture, RATE)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
    try:
        found = separator.separate(mixture, RATE)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory with 16 segments at once: going on with 8" in caplog.text
    assert_near(found, expected, 1e-4)


def test_the_command_line_takes_the_device(models: Path, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    soundfile.write(tmp_path / "songs" / "one.wav", make_song(5, 3.0)["mixture"].T, RATE)
    program = [sys.executable, "-m", "stemwright"]
    model = ["--model", "htdemucs", "--model-folder", str(models)]
    subprocess.run([*program, "catalog", str(tmp_path / "songs"), str(tmp_path / "corpus")], check=True)
    subprocess.run([*program, "separate", str(tmp_path / "corpus"), "--device", "cuda", *model], check=True)
    assert len([*(tmp_path / "corpus" / "stems").rglob("*.flac")]) == 5


def test_examples_are_read_as_without_a_gpu(models: Path) -> None:
    # Readers of examples work in processes forked by a DataLoader: there, a GPU that was initialised before must not be touched.
    import torch
    from torch.utils.data import DataLoader, Dataset

    from stemwright.datagen.effects import EFFECTS

    torch.zeros(1, device="cuda")

    class Wet(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> torch.Tensor:
            audio = torch.full((2, 2, 1000), 0.1 * (index + 1))
            return EFFECTS["compressor"].apply(audio, RATE, EFFECTS["compressor"].Settings(threshold_db=-30.0, ratio=4.0))

    data = Wet()
    for item, index in zip(DataLoader(data, batch_size=None, num_workers=2), range(4), strict=True):
        assert torch.equal(item, data[index])
