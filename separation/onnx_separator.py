"""An ONNX model as a separator, run by ONNX Runtime (``pip install 'stemwright[onnx]'``).

Conventions
    The model has one input, the mixture float32 [B, C, T], and one output, the stems float32 [B, S, C, T], on the scale of the mixture. C
    is 1 or 2; B and T may be free; a fixed T is the length of a segment, a fixed B must be 1.
    Its metadata has ``stem_names`` (comma-separated, in the order of S) and ``sample_rate`` (Hz); with a free T, ``segment_s`` may give
    the length of a segment (10 s). Segments overlap by a quarter and are cross-faded as those of Demucs
    (``stemwright.separation.demucs.schedule``), so memory does not grow with the length of a song.
    Not supported: models on spectra (the transforms belong in the model), of one stem a file, with further inputs, or with states.

References
    ONNX, ModelProto.metadata_props: https://onnx.ai/onnx/repo-docs/MetadataProps.html
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import checked_name
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.demucs import schedule
from stemwright.separation.demucs.checkpoints import ModelError
from stemwright.separation.demucs.network_separator import TURN, NetworkSeparator
from stemwright.separation.separator import Used

if TYPE_CHECKING:
    from stemwright.separation.demucs.pipeline import Mixture

SEGMENT_S = 10.0  # of a model that takes any length
AS_IT_IS = schedule.Standardisation(0.0, 1.0)


class OnnxSeparator(NetworkSeparator):
    """A model in one ``.onnx`` file, with data beside it if it is larger than 2 GB. It is opened when it is first needed."""

    def __init__(self, path: Path | str, device: str = "auto") -> None:
        self.path, self._device = Path(path), device

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_device": self._device}

    @property
    def name(self) -> str:
        """The name of its file, without the suffix."""
        return self.path.stem

    @cached_property
    def stem_names(self) -> tuple[str, ...]:
        """The stems that its metadata names."""
        names = tuple(name.strip() for name in self._said("stem_names", "drums,bass,other,vocals").split(","))
        count = self._shapes[1][1]
        if isinstance(count, int) and count != len(names):
            raise ModelError(f"{self.path} gives {count} stems; its metadata names {len(names)}: {', '.join(names)}")
        return tuple(map(checked_name, names))

    @cached_property
    def sample_rate(self) -> int:
        """The sample rate in its metadata, in Hz."""
        return round(self._number("sample_rate", "44100"))

    @cached_property
    def num_channels(self) -> int:
        """The model's number of channels."""
        count = self._shapes[0][1]
        return count if isinstance(count, int) else 2

    @property
    def batch_size(self) -> int:
        """One segment per call: a session uses all cores, or the GPU, by itself."""
        return 1

    @property
    def origin(self) -> str:
        """Its name in stem rows: the file and the first digits of its checksum."""
        return f"{self.name}@onnx-{self._sums[self.path.name][:8]}"

    @property
    def identity(self) -> dict[str, Any]:
        """The checksums of its files, and how segments are cut and joined."""
        return {"onnx": self._sums, "schedule": schedule.VERSION, "segment_frames": self._segment_frames}

    @cached_property
    def used(self) -> Used:
        """The device and versions that run it here."""
        return Used("onnxruntime", "fp32", "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu")

    def check(self) -> None:
        """Raises ModelError if there is no such file, no ONNX Runtime, or a model of another signature."""
        self.load()
        _ = self.stem_names, self.sample_rate, self.num_channels, self.identity

    def load(self) -> None:
        """Opens the model now."""
        _ = self._session

    def session(self, source: Mixture) -> schedule.Session:
        """A session that runs the model over a mixture, on the mixture's own scale."""
        frames, fixed = self._segment_frames, isinstance(self._shapes[0][2], int)
        network = schedule.Network(frames, (lambda _: frames) if fixed else int, (1.0,) * len(self.stem_names))
        return schedule.Session(source, AS_IT_IS, [network], self.num_channels)

    def forward(self, network: int, batch: Audio) -> Audio:
        """Runs it on [B, C, T] -> [B, S, C, T]. Raises Refused, naming the model, for another shape and for NaN."""
        del network
        with TURN:
            (stems,) = self._session.run(None, {self._session.get_inputs()[0].name: np.ascontiguousarray(batch, np.float32)})
        wanted = (len(batch), len(self.stem_names), *batch.shape[1:])
        if stems.shape != wanted:
            raise Refused(f"the model {self.path} gives stems of the shape {list(stems.shape)}; expected [B, S, C, T], {list(wanted)}")
        if not np.isfinite(stems).all():
            raise Refused(f"the model {self.path} gives NaN or infinite samples on this recording")
        return np.asarray(stems, np.float32)

    @cached_property
    def _sums(self) -> dict[str, str]:
        if not self.path.is_file():
            raise ModelError(f"{self.path} is no file; expected an ONNX model")
        beside = [self.path.with_name(f"{self.path.name}{suffix}") for suffix in (".data", "_data")]
        return {path.name: file_sha256(path) for path in (self.path, *beside) if path.is_file()}

    @cached_property
    def _session(self) -> Any:
        if not self.path.is_file():
            raise ModelError(f"{self.path} is no file; expected an ONNX model")
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError("an ONNX model needs ONNX Runtime: pip install 'stemwright[onnx]'") from error
        there = onnxruntime.get_available_providers()
        kind, _, number = self._device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (kind == "cuda" and "CUDAExecutionProvider" not in there):
            raise ModelError(f"device {self._device!r} was requested, but ONNX Runtime has {', '.join(there)} here; use auto or cpu")
        gpu = [("CUDAExecutionProvider", {"device_id": number or "0"})] if kind != "cpu" and "CUDAExecutionProvider" in there else []
        try:
            return onnxruntime.InferenceSession(str(self.path), providers=[*gpu, "CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own, of several types
            raise ModelError(f"{self.path} cannot be opened as an ONNX model: {str(error).splitlines()[0]}") from error

    @cached_property
    def _shapes(self) -> tuple[list[Any], list[Any]]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [list(each.shape) for each in (*inputs, *outputs)]
        ranks = [len(shape) for shape in shapes]
        if len(inputs) != 1 or len(outputs) != 1 or ranks != [3, 4] or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in (*inputs, *outputs))
            raise ModelError(f"{self.path} has {found}; expected one input float [B, C, T] and one output [B, S, C, T]")
        batch, channels, _ = shapes[0]
        if (isinstance(batch, int) and batch != 1) or (isinstance(channels, int) and channels not in (1, 2)):
            raise ModelError(f"{self.path} takes {shapes[0]}; expected one recording (B is 1, or free) of 1 or 2 channels")
        return shapes[0], shapes[1]

    @cached_property
    def _segment_frames(self) -> int:
        length = self._shapes[0][2]
        metadata = self._session.get_modelmeta().custom_metadata_map
        seconds = self._number("segment_s", "10") if "segment_s" in metadata else SEGMENT_S
        return length if isinstance(length, int) else round(seconds * self.sample_rate)

    def _said(self, key: str, example: str) -> str:
        text = self._session.get_modelmeta().custom_metadata_map.get(key, "")
        if not text:
            raise ModelError(
                f"the metadata of {self.path} has no {key!r}; add it once with the package onnx: "
                f"model.metadata_props.add(key={key!r}, value={example!r})"
            )
        return str(text)

    def _number(self, key: str, example: str) -> float:
        text = self._said(key, example)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0.0 < number < 1e6:
            raise ModelError(f"the metadata of {self.path} has {key} = {text!r}; expected a number such as {example}")
        return number
