"""The separation engine: equal to Demucs, the same bytes on each run, flat in memory, and all files or none."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import SIX, build_tiny, write_tiny_model

from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding, writing
from stemwright.separation import stem_files
from stemwright.separation.demucs import engines, hybrid, pipeline, precision, schedule
from stemwright.separation.demucs.checkpoints import ModelError
from stemwright.separation.demucs.device_session import DeviceSession
from stemwright.separation.demucs.engines import TorchEngine
from stemwright.separation.demucs.separator import DemucsSeparator, separate_by_package
from stemwright.separation.jobs import Job
from stemwright.separation.separator import ReferenceStems

RATE = 44_100
SEGMENT = RATE  # of the tiny models
LSB = 2.0**-23


class Passing:
    """A mixture, and networks that give every stem as the mixture."""

    def __init__(self, num_frames, networks):
        self.num_frames, self.networks = num_frames, networks
        self.audio = np.random.default_rng(num_frames).standard_normal((2, num_frames)).astype(np.float32)

    def read(self, start_frame, stop_frame):
        return self.audio[:, start_frame:stop_frame]

    def stems(self, sessions, batch_size):
        import torch

        parts = {id(session): [] for session in sessions}

        def forward(network, batch):
            stack = torch.stack if isinstance(batch, torch.Tensor) else np.stack
            return stack([batch * (1.0 + stem) for stem in self.networks[network].kept], 1)

        for session, found in schedule.run(sessions, forward, batch_size=batch_size):
            parts[id(session)].append(found.copy())
        return [np.concatenate(parts[id(session)], axis=-1) for session in sessions]


@given(num_frames=st.integers(1, 3000), segment_frames=st.integers(8, 900), batch_size=st.integers(1, 5))
@settings(max_examples=30)
def test_a_session_on_a_device_gives_the_samples_of_one_on_the_processor(num_frames, segment_frames, batch_size):
    networks = [schedule.Network(segment_frames, lambda length: length + 100, row) for row in [(1.0, 0.0), (0.3, 1.7)]]
    source = Passing(num_frames, networks)
    arguments = (source, schedule.Standardisation(0.1, 2.0), networks, 2)
    expected = source.stems([schedule.Session(*arguments), schedule.Session(*arguments)], batch_size)
    found = source.stems([DeviceSession(*arguments, "cpu"), DeviceSession(*arguments, "cpu")], batch_size)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "htdemucs", 1)
    write_tiny_model(folder, "hdemucs", 2, kind="hdemucs")
    write_tiny_model(folder, "bag", 3, members=3)
    write_tiny_model(folder, "six", 4, stems=SIX)
    return folder


@pytest.fixture(scope="module")
def noise():
    def make(num_channels, num_frames, peak=0.3, seed=0):
        rng = np.random.default_rng(seed)
        swell = np.linspace(0.2, 1.0, num_frames)
        return np.asarray(np.clip(peak / 3 * swell * rng.standard_normal((num_channels, num_frames)) + 0.001, -1, 1), dtype=np.float32)

    return make


@pytest.fixture
def separator(models):
    return DemucsSeparator("htdemucs", models, device="cpu")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("num_frames", [300, SEGMENT // 3, SEGMENT, 2 * SEGMENT + 4321], ids=lambda n: f"{n} frames")
@pytest.mark.parametrize("num_channels", [1, 2], ids=["mono", "stereo"])
@pytest.mark.parametrize("model", ["htdemucs", "hdemucs", "bag", "six"])
def test_stems_equal_those_of_demucs(models, noise, model, num_channels, num_frames):
    separator = DemucsSeparator(model, models, device="cpu", precision="fp32", engine="torch")
    mixture = noise(num_channels, num_frames)
    stems = separator.separate(mixture, RATE)
    assert tuple(stems) == separator.stem_names
    np.testing.assert_allclose(
        np.stack(list(stems.values())), np.stack(list(separate_by_package(separator, mixture, RATE).values())), rtol=0, atol=1e-6
    )


@given(
    num_frames=st.integers(1, 3000),
    segment_frames=st.integers(8, 900),
    context=st.integers(0, 300),
    batch_size=st.integers(1, 5),
    rows=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=3),
    offset=st.sampled_from([(0.003, 0.0), (-0.003, 0.0), (0.1, 0.1), (-0.1, -0.1)]),
)
@settings(max_examples=60)
def test_networks_that_pass_the_mixture_on_give_it_back_without_a_constant_offset(
    num_frames, segment_frames, context, batch_size, rows, offset
):
    mean, left_out = offset
    rows = [*rows, (0.5, 0.5)]
    rng = np.random.default_rng(num_frames)
    mixture = rng.standard_normal((2, num_frames)).astype(np.float32)
    networks = [schedule.Network(segment_frames, lambda length: length + context, row) for row in rows]

    class Source:
        def __init__(self):
            self.num_frames = num_frames

        def read(self, start_frame, stop_frame):
            assert 0 <= start_frame < stop_frame <= num_frames
            return mixture[:, start_frame:stop_frame]

    def forward(network, batch):
        return np.stack([batch] * len(networks[network].kept), axis=1)

    arguments = (Source(), schedule.Standardisation(mean, 2.0), networks, 2)
    sessions = [schedule.Session(*arguments), schedule.Session(*arguments)]
    parts = {id(session): [] for session in sessions}
    for session, stems in schedule.run(sessions, forward, batch_size=batch_size):
        parts[id(session)].append(stems)
    for session in sessions:
        stems = np.concatenate(parts[id(session)], axis=-1)
        np.testing.assert_allclose(stems, np.stack([mixture - left_out] * 2), atol=2e-6)


def peak_of_schedule(num_frames):
    class Source:
        def __init__(self):
            self.num_frames = num_frames

        def read(self, start_frame, stop_frame):
            return np.zeros((2, stop_frame - start_frame), np.float32)

    networks = [schedule.Network(1000, int, (1.0, 1.0))]
    tracemalloc.start()
    for _ in schedule.run(
        [schedule.Session(Source(), schedule.Standardisation(0, 1), networks, 2)], lambda _, b: np.stack([b, b], axis=1), batch_size=1
    ):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_length():
    short, long = peak_of_schedule(20_000), peak_of_schedule(400_000)
    # The windows themselves are listed: some hundred bytes for a segment of which the samples alone take ten thousand.
    assert long - short < 0.05 * 4 * 2 * 400_000


def test_stems_do_not_depend_on_threads_or_batches(models, noise):
    import torch

    mixture = noise(2, 3 * SEGMENT)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, batch_size in [(1, None), (2, None), (3, None), (1, 4)]:
            torch.set_num_threads(threads)
            stems = DemucsSeparator("htdemucs", models, device="cpu", batch_size=batch_size).separate(mixture, RATE)
            assert torch.get_num_threads() == threads
            results.append(np.stack(list(stems.values())))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_files_have_the_same_bytes_on_each_run_alone_or_among_others(models, noise, tmp_path):
    jobs = []
    for number, (channels, frames) in enumerate([(2, SEGMENT + 99), (1, 5000), (2, 2 * SEGMENT)]):
        writing.save(tmp_path / f"{number}.flac", noise(channels, frames, seed=number), RATE)
        jobs.append(Job(tmp_path / f"{number}.flac", tmp_path / "many" / str(number)))
    many = DemucsSeparator("bag", models, device="cpu", batch_size=3)
    results = {job.path.name: result for job, result in many.separate_files(jobs)}
    alone = DemucsSeparator("bag", models, device="cpu")
    for number, job in enumerate(jobs):
        single = alone.separate_file(job.path, tmp_path / "one" / str(number))
        assert {name: digest(path) for name, path in single.items()} == {
            name: file.sha256 for name, file in results[job.path.name].files.items()
        }


def test_two_threads_that_share_the_networks_write_the_bytes_of_one(models, noise, tmp_path):
    jobs = []
    for number in range(4):
        writing.save(tmp_path / f"{number}.flac", noise(2, SEGMENT + 500 * number, seed=number), RATE)
        jobs.append(Job(tmp_path / f"{number}.flac", tmp_path / "one" / str(number)))
    separator = DemucsSeparator("htdemucs", models, device="cpu")
    alone = [separator.separate_file(job.path, job.out_folder) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda job: separator.separate_file(job.path, tmp_path / "two" / Path(job.out_folder).name), jobs))
    assert [{name: file.sha256 for name, file in one.files.items()} for one in both] == [
        {name: file.sha256 for name, file in one.files.items()} for one in alone
    ]


def test_attention_takes_the_blocked_kernel_layer_by_layer_and_leaves_pytorchs_switch_alone(models, noise, monkeypatch):
    import torch

    switched: list[bool] = []
    monkeypatch.setattr(torch.backends.mha, "set_fastpath_enabled", switched.append)
    slow, calls = torch.nn.functional.multi_head_attention_forward, []

    def counted(*arguments, **options):
        if arguments[0] is arguments[1]:  # of a signal with itself: where the other path would be taken
            calls.append(arguments[10])  # the dropout
        return slow(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "multi_head_attention_forward", counted)
    DemucsSeparator("htdemucs", models, device="cpu", engine="torch").separate(noise(2, SEGMENT // 2), RATE)
    assert switched == []
    assert torch.backends.mha.get_fastpath_enabled()
    assert calls
    assert set(calls) == {0.0}


@pytest.mark.parametrize(("peak", "loud"), [(0.3, False), (30.0, True)], ids=["quiet", "clipped square"])
def test_files_sum_to_the_mixture_times_one_joint_gain(separator, noise, tmp_path, peak, loud):
    mixture = noise(2, SEGMENT + 1234, peak)
    writing.save(tmp_path / "song.flac", mixture, RATE)
    result = separator.separate_file(tmp_path / "song.flac", tmp_path / "out")
    assert set(result) == {"drums", "bass", "other", "vocals", "residual"}
    assert (result.gain_db < 0) == loud
    assert round(result.gain_db * 100) == pytest.approx(result.gain_db * 100, abs=1e-9)
    gain = db_to_gain(result.gain_db)
    written = {name: decoding.load(path)[0].astype(np.float64) for name, path in result.items()}
    mixture = decoding.load(tmp_path / "song.flac")[0]
    assert np.abs(sum(written.values()) - gain * mixture).max() <= 0.6 * LSB
    exact = separator.separate(mixture, RATE)
    for name, stem in exact.items():
        assert np.abs(written[name] - gain * stem).max() <= 0.6 * LSB
    left = mixture - np.sum(list(exact.values()), axis=0, dtype=np.float64)
    assert result.closure_db == pytest.approx(10 * np.log10(np.sum(left**2) / np.sum(mixture.astype(np.float64) ** 2)), abs=1e-3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in result.values())


def test_facts_of_the_files_are_those_of_a_row(separator, noise, tmp_path):
    writing.save(tmp_path / "song.flac", noise(1, 48_000), 48_000)
    result = separator.separate_file(tmp_path / "song.flac", tmp_path / "stems" / "id")
    for name, path in result.items():
        row = result.files[name].record(tmp_path)
        assert row.path == f"stems/id/{name}.flac"
        assert (row.sample_rate, row.num_channels, row.num_frames) == (RATE, 1, 44_100)
        assert decoding.probe(path).num_frames == row.num_frames
        assert row.sha256 == digest(path)


@pytest.mark.parametrize(
    "mixture", [np.zeros((2, 3000)), np.full((2, 1), 0.25), np.full((1, 700), -0.5)], ids=["silence", "one sample", "constant"]
)
def test_what_does_not_vary_has_silent_stems_and_is_all_residual(separator, tmp_path, mixture):
    writing.save(tmp_path / "song.flac", mixture.astype(np.float32), RATE)
    result = separator.separate_file(tmp_path / "song.flac", tmp_path / "out")
    for name, path in result.items():
        expected = mixture if name == "residual" else np.zeros_like(mixture)
        np.testing.assert_array_equal(decoding.load(path)[0], expected.astype(np.float32))


def test_opposite_channels_are_separated_and_finite(models, separator):
    wave = 0.3 * np.sin(np.arange(30_000) / 20, dtype=np.float32)
    mixture = np.stack([wave, -wave])
    stems = separator.separate(mixture, RATE)
    np.testing.assert_allclose(
        np.stack(list(stems.values())), np.stack(list(separate_by_package(separator, mixture, RATE).values())), atol=1e-5
    )


def test_a_refused_file_leaves_nothing_and_the_others_are_separated(separator, noise, tmp_path):
    writing.save(tmp_path / "good.flac", noise(2, 9000), RATE)
    (tmp_path / "text.mp3").write_text("these are words, not music " * 30)
    (tmp_path / "empty.wav").write_bytes(b"")
    import soundfile

    bad = noise(2, 9000)
    bad[1, 500] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad.T, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "surround.wav", np.zeros((900, 6)), RATE)
    names = ["text.mp3", "good.flac", "nan.wav", "empty.wav", "surround.wav", "absent.wav"]
    results = dict(separator.separate_files(Job(tmp_path / name, tmp_path / "out" / name) for name in names))
    reasons = {job.path.name: str(result) for job, result in results.items() if isinstance(result, Refused)}
    assert set(reasons) == set(names) - {"good.flac"}
    assert "NaN" in reasons["nan.wav"]
    assert "6 channels" in reasons["surround.wav"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.flac"]
    with pytest.raises(Refused, match="empty file"):
        separator.separate_file(tmp_path / "empty.wav", tmp_path / "out" / "again")


def test_stems_that_are_not_finite_refuse_their_track_only(separator, noise, tmp_path, monkeypatch):
    for number in range(2):
        writing.save(tmp_path / f"{number}.flac", noise(2, (number + 2) * SEGMENT), RATE)
    exact, calls = separator.forward, []

    def failing(network, batch):
        calls.append(network)
        return exact(network, batch) * (np.nan if len(calls) == 1 else 1)

    monkeypatch.setattr(separator, "forward", failing)
    jobs = [Job(tmp_path / f"{number}.flac", tmp_path / "out" / str(number)) for number in range(2)]
    results = [result for _, result in separator.separate_files(jobs)]
    assert "NaN" in str(results[0])
    assert set(results[1]) == {"drums", "bass", "other", "vocals", "residual"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


@pytest.fixture
def three(noise, tmp_path):
    """Jobs for three songs, the second of which is mono and twice as long."""
    for number in range(3):
        writing.save(tmp_path / f"{number}.flac", noise(2 - number % 2, (1 + number % 2) * SEGMENT + 99, seed=number), RATE)
    return [Job(tmp_path / f"{number}.flac", tmp_path / "out" / str(number)) for number in range(3)]


def fails_on_mono(what, error):
    """A method of a stem folder that fails for a mono song."""

    def failing(self, *given):
        if self.num_channels == 1:
            raise error
        return what(self, *given)

    return failing


@pytest.mark.parametrize("error", [RuntimeError("std::bad_alloc"), MemoryError(), ZeroDivisionError("no")], ids=lambda error: repr(error))
@pytest.mark.parametrize("where", ["decoding", "taking stems", "writing"])
def test_an_error_of_any_library_is_the_outcome_of_its_track_alone(separator, three, tmp_path, monkeypatch, where, error):
    if where == "decoding":
        checked = pipeline.checked_blocks
        failing = lambda path, *given: (_ for _ in ()).throw(error) if path.name == "1.flac" else checked(path, *given)  # noqa: E731
        monkeypatch.setattr(pipeline, "checked_blocks", failing)
    else:
        name = "add" if where == "taking stems" else "finish"
        monkeypatch.setattr(pipeline.StemFolder, name, fails_on_mono(getattr(pipeline.StemFolder, name), error))
    results = {Path(job.path).name: result for job, result in separator.separate_files(three)}
    assert results["1.flac"] is error
    assert all(len(results[name]) == 5 for name in ("0.flac", "2.flac"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "2"]


@pytest.mark.parametrize("times", [1, 10**9], ids=["once", "always"])
def test_networks_that_fail_lose_only_the_track_that_they_fail_on(models, three, tmp_path, monkeypatch, times):
    undisturbed = dict(
        DemucsSeparator("htdemucs", models, device="cpu").separate_files(job._replace(out_folder=tmp_path / job.path.stem) for job in three)
    )
    expected = {job.path.name: {name: file.sha256 for name, file in result.files.items()} for job, result in undisturbed.items()}
    separator = DemucsSeparator("htdemucs", models, device="cpu", batch_size=3)
    exact, calls = separator.forward, []

    def failing(network, batch):
        if any(np.array_equal(one[0], one[1]) for one in batch) and len(calls) < times:
            calls.append(network)
            raise RuntimeError("out of memory")
        return exact(network, batch)

    monkeypatch.setattr(separator, "forward", failing)
    results = {job.path.name: result for job, result in separator.separate_files(three)}
    lost = {name for name, result in results.items() if isinstance(result, Exception)}
    assert lost == (set() if times == 1 else {"1.flac"})
    for name in expected.keys() - lost:
        assert {stem: file.sha256 for stem, file in results[name].files.items()} == expected[name]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0", "1", "2"} - {name[0] for name in lost}
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_full_disk_leaves_no_file_of_a_track_under_way(separator, three, tmp_path, monkeypatch):
    close, append = stem_files.RawAudio.close, stem_files.RawAudio.append

    def full(self, *given):
        if self.num_frames > SEGMENT // 2 and self.path.name == "0.raw":
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        append(self, *given)

    def closed(self):  # what was buffered does not fit either
        close(self)
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    monkeypatch.setattr(stem_files.RawAudio, "append", full)
    monkeypatch.setattr(stem_files.RawAudio, "close", closed)
    with pytest.raises(OSError, match="No space left"):
        list(separator.separate_files(three))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_model_that_cannot_be_loaded_takes_no_job(models, three, monkeypatch):
    separator, taken = DemucsSeparator("htdemucs", models, device="cpu"), []
    monkeypatch.setattr("stemwright.separation.demucs.separator.load_networks", lambda _: (_ for _ in ()).throw(ModelError("damaged")))
    with pytest.raises(ModelError, match="damaged"):
        list(separator.separate_files(taken.append(job) or job for job in three))
    assert taken == []


def test_leftovers_of_killed_runs_for_missing_songs_are_removed_and_nothing_else(tmp_path):
    stems = tmp_path / "stems"
    for name in ("model/gone/.separating/0.raw", "model/gone/.separating/.drums.flac.12.part", "kept/.separating/mixture.raw"):
        (stems / name).parent.mkdir(parents=True, exist_ok=True)
        (stems / name).touch()
    for name in ("kept/drums.flac", "theirs/.separating/thesis.doc"):
        (stems / name).parent.mkdir(parents=True, exist_ok=True)
        (stems / name).touch()
    (stems / "linked").mkdir()
    (stems / "linked" / ".separating").symlink_to(stems / "kept")
    attempt = stem_files.attempt_folder(stems / "model" / "0123")
    for name in ("drums.flac", "stems.json", ".separating/0.raw", ".stems.json.0a1b2c3d-1-0a1b2c.part"):
        (attempt / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt / name).touch()
    stem_files.clear_all_work(stems, "stems.json")
    left = sorted(path.relative_to(stems).as_posix() for path in stems.rglob("*") if path.is_file())
    assert left == ["kept/drums.flac", "theirs/.separating/thesis.doc"]
    assert not (stems / "model").exists() or not list((stems / "model").iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next(separator, noise, tmp_path):
    writing.save(tmp_path / "song.flac", noise(2, 5000), RATE)
    work = tmp_path / "out" / ".separating"
    work.mkdir(parents=True)
    (work / "0.raw").write_bytes(b"half")
    separator.separate_file(tmp_path / "song.flac", tmp_path / "out")
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["bass", "drums", "other", "residual", "vocals"]


def test_describing_a_separator_needs_no_torch(models):
    program = (
        "import sys; from stemwright.separation.demucs.separator import DemucsSeparator\n"
        f"s = DemucsSeparator('htdemucs', {str(models)!r})\n"
        "print(s.stem_names, s.sample_rate, s.origin, s.identity)\n"
        "assert not {'torch', 'demucs', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_identity_is_json_and_differs_by_model_and_precision(models, separator):
    identity = separator.identity
    assert json.loads(json.dumps(identity)) == identity
    assert DemucsSeparator("htdemucs", models, device="cpu", batch_size=7).identity == identity
    assert DemucsSeparator("six", models, device="cpu").identity != identity
    assert DemucsSeparator("htdemucs", models, device="cpu", precision="bf16").identity != identity
    assert separator.origin.startswith("htdemucs@demucs-")


def test_a_used_separator_can_be_sent_to_another_process(separator, noise):
    mixture = noise(2, 4000)
    expected = separator.separate(mixture, RATE)
    copy = pickle.loads(pickle.dumps(separator))
    for name, stem in copy.separate(mixture, RATE).items():
        np.testing.assert_array_equal(stem, expected[name])


def test_a_model_with_other_stems_or_rate_than_requested_is_refused(models):
    with pytest.raises(ModelError, match="requested: drums, bass, other, vocals"):
        _ = DemucsSeparator("six", models, stem_names=("drums", "bass", "other", "vocals")).stem_names
    with pytest.raises(ModelError, match="at 48000 Hz"):
        _ = DemucsSeparator("six", models, sample_rate=48_000).stem_names


def test_the_split_forward_pass_equals_demucs_own():
    import torch

    for seed, stems in [(0, ("drums", "bass", "other", "vocals")), (1, SIX)]:
        network = build_tiny("htdemucs", seed, stems=stems)
        batch = torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal((2, 2, network.valid_length(1))).astype(np.float32))
        assert all(hybrid._is_published(layer) for layer in (*network.encoder, *network.tencoder) if not layer.empty)
        with torch.no_grad():
            expected = network(batch)
            analysed = hybrid.analyse(network, batch)
            for kept, channels_last in ((range(len(stems)), False), (range(len(stems)), True), ([2], True)):
                core = hybrid.build_core(network, list(kept), channels_last=channels_last)
                got = hybrid.synthesise(network, analysed, *core(analysed.spectrum, analysed.waveform))
                np.testing.assert_allclose(got.numpy(), expected[:, list(kept)].numpy(), atol=1e-6)


def test_out_of_memory_halves_the_batch_permanently_and_changes_no_stem(caplog):
    import torch

    network = build_tiny("hdemucs", 0)
    engine = TorchEngine(network, range(4))
    engine._lanes = None  # as on a GPU: the batch goes through together
    batch = 0.1 * np.random.default_rng(0).standard_normal((5, 2, 8000)).astype(np.float32)
    expected = np.concatenate([engine.forward(batch[number : number + 1]) for number in range(5)])
    sizes = []
    exact = engine._run

    def limited(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return exact(part)

    engine._run = limited
    np.testing.assert_allclose(engine.forward(batch), expected, atol=1e-6)
    assert sizes == [5, 2, 2, 1]
    assert "out of memory with 5 segments at once: going on with 2" in caplog.text
    engine.forward(batch)
    assert max(sizes[4:]) == 2

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine._run = full
    with pytest.raises(ModelError, match=r"does not hold one segment of 8000 frames: .*take --precision bf16, or --device cpu"):
        engine.forward(batch)


def test_bf16_stays_near_fp32_and_its_verdict_is_remembered(models, noise, tmp_path):
    mixture = noise(2, SEGMENT)
    exact = DemucsSeparator("htdemucs", models, device="cpu", precision="fp32").separate(mixture, RATE)
    fast = DemucsSeparator("htdemucs", models, device="cpu", precision="bf16").separate(mixture, RATE)
    error_db = precision.error_db(np.stack(list(fast.values())), np.stack(list(exact.values())), mixture)
    assert -90 < error_db < -35
    measured = []

    def measure():
        measured.append(precision.Trial(-44.0, 2.0))
        return measured[-1]

    assert not precision.bf16_is_better("one", tmp_path, measure)
    assert not precision.bf16_is_better("one", tmp_path, measure)
    assert len(measured) == 1
    assert precision.bf16_is_better("other", tmp_path, lambda: precision.Trial(-46.0, 2.0))
    assert precision.bf16_is_better("exact", tmp_path, lambda: precision.Trial(-np.inf, 2.0))


def test_bf16_that_is_no_faster_on_this_processor_is_not_taken(tmp_path):
    assert not precision.bf16_is_better("one", tmp_path, lambda: precision.Trial(-60.0, 0.7))
    assert not precision.bf16_is_better("two", tmp_path, lambda: precision.Trial(-60.0, 1.05))


def test_of_two_processes_that_try_bf16_the_first_decides_for_both(tmp_path):
    def measure():
        assert precision.bf16_is_better("one", tmp_path, lambda: precision.Trial(-60.0, 1.3))  # meanwhile
        return precision.Trial(-60.0, 1.1)

    assert precision.bf16_is_better("one", tmp_path, measure)
    assert precision.bf16_is_better("one", tmp_path, measure)
    assert len(list((tmp_path / "precision").iterdir())) == 1


def test_the_trial_of_bf16_compares_stems_and_times_of_both_precisions(models, monkeypatch):
    from stemwright.separation.demucs import separator as module

    now_s = [0.0]

    class Pretended:
        def __init__(self, precision):
            self.gain, self.took_s, self.first_s = {"fp32": (1.0, 2.0, 9.0), "bf16": (1.01, 2.5, 0.0)}[precision]

        def forward(self, batch):
            now_s[0] += self.took_s + self.first_s
            self.first_s = 0.0
            return np.stack([batch] * 4, axis=1) * self.gain

    monkeypatch.setattr(module.time, "process_time", lambda: now_s[0])
    monkeypatch.setattr(DemucsSeparator, "_build", lambda *arguments: Pretended(arguments[3]))
    trial = DemucsSeparator("htdemucs", models, device="cpu")._try_bf16()
    assert trial.error_db == pytest.approx(-40.0, abs=0.1)
    assert trial.speedup == pytest.approx(0.8)


def test_error_is_that_of_the_worst_stem_with_a_floor_for_quiet_ones():
    mixture = np.ones((2, 50), np.float32)
    exact = np.stack([mixture, 0 * mixture])
    assert precision.error_db(exact, exact, mixture) == -np.inf
    assert precision.error_db(exact + np.stack([0.01 * mixture, 0 * mixture]), exact, mixture) == pytest.approx(-40.0, abs=1e-3)
    assert precision.error_db(exact + np.stack([0 * mixture, 0.001 * mixture]), exact, mixture) == pytest.approx(-40.0, abs=1e-3)


def test_auto_takes_bf16_for_a_large_model_only_where_it_is_measured_better(models, monkeypatch):
    from stemwright.separation.demucs import separator as module

    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    monkeypatch.setattr(module, "processor_has_bf16", lambda: True)
    monkeypatch.setattr(module, "has_openvino", lambda: False)
    for better, expected in [(True, "bf16"), (False, "fp32")]:
        monkeypatch.setattr(module, "bf16_is_better", lambda *_, better=better: better)
        assert DemucsSeparator("htdemucs", models, device="cpu").used.precision == expected
    monkeypatch.setattr(module, "processor_has_bf16", lambda: False)
    assert DemucsSeparator("htdemucs", models, device="cpu").used.precision == "fp32"
    assert DemucsSeparator("htdemucs", models, device="cpu", auto_precision="bf16").used.precision == "bf16"


def test_what_a_machine_uses_changes_no_id(models, monkeypatch):
    from stemwright.separation.demucs import separator as module

    monkeypatch.setattr(module, "LARGE_BYTES", 1)
    monkeypatch.setattr(module, "processor_has_bf16", lambda: True)
    identities, used = [], set()
    for openvino, better in [(False, False), (False, True), (True, False), (True, True)]:
        monkeypatch.setattr(module, "has_openvino", lambda openvino=openvino: openvino)
        monkeypatch.setattr(module, "bf16_is_better", lambda *_, better=better: better)
        monkeypatch.setattr(DemucsSeparator, "_versions", {"torch": str(better)})
        separator = DemucsSeparator("htdemucs", models)
        identities.append(separator.identity)
        used.add(separator.used)
    assert all(identity == identities[0] for identity in identities)
    assert len(used) == 4
    assert DemucsSeparator("htdemucs", models, device="cuda:1", engine="torch").identity == identities[0]


def test_openvino_gives_the_stems_of_torch_whatever_the_threads(models, noise, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    import torch

    monkeypatch.setenv(engines.CACHE_VARIABLE, str(tmp_path))
    mixture = noise(2, 2 * SEGMENT)
    expected = DemucsSeparator("htdemucs", models, device="cpu", engine="torch").separate(mixture, RATE)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            stems = DemucsSeparator("htdemucs", models, device="cpu", engine="openvino", precision="fp32").separate(mixture, RATE)
            results.append(np.stack(list(stems.values())))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(results[0], np.stack(list(expected.values())), atol=1e-6)
    np.testing.assert_array_equal(results[0], results[1])
    assert len(list((tmp_path / "openvino").glob("*.xml"))) == 1


def test_an_engine_that_cannot_be_used_gives_an_error_with_the_remedy(models, monkeypatch):
    from stemwright.separation.demucs import separator as module

    monkeypatch.setattr(module, "has_openvino", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'stemwright\[openvino\]'"):
        next(DemucsSeparator("htdemucs", models, device="cpu", engine="openvino").separate_files([]))


def test_loudness_of_a_stream_is_that_of_the_whole(noise):
    from stemwright.separation.demucs.pipeline import MixtureInMemory, integrated_loudness_of
    from stemwright.separation.loudness.meter import integrated_loudness

    for rate, seconds in [(8_000, 130.37), (11_025, 61.0), (44_100, 0.2)]:
        mixture = noise(2, round(rate * seconds))
        assert integrated_loudness_of(MixtureInMemory(mixture), rate) == pytest.approx(integrated_loudness(mixture, rate), abs=1e-6)


def test_input_loudness_is_used_and_scaled_back(models, noise, monkeypatch):
    mixture = noise(2, 3 * SEGMENT)
    plain = DemucsSeparator("htdemucs", models, device="cpu")
    levelled = DemucsSeparator("htdemucs", models, device="cpu", input_lufs=-20.0)
    assert levelled.identity != plain.identity
    seen = []
    exact = levelled.forward
    monkeypatch.setattr(levelled, "forward", lambda network, batch: seen.append(batch) or exact(network, batch))
    expected = plain.separate(mixture, RATE)
    for name, stem in levelled.separate(mixture, RATE).items():
        np.testing.assert_allclose(stem, expected[name], atol=1e-3)
    from stemwright.separation.loudness.meter import integrated_loudness

    first = seen[0][0]
    gain = db_to_gain(-20.0 - integrated_loudness(mixture, RATE))
    np.testing.assert_allclose(first, gain * mixture[:, : first.shape[1]], rtol=1e-5)
    assert not any(stem.any() for stem in levelled.separate(np.zeros((2, 5000), np.float32), RATE).values())


# The multitrack's own stems in the separator's place


@pytest.fixture
def multitrack(noise, tmp_path):
    stems = {name: np.round(noise(2, 50_000, seed=seed) / LSB) * LSB for seed, name in enumerate(["drums", "bass"])}
    mixture = sum(stems.values())
    paths = {}
    for name, stem in stems.items():
        paths[name] = (tmp_path / f"{name}.flac", 0)
        writing.save(paths[name][0], stem.astype(np.float32), RATE)
    writing.save(tmp_path / "mixture.flac", mixture.astype(np.float32), RATE)
    return tmp_path / "mixture.flac", paths


def test_reference_stems_that_sum_exactly_leave_a_silent_residual(multitrack, tmp_path):
    mixture, paths = multitrack
    result = ReferenceStems(paths).separate_file(mixture, tmp_path / "out")
    assert result.closure_db is None
    assert result.gain_db == 0
    assert not decoding.load(result["residual"])[0].any()
    for name in paths:
        np.testing.assert_array_equal(decoding.load(result[name])[0], decoding.load(paths[name][0])[0])


def test_what_reference_stems_do_not_explain_is_the_residual(multitrack, tmp_path):
    mixture, paths = multitrack
    result = ReferenceStems({"drums": paths["drums"]}).separate_file(mixture, tmp_path / "out")
    np.testing.assert_array_equal(decoding.load(result["residual"])[0], decoding.load(paths["bass"][0])[0])


@pytest.mark.parametrize("gain", [0.5, 8.0], ids=["as they are", "a joint gain"])
def test_reference_stems_are_written_as_separated_ones_are_without_raw_copies(multitrack, tmp_path, gain, monkeypatch):
    mixture, paths = multitrack
    audio = {
        name: decoding.load(path)[0] * np.float32(gain)
        for name, path in {"mixture": mixture, **{k: v[0] for k, v in paths.items()}}.items()
    }
    for name, signal in audio.items():
        writing.save(tmp_path / f"{name}.wav", signal, RATE)
    with stem_files.StemFolder(tmp_path / "expected", tuple(paths), RATE, 2) as folder:
        folder.mixture.append(audio["mixture"])
        folder.add(np.stack([audio[name] for name in paths]))
        expected = folder.finish()
    monkeypatch.setattr(stem_files.RawAudio, "append", None)
    result = ReferenceStems({name: (tmp_path / f"{name}.wav", 0) for name in paths}).separate_file(
        tmp_path / "mixture.wav", tmp_path / "out"
    )
    assert (result.gain_db, result.closure_db) == (expected.gain_db, expected.closure_db)
    assert (result.gain_db < 0.0) == (gain > 1.0)
    assert {name: file.sha256 for name, file in result.files.items()} == {name: file.sha256 for name, file in expected.files.items()}


def test_reference_stems_take_the_mixtures_rate_length_and_channels(multitrack, noise, tmp_path):
    mixture, paths = multitrack
    writing.save(tmp_path / "other.flac", noise(1, 4_800, seed=9), 48_000)
    stems = ReferenceStems({**paths, "other": (tmp_path / "other.flac", 0)})
    with pytest.raises(Refused, match=r"stem other lasts 0\.10 s, its mixture 1\.13 s"):
        stems.separate_file(mixture, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    writing.save(tmp_path / "other.flac", noise(1, 54_000, seed=9), 48_000)
    result = stems.separate_file(mixture, tmp_path / "out")
    written, rate = decoding.load(result["other"])
    assert (written.shape, rate) == ((2, 50_000), RATE)
    np.testing.assert_array_equal(written[0], written[1])
    assert not written[:, 49_700:].any()


def test_reference_stems_in_memory_equal_those_on_disk(multitrack):
    mixture, paths = multitrack
    stems = ReferenceStems(paths).separate(*decoding.load(mixture))
    for name, stem in stems.items():
        np.testing.assert_array_equal(stem, decoding.load(paths[name][0])[0])


def test_reference_stems_are_known_by_their_content(multitrack, tmp_path):
    _, paths = multitrack
    before = ReferenceStems(paths).identity
    moved = tmp_path / "renamed.flac"
    paths["drums"][0].rename(moved)
    assert ReferenceStems({**paths, "drums": (moved, 0)}).identity == before


def test_progress_within_a_track_rises_to_the_whole(separator, noise, tmp_path):
    shares: list[tuple[str, float]] = []
    paths = [tmp_path / f"{number}.wav" for number in range(2)]
    for number, path in enumerate(paths):
        writing.save(path, noise(2, 3 * SEGMENT, seed=number), RATE, encoding="wav32f")
    jobs = [Job(path, tmp_path / path.stem) for path in paths]
    for _ in separator.separate_files(jobs, lambda job, share: shares.append((str(job.path), share))):
        pass
    for path in paths:
        of_path = [share for name, share in shares if name == str(path)]
        assert of_path == sorted(of_path)
        assert len(of_path) > 1
        assert of_path[-1] == 1.0


def test_fp32_on_a_gpu_leaves_no_convolution_to_tf32(monkeypatch):
    import torch

    engine = engines.TorchEngine(build_tiny("htdemucs", 0), range(4), precision="fp32")
    monkeypatch.setattr(engine, "_device", "cuda:0")  # what is set does not need the device
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with engine._arithmetic():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_openvino_is_loaded_without_its_telemetry():
    pytest.importorskip("openvino")
    code = (
        "import sys; from stemwright.separation.demucs.engines import _openvino; "
        "_openvino().Core; print('openvino_telemetry.main' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("kind", ["htdemucs", "hdemucs"])
def test_the_inverse_transform_is_given_no_imaginary_part_at_0_hz(kind, monkeypatch):
    # A processor leaves such a part out by itself; cuFFT does not, and stems would depend on where they were computed.
    import torch

    mixture = np.random.default_rng(0).standard_normal((1, 2, 44_100)).astype(np.float32)
    network = build_tiny(kind, 0)
    with torch.inference_mode():
        expected = network(torch.from_numpy(mixture)).numpy()
    seen = []

    def watch(module, name, last):
        before = getattr(module, name)

        def watched(spectrum, *arguments, **options):
            seen.append(float((spectrum[..., 0] if last else spectrum[..., 0, :]).imag.abs().max()))
            return before(spectrum, *arguments, **options)

        monkeypatch.setattr(module, name, watched)

    watch(torch.fft, "irfft", last=True)
    watch(torch, "istft", last=False)
    for _ in range(2):  # a second engine of the same network
        engine = TorchEngine(network, range(4))
    np.testing.assert_allclose(engine.forward(mixture), expected, atol=1e-5)
    assert seen
    assert max(seen) == 0.0


def test_a_device_that_this_machine_lacks_is_named_when_the_networks_are_loaded():
    with pytest.raises(ModelError, match="device 'cuda:77' was requested, but"):
        DemucsSeparator("bundled", device="cuda:77").load()
