"""Other separators than Demucs: any callable, and ONNX models; what they are asked, what identifies them, whose fault an error is."""

import sys

import numpy as np
import pytest

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError
from stemwright.separation.choosing import other_separator
from stemwright.separation.demucs.checkpoints import ModelError
from stemwright.separation.function_separator import FunctionSeparator
from stemwright.separation.jobs import Job
from stemwright.separation.onnx_separator import OnnxSeparator
from stemwright.separation.separator import checked_reference, names_other

RATE = 8_000
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 2 * RATE)).astype(np.float32)


class Halves:
    """Two stems of which each is half of the mixture."""

    stem_names = ("vocals", "other")
    version = "1"

    def __call__(self, mixture, sample_rate):
        self.asked = (mixture.shape, sample_rate)
        return dict.fromkeys(self.stem_names, 0.5 * mixture)


def of(function, name="toy:halves"):
    return FunctionSeparator(function, name, "1")


def test_stems_of_a_callable_sum_to_the_mixture_with_their_residual(tmp_path):
    save(tmp_path / "song.wav", NOISE, RATE)
    [(_, separated)] = of(Halves()).separate_files([Job(tmp_path / "song.wav", tmp_path / "stems")])
    stems = {name: load(path)[0] for name, path in separated.items()}
    assert sorted(stems) == ["other", "residual", "vocals"]
    assert np.abs(sum(stems.values()) - NOISE).max() < 2.0**-22
    assert np.abs(stems["vocals"] - 0.5 * NOISE).max() <= 2.0**-23


def test_a_callable_gets_its_own_rate_and_number_of_channels():
    halves = Halves()
    halves.sample_rate, halves.num_channels = 2 * RATE, 2
    stems = of(halves).separate(NOISE[:1], RATE)
    assert halves.asked == ((2, 2 * NOISE.shape[1]), 2 * RATE)
    assert stems["vocals"].shape == (1, 2 * NOISE.shape[1])
    mono = Halves()
    mono.num_channels = 1
    with pytest.raises(Refused, match="2 channels; the separator toy:halves takes 1"):
        of(mono).separate(NOISE, RATE)


def test_silence_has_silent_stems_and_no_separator_is_called():
    halves = Halves()
    assert not np.any(of(halves).separate(np.zeros((2, RATE)), RATE)["vocals"])
    assert not hasattr(halves, "asked")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda mixture: {"vocals": mixture, "other": np.full_like(mixture, np.nan)}, "returned NaN or infinite samples as other"),
        (lambda mixture: {"vocals": mixture, "other": mixture[:, :-1]}, r"returned other with the shape \[2, 15999\]; expected .*16000\]"),
        (lambda mixture: {"vocals": mixture}, "returned the stems vocals; its stem_names are vocals, other"),
        (lambda mixture: [mixture, mixture], "returned a list; expected a dict"),
        (lambda mixture: mixture / [][0], "failed on this recording: IndexError"),
    ],
)
def test_an_error_of_a_callable_is_reported_with_its_name(tmp_path, answer, said):
    class Wrong(Halves):
        def __call__(self, mixture, sample_rate):
            del sample_rate
            return answer(mixture)

    save(tmp_path / "song.wav", NOISE, RATE)
    [(_, outcome)] = of(Wrong()).separate_files([Job(tmp_path / "song.wav", tmp_path / "stems")])
    with pytest.raises(Refused, match=f"the separator toy:halves@1 {said}"):
        raise outcome
    assert not (tmp_path / "stems").exists()


def test_another_version_or_stated_identity_is_another_separator(tmp_path, monkeypatch):
    module = tmp_path / "separators_of_a_test.py"
    source = "def halves(mixture, sample_rate):\n    return {'a': mixture}\nhalves.stem_names = ('a',)\n"
    module.write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        first = other_separator("separators_of_a_test:halves").identity
        assert first["version"].startswith("sha256-")  # it says none, and is in no package
        module.write_text(source + "# changed\n")
        assert other_separator("separators_of_a_test:halves").identity != first
        changed = sys.modules["separators_of_a_test"].halves
        changed.version, changed.identity = "2.0", {"weights": "abc"}
        assert other_separator("separators_of_a_test:halves").identity == {
            "separator": "separators_of_a_test:halves",
            "version": "2.0",
            "stated": {"weights": "abc"},
        }
    finally:
        sys.modules.pop("separators_of_a_test", None)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nothing_there:separate", "cannot be imported: No module named 'nothing_there'. Is its package installed"),
        ("math:nothing", "cannot be imported: module 'math' has no attribute"),
        ("math:sqrt", "is no separator: expected a callable"),
        ("subprocess:Popen", "is no separator"),
        ("demux", "there is no separator 'demux'; did you mean 'demucs'"),
        ("a b:c", "there is no separator"),
        ("onnx:", "there is no separator"),
    ],
)
def test_what_names_no_separator_is_refused_before_anything_is_called(reference, said):
    with pytest.raises(UsageError, match=said):
        other_separator(reference)


def test_a_name_of_a_model_names_no_other_separator():
    assert not any(map(names_other, ("htdemucs", "hf://owner/name", "bundled", "onnx:")))
    assert all(map(names_other, ("package.module:object", "onnx:model.onnx")))
    assert [checked_reference(way) for way in ("auto", "demucs", "reference")] == ["auto", "demucs", "reference"]


# -- ONNX


@pytest.fixture
def write_model(tmp_path):
    onnx = pytest.importorskip("onnx")

    def write(gains=(0.25, 0.5), shape=("batch", 2, "time"), metadata=None, name="model"):
        """A model whose stems are the mixture times gains."""
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [
            helper.make_node("Unsqueeze", ["mixture", "axis"], ["wide"]),
            helper.make_node("Mul", ["wide", "gains"], ["stems"]),
        ]
        known = [
            helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
            helper.make_tensor("gains", kind, [1, len(gains), 1, 1], gains),
        ]
        inputs = [helper.make_tensor_value_info("mixture", kind, shape)]
        outputs = [helper.make_tensor_value_info("stems", kind, (shape[0], len(gains), *shape[1:]))]
        graph = helper.make_graph(nodes, "toy", inputs, outputs, known)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        for key, value in ({"stem_names": "vocals, other", "sample_rate": str(RATE)} if metadata is None else metadata).items():
            model.metadata_props.add(key=key, value=value)
        onnx.save(model, tmp_path / f"{name}.onnx")
        return tmp_path / f"{name}.onnx"

    return write


@pytest.mark.parametrize("shape", [("batch", 2, "time"), (1, 2, 3_000), (1, 1, "time")])
def test_an_onnx_model_gives_its_stems_whatever_its_segments(write_model, shape):
    pytest.importorskip("onnxruntime")
    separator = other_separator(f"onnx:{write_model(shape=shape)}", "cpu")
    separator.check()
    mixture = NOISE[: shape[1]]
    stems = separator.separate(mixture, RATE)
    assert list(stems) == ["vocals", "other"]
    np.testing.assert_allclose(stems["vocals"], 0.25 * mixture, atol=1e-6)
    np.testing.assert_allclose(stems["other"], 0.5 * mixture, atol=1e-6)


def test_the_checksum_of_an_onnx_model_is_its_identity(write_model, tmp_path):
    pytest.importorskip("onnxruntime")
    one, other = OnnxSeparator(write_model()), OnnxSeparator(write_model(gains=(0.2, 0.5), name="other"))
    assert one.identity != other.identity
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "model.onnx").write_bytes(one.path.read_bytes())
    assert OnnxSeparator(moved / "model.onnx").identity == one.identity
    assert one.origin.startswith("model@onnx-")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"metadata": {"sample_rate": "8000"}}, "has no 'stem_names'; add it once"),
        ({"metadata": {"stem_names": "a,b"}}, "has no 'sample_rate'"),
        ({"metadata": {"stem_names": "a,b", "sample_rate": "fast"}}, "has sample_rate = 'fast'"),
        ({"metadata": {"stem_names": "a,b,c", "sample_rate": "8000"}}, "gives 2 stems; its metadata names 3"),
        ({"shape": (4, 2, "time")}, "expected one recording"),
        ({"shape": (1, 5, "time")}, "of 1 or 2 channels"),
    ],
)
def test_an_onnx_model_of_another_signature_is_refused(write_model, how, said):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match=said):
        OnnxSeparator(write_model(**how)).check()


def test_an_onnx_model_that_gives_nan_is_blamed(write_model):
    pytest.importorskip("onnxruntime")
    with pytest.raises(Refused, match=r"the model .*model\.onnx gives NaN"):
        OnnxSeparator(write_model(gains=(float("nan"), 1.0))).separate(NOISE, RATE)


def test_what_is_no_model_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ModelError, match="is no file"):
        OnnxSeparator(tmp_path / "none.onnx").check()
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="cannot be opened as an ONNX model"):
        OnnxSeparator(tmp_path / "text.onnx").check()
