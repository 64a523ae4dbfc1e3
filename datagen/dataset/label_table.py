"""The labels of a whole dataset in memory, kept as what is not empty.

Conventions
    N inputs, M targets, S slots of a signal (its branches and, last, its bus), K slots of the vocabulary.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from stemwright.datagen.dataset.items import Labels

if TYPE_CHECKING:
    from stemwright.datagen.dataset.labels import Vocabulary
    from stemwright.manifests.records import Signal


class LabelTable:
    """The labels of all examples, encoded once and kept as what is not empty: place in [N + M, S, K] and value of each."""

    def __init__(self, shape: tuple[int, int, int], num_inputs: int) -> None:
        self.shape, self.num_inputs = shape, num_inputs
        self._starts, self._places, self._values = array("q", [0]), array("l"), array("f")

    def add(self, vocabulary: Vocabulary, signals: Mapping[int, Signal]) -> None:
        """Adds the next example: its signals by their place in N + M."""
        _, num_slots, num_names = self.shape
        for row, signal in signals.items():
            for slot, chain in (*enumerate(branch.chain for branch in signal.branches), (num_slots - 1, signal.bus)):
                values, mask = vocabulary.encode(chain)
                (there,) = mask.nonzero()
                self._places.extend((there + (row * num_slots + slot) * num_names).tolist())
                self._values.extend(values[there].tolist())
        self._starts.append(len(self._places))

    def __getitem__(self, index: int) -> Labels:
        part = slice(self._starts[index], self._starts[index + 1])
        places = np.asarray(self._places[part], np.int64)
        values, mask = np.zeros(math.prod(self.shape), np.float32), np.zeros(math.prod(self.shape), np.bool_)
        values[places], mask[places] = self._values[part], True
        both = [torch.from_numpy(each.reshape(self.shape)) for each in (values, mask)]
        return Labels(*(each[: self.num_inputs] for each in both), *(each[self.num_inputs :] for each in both))
