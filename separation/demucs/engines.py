"""Engines that run a Demucs network: PyTorch on CPU or GPU, or OpenVINO on CPU.

Conventions
    An engine holds one network and maps a batch of normalised segments, float32 [B, C, T], to the requested stems, float32
    [B, S, C, T]: arrays to arrays, and on a GPU tensors of that device to tensors of it.
    On a CPU the segments of a batch are computed in parallel, each by one thread (by more where there are more threads than
    ``MAX_LANES``): threads do not wait for one another, and the same segment gives the same bits on one thread as on four. Splitting one
    segment over threads would change bits: runtimes then split sums differently.
    ``precision`` is fp32 or bf16: what the matrix products and convolutions are computed in. Spectra and sums stay in float32.
    OpenVINO needs a network translated once (half a minute of work for htdemucs); the translation is kept in the cache folder, which
    ``STEMWRIGHT_CACHE`` names.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import queue
import sys
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from stemwright.manifests.disk.durable import begin, put_all, remove
from stemwright.manifests.disk.folders import CACHE_VARIABLE, cache_folder
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.demucs import group_norm, hybrid
from stemwright.separation.demucs.weights import ModelError

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, Precision] = ("fp32", "bf16")
_log = logging.getLogger(__name__)
MAX_LANES = 4  # segments at once on a processor; each holds the activations of a whole network
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # glibc's malloc.h
TRANSLATION = 2  # changes when ``hybrid`` would be translated to another graph


class Engine(Protocol):
    """A network ready to run."""

    def forward(self, batch: Audio) -> Audio:
        """[B, C, T] -> [B, S, C, T] with the kept stems."""


def has_openvino() -> bool:
    """Whether the extra is installed; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


@cache
def _openvino() -> Any:
    """OpenVINO without its telemetry: by default it reports each import to an analytics service, and warns without a home folder.

    Its own stub replaces the package that does so, as if that were not installed.
    """
    telemetry = "openvino_telemetry"
    before = sys.modules.get(telemetry)
    sys.modules[telemetry] = None  # type: ignore[assignment]  # importing it raises ImportError
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[telemetry]
        if before is not None:
            sys.modules[telemetry] = before


def processor_threads() -> tuple[int, int]:
    """(segments at once, threads for each) on the processor, from the number of threads that torch was given."""
    import torch

    threads = torch.get_num_threads()
    lanes = min(threads, MAX_LANES)
    return lanes, threads // lanes


def use_threads(count: int) -> None:
    """Lets networks that are loaded from now on use so many threads of the processor. OpenMP counts them for each calling thread."""
    import torch

    torch.set_num_threads(max(1, count))


class _Lanes:
    """Runs a function over segments in parallel, with a fixed number of threads for each."""

    def __init__(self) -> None:
        _mallopt(
            M_ARENA_MAX, 1
        )  # one heap for all threads: memory freed by one is reused by another; 0.15 GB of 1.7 for htdemucs on two threads
        self.lanes, self.threads = processor_threads()
        self._pool = ThreadPoolExecutor(self.lanes)

    def map(self, function: Any, batch: Audio) -> Audio:
        """``function`` of every segment [1, C, T] of the batch, stacked."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return np.concatenate(list(self._pool.map(lambda segment: self._call(function, segment), batch)))
        finally:
            torch.set_num_threads(before)

    def _call(self, function: Any, segment: Audio) -> Audio:
        import torch

        torch.set_num_threads(self.threads)  # OpenMP counts them per calling thread
        result: Audio = function(segment[None])
        return result


class TorchEngine:
    """A network run by PyTorch. On a GPU the batch is run at once and its size is halved permanently when memory runs out."""

    def __init__(self, network: torch.nn.Module, kept: Sequence[int], *, device: str = "cpu", precision: Precision = "fp32") -> None:
        self._network = network.to(device).eval()
        hybrid.zero_imaginary_dc(network)
        if device.startswith("cuda"):
            group_norm.spread(network)
        self._kept = list(kept)
        # Other devices lack complex numbers or some transforms; Demucs's own forward pass has workarounds.
        split = device.split(":")[0] in ("cpu", "cuda") and hybrid.can_be_split(network)
        self._core = hybrid.build_core(network, kept) if split else None
        use_blocked_attention(network)
        self._device, self._precision = device, precision
        self._lanes = _Lanes() if device == "cpu" else None
        self._largest: int | None = None

    def forward(self, batch: Any) -> Any:
        """Runs the network on all segments."""
        return self._lanes.map(self._run, batch) if self._lanes else self._run_in_parts(batch)

    def _run_in_parts(self, batch: Any) -> Any:
        import torch

        outputs: list[Any] = []
        done = 0
        while done < len(batch):
            part = batch[done : done + (self._largest or len(batch))]
            try:
                outputs.append(self._run(part))
                done += len(part)
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise ModelError(
                        f"the memory of {self._device} does not hold one segment of {part.shape[-1]} frames: {str(error).splitlines()[0]} "
                        "Free it of other programs (nvidia-smi lists them), take --precision bf16, or --device cpu."
                    ) from error
                self._largest = len(part) // 2
                _log.warning("%s is out of memory with %d segments at once: going on with %d", self._device, len(part), self._largest)
                if self._device.startswith("cuda"):
                    torch.cuda.empty_cache()
        if len(outputs) == 1:
            return outputs[0]
        return torch.cat(outputs) if isinstance(outputs[0], torch.Tensor) else np.concatenate(outputs)

    def _run(self, batch: Any) -> Any:
        import torch

        if isinstance(batch, torch.Tensor):
            return self._run_there(batch)
        tensor = torch.from_numpy(np.ascontiguousarray(batch))
        if self._device.startswith("cuda"):
            tensor = tensor.pin_memory()
        return self._run_there(tensor.to(self._device, non_blocking=True)).cpu().numpy()

    def _run_there(self, tensor: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            if self._core is None:
                with self._arithmetic():
                    output: torch.Tensor = self._network(tensor)[:, self._kept].float()
                return output
            analysed = hybrid.analyse(self._network, tensor)
            with self._arithmetic():
                spectrum, waveform = self._core(analysed.spectrum, analysed.waveform)
            return hybrid.synthesise(self._network, analysed, spectrum.float(), waveform.float())

    def _arithmetic(self) -> Any:
        """The number format of the computation. On a GPU PyTorch would round fp32 convolutions to TF32, ten bits of mantissa."""
        import torch

        if self._precision == "bf16":
            return torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16)
        if not self._device.startswith("cuda"):
            return contextlib.nullcontext()
        cudnn = torch.backends.cudnn
        return cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False)


def use_blocked_attention(network: torch.nn.Module) -> None:
    """Lets a network that is evaluated use the blocked kernel for attention: PyTorch's older fast path writes out every score.

    That path is not taken by a layer in training, where only dropout differs, and there is none then. PyTorch's own switch is one for the
    whole process: of two threads that set it and set it back, one would compute on the other path, and leave it off for other networks.
    """
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.MultiheadAttention):
            layer.dropout, layer.training = 0.0, True


class OpenVinoEngine:
    """An HTDemucs network whose core is run by OpenVINO on a processor, one stream for each segment at a time.

    ``sha256`` is that of the network's file: it names the cached translation, from which a second engine for the same network is built. The
    network given loses its weights, which would only fill memory.
    """

    def __init__(self, network: torch.nn.Module, kept: Sequence[int], *, sha256: str, precision: Precision = "fp32") -> None:
        openvino = _openvino()
        if not hybrid.can_be_split(network):
            raise ValueError(f"engine openvino runs HTDemucs networks; this is {type(network).__name__}. Use engine torch.")
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this processor does not compute in bf16; use precision fp32")
        # Arrays from 1 MiB on go back to the system when freed: 0.2 GB of 1.6 for htdemucs on two threads. PyTorch would be slowed by it.
        _mallopt(M_MMAP_THRESHOLD, 1 << 20)
        self._lanes = _Lanes()
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "NUM_STREAMS": self._lanes.lanes,
            "INFERENCE_NUM_THREADS": self._lanes.lanes * self._lanes.threads,
        }
        translated = translation(network, kept, sha256)
        compiled = core.compile_model(core.read_model(translated, translated.with_suffix(".bin")), "CPU", settings)
        # OpenVINO's binding looks numpy up when it first meets an array, and deadlocks if two threads trigger that at once.
        self._exchange = threading.Lock()
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self._lanes.lanes):
            self._requests.put(compiled.create_infer_request())
        self._network = network.to("meta")

    def forward(self, batch: Audio) -> Audio:
        """Runs the network on all segments."""
        return self._lanes.map(self._run, batch)

    def _run(self, segment: Audio) -> Audio:
        import torch

        openvino = _openvino()
        request = self._requests.get()
        try:
            with torch.inference_mode():
                analysed = hybrid.analyse(self._network, torch.from_numpy(np.ascontiguousarray(segment)))
                with self._exchange:
                    for number, part in enumerate((analysed.spectrum, analysed.waveform)):
                        request.set_input_tensor(number, openvino.Tensor(part.contiguous().numpy(), shared_memory=True))
                request.infer()
                with self._exchange:
                    spectrum, waveform = (torch.from_numpy(request.get_output_tensor(number).data) for number in range(2))
                return hybrid.synthesise(self._network, analysed, spectrum, waveform).numpy()
        finally:
            self._requests.put(request)


def _mallopt(option: int, value: int) -> None:
    """Sets how glibc retains freed memory; does nothing on other systems."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(option, value)


def translation(network: torch.nn.Module, kept: Sequence[int], sha256: str) -> Path:
    """The network's core in OpenVINO's format: from the cache folder, or made now and stored there by rename."""
    versions = [importlib.metadata.version(name) for name in ("openvino", "torch", "demucs")]
    key = hashlib.sha256(repr((sha256, list(kept), versions, TRANSLATION)).encode()).hexdigest()[:24]
    path = cache_folder() / "openvino" / f"{key}.xml"
    if not (path.is_file() and path.with_suffix(".bin").is_file()):
        try:
            temporary = begin(path).with_suffix(path.suffix)  # OpenVINO wants this end, and gives the other file its name
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot store compiled networks here ({error.strerror}); set {CACHE_VARIABLE} to another folder",
                str(path.parent),
            ) from error
        files = [(temporary.with_suffix(suffix), path.with_suffix(suffix)) for suffix in (".bin", ".xml")]
        try:
            remove(made for made, _ in files)  # links that were planted
            _translate(network, kept, temporary)
            put_all(files)
        finally:
            remove(made for made, _ in files)
    return path


def _translate(network: Any, kept: Sequence[int], path: Path) -> None:
    import torch

    openvino = _openvino()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about every Python branch; all of them depend on shapes, which are fixed
        length = network.valid_length(1)
        analysed = hybrid.analyse(network, torch.zeros(1, network.audio_channels, length))
        example = (analysed.spectrum, analysed.waveform)
        # Checking the trace would run the network twice more; a test compares the engines instead.
        core = hybrid.build_core(network, kept, channels_last=True)
        use_blocked_attention(core)
        traced = torch.jit.trace(core, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[list(one.shape) for one in example])
    openvino.save_model(model, path, compress_to_fp16=False)
