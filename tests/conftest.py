"""Fixtures: synthetic songs whose stems sum exactly, folders of them in every shape the catalog reads, and the real excerpt.

Conventions
    Every sample of a synthetic stem is a multiple of 2^-23 and every peak is below full scale, so 24-bit files hold stems and mixture
    exactly, and the stems sum to the mixture bit for bit, in memory and on disk.
    The same seed gives the same samples and, but for STEM files, the same bytes.
    Tests with a marker of LEFT_OUT run only with ``pytest --run MARKER``; what is left out is reported as skipped.
    The files of LONGEST are first, so that none of them is what one process still does when the others have ended.
"""

from __future__ import annotations

import os

# One thread each, since the tests run in several processes at once; ``tests/kernels.py`` asks for more.
os.environ["OMP_NUM_THREADS"] = os.environ.get("STEMWRIGHT_TEST_THREADS", "1")
os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]

import gc
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import soundfile

SAMPLE_RATE = 44_100
STEM_NAMES = ("drums", "bass", "other", "vocals")
GRID = 2.0**23
LEFT_OUT = ("network", "gpu", "weights", "slow")
LONGEST = (  # half a minute of a processor or more each, about in this order
    "test_docs",
    "test_build",
    "test_separator",
    "test_shares",
    "test_incremental",
    "test_effect_room",
    "test_effects",
    "test_chain_level",
    "test_kernels",
    "test_writers",
    "test_cluster",
    "test_toy_effects",
    "test_toy_package",
    "test_blind_stage",
    "test_stopping",
    "test_copies",
    "test_dataset",
    "test_undoing",
    "test_crashes",
    "test_cluster_losses",
    "test_wheel",
    "test_notebooks",
    "test_one_recording",
    "test_contracts",
    "test_tempo",
)

# Benchmarks are imported by their tests, after all other modules: some have names of packages of ours.
sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

Song = dict[str, np.ndarray]

# A busy machine is no reason to fail, and what fails fails in every run; other examples: --hypothesis-profile random.
for profile, repeatable in (("repeatable", True), ("random", False)):
    hypothesis.settings.register_profile(
        profile, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=repeatable
    )
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of these tests' own, for the processes that they start, too: what is measured here is nothing for a user's forecasts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STEMWRIGHT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Syncing an open file returns at once: what tests write need not survive a power cut, and the disk takes milliseconds each time.

    What is synced, and when, is tested by functions in the place of this one. Processes that tests start sync as a user's do.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", os.fstat)  # which fails, too, for a descriptor that is not open
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run", action="append", default=[], choices=LEFT_OUT, help="also run the tests with this marker (repeatable)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for mark in metafunc.definition.iter_markers("parametrize"):
        if isinstance(mark.args[1], set | frozenset):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: parameters in a set have another order in each process; sort them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
    wanted = config.getoption("--run")
    for item in items:
        for marker in LEFT_OUT:
            if marker not in wanted and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{marker}: left out by default; add --run {marker}"))


def make_song(seed: int = 0, duration_s: float = 4.0, *, sample_rate: int = SAMPLE_RATE, num_channels: int = 2) -> Song:
    """{"mixture", "drums", "bass", "other", "vocals"}: float32 [C, T] each, the stems summing exactly to the mixture."""
    rng = np.random.default_rng(seed)
    num_frames = round(duration_s * sample_rate)
    time_s = np.arange(num_frames) / sample_rate
    beat_s = 60.0 / rng.uniform(90, 130)
    root_hz = 55.0 * 2.0 ** (rng.integers(0, 12) / 12)
    parts = {
        "drums": _drums(rng, time_s, beat_s, sample_rate),
        "bass": _bass(time_s, beat_s, root_hz),
        "other": _chords(rng, time_s, beat_s, root_hz),
        "vocals": _voice(rng, time_s, beat_s, root_hz),
    }
    pans = {"drums": 0.0, "bass": 0.05, "other": -0.35, "vocals": 0.1}
    levels = {"drums": 0.28, "bass": 0.2, "other": 0.15, "vocals": 0.2}  # sums to 0.83: the mixture cannot reach full scale
    song: Song = {}
    total = np.zeros((num_channels, num_frames), np.int64)
    for name, part in parts.items():
        side = 0.15 * np.roll(part, int(0.011 * sample_rate)) if name == "other" else np.zeros_like(part)
        pair = np.stack([(1 - max(pans[name], 0)) * part + side, (1 + min(pans[name], 0)) * part - side])
        stem = pair if num_channels == 2 else pair.mean(axis=0, keepdims=True)
        grid = np.rint(stem / max(np.abs(stem).max(initial=0.0), 1e-9) * levels[name] * GRID).astype(np.int64)
        total += grid
        song[name] = (grid / GRID).astype(np.float32)
    song["mixture"] = (total / GRID).astype(np.float32)
    for audio in song.values():
        audio.setflags(write=False)
    return song


def _since(time_s: np.ndarray, period_s: float, delay_s: float = 0.0) -> np.ndarray:
    """Seconds since the last of the onsets that come every ``period_s``."""
    return np.mod(time_s - delay_s, period_s)


def _drums(rng: np.random.Generator, time_s: np.ndarray, beat_s: float, sample_rate: int) -> np.ndarray:
    kick_s = _since(time_s, 2 * beat_s)
    kick = np.sin(2 * np.pi * (50 * kick_s + 12 * (1 - np.exp(-kick_s * 30)))) * np.exp(-kick_s * 9)
    noise = rng.standard_normal(len(time_s))
    snare = noise * np.exp(-_since(time_s, 2 * beat_s, beat_s) * 18) * (time_s >= beat_s)
    hat = np.diff(noise, prepend=0.0) * np.exp(-_since(time_s, beat_s / 2) * 60)
    return np.asarray(kick + 0.4 * snare + 0.12 * hat * min(1.0, sample_rate / SAMPLE_RATE))


def _bass(time_s: np.ndarray, beat_s: float, root_hz: float) -> np.ndarray:
    note = np.floor(time_s / (4 * beat_s)).astype(int) % 4
    phase = 2 * np.pi * np.cumsum(root_hz * np.array([1.0, 1.335, 1.498, 1.189])[note]) * (time_s[1] if len(time_s) > 1 else 0.0)
    envelope = np.exp(-_since(time_s, beat_s) * 3)
    return np.asarray(envelope * sum(np.sin(k * phase) / k for k in range(1, 6)))


def _chords(rng: np.random.Generator, time_s: np.ndarray, beat_s: float, root_hz: float) -> np.ndarray:
    envelope = 1 - np.exp(-_since(time_s, 4 * beat_s) * 4)
    chord = sum(
        np.sin(2 * np.pi * root_hz * 4 * interval * harmonic * time_s + rng.uniform(0, 2 * np.pi)) / harmonic
        for interval in (1.0, 1.26, 1.498)
        for harmonic in (1, 2, 3)
    )
    return np.asarray(envelope * chord)


def _voice(rng: np.random.Generator, time_s: np.ndarray, beat_s: float, root_hz: float) -> np.ndarray:
    vibrato = 1 + 0.006 * np.sin(2 * np.pi * 5.5 * time_s)
    note = np.floor(time_s / beat_s).astype(int) % 8
    melody = root_hz * 4 * 2.0 ** (rng.choice([0, 2, 4, 7, 9], 8) / 12)[note] * vibrato
    phase = 2 * np.pi * np.cumsum(melody) * (time_s[1] if len(time_s) > 1 else 0.0)
    singing = (_since(time_s, 4 * beat_s) < 3 * beat_s) * np.minimum(_since(time_s, beat_s) * 20, 1)
    return np.asarray(singing * sum(np.sin(k * phase) / k**1.2 for k in range(1, 12)))


def write_song_file(path: Path, audio: np.ndarray, sample_rate: int = SAMPLE_RATE, **tags: str) -> Path:
    """Writes [C, T] as 24 bit by the path's suffix, with tags (title, artist, album, copyright) where the format takes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = "PCM_24" if path.suffix in {".wav", ".flac"} else None
    with soundfile.SoundFile(path, "w", samplerate=sample_rate, channels=len(audio), subtype=subtype) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(audio.T)
    return path


@pytest.fixture(scope="session")
def synthetic_song() -> Song:
    """Four seconds: {"mixture", "drums", "bass", "other", "vocals"}, float32 [2, T] at 44.1 kHz, read-only."""
    return make_song()


@pytest.fixture(scope="session")
def song(synthetic_song: Song) -> Any:
    """The mixture of the synthetic song as a torch tensor float32 [2, T] at 44.1 kHz. Do not change it in place."""
    import torch

    return torch.from_numpy(synthetic_song["mixture"].copy())


@pytest.fixture
def song_maker() -> Callable[..., Song]:
    """``song_maker(seed, duration_s, sample_rate=44100, num_channels=2)``: see ``make_song``."""
    return make_song


@pytest.fixture
def songs_folder(tmp_path: Path) -> Callable[..., Path]:
    """Factory: ``songs_folder(number=3, duration_s=2.0, name="songs")`` writes FLAC and WAV mixtures with tags, one artist each."""

    def write(number: int = 3, duration_s: float = 2.0, name: str = "songs") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(number):
            path = folder / f"{index:02d} song.{('flac', 'wav')[index % 2]}"
            mixture = make_song(index, duration_s)["mixture"]
            write_song_file(path, mixture, title=f"Song {index}", artist=f"Artist {index}", album="Synthetic", copyright="CC0")
        return folder

    return write


@pytest.fixture
def multitrack_folder(tmp_path: Path) -> Callable[..., Path]:
    """Factory of a MUSDB18-HQ-shaped folder: ``multitrack_folder(train=2, test=1, duration_s=2.0)``."""

    def write(train: int = 2, test: int = 1, duration_s: float = 2.0, name: str = "musdb18hq") -> Path:
        for index in range(train + test):
            folder = tmp_path / name / ("train" if index < train else "test") / f"Artist {index} - Title {index}"
            for stem, audio in make_song(index, duration_s).items():
                write_song_file(folder / f"{stem}.wav", audio)
        return tmp_path / name

    return write


@pytest.fixture
def stem_folder(tmp_path: Path) -> Callable[..., Path]:
    """Factory of a MUSDB18-shaped folder of STEM files: ``stem_folder(train=2, test=1, duration_s=2.0)``. Needs the ffmpeg program."""
    if not shutil.which("ffmpeg"):
        pytest.skip("writing STEM files needs the ffmpeg program (apt-get install ffmpeg, or brew install ffmpeg)")
    import stempeg

    def write(train: int = 2, test: int = 1, duration_s: float = 2.0, name: str = "musdb18") -> Path:
        for index in range(train + test):
            path = tmp_path / name / ("train" if index < train else "test") / f"Artist {index} - Title {index}.stem.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            song = make_song(index, duration_s)
            data = np.stack([song[stem].T for stem in ("mixture", *STEM_NAMES)])
            stempeg.write_stems(str(path), data, sample_rate=SAMPLE_RATE, writer=stempeg.StreamsWriter())
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def easton_excerpt() -> Path:
    """The real multitrack excerpt that ships inside the stempeg package: a STEM file with mixture, drums, bass, other, vocals."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        pytest.skip("stempeg is not installed (pip install stempeg)")
    return next((Path(spec.origin).parent / "data").glob("*.stem.mp4"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An S3-compatible server on loopback, with one bucket, for the tests of a module (see ``bucket_server``)."""
    from bucket_server import serving

    with pytest.MonkeyPatch.context() as environment, serving(environment, tmp_path_factory.mktemp("scratch")) as found:
        yield found


@pytest.fixture
def only_new_objects():
    """Lets Python's collector see only objects made from here on: in a process of many tests the others take a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
