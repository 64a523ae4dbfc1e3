"""Base of separators that run networks segment by segment: recordings in memory, and many files at once.

Conventions
    Audio is float32 [C, T], full scale 1.0. What a separator is (its stems, its identity) is known without the pipeline, whose kernels take
    a moment to import. A mixture that does not vary (silence, one sample) has silent stems; no network is run.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.summing import Sound
from stemwright.separation.demucs import schedule
from stemwright.separation.jobs import Job, JobOutcome, OnFileProgress
from stemwright.separation.stem_files import SeparatedFile

if TYPE_CHECKING:
    from stemwright.separation.demucs.pipeline import Mixture

ENCODERS = 2  # beside networks on the processor
TURN = threading.RLock()  # of networks in this process: two tracks at once in it would share its cores, or the memory of its GPU


class NetworkSeparator(ABC):
    """The base of separators whose networks see segments of a mixture (``stemwright.separation.demucs.pipeline.Networks``)."""

    @property
    @abstractmethod
    def stem_names(self) -> tuple[str, ...]:
        """The stems, in the order of the networks' outputs."""

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """The rate of the stems in Hz."""

    @property
    @abstractmethod
    def num_channels(self) -> int:
        """The networks' number of channels."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Segments per call of a network."""

    @property
    def encoders(self) -> int:
        """Tracks whose stems are written at the same time."""
        return ENCODERS

    @abstractmethod
    def load(self) -> None:
        """Loads the networks now."""

    @abstractmethod
    def session(self, source: Mixture) -> schedule.Session:
        """A session that runs the networks over a mixture."""

    @abstractmethod
    def forward(self, network: int, batch: Audio) -> Audio:
        """Runs one network on [B, C, T] -> [B, S, C, T] with the stems for which it counts."""

    def separate(self, mixture: Audio, sample_rate: int, *, on_share: Callable[[float], None] | None = None) -> dict[str, Audio]:
        """Stems {name: [C, T]} of a mixture [C, T], at ``self.sample_rate`` (T is that of the resampled mixture), without the residual.

        ``on_share`` is called after each segment with the share done, 0 to 1.
        """
        from stemwright.separation.demucs.pipeline import Mixture, MixtureInMemory

        mixture = resample(np.asarray(mixture, dtype=np.float32), sample_rate, self.sample_rate)
        source = Mixture(MixtureInMemory(mixture), self.num_channels)
        source.take(mixture)
        if source.constant:
            return {name: np.zeros_like(mixture) for name in self.stem_names}
        separated = np.empty((len(self.stem_names), *mixture.shape), np.float32)
        done = 0
        for _, stems in schedule.run([self.session(source)], self.forward, batch_size=self.batch_size):
            separated[..., done : done + stems.shape[-1]] = source.narrow(stems)
            done += stems.shape[-1]
            if on_share:
                on_share(done / source.num_frames)
        return dict(zip(self.stem_names, separated, strict=True))

    def separate_file(self, path: Sound | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes ``STEM.flac`` for every stem and the residual into ``out_folder``: all or none.

        Raises Refused if the file cannot be used.
        """
        [(_, result)] = self.separate_files([Job(path, out_folder, stream)])
        if isinstance(result, Exception):
            raise result
        return result

    def separate_files(self, jobs: Iterable[Job], on_share: OnFileProgress | None = None) -> Iterator[tuple[Job, JobOutcome]]:
        """Separates many files: the next ones are decoded and the last ones encoded while the networks work, and the last segments of one
        track share a batch with the first of the next. A file that cannot be separated is yielded with its error; all in the
        order in which they finish. ``on_share(job, share)`` gets, after each segment, the share of a file that is done."""
        from stemwright.separation.demucs.pipeline import run_jobs

        yield from run_jobs(self, jobs, on_share)
