# ruff: noqa: E501 - a table of results has long rows
"""A GPU beside the processor: separation with our engine and with Demucs's own, every effect on a batch, and training through effects.

The weights are random (the full htdemucs architecture, residual branches opened so that they count); speed and memory do not depend on
them. All contenders run in turns within one process, after a first run that is not counted; times are medians, the GPU waited for.

Conventions
    Separation is timed end to end: samples in memory in, stems in memory out. Its ``difference`` is the largest of a sample on a short
    piece against the processor's fp32, over the stem's deviation. Demucs is timed as its users
    run it (PyTorch lets convolutions round to TF32) and with TF32 off, as our fp32 always is. It differs from itself on the processor: it
    gives the inverse transform an imaginary part at 0 Hz, which processors and fp64 leave out and cuFFT in fp32 does not.
    Effects get noise [64, 2, 5 s]; the gradient is that of the mean square of the output for the audio, compared relative to its largest
    value. An effect marked ``processor`` sends its signal to the processor and back: its recursion is a compiled kernel there.

    Files are read, separated and written as FLAC of 24 bits: by us with the next file decoded and the last ones encoded meanwhile, by Demucs
    one after the other with soundfile, its stems not rescaled.

    python benchmarks/gpu.py                         the full measurement; needs CUDA
    python benchmarks/gpu.py --small --device cpu    a tiny network, short sounds, any device: shows that it runs
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import torch
from effect_settings import SETTINGS

from stemwright.datagen.effects import EFFECTS
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.jobs import Job

RATE = 44_100
STEMS = ["drums", "bass", "other", "vocals"]
BATCHES = (1, 8, 16)
NAME = "GPU"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    song_s: float = 180.0
    piece_s: float = 12.0
    items: int = 64
    effect_s: float = 5.0
    repeats: int = 3
    tiny: bool = False
    files: int = 16
    file_s: float = 60.0
    steps: int = 5


def build(sizes: Sizes) -> Any:
    """The published architecture with seeded weights, or a tiny one."""
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(0)
    if sizes.tiny:
        tiny: dict[str, Any] = {
            "channels": 4,
            "nfft": 2048,
            "depth": 4,
            "dconv_comp": 4,
            "t_layers": 3,
            "t_heads": 2,
            "bottom_channels": 16,
        }
        network = HTDemucs(sources=STEMS, segment=Fraction(1), t_hidden_scale=1.0, **tiny)
    else:
        network = HTDemucs(sources=STEMS, channels=48, bottom_channels=512, segment=Fraction(39, 5), t_layers=5)
    for name, parameter in network.named_parameters():
        if name.endswith("scale"):
            torch.nn.init.uniform_(parameter, 0.1, 0.5)
    return network.eval()


def write_model(folder: Path, network: Any) -> None:
    """Writes the network as Demucs's own safetensors file, and gives it the rounded weights that it has there."""
    from safetensors.torch import save_file

    state = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    args, kwargs = network._init_args_kwargs
    encoded = json.dumps(kwargs, default=lambda one: {"_type": "fraction", "numerator": one.numerator, "denominator": one.denominator})
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": json.dumps(args), "kwargs": encoded}
    save_file(state, folder / "0123abcd.safetensors", metadata=metadata)
    (folder / "full.yaml").write_text("models: ['0123abcd']\n")
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def song(duration_s: float) -> np.ndarray:
    """Noise under chords, deviation about 1: [2, T]."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * RATE)) / RATE
    beat = (2 * time_s).astype(int)
    tone = sum(np.sin(2 * np.pi * 55 * 2 ** ((beat * 7 + step) % 24 / 12) * time_s) for step in (0, 4, 7))
    made = 0.6 * tone + 0.4 * rng.standard_normal((2, len(time_s)))
    return np.asarray(made / made.std(), dtype=np.float32)


def waited(function: Callable[[], Any], device: str) -> tuple[Any, float]:
    """A function's result and how long it took, the device's queue empty before and after."""
    synchronise(device)
    began = time.perf_counter()
    result = function()
    synchronise(device)
    return result, time.perf_counter() - began


def synchronise(device: str) -> None:
    """Waits for a GPU; a processor has nothing to wait for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Demucs:
    """Demucs's own way through a song, normalised as its command does."""

    def __init__(self, network: Any, device: str, *, tf32: bool) -> None:
        self.network, self.device, self.tf32 = network, device, tf32

    def separate(self, mixture: np.ndarray, _: int) -> dict[str, np.ndarray]:
        """{name: [C, T]}."""
        from demucs.apply import apply_model

        wav = torch.from_numpy(mixture)
        reference = wav.mean(0)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=self.tf32):
            stems = apply_model(
                self.network, ((wav - reference.mean()) / reference.std())[None], shifts=0, overlap=0.25, device=self.device
            )[0]
        stems = stems * reference.std() + reference.mean()
        return dict(zip(STEMS, stems.cpu().numpy(), strict=True))


def separation(sizes: Sizes, device: str) -> list[str]:
    """The table of separation."""
    network = build(sizes)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_model(folder, network)
        contenders: dict[str, Any] = {
            "Demucs, TF32 in convolutions": Demucs(network, device, tf32=True),
            "Demucs, fp32": Demucs(network, device, tf32=False),
        }
        for precision in ("fp32", "bf16"):
            for batch in BATCHES:
                ours = DemucsSeparator("full", folder, device=device, precision=precision, engine="torch", batch_size=batch)  # type: ignore[arg-type]
                contenders[f"ours, {precision}, batches of {batch}"] = ours
        exact = DemucsSeparator("full", folder, device="cpu", precision="fp32", engine="torch").separate(song(sizes.piece_s), RATE)
        rows = {name: measured(contender, exact, sizes, device) for name, contender in contenders.items()}
    base = rows["Demucs, fp32"][0]
    lines = [
        f"A song of {sizes.song_s:g} s, end to end:",
        "",
        "| engine | s | × real time | against Demucs, fp32 | peak GPU memory, MB | difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, (spent_s, peak_mb, difference) in rows.items():
        lines.append(
            f"| {name} | {spent_s:.2f} | {sizes.song_s / spent_s:,.0f} | {base / spent_s:.2f} | {peak_mb:,.0f} | {difference:.1e} |"
        )
    return lines


def measured(contender: Any, exact: dict[str, np.ndarray], sizes: Sizes, device: str) -> tuple[float, float, float]:
    """(median seconds of a song, peak MB, largest difference on the piece)."""
    piece = contender.separate(song(sizes.piece_s), RATE)
    difference = max(float(np.abs(piece[name] - exact[name]).max() / exact[name].std()) for name in STEMS)
    whole = song(sizes.song_s)
    contender.separate(whole, RATE)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    spent = [waited(lambda: contender.separate(whole, RATE), device)[1] for _ in range(sizes.repeats)]
    peak = torch.cuda.max_memory_allocated() / 1e6 if device.startswith("cuda") else 0.0
    if isinstance(contender, Demucs):
        contender.network.to("cpu")
    else:
        contender.__dict__.pop("_engines", None)
        contender.__dict__.pop("_networks", None)
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return statistics.median(spent), peak, difference


def files(sizes: Sizes, device: str) -> list[str]:
    """The table of files."""
    import soundfile

    lines = [
        f"{sizes.files} files of {sizes.file_s:g} s, 16-bit WAV to FLAC of 24 bits:",
        "",
        "| engine | s | × real time | against Demucs |",
        "|---|---|---|---|",
    ]
    network = build(sizes)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_model(folder, network)
        for number in range(sizes.files):
            soundfile.write(folder / f"{number}.wav", 0.2 * song(sizes.file_s).T, RATE, subtype="PCM_16")
        demucs = Demucs(network, device, tf32=True)

        def one_by_one(_: int) -> None:
            for number in range(sizes.files):
                audio, _ = soundfile.read(folder / f"{number}.wav", dtype="float32")
                for name, stem in demucs.separate(np.ascontiguousarray(audio.T), RATE).items():
                    soundfile.write(folder / f"{number}-{name}.flac", stem.T, RATE, subtype="PCM_24")

        spent = {"Demucs, one file after the other": waited(lambda: one_by_one(0), device)[1]}
        network.to("cpu")
        for precision in ("fp32", "bf16"):
            ours = DemucsSeparator("full", folder, device=device, precision=precision, engine="torch")  # type: ignore[arg-type]
            ours.separate(song(sizes.piece_s), RATE)

            def together(ours: Any = ours, precision: str = precision) -> None:
                jobs = [Job(folder / f"{number}.wav", folder / f"{precision}{number}") for number in range(sizes.files)]
                for _, outcome in ours.separate_files(jobs):
                    assert not isinstance(outcome, Exception), outcome

            spent[f"ours, {precision}, batches of {ours.batch_size}, {ours.encoders} encoders"] = waited(together, device)[1]
    base = next(iter(spent.values()))
    for name, spent_s in spent.items():
        lines.append(f"| {name} | {spent_s:.2f} | {sizes.files * sizes.file_s / spent_s:,.0f} | {base / spent_s:.2f} |")
    return lines


def training(sizes: Sizes, device: str) -> list[str]:
    """The table of training."""
    from gpu_training import steps_a_second

    items, duration_s = min(sizes.items, 16), min(sizes.effect_s, 3.0)
    found = {where: steps_a_second(where, items, duration_s, sizes.steps) for where in dict.fromkeys(("cpu", device))}
    base, exact = found["cpu"]
    lines = [
        f"A network sets eq, compressor, reverb and fader of {items} stereo items of {duration_s:g} s; processor: {torch.get_num_threads()} "
        "threads. Difference: the largest of the loss, relative.",
        "",
        "| device | steps a second | against the processor | difference |",
        "|---|---|---|---|",
    ]
    for where, (rate, losses) in found.items():
        difference = max(abs(one / other - 1.0) for one, other in zip(losses, exact, strict=True))
        lines.append(f"| {where} | {rate:.2f} | {rate / base:.1f} × | {difference:.1e} |")
    return lines


def effects(sizes: Sizes, device: str) -> list[str]:
    """The table of effects."""
    noise = 0.2 * torch.randn(sizes.items, 2, round(sizes.effect_s * RATE), generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    lines = [
        f"{sizes.items} stereo items of {sizes.effect_s:g} s; processor: {threads} threads:",
        "",
        "| effect | forward, GPU ms | against the processor | largest difference | forward and backward, GPU ms | against the processor | gradient's difference | runs on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, effect in EFFECTS.items():
        settings = effect.Settings(**SETTINGS[name])
        try:
            lines.append(f"| {name} | {' | '.join(one_effect(effect, settings, noise, sizes, device))} |")
        except (RuntimeError, TypeError, ValueError) as error:
            lines.append(f"| {name} | fails: {type(error).__name__}: {str(error).splitlines()[0][:120]} | | | | | | |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def one_effect(effect: Any, settings: Any, noise: torch.Tensor, sizes: Sizes, device: str) -> list[str]:
    """The cells of one effect's row."""
    results: dict[str, Any] = {}
    for where in ("cpu", device):
        audio = noise.to(where)

        def forward(audio: torch.Tensor = audio) -> torch.Tensor:
            with torch.inference_mode():
                return effect.apply(audio, RATE, settings)

        def backward(audio: torch.Tensor = audio) -> torch.Tensor:
            leaf = audio.clone().requires_grad_()
            effect.apply(leaf, RATE, settings).square().mean().backward()
            return leaf.grad

        results[where] = []
        for function in (forward, backward):
            function(audio[:2])  # compiles kernels
            if where != "cpu":
                function()  # takes the device's memory
            runs = [waited(function, where) for _ in range(sizes.repeats if where != "cpu" else 1)]
            results[where].append((runs[0][0].cpu(), statistics.median(spent for _, spent in runs)))
    (wet, wet_s), (grad, grad_s) = results[device]
    (exact, exact_s), (exact_grad, exact_grad_s) = results["cpu"]
    difference = float((wet - exact).abs().max())
    slope = float((grad - exact_grad).abs().max() / exact_grad.abs().max().clamp(min=1e-30))
    cells = [
        f"{1e3 * wet_s:.1f}",
        f"{exact_s / wet_s:.1f} ×",
        f"{difference:.1e}",
        f"{1e3 * grad_s:.1f}",
        f"{exact_grad_s / grad_s:.1f} ×",
        f"{slope:.1e}",
    ]
    return [*cells, "processor" if goes_back(effect, settings, noise.to(device)) else "GPU"]


def goes_back(effect: Any, settings: Any, audio: torch.Tensor) -> bool:
    """Whether an effect copies a signal to the processor."""
    moved: list[int] = []
    cpu = torch.Tensor.cpu

    def seen(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if tensor.device.type != "cpu":
            moved.append(tensor.numel())
        return cpu(tensor, *arguments, **options)

    with mock.patch.object(torch.Tensor, "cpu", seen), torch.inference_mode():
        effect.apply(audio, RATE, settings)
    return any(count >= audio.shape[-1] for count in moved)


TABLES = {"separation": separation, "files": files, "effects": effects, "training": training}


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, on the processor if there is no GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:N or cpu (with --small)")
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    parser.add_argument("--repeats", type=int, default=Sizes.repeats, help="how often each is timed")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the tables")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's sections of docs/results.md")
    given = parser.parse_args()
    if given.device == "cpu" and not given.small:
        raise SystemExit("no CUDA device: expected a GPU. With --small it runs on the processor, to show that it runs.")
    sizes = Sizes(4.0, 2.0, 2, 0.5, 1, tiny=True, files=2, file_s=2.0, steps=2) if given.small else Sizes(repeats=given.repeats)
    where = f"{torch.cuda.get_device_name(given.device)}, " if given.device != "cpu" else ""
    printed = {}
    for name in [given.only] if given.only else TABLES:
        text = "\n".join([f"{where}PyTorch {torch.__version__}.", "", *TABLES[name](sizes, given.device)])
        printed[name] = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
        if not given.json:
            print(f"{text}\n", flush=True)
        if given.write:
            from results import publish

            publish(f"{NAME}: {name}", f"python benchmarks/gpu.py --only {name} --write", text)
    if given.json:
        print(json.dumps({"device": where.rstrip(", ") or "cpu", "tables": printed}))


if __name__ == "__main__":
    main()
