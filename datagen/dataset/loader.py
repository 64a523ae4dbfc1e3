"""Reading a dataset back: a torch ``Dataset`` of (inputs, targets, mask), ready for a ``DataLoader``.

Conventions
    inputs is [N, C, T], targets [M, C, T], float32; mask [N] is True where an input has a source and False where it pads, or where its
    excerpt was too soft to be brought to its level (``stemwright.datagen.effects.loudness``). N and M are the largest numbers of inputs
    and targets of the selection, so examples stack; a missing input is silence.
    A mono signal is repeated on both channels unless ``num_channels=1``, which averages stereo ones.
    The dataset folder is complete by itself: it can be moved or mounted elsewhere. Opening it reads columns of tables only. The rows of an
    item are read with it, from a memory-mapped copy of the tables that all workers share (``stemwright.manifests.table_rows``): the first
    opening of a large dataset makes it, beside them or in the user's cache. Sound is read per item, and of a shard only the bytes of the
    item's files (see ``stemwright.manifests.shards``): any order is as fast as any other. The folders ``folder``, ``musdb``,
    ``webdataset`` and ``huggingface`` are read alike.
    A random part of an excerpt is drawn from the seed, the epoch and the example alone: the number of workers does not change it.
    Every rank reads every world_size-th example of the selection, so each is read by exactly one. Ranks differ by at most one example,
    unless ``even`` leaves out the few that do not divide, since ranks that wait for one another must take equally many steps.
    An item, and a batch that a ``DataLoader`` makes of items, is a named tuple. Of a batch every field has one dimension more, in front:
        Item           inputs [B, N, C, T], targets [B, M, C, T], mask [B, N]
        IndexedItem    and number [B]                                                        (with_index=True)
        LabelledItem   and number [B], labels: inputs and inputs_mask [B, N, S, K], targets and targets_mask [B, M, S, K]    (labels=...)
    Labels are the settings of the dataset's rows: on the scale of the written audio, whatever joint gain the example has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from stemwright.datagen.dataset.items import Batch, IndexedItem, Item, LabelledItem, empty_tensor
from stemwright.datagen.dataset.label_encoder import LabelEncoder
from stemwright.datagen.dataset.labels import Vocabulary, vocabulary_of
from stemwright.datagen.dataset.selection import (
    check_folder,
    checked_split,
    labelled_in,
    length_of,
    most_of,
    opened_folder,
    padded_to,
    places_of,
    select,
    share_of,
)
from stemwright.datagen.effects import EFFECTS
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.pair_records import Example, Signal, SignalFile
from stemwright.manifests.sound.embedded import load_bytes
from stemwright.manifests.sound.formats import Audio

REQUESTS = 16  # examples of a batch that are requested of a store at once
Fetched = Mapping[str, bytes]  # path of a sound file -> its bytes


class PairDataset(torch.utils.data.Dataset[Item | IndexedItem | LabelledItem]):
    """The examples of one kind and split in a dataset folder, in a fixed order.

    ``dataset_folder`` is a corpus's ``dataset/``, in any format, or the address of one in a bucket (``s3://BUCKET/PREFIX``): from a shard
    there, only the files of an example are requested. ``kind`` selects the examples of one kind, None takes all; ``split`` those of
    "train", "valid" (or "validation"), "test" or "all". ``num_inputs`` pads to so many inputs (8 or 16, say). ``num_frames`` takes a part
    of each excerpt, from ``start_frame`` on or, if that is None, from a place that is drawn in each epoch (``set_epoch``).
    ``with_index`` adds each example's number, so that its pair is found in a shuffled batch; ``labels`` adds the number and the settings of
    its signals as tensors: True for all effects, or names of effects, settings and roles as ``Vocabulary`` takes them, or the vocabulary
    of another dataset. What no example of the kind carries is an error. Which kinds carry what: removal the effects that it draws, kept
    and removed; limit ``loudness`` (into the limiter), ``limiter`` and ``loudness#2`` (after it); edit the effects that its texts name;
    remix the console; mix nothing where its inputs are the stems as separated, else ``fader``, ``loudness`` or the normalising chain.
    ``rank`` and ``world_size`` divide the examples among processes; by default as torch.distributed is initialised, if it is. Then leave
    out a DistributedSampler, or give rank=0, world_size=1 and leave it the sharing.
    ``num_channels`` is 1 or 2: stereo is averaged, mono repeated. ``seed`` is that of the places. With ``even`` each rank gets equally
    many, the last ones left out.
    An item is (inputs float32 [N, C, T], targets [M, C, T], mask bool [N]: which inputs are real), [C, T] at ``sample_rate`` Hz; ``pair(
    index)`` is its row with every setting, ``vocabulary`` names the slots of the labels.
    Raises FileNotFoundError if the folder is no dataset, ValueError naming what there is if the selection is empty or has no such labels,
    its excerpts differ in length, or a shard is damaged.

    >>> import numpy, stemwright as sw
    >>> stems = dict(zip(("drums", "vocals"), numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 66_150)), strict=True))
    >>> for name, audio in {**stems, "mixture": sum(stems.values())}.items():
    ...     _ = sw.save(f"songs/one/{name}.wav", audio, 44_100)
    >>> config = {"songs": {"kind": "multitracks"}, "pairs": {"duration_s": 1.0, "mix": {"per_track": 2}, "removal": {"per_track": 0}}}
    >>> dataset = sw.PairDataset(sw.build("songs", "corpus", config).dataset, kind="mix")
    >>> inputs, targets, mask = dataset[0]
    >>> len(dataset), tuple(inputs.shape), tuple(targets.shape), mask.tolist()
    (2, (2, 2, 44100), (1, 2, 44100), [True, True])
    """

    def __init__(
        self,
        dataset_folder: Path | str,
        *,
        kind: str | None = None,
        split: str | None = "train",
        num_channels: int = 2,
        num_inputs: int | None = None,
        num_frames: int | None = None,
        start_frame: int | None = None,
        seed: int = 0,
        with_index: bool = False,
        labels: bool | Sequence[str] | Vocabulary = False,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = False,
    ) -> None:
        self.folder = opened_folder(dataset_folder)
        check_folder(self.folder)
        if num_channels not in (1, 2):
            raise ValueError(f"num_channels must be 1 or 2; got {num_channels}")
        self.num_channels, self.with_index, self.seed = num_channels, with_index, seed
        self.kind, self.split = kind, checked_split(split)
        selected = select(self.folder, kind, self.split)
        (whole, self.sample_rate), most = length_of(selected), most_of(selected)
        self.num_inputs, self.num_targets = padded_to(most.inputs, num_inputs), most.targets
        self.num_frames = whole if num_frames is None else num_frames
        if not 0 < self.num_frames <= whole or (start_frame or 0) + self.num_frames > whole:
            raise ValueError(f"an excerpt has {whole} frames; got num_frames={num_frames}, start_frame={start_frame}")
        self._last_start = whole - self.num_frames
        self._start = 0 if self._last_start == 0 else start_frame
        rank_part = share_of(selected, rank, world_size, even=even)
        self._pairs, self._examples = selected.pairs, selected.examples
        both = [numbers[rank_part] for numbers in (selected.pair_numbers, selected.example_numbers)]
        self._numbers = torch.from_numpy(np.stack(both).astype(np.int32)).share_memory_()  # workers do not copy it
        self._places = places_of(self.folder, self._examples, both[1])
        self.vocabulary = None if labels is False else vocabulary_of(labels, partial(labelled_in, selected), f"{kind or 'any'} example")
        self._num_slots = most.branches + most.sends + 1
        sizes = self.num_inputs, self.num_targets, self._num_slots, most.branches
        self._encoder = None if self.vocabulary is None else LabelEncoder(self.vocabulary, *sizes)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent workers see it change

    def __len__(self) -> int:
        return self._numbers.shape[1]

    def __repr__(self) -> str:
        shapes = (f"{name} [{count}, {self.num_channels}, {self.num_frames}]" for name, count in self._sides())
        phrase = [
            f"{len(self):,} examples of {'all kinds' if self.kind is None else self.kind}",
            "all splits" if self.split == "all" else f"split {self.split}",
            *shapes,
            f"{self.sample_rate} Hz",
        ]
        if self.vocabulary is not None:
            what = sorted({name.partition(".")[0] for name in self.vocabulary.names})
            phrase.append(f"labels [{self._num_slots}, {len(self.vocabulary)}] of {', '.join(what)}")
        return f"PairDataset({str(self.folder)!r}: {'; '.join(phrase)})"

    def _sides(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return ("inputs", self.num_inputs), ("targets", self.num_targets)

    def set_epoch(self, epoch: int) -> None:
        """Draws other parts of the excerpts from now on; call it before each pass over the data, as for a DistributedSampler."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item | IndexedItem | LabelledItem:
        inputs, targets = (torch.empty((count, self.num_channels, self.num_frames)) for count in (self.num_inputs, self.num_targets))
        return self._item(index, inputs, targets, self._scratch())

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The examples of a batch, as ``DataLoader`` requests them: read into the batch itself, so that stacking copies nothing."""
        inputs, targets = (
            empty_tensor((len(indices), count, self.num_channels, self.num_frames)) for count in (self.num_inputs, self.num_targets)
        )
        scratch = self._scratch()
        with self._fetching(indices) as fetched:
            items = [self._item(index, inputs[number], targets[number], scratch, data) for (number, index), data in fetched]
        return Batch(items, inputs, targets)

    def _scratch(self) -> bytearray:
        """Memory for one sound file, used again for each of a batch."""
        return bytearray(4 * 2 * self.num_frames)

    @contextmanager
    def _fetching(self, indices: Sequence[int]) -> Iterator[Iterator[tuple[tuple[int, int], Fetched]]]:
        """The examples of a batch with what of them is in a store, requested side by side."""
        if not self._places.stored:
            yield zip(enumerate(indices), repeat({}))  # endless
            return
        with ThreadPoolExecutor(min(REQUESTS, max(1, len(indices)))) as pool:
            yield zip(enumerate(indices), pool.map(self._fetch, indices), strict=True)

    def _fetch(self, index: int) -> Fetched:
        """The bytes of those files of an example that are in a store, by path: in one request where they are neighbours in a shard."""
        return self._fetch_of(self.example(index))

    def _fetch_of(self, example: Example) -> Fetched:
        return self._places.fetch([file.audio.path for file in example.signals])

    def _item(
        self, index: int, inputs: torch.Tensor, targets: torch.Tensor, scratch: bytearray, fetched: Fetched | None = None
    ) -> Item | IndexedItem | LabelledItem:
        """One example, its sound read into the given tensors [N, C, T] and [M, C, T]."""
        pair, example = self.pair(index), self.example(index)
        fetched = self._fetch_of(example) if fetched is None else fetched
        start = self._start_of(pair)
        files = [file for file in example.signals if file.role == "input"]
        self._read(files, inputs, start, (scratch, fetched))
        self._read([file for file in example.signals if file.role == "target"], targets, start, (scratch, fetched))
        mask = torch.zeros(self.num_inputs, dtype=torch.bool)
        mask[: len(pair.inputs)] = torch.tensor([_is_heard(*each) for each in zip(pair.inputs, files, strict=True)])
        if self._encoder is not None:
            return LabelledItem(inputs, targets, mask, index % len(self), self._encoder(pair))
        return IndexedItem(inputs, targets, mask, index % len(self)) if self.with_index else Item(inputs, targets, mask)

    def pair(self, index: int) -> WrittenPair:
        """The plan of one example: its signals with their chains, which are its labels."""
        return self._pairs[int(self._numbers[0, index])]

    def example(self, index: int) -> Example:
        """The files of one example, with their loudness and peak and the gain they share."""
        return self._examples[int(self._numbers[1, index])]

    def _start_of(self, pair: WrittenPair) -> int:
        if self._start is not None:
            return self._start
        rng = np.random.default_rng([self.seed, int(self._epoch), int(pair.id, 16)])
        return int(rng.integers(self._last_start + 1))

    def _read(self, files: list[SignalFile], out: torch.Tensor, start_frame: int, memory: tuple[bytearray, Fetched]) -> None:
        array, (scratch, fetched) = out.numpy(), memory
        for number, file in enumerate(files):
            if (path := file.audio.path) in fetched:
                audio, _ = load_bytes(fetched[path], path, start_frame, self.num_frames)
            else:
                audio, _ = self._places.find(path).load(start_frame, self.num_frames, scratch=scratch)
            array[number] = self._with_channels(audio)
        array[len(files) :] = 0.0

    def _with_channels(self, audio: Audio) -> Audio:
        """[C, T] with the requested number of channels; numpy broadcasts a mono row."""
        return audio.mean(axis=0, keepdims=True) if self.num_channels < audio.shape[0] else audio


def _is_heard(signal: Signal, file: SignalFile) -> bool:
    """Whether an input has a source, and reached its level if it was to be brought to one."""
    for use in reversed([use for branch in signal.branches for use in branch.chain]):
        # A dataset can be read without the package of an effect in it.
        if use.effect in EFFECTS and hasattr(EFFECTS[use.effect], "reached"):
            return bool(EFFECTS[use.effect].reached(use.settings, file.loudness_lufs, file.peak_dbfs))
    return bool(signal.branches)
