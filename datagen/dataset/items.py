"""Items of a dataset, and batches of them: named tuples of tensors, which a ``DataLoader`` stacks without copying what is stacked already.

Conventions
    inputs is [N, C, T], targets [M, C, T], mask [N]; of a batch every field has one dimension more, in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data._utils.collate import default_collate_fn_map


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
    """The settings of an example's signals: values [N, S, K], present where their mask [N, S, K] is True; M for the targets.

    K are the slots of the dataset's ``vocabulary``, values along their scales. S are the branches of a signal in their order, its sends
    after the slots of all branches, and, last, its bus. The gains with which a branch feeds sends are in the branch's slot.
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


def empty_tensor(shape: tuple[int, ...]) -> torch.Tensor:
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


# torch's way to define how a type of item is batched.
default_collate_fn_map.update(dict.fromkeys((Item, IndexedItem, LabelledItem), _stacked))
