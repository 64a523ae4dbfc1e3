"""Which examples of a dataset folder a loader reads: of a kind, a split and a rank, of one length, each with its row and its files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from stemwright.manifests import table
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.names import split_name
from stemwright.manifests.records import Example, Split
from stemwright.manifests.shards import Places

Rows = list[tuple[WrittenPair, Example]]


def check_folder(folder: Path) -> None:
    """Raises FileNotFoundError, with what was expected, for a folder that is no dataset."""
    if not (folder / "examples.parquet").exists():
        raise FileNotFoundError(
            f"{folder} is not a dataset: it has no examples.parquet; expected CORPUS/dataset as `stemwright build` writes it"
        )
    if (folder / "config.toml").exists():
        raise FileNotFoundError(f"{folder} is a corpus; the dataset is the folder inside it: {folder / 'dataset'}")


def checked_split(split: str | None) -> str:
    """The requested split. Raises ValueError for one that cannot exist."""
    if split is None:
        warnings.warn('PairDataset(split=None) reads all splits; write split="all" for that', DeprecationWarning, stacklevel=3)
        return "all"
    if split_name(split) not in (*get_args(Split), "all"):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))} or all; got {split!r}")
    return split_name(split)


def select(folder: Path, kind: str | None, split: str) -> tuple[Rows, Rows]:
    """The examples of a kind, and those of them that are of a split."""
    pairs = {pair.id: pair for pair in table.read(folder / "pairs.parquet", WrittenPair)}
    rows = [(pairs[example.pair_id], example) for example in table.read(folder / "examples.parquet", Example)]
    of_kind = [(pair, example) for pair, example in rows if kind in (None, pair.kind)]
    selected = [(pair, example) for pair, example in of_kind if split in ("all", pair.split)]
    if not selected:
        there = ", ".join(sorted({f"{pair.kind}/{pair.split}" for pair, _ in rows})) or "none"
        raise ValueError(f'{folder} has no examples of kind {kind!r} and split {split!r}; it has {there}. split="all" takes every split')
    return of_kind, selected


def length_of(selected: Rows) -> tuple[int, int]:
    """The length in frames and the sample rate of all excerpts. Raises ValueError if they differ."""
    lengths = {(pair.num_frames, pair.sample_rate) for pair, _ in selected}
    if len(lengths) > 1:
        raise ValueError(f"the examples differ in length or sample rate, {sorted(lengths)}; select one kind or split")
    return lengths.pop()


def padded_to(selected: Rows, num_inputs: int | None) -> int:
    """How many inputs an item has: the requested number, else as the example with most. Raises ValueError if that is too few."""
    most = max(len(pair.inputs) for pair, _ in selected)
    if num_inputs is not None and num_inputs < most:
        raise ValueError(f"num_inputs={num_inputs} is too small for the {most} inputs of some examples")
    return num_inputs or most


def share_of(selected: Rows, rank: int | None, world_size: int | None, *, even: bool) -> Rows:
    """The examples of one rank; where none is given, of the rank that torch.distributed has, if it is initialised."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"give rank and world_size together; got rank={rank}, world_size={world_size}")
    if rank is None or world_size is None:
        import torch

        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world_size = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if joined else (0, 1)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be between 0 and world_size - 1; got rank={rank}, world_size={world_size}")
    if len(selected) < world_size:
        raise ValueError(f"{len(selected)} examples cannot be divided over {world_size} ranks")
    shared = len(selected) - len(selected) % world_size if even else len(selected)
    return selected[rank:shared:world_size]


def places_of(folder: Path, examples: Sequence[Example]) -> Places:
    """Where the sound files are. Raises ValueError naming a damaged shard that some of them are lost with."""
    places = Places(folder)
    for example in examples if places.damaged else ():
        for file in example.signals:
            if shard := places.lost_with(file.audio.path):
                raise ValueError(f"{folder / shard} {places.damaged[shard]}; delete it and run `stemwright render` again")
    return places
