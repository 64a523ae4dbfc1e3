"""Which stems of a separator are compared with which of a multitrack, when they are not named alike.

    matched(("drums", "bass", "other", "vocals"), ("vocals", "accompaniment"), "model")  # vocals; the sum of the other three

Conventions
    A pair has the multitrack's stems that are summed, and the separator's that are summed. Equal names are a pair. Then an
    instrument is a part of the stem that it belongs to (``part_of_instrument``): the guitar of a multitrack is a part of a separator's
    other, the guitar of a separator with six stems a part of a multitrack's other. A stem with a name of the rest (backing,
    accompaniment, rest ...) is all that is left on the other side; a stem that is not named after an instrument is a part of it, if there
    is one.
    A separator's stem that the multitrack does not have (vocals of an instrumental) is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stemwright.manifests.catalog.part_names import SUM_NAMES, is_part, part_of_instrument
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

REST_NAMES = SUM_NAMES | {"rest"}


@dataclass(frozen=True)
class StemPair:
    """What is compared: stems of the multitrack and of the separator, each summed. ``group`` is the separator's name for it."""

    group: str
    references: tuple[str, ...]
    estimates: tuple[str, ...]

    @property
    def name(self) -> str:
        """The multitrack's name for it, if it is one stem there."""
        return self.references[0] if len(self.references) == 1 else self.group


def matched(references: Sequence[str], estimates: Sequence[str], model: str) -> list[StemPair]:
    """The pairs of a multitrack's stems and a separator's, in the multitrack's order. Raises UsageError naming what a separator lacks.

    >>> from stemwright.datagen.evaluate.matched_stems import matched
    >>> [(pair.group, pair.references, pair.estimates) for pair in matched(("guitar", "backing"), ("bass", "drums", "other"), "small")]
    [('other', ('guitar',), ('other',)), ('backing', ('backing',), ('bass', 'drums'))]
    """
    there = [name for name in estimates if name != RESIDUAL]
    has_rest = any(name in REST_NAMES for name in references)
    own: dict[str, list[str]] = {}  # a separator's stem -> the multitrack's
    left = []
    for name in references:
        target = name if name in there else _part_of(name) if is_part([name]) or not has_rest else name
        if target in there:
            own.setdefault(target, []).append(name)
        else:
            left.append(name)
    parts = {target: [target, *(each for each in there if each not in own and _part_of(each) == target)] for target in own}
    rest = [name for name in there if not any(name in found for found in parts.values())]
    its_rest = [name for name in rest if name in REST_NAMES]
    pairs = [StemPair(target, tuple(names), tuple(parts[target])) for target, names in own.items()]
    lacking = [name for name in left if is_part([name]) and name not in REST_NAMES]
    if left and its_rest:
        pairs.append(StemPair(its_rest[0], tuple(left), (its_rest[0],)))
    elif left and rest and not lacking:
        pairs.append(StemPair(next(name for name in left if name in REST_NAMES), tuple(left), tuple(rest)))
    elif left:
        raise UsageError(
            f"the model {model} has the stems {', '.join(there) or 'none'}; the song has {', '.join(references)}. "
            f"Expected {', '.join(left)} also, or their sum as a stem named accompaniment"
        )
    order = list(references)
    return sorted(pairs, key=lambda pair: order.index(pair.references[0]))


def compared(references: Mapping[str, Audio], estimates: Mapping[str, Audio], model: str) -> tuple[dict[str, Audio], dict[str, Audio]]:
    """The stems of a multitrack and of a separator, summed as ``matched`` says: two mappings with the same names."""
    pairs = matched(tuple(references), tuple(estimates), model)
    return (
        {pair.name: summed(references, pair.references) for pair in pairs},
        {pair.name: summed(estimates, pair.estimates) for pair in pairs},
    )


def _part_of(name: str) -> str:
    """The stem that an instrument is a part of; of a name of the rest, itself."""
    return name if name in REST_NAMES else part_of_instrument(name.replace("_", " "))


def summed(stems: Mapping[str, Audio], names: Sequence[str]) -> Audio:
    """The sum [C, T] of some of the stems."""
    return stems[names[0]] if len(names) == 1 else np.sum([stems[name] for name in names], axis=0, dtype=np.float32)
