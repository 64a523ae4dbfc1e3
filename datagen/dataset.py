"""Reading a dataset back: a torch ``Dataset`` of (inputs, targets, mask), ready for a ``DataLoader``.

Conventions
    inputs is [N, C, T], targets [M, C, T], float32; mask [N] is True where an input has a source and False where it pads. N and M are the
    largest numbers of inputs and targets of the selection, so examples stack; a missing input is silence.
    A mono signal is repeated on both channels unless ``num_channels=1``, which averages stereo ones.
    The dataset folder stands alone: it can be moved or mounted elsewhere. Opening it reads tables only; sound is read per item, and of a
    shard only the bytes of the item's files (see ``manifests.shards``): any order is as fast as any other. The folders ``folder``,
    ``musdb``, ``webdataset`` and ``huggingface`` are read alike.
    A random part of an excerpt is drawn from the seed, the epoch and the example alone: the number of workers does not change it.
    Every rank reads every world_size-th example of the selection, so each is read by exactly one. Ranks differ by at most one example,
    unless ``even`` leaves out the few that do not divide, since ranks that wait for one another must take equally many steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data._utils.collate import default_collate_fn_map

from datagen.labels import Vocabulary
from manifests import table
from manifests.audio import Audio
from manifests.records import Example, Signal, SignalFile
from manifests.shards import Places
from manifests.written import WrittenPair


class Item(NamedTuple):
    """One example. Batches made by ``DataLoader`` are ``Item`` as well."""

    inputs: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor


class IndexedItem(NamedTuple):
    """One example with its number in the dataset, by which ``pair`` and ``example`` give its labels."""

    inputs: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor
    number: int


class Labels(NamedTuple):
    """The settings of an example's signals: values [N, S, K] in [0, 1], present where their mask [N, S, K] is True; M for the targets.

    K are the slots of the dataset's ``vocabulary``. S are the branches of a signal in their order and, last, its bus.
    """

    inputs: torch.Tensor
    inputs_mask: torch.Tensor
    targets: torch.Tensor
    targets_mask: torch.Tensor


class LabelledItem(NamedTuple):
    """One example with its number in the dataset and its labels."""

    inputs: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor
    number: int
    labels: Labels


class Batch(list[Any]):
    """The items of a batch whose tensors are parts of one tensor each, [B, N, C, T] and [B, M, C, T]."""

    def __init__(self, items: Sequence[Any], inputs: torch.Tensor, targets: torch.Tensor) -> None:
        super().__init__(items)
        self.inputs, self.targets = inputs, targets


class PairDataset(torch.utils.data.Dataset[Item | IndexedItem | LabelledItem]):
    """The examples of one kind and split in a dataset folder, in a fixed order.

    ``kind`` and ``split`` select; None takes all. ``num_inputs`` pads to so many inputs (8 or 16, say). ``num_frames`` takes a part of each
    excerpt, from ``start_frame`` on or, if that is None, from a place drawn anew in each epoch (``set_epoch``).
    ``with_index`` adds each example's number, so that its pair is found in a shuffled batch; ``labels`` adds the number and the settings of
    its signals as tensors: True for all that there are, or names of effects and settings as ``Vocabulary`` takes them.
    ``rank`` and ``world_size`` share the examples out; without them it is done as torch.distributed is initialised, if it is. Then leave
    out a DistributedSampler, or give rank=0, world_size=1 and leave it the sharing.
    Raises FileNotFoundError if the folder is no dataset, ValueError naming what there is if the selection is empty, its excerpts differ in
    length, or a shard is damaged.
    """

    def __init__(
        self,
        dataset_folder: Path | str,
        *,
        kind: str | None = None,
        split: str | None = None,
        num_channels: int = 2,
        num_inputs: int | None = None,
        num_frames: int | None = None,
        start_frame: int | None = None,
        seed: int = 0,
        with_index: bool = False,
        labels: bool | Sequence[str] = False,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
    ) -> None:
        self.folder = Path(dataset_folder)
        _check_folder(self.folder)
        if num_channels not in (1, 2):
            raise ValueError(f"num_channels must be 1 or 2; got {num_channels}")
        self.num_channels, self.with_index, self.seed = num_channels, with_index, seed
        selected = _selected(self.folder, kind, split)
        (whole, self.sample_rate) = _length(selected)
        self.num_inputs = _padded(selected, num_inputs)
        self.num_targets = max(len(pair.targets) for pair, _ in selected)
        self.num_frames = whole if num_frames is None else num_frames
        if not 0 < self.num_frames <= whole or (start_frame or 0) + self.num_frames > whole:
            raise ValueError(f"an excerpt has {whole} frames; got num_frames={num_frames}, start_frame={start_frame}")
        self._last_start = whole - self.num_frames
        self._start = 0 if self._last_start == 0 else start_frame
        self._num_slots = 1 + max(len(signal.branches) for pair, _ in selected for signal in (*pair.inputs, *pair.targets))
        self._rows = _share(selected, rank, world_size, even=even)
        self._places = _places(self.folder, [example for _, example in self._rows])
        self.vocabulary = None if labels is False else Vocabulary(() if labels is True else labels)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that go on living see it change

    def __len__(self) -> int:
        return len(self._rows)

    def set_epoch(self, epoch: int) -> None:
        """Draws other parts of the excerpts from now on; call it before each pass over the data, as for a DistributedSampler."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item | IndexedItem | LabelledItem:
        inputs, targets = (torch.empty((count, self.num_channels, self.num_frames)) for count in (self.num_inputs, self.num_targets))
        return self._item(index, inputs, targets, self._scratch())

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The examples of a batch, as ``DataLoader`` asks for them: read into the batch itself, so that stacking copies nothing."""
        inputs, targets = (
            _room((len(indices), count, self.num_channels, self.num_frames)) for count in (self.num_inputs, self.num_targets)
        )
        scratch = self._scratch()
        items = [self._item(index, inputs[number], targets[number], scratch) for number, index in enumerate(indices)]
        return Batch(items, inputs, targets)

    def _scratch(self) -> bytearray:
        """Memory for one sound file, used again for each of a batch."""
        return bytearray(4 * 2 * self.num_frames)

    def _item(self, index: int, inputs: torch.Tensor, targets: torch.Tensor, scratch: bytearray) -> Item | IndexedItem | LabelledItem:
        """One example, its sound read into the given tensors [N, C, T] and [M, C, T]."""
        pair, example = self._rows[index]
        start = self._start_of(pair)
        self._read([file for file in example.signals if file.role == "input"], inputs, start, scratch)
        self._read([file for file in example.signals if file.role == "target"], targets, start, scratch)
        mask = torch.zeros(self.num_inputs, dtype=torch.bool)
        mask[: len(pair.inputs)] = torch.tensor([bool(signal.branches) for signal in pair.inputs])
        if self.vocabulary is not None:
            return LabelledItem(inputs, targets, mask, index % len(self), self._labels(pair))
        return IndexedItem(inputs, targets, mask, index % len(self)) if self.with_index else Item(inputs, targets, mask)

    def pair(self, index: int) -> WrittenPair:
        """The plan of one example: its signals with their chains, which are its labels."""
        return self._rows[index][0]

    def example(self, index: int) -> Example:
        """The files of one example, with their loudness and peak and the gain they share."""
        return self._rows[index][1]

    def _start_of(self, pair: WrittenPair) -> int:
        if self._start is not None:
            return self._start
        rng = np.random.default_rng([self.seed, int(self._epoch), int(pair.id, 16)])
        return int(rng.integers(self._last_start + 1))

    def _read(self, files: list[SignalFile], out: torch.Tensor, start_frame: int, scratch: bytearray) -> None:
        array = out.numpy()
        for number, file in enumerate(files):
            audio, _ = self._places.find(file.audio.path).load(start_frame, self.num_frames, scratch=scratch)
            array[number] = self._with_channels(audio)
        array[len(files) :] = 0.0

    def _with_channels(self, audio: Audio) -> Audio:
        """[C, T] with the number of channels asked for; numpy repeats a mono row by itself."""
        return audio.mean(axis=0, keepdims=True) if self.num_channels < audio.shape[0] else audio

    def _labels(self, pair: WrittenPair) -> Labels:
        return Labels(*self._encoded(pair.inputs, self.num_inputs), *self._encoded(pair.targets, self.num_targets))

    def _encoded(self, signals: Sequence[Signal], count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(values, mask) of some signals, [count, S, K] each."""
        assert self.vocabulary is not None
        values = np.zeros((count, self._num_slots, len(self.vocabulary)), np.float32)
        mask = np.zeros(values.shape, np.bool_)
        for number, signal in enumerate(signals):
            for slot, branch in enumerate(signal.branches):
                values[number, slot], mask[number, slot] = self.vocabulary.encode(branch.chain)
            values[number, -1], mask[number, -1] = self.vocabulary.encode(signal.bus)
        return torch.from_numpy(values), torch.from_numpy(mask)


def _room(shape: tuple[int, ...]) -> torch.Tensor:
    """An empty tensor; in a worker, in the memory that it shares with the process that takes the batch."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape)
    storage = torch.UntypedStorage._new_shared(4 * math.prod(shape))  # as torch's own stacking does in a worker
    return torch.empty(0).set_(storage).view(shape)


def _stacked(items: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """Items as one, as torch's own stacking makes them, but for what already is one tensor."""
    del collate_fn_map  # of torch's own types; they are stacked by its default
    names = type(items[0])._fields
    whole = {"inputs": items.inputs, "targets": items.targets} if isinstance(items, Batch) else {}
    columns = {name: [getattr(item, name) for item in items] for name in names if name not in whole}
    rest = {name: torch.utils.data.default_collate(column) for name, column in columns.items()}
    return type(items[0])(**{name: whole[name] if name in whole else rest[name] for name in names})


# How torch lets a type of item say what its batch is.
default_collate_fn_map.update(dict.fromkeys((Item, IndexedItem, LabelledItem), _stacked))


def _check_folder(folder: Path) -> None:
    if not (folder / "examples.parquet").exists():
        raise FileNotFoundError(
            f"{folder} is no dataset: it has no examples.parquet; expected CORPUS/dataset as `stemwright build` writes it"
        )
    if (folder / "config.toml").exists():
        raise FileNotFoundError(f"{folder} is a corpus; the dataset is the folder inside it: {folder / 'dataset'}")


def _selected(folder: Path, kind: str | None, split: str | None) -> list[tuple[WrittenPair, Example]]:
    pairs = {pair.id: pair for pair in table.read(folder / "pairs.parquet", WrittenPair)}
    rows = [(pairs[example.pair_id], example) for example in table.read(folder / "examples.parquet", Example)]
    selected = [(pair, example) for pair, example in rows if kind in (None, pair.kind) and split in (None, pair.split)]
    if not selected:
        there = sorted({f"{pair.kind}/{pair.split}" for pair, _ in rows})
        raise ValueError(f"{folder} has no examples of kind {kind!r} and split {split!r}; it has {', '.join(there) or 'none'}")
    return selected


def _length(selected: Sequence[tuple[WrittenPair, Example]]) -> tuple[int, int]:
    lengths = {(pair.num_frames, pair.sample_rate) for pair, _ in selected}
    if len(lengths) > 1:
        raise ValueError(f"the examples differ in length and rate, {sorted(lengths)}; select one kind or split")
    return lengths.pop()


def _padded(selected: Sequence[tuple[WrittenPair, Example]], num_inputs: int | None) -> int:
    most = max(len(pair.inputs) for pair, _ in selected)
    if num_inputs is not None and num_inputs < most:
        raise ValueError(f"num_inputs={num_inputs} cannot hold the {most} inputs of some examples")
    return num_inputs or most


def _share(
    selected: list[tuple[WrittenPair, Example]], rank: int | None, world_size: int | None, *, even: bool
) -> list[tuple[WrittenPair, Example]]:
    """The examples of one rank."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank and world_size belong together; got rank={rank}, world_size={world_size}")
    if rank is None or world_size is None:
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world_size = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0 to world_size - 1; got rank={rank}, world_size={world_size}")
    if len(selected) < world_size:
        raise ValueError(f"{len(selected)} examples cannot be shared out to {world_size} ranks")
    shared = len(selected) - len(selected) % world_size if even else len(selected)
    return selected[rank:shared:world_size]


def _places(folder: Path, examples: Sequence[Example]) -> Places:
    """Where the sound files are. Raises ValueError naming a damaged shard that some of them are lost with."""
    places = Places(folder)
    for example in examples if places.damaged else ():
        for file in example.signals:
            if shard := places.lost_with(file.audio.path):
                raise ValueError(f"{folder / shard} {places.damaged[shard]}; delete it and run `stemwright render` again")
    return places
