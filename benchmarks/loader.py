"""Reading a dataset back: examples a second of ``PairDataset`` in a ``DataLoader`` of two workers, against decoding alone and webdataset.

    python benchmarks/loader.py [--write] [--examples 24]

What is measured
    An example is five stereo signals of five seconds at 44.1 kHz (four stems and their sum, synthetic songs), in batches of 8. Each pass
    goes over the files several times, so that starting the workers weighs little.
    Two figures for each format. By the clock, which counts what else the machine does. And from processor time: two cores, all of whose
    time goes into the workers and the process that takes the batches, 2 / (seconds of all three for one example).
    Decoding alone is what libsndfile needs to decode the same files from memory, in one process, on two cores: 2 / (its seconds).
    Handing over alone is the same DataLoader over batches of the same size that are made in shared memory and hold zeros: nothing is
    read, nothing decoded. The limit of a format is both one after the other: 1 / (1 / decoding + 1 / handing over).
    webdataset is the library of that name on the same tars, decoding by libsndfile, its tensors stacked by the same DataLoader.
    Every figure is the best of several passes over files that are in the page cache.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
import torch
from results import publish
from songs import render_song

from stemwright.datagen.dataset.items import empty_tensor
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.dataset.writers import WRITERS
from stemwright.manifests.pair_records import Branch, Pair, Signal
from stemwright.manifests.records import content_id, seal

RATE, DURATION_S, STEMS = 44_100, 5.0, ("drums", "bass", "other", "vocals")
NUM_FRAMES = round(RATE * DURATION_S)
BATCH, WORKERS, PASSES, ROUNDS, TARGET = 8, 2, 2, 4, 200.0
CASES = (("folder", "flac24"), ("webdataset", "flac24"), ("huggingface", "flac24"), ("folder", "wav32f"), ("webdataset", "wav32f"))


def examples(count: int) -> list[tuple[Pair, dict[str, np.ndarray]]]:
    """Pairs of four stems and their sum, with their audio, cut from a few synthetic songs."""
    songs = [render_song(number, 4 * DURATION_S) for number in range(4)]
    found = []
    for number in range(count):
        song = songs[number % len(songs)]
        start = (number * 7_919) % (song["drums"].shape[1] - NUM_FRAMES)
        audio = {name: 0.5 * song[name][:, start : start + NUM_FRAMES] for name in STEMS}
        audio["mix"] = np.sum([audio[name] for name in STEMS], axis=0, dtype=np.float32)
        signals = {name: Signal(name=name, branches=(Branch(source_id=content_id(name)),)) for name in audio}
        track = content_id(number)
        pair = seal(
            Pair,
            kind="mix",
            number=number,
            track_id=track,
            split="train",
            start_frame=start,
            num_frames=NUM_FRAMES,
            sample_rate=RATE,
            inputs=tuple(signals[name] for name in STEMS),
            targets=(signals["mix"],),
            seed=0,
        )
        found.append((pair, audio))
    return found


def write(folder: Path, form: str, encoding: str, made: list[tuple[Pair, dict[str, np.ndarray]]]) -> Path:
    """One dataset on disk."""
    writer = WRITERS[form](encoding)
    rows = [writer.write(folder, pair, audio) for pair, audio in made]
    writer.finish(folder, [pair for pair, _ in made], rows)
    return folder / "dataset"


def seconds() -> tuple[float, float]:
    """Processor seconds of this process and of the workers that have ended, and the clock."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used), time.perf_counter()


def passes(count: int, batches: Callable[[], Iterable[Any]]) -> tuple[float, float]:
    """(examples a second by the clock, examples a second on two cores from processor time), the best of some passes."""
    clock, processor = [], []
    for _ in range(PASSES):
        used, began = seconds()
        seen = sum(len(batch[0]) for batch in batches())
        used_after, ended = seconds()
        if seen != count:
            raise RuntimeError(f"expected {count} examples, got {seen}")
        clock.append(count / (ended - began))
        processor.append(2 * count / (used_after - used))
    return max(clock), max(processor)


def decoding(dataset: Path) -> float:
    """Examples a second of libsndfile alone on two cores, from bytes in memory."""
    data = PairDataset(dataset)
    files = [[data._places.find(file.audio.path).read() for file in data.example(number).signals] for number in range(min(16, len(data)))]
    best = float("inf")
    for _ in range(PASSES):
        began = time.process_time()
        for example in files:
            for file in example:
                soundfile.read(io.BytesIO(file), dtype="float32")
        best = min(best, (time.process_time() - began) / len(files))
    return 2.0 / best


class Nothing(torch.utils.data.Dataset[Any]):
    """Batches as large as those of the examples, in which nothing was read: what handing over costs by itself."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("batches only")

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of zeros."""
        count = len(indices)
        return empty_tensor((count, len(STEMS), 2, NUM_FRAMES)).zero_(), empty_tensor((count, 1, 2, NUM_FRAMES)).zero_()


def handing_over(count: int) -> float:
    """Examples a second of a DataLoader that reads nothing."""
    loader = torch.utils.data.DataLoader(
        Nothing(), batch_size=BATCH, num_workers=WORKERS, sampler=list(range(ROUNDS * count)), collate_fn=lambda batch: batch
    )
    return passes(ROUNDS * count, lambda: loader)[1]


def with_webdataset(dataset: Path, count: int) -> tuple[float, float]:
    """The library webdataset on the same tars."""
    import webdataset

    def decode(name: str, data: bytes) -> Any:
        return soundfile.read(io.BytesIO(data), dtype="float32")[0].T if name.endswith(("flac", "wav")) else None

    def stacked(example: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        suffix = next(name.rpartition(".")[2] for name in example if name.startswith("target_mix"))
        inputs = np.stack([example[f"input_{name}.{suffix}"] for name in STEMS])
        return torch.from_numpy(inputs), torch.from_numpy(example[f"target_mix.{suffix}"][np.newaxis].copy())

    urls = sorted(str(path) for path in (dataset / "mix").glob("train-*.tar"))

    def batches() -> Iterable[Any]:
        data = webdataset.WebDataset(urls * ROUNDS, shardshuffle=False).decode(decode).map(stacked)
        return torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=WORKERS)

    return passes(ROUNDS * count, batches)


def with_pair_dataset(dataset: Path) -> tuple[float, float]:
    """PairDataset in a DataLoader, in shuffled order."""
    data = PairDataset(dataset)
    order = [number for _ in range(ROUNDS) for number in np.random.default_rng(0).permutation(len(data)).tolist()]
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=WORKERS, sampler=order)
    return passes(len(order), lambda: loader)


def main() -> None:
    """Prints the table; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--examples", type=int, default=24)
    options = parser.parse_args()
    lines = ["| what | examples/s, by the clock | examples/s, two cores | decoding alone | limit | ratio to the limit | ratio to 200/s |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    made = examples(options.examples)
    over = handing_over(len(made))
    lines.append(f"| handing over alone | | {over:.0f} | | | | {over / TARGET:.2f} |")
    with tempfile.TemporaryDirectory() as place:
        for form, encoding in CASES:
            dataset = write(Path(place, form, encoding), form, encoding, made)
            limit = decoding(dataset)
            both = 1 / (1 / limit + 1 / over)
            measured = {f"PairDataset, {form}, {encoding}": with_pair_dataset(dataset)}
            if form == "webdataset":
                measured[f"webdataset's own reader, {encoding}"] = with_webdataset(dataset, len(made))
            for name, (clock, processor) in measured.items():
                ratios = f"{processor / both:.2f} | {processor / TARGET:.2f}"
                lines.append(f"| {name} | {clock:.0f} | {processor:.0f} | {limit:.0f} | {both:.0f} | {ratios} |")
                print(lines[-1], flush=True)
    body = "\n".join(lines)
    print(body)
    if options.write:
        publish("Loader", "python benchmarks/loader.py --write", body)


if __name__ == "__main__":
    main()
