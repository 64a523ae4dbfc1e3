"""Demucs's networks as a separator: any of its models or bags, on this machine's device and engine. The one module that imports demucs.

Conventions
    Audio is float32 [C, T], full scale 1.0. Stems have the mixture's channels (a mono mixture gives mono stems) and the model's sample
    rate; their length is that of the mixture at that rate.
    A mixture that does not vary (silence, one sample) has silent stems; all of it is residual.
    Networks run at ``shifts=0`` and overlap 0.25. A stereo network sees a mono mixture twice; the two channels it gives are averaged.

References
    Rouard, Massa, Defossez, Hybrid transformers for music source separation (2023).
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError
from stemwright.separation.demucs import checkpoints, headers, schedule
from stemwright.separation.demucs.device_session import DeviceSession
from stemwright.separation.demucs.engines import (
    PRECISIONS,
    Engine,
    OpenVinoEngine,
    Precision,
    TorchEngine,
    has_openvino,
    processor_threads,
    use_threads,
)
from stemwright.separation.demucs.network_separator import ENCODERS, TURN, NetworkSeparator
from stemwright.separation.demucs.precision import Trial, bf16_is_better, error_db, probe_signal, processor_has_bf16
from stemwright.separation.separator import Used

if TYPE_CHECKING:
    import torch

    from stemwright.separation.demucs.pipeline import Mixture

GPU_BATCH = 16  # segments: more keep a large GPU busier by a tenth; a small one halves it when its memory runs out
MOST_ENCODERS = 8  # each track that waits is raw audio on disk
LARGE_BYTES = 16 << 20  # of one network's file: htdemucs has 84 MB, the bundled model at most 8


class DemucsSeparator(NetworkSeparator):
    """Any Demucs model or bag: a name, ``hf://NAMESPACE/NAME``, or a name in ``model_folder``.

    ``device`` is auto, cpu, cuda, cuda:N or mps; ``precision`` auto, fp32 or bf16; ``engine`` auto, torch or openvino.
    ``input_lufs`` gives the networks the mixture at that loudness instead of at Demucs's level (deviation 1), and scales the stems back;
    Demucs's networks normalise every segment again, so it changes little. ``auto_precision`` is what precision "auto" means, for example as
    measured on another machine.
    ``batch_size`` segments go through a network at once; it does not change the stems. ``offline`` never asks the network for weights;
    ``trust_pickle`` allows weights that are a pickle, which can run arbitrary code when loaded.
    ``stem_names`` and ``sample_rate``, if given, must match the model's. Weights are located when first needed, torch is
    imported when something is separated. Instances can be pickled; each process loads its own networks.

    ``separate(mixture, sample_rate)`` gives {stem name: float32 [C, T]} at ``sample_rate`` Hz of the model; ``separate_file(path,
    out_folder)`` writes FLAC files of the stems and the residual. Raises ``ModelError`` where the weights cannot be had, ValueError for
    an engine that is not installed or does not fit the device.

    >>> import numpy, stemwright as sw
    >>> separator = sw.DemucsSeparator("bundled")  # small, needs no download; for real work use htdemucs or htdemucs_ft
    >>> mixture = numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype("float32")
    >>> stems = separator.separate(mixture, 44_100)
    >>> {name: audio.shape for name, audio in stems.items()}["vocals"], separator.sample_rate
    ((2, 44100), 44100)
    """

    def __init__(
        self,
        model: str = "htdemucs",
        model_folder: Path | str | None = None,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        engine: Literal["auto", "torch", "openvino"] = "auto",
        *,
        input_lufs: float | None = None,
        batch_size: int | None = None,
        offline: bool = False,
        trust_pickle: bool = False,
        stem_names: Sequence[str] | None = None,
        sample_rate: int | None = None,
        auto_precision: Precision | None = None,
    ) -> None:
        self.model, self.model_folder = model, model_folder
        self._device, self._precision, self._engine, self._batch_size = device, precision, engine, batch_size
        self._input_lufs, self._auto_precision = input_lufs, auto_precision
        self._offline, self._trust_pickle = offline, trust_pickle
        self._requested = (None if stem_names is None else tuple(stem_names), sample_rate)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_networks", "_engines")}

    @cached_property
    def checkpoint(self) -> checkpoints.Checkpoint:
        """The weights on this machine, fetched if needed, with checksums verified."""
        found = checkpoints.find(self.model, model_folder=self.model_folder, offline=self._offline, trust_pickle=self._trust_pickle)
        found.check()
        names, rate = self._requested
        header = found.header
        if header and ((names is not None and set(names) != set(header.stem_names)) or rate not in (None, header.sample_rate)):
            raise checkpoints.ModelError(
                f"model {self.model} outputs {', '.join(header.stem_names)} at {header.sample_rate} Hz; requested: "
                f"{', '.join(names or header.stem_names)} at {rate or header.sample_rate} Hz. Choose another model."
            )
        return found

    def check(self) -> None:
        """Raises ModelError if the weights are unavailable or damaged, or if this machine lacks the requested device or engine; UsageError
        for an unknown device.

        Fetches the weights if needed and allowed, and loads no network.
        """
        check_device(self._device)
        _ = self.checkpoint
        try:
            _ = self.engine
        except ValueError as error:
            raise checkpoints.ModelError(str(error)) from error

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The model's stems, in its order."""
        header = self.checkpoint.header
        return header.stem_names if header else headers.checked_stem_names(self._networks[0].sources, f"model {self.model}")

    @property
    def sample_rate(self) -> int:
        """The rate of the stems in Hz."""
        header = self.checkpoint.header
        return header.sample_rate if header else int(self._networks[0].samplerate)

    @property
    def num_channels(self) -> int:
        """The networks' number of channels."""
        header = self.checkpoint.header
        return header.num_channels if header else int(self._networks[0].audio_channels)

    @property
    def origin(self) -> str:
        """Its name in stem rows."""
        return f"{self.model}@demucs-{importlib.metadata.version('demucs')}"

    @cached_property
    def device(self) -> str:
        """Where the networks run."""
        return _best_device() if self._device == "auto" else self._device

    @cached_property
    def engine(self) -> str:
        """What runs the networks: OpenVINO if it is installed, runs this kind of network on this device and is worth translating."""
        if self._engine != "auto":
            if self._engine == "openvino" and not has_openvino():
                raise ValueError("engine openvino is not installed: pip install 'stemwright[openvino]', or use engine torch")
            if self._engine == "openvino" and self.device != "cpu":
                raise ValueError(f"engine openvino runs on the CPU; the device is {self.device}. Use engine torch.")
            return self._engine
        header = self.checkpoint.header
        split = header is not None and header.network.endswith(".HTDemucs")
        return "openvino" if split and self.device == "cpu" and self._is_large and has_openvino() else "torch"

    @cached_property
    def precision(self) -> Precision:
        """What the networks are computed in. ``auto`` is measured once for a model on a machine; see
        `stemwright.separation.demucs.precision`."""
        if self._precision != "auto":
            return self._precision
        if self._auto_precision is not None:
            return self._auto_precision
        if not self._is_large or not (processor_has_bf16() if self.device == "cpu" else _gpu_has_bf16(self.device)):
            return "fp32"
        key = [self.checkpoint.identity, self._versions, self.device, _gpu_name(self.device), self.engine]
        return "bf16" if bf16_is_better(key, cache_folder(), self._try_bf16) else "fp32"

    @property
    def _is_large(self) -> bool:
        """Whether a network is large enough for translation and a measurement of bf16 to pay off."""
        return max(member.path.stat().st_size for member in self.checkpoint.members) >= LARGE_BYTES

    @property
    def _versions(self) -> dict[str, str]:
        names = ("demucs", "torch", "openvino") if self.engine == "openvino" else ("demucs", "torch")
        return {name: importlib.metadata.version(name) for name in names}

    def _try_bf16(self) -> Trial:
        """The error of bf16 against fp32 on a synthetic segment, for the worst network of the bag, and its speed-up."""
        described = [describe_network(network, row) for network, row in zip(self._networks, self._weights(), strict=True)]
        clock = time.process_time if self.device == "cpu" else time.perf_counter
        worst, spent_s = -math.inf, dict.fromkeys(PRECISIONS, 0.0)
        for number, known in enumerate(described):
            frames = known.input_frames(min(known.segment_frames, 8 * self.sample_rate))
            mixture = probe_signal(frames, self.num_channels, self.sample_rate)
            stems = []
            for precision in PRECISIONS:
                engine = self._build(number, known, precision)
                engine.forward(mixture[None])  # the first call prepares kernels and memory
                began = clock()
                stems.append(engine.forward(mixture[None])[0])
                spent_s[precision] += clock() - began
            worst = max(worst, error_db(stems[1], stems[0], mixture))
        return Trial(worst, spent_s["fp32"] / max(spent_s["bf16"], 1e-9))

    @property
    def identity(self) -> dict[str, Any]:
        """What was requested: weights, precision, loudness, our schedule. Needs the weights' files, not torch.

        Engine, device, the decision of "auto" and the versions of libraries depend on the machine: see ``used``.
        """
        return {
            **self.checkpoint.identity,
            "precision": self._precision,
            "input_lufs": self._input_lufs,
            "schedule": schedule.VERSION,
        }

    @property
    def used(self) -> Used:
        """The engine, device, precision and versions used on this machine."""
        return Used(self.engine, self.precision, self.device.partition(":")[0])

    @cached_property
    def _networks(self) -> list[Any]:
        return load_networks(self.checkpoint)

    @cached_property
    def _engines(self) -> tuple[list[schedule.Network], list[Engine]]:
        precision = self.precision
        described = [describe_network(network, row) for network, row in zip(self._networks, self._weights(), strict=True)]
        return described, [self._build(number, known, precision) for number, known in enumerate(described)]

    def _build(self, number: int, known: schedule.Network, precision: Precision) -> Engine:
        if self.engine == "openvino":
            return OpenVinoEngine(self._networks[number], known.kept, sha256=self.checkpoint.members[number].sha256, precision=precision)
        return TorchEngine(self._networks[number], known.kept, device=self.device, precision=precision)

    def _weights(self) -> tuple[tuple[float, ...], ...]:
        count = len(self.stem_names)
        return self.checkpoint.weights or ((1.0,) * count,) * len(self.checkpoint.members)

    def load(self) -> None:
        """Loads the networks now. Raises ModelError if that fails, or if this machine lacks the requested device."""
        check_device(self._device)
        with TURN:
            _ = self._engines

    def use_threads(self, count: int) -> None:
        """Lets the networks use so many threads of the processor when this thread calls them; before they are loaded, and not on a GPU."""
        if self.device == "cpu":
            use_threads(count)

    def forward(self, network: int, batch: Any) -> Any:
        """Runs one network of the bag on [B, C, T] -> [B, S, C, T] with the stems for which it counts: arrays, on a GPU tensors too.

        Threads take turns: while the networks work on one track, another is decoded or encoded.
        """
        with TURN:
            return self._engines[1][network].forward(batch)

    def session(self, source: Mixture) -> schedule.Session:
        """A session that runs the bag over a mixture."""
        level = source.level() if self._input_lufs is None else source.level_at(self._input_lufs, self.sample_rate)
        if self.device.startswith("cuda"):
            return DeviceSession(source, level, self._engines[0], self.num_channels, self.device)
        return schedule.Session(source, level, self._engines[0], self.num_channels)

    @property
    def batch_size(self) -> int:
        """Segments per call of a network: on a processor as many as run side by side. It does not change the stems."""
        return self._batch_size or (processor_threads()[0] if self.device == "cpu" else GPU_BATCH)

    @property
    def encoders(self) -> int:
        """Tracks whose stems are written at the same time: a GPU is faster than two threads encode, and leaves the processor to them."""
        return ENCODERS if self.device == "cpu" else max(ENCODERS, min(MOST_ENCODERS, (os.cpu_count() or 1) // 2))


def load_networks(checkpoint: checkpoints.Checkpoint) -> list[Any]:
    """Builds the networks of a checkpoint with Demucs's own loaders. A pickle reaches this point only if the user trusted it."""
    from demucs.apply import BagOfModels
    from demucs.hf import load_safetensors_model
    from demucs.states import load_model

    networks = []
    for member in checkpoint.members:
        try:
            networks.append(load_safetensors_model(member.path) if member.header else load_model(member.path))
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise checkpoints.ModelError(
                f"{member.path} does not contain the network that it names: {str(error).splitlines()[0]}"
            ) from error
    return list(BagOfModels(networks, segment=checkpoint.segment_s).eval().models)  # a bag may set its members' segment length


def separate_by_package(separator: DemucsSeparator, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
    """The stems {name: [C, T]} of a mixture at the model's rate as the demucs package itself makes them: its ``apply_model`` in fp32 with
    ``shifts=0``, on the same weights. For comparisons; it holds everything in memory.
    """
    import torch
    from demucs.apply import BagOfModels, apply_model

    weights = separator.checkpoint.weights
    bag = BagOfModels(load_networks(separator.checkpoint), [list(row) for row in weights] if weights else None)
    audio = torch.from_numpy(np.ascontiguousarray(resample(mixture, sample_rate, separator.sample_rate)))
    wide = audio.expand(separator.num_channels, -1) if len(audio) == 1 else audio
    middle = wide.mean(0)  # the demucs command normalises by mean and deviation of the mono mixture
    mean, std = middle.mean(), middle.std() + 1e-8
    with torch.inference_mode():
        stems = apply_model(bag, ((wide - mean) / std)[None], shifts=0, overlap=0.25, device=separator.device)[0].cpu() * std + mean
    stems = stems.mean(1, keepdim=True) if len(mixture) == 1 else stems
    return dict(zip(separator.stem_names, stems.numpy(), strict=True))


def describe_network(network: torch.nn.Module, weights: tuple[float, ...]) -> schedule.Network:
    """The properties of a Demucs network that the schedule needs."""
    segment_frames = int(network.samplerate * network.segment)  # type: ignore[operator]
    return schedule.Network(segment_frames, getattr(network, "valid_length", int), weights)


def _gpu_has_bf16(device: str) -> bool:
    import torch

    return device.startswith("cuda") and torch.cuda.is_bf16_supported()


def _gpu_name(device: str) -> str:
    """The GPU's name for a cached decision; "" for a CPU, whose name is part of every decision."""
    if not device.startswith("cuda"):
        return ""
    import torch

    return torch.cuda.get_device_name(device)


def check_device(device: str) -> None:
    """Raises UsageError for an unknown device, ModelError for one that this machine lacks. ``auto`` and ``cpu`` always exist."""
    if device in ("auto", "cpu"):
        return
    kind, _, number = device.partition(":")
    if kind not in ("cuda", "mps") or not (number.isdecimal() or device == kind):
        raise UsageError(f"there is no device {device!r}; expected auto, cpu, cuda, cuda:N or mps")
    import torch

    count = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else int(torch.backends.mps.is_available())
    if kind == "cuda" and not torch.cuda.is_available():
        raise checkpoints.ModelError(f"device {device!r} was requested, but torch finds no GPU here; use --device auto, or cpu")
    if int(number or 0) >= count:
        raise checkpoints.ModelError(
            f"device {device!r} was requested, but this machine has {count} of that kind; use --device auto, or cpu"
        )


def _best_device() -> str:
    """A GPU if there is one. Torch is imported only where a driver is installed."""
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists() or sys.platform in ("darwin", "win32")):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
