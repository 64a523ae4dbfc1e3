"""Inputs and outputs of a separator, file by file: jobs, their outcomes, and a mixture's checked audio.

Conventions
    Audio is float32 [C, T], full scale 1.0. A job that fails has the error as its outcome, and the others continue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import blocks
from stemwright.manifests.sound.formats import Audio, check_peak
from stemwright.manifests.sound.summing import Sound
from stemwright.separation.stem_files import SeparatedFile

BLOCK_FRAMES = 1 << 18


class Job(NamedTuple):
    """A file to separate, and the folder for its stems."""

    path: Sound | str
    out_folder: Path | str
    stream: int = 0


OnFileProgress = Callable[[Job, float], None]  # which file, how much of it has gone through the networks (0 to 1)
JobOutcome = SeparatedFile | Exception  # of one job: its files, or its error


def checked_blocks(path: Sound | str, sample_rate: int, stream: int, max_channels: int) -> Iterator[Audio]:
    """Decodes a file as [C, t]. Raises Refused for no frames, too many channels, or samples that are not finite."""
    found = 0
    for block in blocks(path, BLOCK_FRAMES, sample_rate=sample_rate, stream=stream):
        if block.shape[0] > max_channels:
            raise Refused(f"{block.shape[0]} channels; expected at most {max_channels}")
        if not np.isfinite(block).all():
            raise Refused("contains NaN or infinite samples")
        check_peak(gain_to_db(float(np.abs(block).max(initial=0.0))))
        found += block.shape[1]
        yield block
    if found == 0:
        raise Refused("contains no audio")
