"""Reading a dataset back: a torch ``Dataset`` of (inputs, targets, mask), ready for a ``DataLoader``.

Conventions
    inputs is [N, C, T], targets [M, C, T], float32; mask [N] is True where an input is real and False where it pads. N and M are the
    largest
    numbers of inputs and targets of the selection, so examples stack; a missing input is silence.
    A mono signal is repeated on both channels unless ``num_channels=1``, which averages stereo ones.
    The dataset folder stands alone: it can be moved or mounted elsewhere. Opening it reads tables only; a sound file is opened per item.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from manifests import table
from manifests.audio import Audio, load
from manifests.records import Example, Pair, SignalFile


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


class PairDataset(torch.utils.data.Dataset[Item | IndexedItem]):
    """The examples of one kind and split in a dataset folder, in a fixed order.

    ``kind`` and ``split`` select; None takes all. ``with_index`` adds each example's number, so that labels are found in a shuffled batch.
    Raises FileNotFoundError if the folder is no dataset, ValueError naming what there is if
    the selection is empty or its excerpts differ in length.
    """

    def __init__(
        self,
        dataset_folder: Path | str,
        *,
        kind: str | None = None,
        split: str | None = None,
        num_channels: int = 2,
        with_index: bool = False,
    ) -> None:
        self.folder = Path(dataset_folder)
        if not (self.folder / "examples.parquet").exists():
            raise FileNotFoundError(
                f"{self.folder} is no dataset: it has no examples.parquet; expected CORPUS/dataset as `stemwright build` writes it"
            )
        if (self.folder / "config.toml").exists():
            raise FileNotFoundError(f"{self.folder} is a corpus; the dataset is the folder inside it: {self.folder / 'dataset'}")
        if num_channels not in (1, 2):
            raise ValueError(f"num_channels must be 1 or 2; got {num_channels}")
        self.num_channels, self.with_index = num_channels, with_index
        pairs = {pair.id: pair for pair in table.read(self.folder / "pairs.parquet", Pair)}
        rows = [(pairs[example.pair_id], example) for example in table.read(self.folder / "examples.parquet", Example)]
        self._rows = [(pair, example) for pair, example in rows if kind in (None, pair.kind) and split in (None, pair.split)]
        if not self._rows:
            there = sorted({f"{pair.kind}/{pair.split}" for pair, _ in rows})
            raise ValueError(f"{self.folder} has no examples of kind {kind!r} and split {split!r}; it has {', '.join(there) or 'none'}")
        lengths = {(pair.num_frames, pair.sample_rate) for pair, _ in self._rows}
        if len(lengths) > 1:
            raise ValueError(f"the examples differ in length and rate, {sorted(lengths)}; select one kind or split")
        self.num_inputs = max(len(pair.inputs) for pair, _ in self._rows)
        self.num_targets = max(len(pair.targets) for pair, _ in self._rows)
        (self.num_frames, self.sample_rate) = lengths.pop()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item | IndexedItem:
        _, example = self._rows[index]
        inputs = self._read([file for file in example.signals if file.role == "input"], self.num_inputs)
        targets = self._read([file for file in example.signals if file.role == "target"], self.num_targets)
        mask = torch.arange(self.num_inputs) < sum(file.role == "input" for file in example.signals)
        return IndexedItem(inputs, targets, mask, index) if self.with_index else Item(inputs, targets, mask)

    def pair(self, index: int) -> Pair:
        """The plan of one example: its signals with their chains, which are its labels."""
        return self._rows[index][0]

    def example(self, index: int) -> Example:
        """The files of one example, with their loudness and peak and the gain they share."""
        return self._rows[index][1]

    def _read(self, files: list[SignalFile], count: int) -> torch.Tensor:
        out = np.zeros((count, self.num_channels, self.num_frames), np.float32)
        for number, file in enumerate(files):
            # Paths in the tables start at the corpus; the first part is the dataset folder's own name, whatever it is called now.
            audio, _ = load(self.folder.joinpath(*Path(file.audio.path).parts[1:]), num_frames=self.num_frames)
            out[number] = self._with_channels(audio)
        return torch.from_numpy(out)

    def _with_channels(self, audio: Audio) -> Audio:
        """[C, T] with the number of channels asked for; numpy repeats a mono row by itself."""
        return audio.mean(axis=0, keepdims=True) if self.num_channels < audio.shape[0] else audio
