"""The labels of one example as tensors, encoded when the example is read.

Conventions
    N inputs, M targets, S slots of a signal (its branches, its sends from slot ``first_send`` on, and, last, its bus), K slots of the
    vocabulary. The gains with which a branch feeds sends are in the branch's slot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stemwright.datagen.dataset.items import Labels
from stemwright.datagen.dataset.labels import Vocabulary
from stemwright.manifests.dataset_rows import WrittenPair


@dataclass(frozen=True)
class LabelEncoder:
    """What makes labels of an example's pair: the vocabulary, the numbers N, M and S of the dataset's items, and where sends are."""

    vocabulary: Vocabulary
    num_inputs: int
    num_targets: int
    num_slots: int
    first_send: int

    def __call__(self, pair: WrittenPair) -> Labels:
        """The labels of a pair. Raises ValueError for settings that an effect does not take."""
        shape = (self.num_inputs + self.num_targets, self.num_slots, len(self.vocabulary))
        values, mask = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        for row, signal in (*enumerate(pair.inputs), *enumerate(pair.targets, self.num_inputs)):
            for slot, branch in enumerate(signal.branches):
                fed = {send.name: gain_db for send in signal.sends if (gain_db := send.gains_db[slot]) is not None}
                values[row, slot], mask[row, slot] = self.vocabulary.encode(branch.chain, fed)
            for slot, send in enumerate(signal.sends, self.first_send):
                values[row, slot], mask[row, slot] = self.vocabulary.encode(send.chain)
            values[row, -1], mask[row, -1] = self.vocabulary.encode(signal.bus)
        both = torch.from_numpy(values), torch.from_numpy(mask)
        return Labels(*(each[: self.num_inputs] for each in both), *(each[self.num_inputs :] for each in both))
