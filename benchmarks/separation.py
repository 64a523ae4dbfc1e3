# ruff: noqa: E501 - a table of results has long rows
"""Separation: our engine against the demucs command, on the same file and the same weights, in turns.

The weights are random (the full htdemucs architecture, 41.5 M parameters, residual branches opened so that they count); speed and memory
do not depend on them. Each contender is its own process, started in turns, so that a busy machine weighs on all alike; the time of a short
file is subtracted, which leaves the time for segments alone, without imports, loading and translation. Both wall time and processor time
are given: on a machine that others use, the second is the fairer.

    python benchmarks/separation.py                  speed, agreement and peak memory
    python benchmarks/separation.py --long MINUTES   one long file: memory against length (120: two hours; about forty minutes of work on two cores)
    python benchmarks/separation.py --bundled        how fast the small model of the package is, on both engines
    python benchmarks/separation.py --pass-by        two hours with the networks loaded but passed by: everything that could grow, in minutes
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stemwright.separation.demucs.precision import processor

RATE = 44_100
SEGMENT_S = 7.8
STRIDE_S = 0.75 * SEGMENT_S
NAME = "separation"


TRIES = """
What was tried, with the expected and the measured result (full architecture, processor seconds per segment, on a shared machine):

| tried | expected | measured |
|---|---|---|
| core of the network by OpenVINO, fp32 | 1.5 times | 4.5 s against 9.2 to 10 s for PyTorch fp32 |
| the same in bf16 | 2.3 times | 2.6 s; error of the core's results -47 dB with opened residual branches |
| transposed convolutions over time as two-tap convolutions with interleaved outputs | 5 % in bf16 (they took 0.26 of 4.0 s of node time, for 2 % of the operations) | 5 % in bf16 (2.57 against 2.71 s), nothing in fp32: the interleaving costs what the convolution saves |
| inverse spectrogram by adding overlapping frames, without the envelope (constant at a quarter hop) | 0.1 s | within the noise of the whole; one stem at a time it halves its memory |
| self-attention by the blocked kernel in PyTorch instead of the encoder layer's fast path | 9 % of the torch engine | a torch segment took 7.0 s in all, against 9.2 to 10 s for Demucs's own forward pass |
| PyTorch bf16 autocast on the processor | 1.9 times | 7.8 to 8.4 s against 9.2 to 10: not worth it here; OpenVINO's bf16 is |
| one segment shared by two threads, or two segments side by side with one thread each | side by side slower by cache | same processor time within the noise; side by side the bits no longer depend on the number of threads: kept |
| tracing with its check, and freezing | needed | the check runs the network twice more (75 s of wall time became 25) and freezing changed nothing: neither is kept |
| reading the translation without mapping it, to save memory | -166 MB | nothing: the runtime then keeps a copy of its own |
| glibc's threshold for mapped arrays fixed at 1 MiB | less memory | OpenVINO fp32 -0.2 GB of 1.66 GB at the peak: kept; PyTorch -0.6 GB of 1.68, but 12.7 s instead of 8.2: not kept |
| one heap for all threads | less memory | PyTorch -0.15 GB of 1.68 GB, no change in time beyond the noise |
| attention fused in OpenVINO's graph | nothing left to fuse | its plugin has done so already (one node a layer): 85 of the 329 GFLOP in 0.55 of 2.17 s of node time, 156 GFLOP/s with the softmax; linear layers run at 213, convolutions at 205, the peak is 217: only the remaining 0.46 s (norms 0.11, reorders 0.15, transposes 0.11, splits and slices 0.04) could be saved |
| encoders with channels last (bf16) | 0.2 s: no reorder between convolution, norm and gate | core 2.39 to 2.21 s: kept |
| the same for the gates of the decoders | 0.05 s | 2.23 to 2.26 s, no gain: not kept |
| both transforms, the cross-fade and the stored stems in blocks that stay in the cache | 0.3 s: system time, page faults | system time of 21 s of audio 1.2 to 1.4 s became 0.2 to 0.5 s, the same bits; no change of user time or of the peak beyond the noise: kept |
| OpenVINO with freed memory retained (``M_MMAP_THRESHOLD`` 32 MiB, ``M_TRIM_THRESHOLD`` 1 GiB) | system time 0.3 s to 0 | 0.3 to 0.03 s, but 0.36 GB more; after the blocks 0.06 to 0.02 s for 0.24 GB: not kept |
| PyTorch with memory retained (the same, ``M_TOP_PAD`` 64 MiB; or ``M_MMAP_MAX`` 0) | a fifth of the bundled model's time | two noisy runs each of the bundled model, 21 s of audio: 3.7 and 4.2 s to 3.6 and 3.6, or 3.3 and 3.7, up to 0.09 GB more; full network, one run: 22.3 s to 21.0 or 19.2, 0.36 GB more: not kept |
| huge pages for PyTorch (``THP_MEM_ALLOC_ENABLE=1``) | system time a tenth | full network: system time 1.5 to 3.1 s and 0.4 GB more; bundled 0.6 to 0.7 s: not kept |
| OpenVINO requests from two threads at once | works | a deadlock in its Python binding when the first two arrays arrive together: arrays are passed by one thread at a time |

The paths for a GPU are measured by `benchmarks/gpu.py`.
"""


@dataclass(frozen=True)
class Spent:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def build_full() -> Any:
    """The published architecture with seeded weights."""
    import torch
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    network = HTDemucs(sources=["drums", "bass", "other", "vocals"], channels=48, bottom_channels=512, segment=Fraction(39, 5), t_layers=5)
    for name, parameter in network.named_parameters():
        if name.endswith("scale"):
            torch.nn.init.uniform_(parameter, 0.1, 0.5)
    return network.eval()


def write_models(folder: Path) -> int:
    """The same network for both: safetensors for us, Demucs's pickle for its command. Returns the number of operations of one segment."""
    import torch
    from safetensors.torch import save_file
    from torch.utils.flop_counter import FlopCounterMode

    network = build_full()
    state = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    args, kwargs = network._init_args_kwargs
    encoded = json.dumps(kwargs, default=lambda one: {"_type": "fraction", "numerator": one.numerator, "denominator": one.denominator})
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps(args), "kwargs": encoded}
    save_file(state, folder / "0123abcd.safetensors", metadata=metadata)
    torch.save({"klass": type(network), "args": args, "kwargs": kwargs, "state": state}, folder / "0123abcd.th")
    (folder / "full.yaml").write_text("models: ['0123abcd']\n")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        network(torch.zeros(1, 2, int(RATE * SEGMENT_S)))
    return counter.get_total_flops() + attention_operations(network)


def attention_operations(network: Any) -> int:
    """Products of queries and keys, and of scores and values, which PyTorch's counter omits for the kernel of a processor."""
    frames = math.ceil(RATE * SEGMENT_S / network.hop_length)
    tokens, tokens_t = frames * network.nfft // 2 // 4**network.depth, math.ceil(RATE * SEGMENT_S / 4**network.depth)
    encoder = network.crosstransformer
    crossed = sum(number % 2 != encoder.classic_parity for number in range(encoder.num_layers))
    pairs = (encoder.num_layers - crossed) * (tokens**2 + tokens_t**2) + crossed * 2 * tokens * tokens_t
    return 4 * encoder.layers[0].linear1.in_features * pairs


def write_song(path: Path, duration_s: float) -> None:
    """Noise under chords, block by block, so that hours need no memory."""
    from stemwright.manifests.sound.writing import Writer

    rng = np.random.default_rng(0)
    with Writer(path, RATE, 2) as writer:
        for second in range(max(1, round(duration_s))):
            time_s = second + np.arange(RATE) / RATE
            tone = sum(np.sin(2 * np.pi * 55 * 2 ** ((second * 7 + step) % 24 / 12) * time_s) for step in (0, 4, 7))
            writer.write((0.05 * tone + 0.05 * rng.standard_normal((2, RATE))).astype(np.float32))


def spend(command: list[str], **environment: str) -> Spent:
    """Runs a command to its end."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **environment})
        peak_mb = 0.0
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak_mb = max(peak_mb, resident_peak_mb(process.pid))
            time.sleep(0.1)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {errors.read().decode()[-2000:]}")
    return Spent(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak_mb or usage.ru_maxrss / 1024)


def resident_peak_mb(pid: int) -> float:
    """The process's own peak so far (Linux); what wait4 reports begins with the memory of the process that started it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


PASS_BY = "DemucsSeparator.forward = lambda self, network, batch: np.stack([0.25 * batch] * 4, axis=1)\n"


def ours(song: Path, out: Path, models: Path, engine: str, precision: str, *, patch: str = "") -> list[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent.parent)!r})\n"
        f"import numpy as np\nfrom stemwright.separation.demucs.separator import DemucsSeparator\n{patch}"
        f"DemucsSeparator('full', {str(models)!r}, 'cpu', {precision!r}, {engine!r}).separate_file({str(song)!r}, {str(out)!r})\n"
    )
    return [sys.executable, "-W", "ignore", "-c", program]


def theirs(song: Path, out: Path, models: Path) -> list[str]:
    command = [str(Path(sys.executable).with_name("demucs")), "--repo", str(models), "-n", "full", "-d", "cpu", "--shifts", "0"]
    return [*command, "--float32", "--clip-mode", "none", "-o", str(out), str(song)]


def matrix_rates(size: int = 1536) -> dict[str, float]:
    """Products of square matrices: operations per second of processor time on all threads, by precision."""
    import torch

    rates = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size).to(kind) for _ in range(2))
        best = 0.0
        for _ in range(12):
            start = time.process_time()
            torch.mm(a, b)
            best = max(best, 2 * size**3 / (time.process_time() - start))
        rates[name] = best
    return rates


def measure_speed(work: Path, rounds: int, segments: int) -> str:
    operations = write_models(work)
    short, long = work / "short.flac", work / "long.flac"
    write_song(short, 1)
    write_song(long, round(STRIDE_S * (segments - 1) + 3))
    contenders = {
        "demucs command, fp32": lambda song: theirs(song, work / "theirs", work),
        "ours, torch, fp32": lambda song: ours(song, work / "torch", work, "torch", "fp32"),
        "ours, openvino, fp32": lambda song: ours(song, work / "fp32", work, "openvino", "fp32"),
        "ours, auto": lambda song: ours(song, work / "auto", work, "auto", "auto"),
    }
    cache = str(work / "cache")
    for name, command in list(contenders.items())[2:]:  # translations and verdicts are made once per machine
        spend(command(short), STEMWRIGHT_CACHE=cache)
        print(f"warm: {name}", flush=True)
    spent: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, command in contenders.items():
            both = (spend(command(short), STEMWRIGHT_CACHE=cache), spend(command(long), STEMWRIGHT_CACHE=cache))
            spent[name].append(both)
            print(f"round {number}: {name} {both}", flush=True)
    chosen = auto_choice(work, cache)
    return report(
        {name.replace("auto", f"auto ({' '.join(chosen)})"): both for name, both in spent.items()}, segments, operations, agreement(work)
    )


def auto_choice(work: Path, cache: str) -> tuple[str, str]:
    """Engine and precision that ``auto`` takes on this machine, as it was measured while it was warmed."""
    os.environ["STEMWRIGHT_CACHE"] = cache
    from stemwright.separation.demucs.separator import DemucsSeparator

    separator = DemucsSeparator("full", str(work), "cpu")
    return separator.engine, separator.precision


def agreement(work: Path) -> dict[str, float]:
    """The largest difference between our stems and the command's, after our joint gain, in dB of full scale."""
    import soundfile

    found = {}
    for mine in ("torch", "fp32", "auto"):
        worst = 0.0
        for stem in ("drums", "bass", "other", "vocals"):
            a = soundfile.read(work / "theirs" / "full" / "long" / f"{stem}.wav")[0]
            b = soundfile.read(work / mine / f"{stem}.flac")[0]
            gain = float(np.sum(a * b) / np.sum(a * a))
            worst = max(worst, float(np.abs(a * (gain if gain < 0.98 else 1.0) - b).max()))
        found[mine] = worst
    return found


def report(spent: dict[str, list[tuple[Spent, Spent]]], segments: int, operations: int, differences: dict[str, float]) -> str:
    rates = matrix_rates()

    def middle(name: str, field: str) -> float:
        return statistics.median(getattr(long, field) - getattr(short, field) for short, long in spent[name]) / (segments - 1)

    peer = "demucs command, fp32"
    lines = [
        f"Full htdemucs architecture, random weights; {segments} segments, {len(spent[peer])} rounds in turns. Per segment of 7.8 s "
        f"({operations / 1e9:.0f} GFLOP). Speed is against the demucs command in the same rounds; limit is processor time over that of "
        f"matrix products alone ({rates['fp32'] / 1e9:.0f} GFLOP/s a processor second in fp32, {rates['bf16'] / 1e9:.0f} in bf16); "
        "speed at the limit is what an engine would reach that spent time on nothing but these products.",
        "",
        "| | wall s | speed (wall) | processor s | speed (processor) | times the limit | speed at the limit | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in spent:
        wall, cpu = middle(name, "wall_s"), middle(name, "cpu_s")
        limit = operations / rates["bf16" if "bf16" in name else "fp32"]
        peak = max(long.peak_mb for _, long in spent[name])
        lines.append(
            f"| {name} | {wall:.2f} | {middle(peer, 'wall_s') / wall:.2f} | {cpu:.2f} | {middle(peer, 'cpu_s') / cpu:.2f} "
            f"| {cpu / limit:.1f} | {middle(peer, 'cpu_s') / limit:.2f} | {peak:.0f} |"
        )
    lines += [
        "",
        "Largest difference from the command's stems: " + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()) + ".",
    ]
    return "\n".join(lines) + "\n" + TRIES


def measure_long(work: Path, lengths: list[float], patch: str) -> str:
    write_models(work)
    rows = []
    song, cache = work / "song.flac", str(work / "cache")
    write_song(song, 1)
    spend(ours(song, work / "out", work, "auto", "auto"), STEMWRIGHT_CACHE=cache)  # translates the network and measures bf16
    for length in lengths:
        write_song(song, 60 * length)
        spent = spend(ours(song, work / "out", work, "auto", "auto", patch=patch), STEMWRIGHT_CACHE=cache)
        rows.append(f"| {length:g} | {spent.peak_mb:.0f} | {spent.wall_s:.0f} | {spent.cpu_s:.0f} |")
        print(rows[-1], flush=True)
    what = (
        "networks loaded, but every segment passed by them: decoding, schedule, raw files, residual, encoding" if patch else "file to files"
    )
    head = ["| minutes of audio | peak resident MB | wall s | processor s |", "|---|---|---|---|"]
    return "\n".join([f"Full htdemucs architecture, `auto`; {what}.", "", *head, *rows])


def measure_bundled(duration_s: float = 60.0) -> str:
    """Seconds of audio a second that the bundled model separates, from memory to memory, once its network stands ready."""
    from stemwright.separation.demucs.separator import DemucsSeparator

    mixture = (0.1 * np.random.default_rng(0).standard_normal((2, round(RATE * duration_s)))).astype(np.float32)
    head = "| engine, fp32 | times real time (wall) | times real time on one core (processor time) | aim of 10 on two cores |"
    lines = [f"{duration_s:g} s of stereo at {RATE} Hz; the best of three.", "", head, "|---|---|---|---|"]
    for engine in ("torch", "openvino"):
        separator = DemucsSeparator("bundled", device="cpu", precision="fp32", engine=engine)
        separator.separate(mixture[:, : 8 * RATE], RATE)
        wall, cpu = [], []
        for _ in range(3):
            began = (time.perf_counter(), time.process_time())
            separator.separate(mixture, RATE)
            wall.append(time.perf_counter() - began[0])
            cpu.append(time.process_time() - began[1])
        lines.append(f"| {engine} | {duration_s / min(wall):.1f} | {duration_s / min(cpu):.1f} | {duration_s / min(wall) / 10:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--segments", type=int, default=9)
    parser.add_argument("--long", type=float, metavar="MINUTES")
    parser.add_argument("--pass-by", action="store_true")
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="separation-"))
    try:
        if options.long:
            name, body = f"{NAME}, long files", measure_long(work, [1, options.long], "")
        elif options.bundled:
            name, body = f"{NAME}, bundled model", measure_bundled()
        elif options.pass_by:
            name, body = f"{NAME}, two hours", measure_long(work, [1, 120], PASS_BY)
        else:
            # One section a processor: what bf16 gains is its own.
            name, body = f"{NAME} on {processor()}", measure_speed(work, options.rounds, options.segments)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(body)
    if options.write:
        from results import publish

        publish(name, f"python benchmarks/separation.py {' '.join(sys.argv[1:])}".strip(), body)


if __name__ == "__main__":
    main()
