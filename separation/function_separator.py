"""Any callable as a separator: what it is called with, what it must return, and the error if it does not.

Conventions
    Audio is float32 [C, T], full scale 1.0. The callable gets a whole recording, so memory grows with its length.
    A mixture that does not vary (silence, one sample) has silent stems; the callable is not called.
    An exception or a wrong result fails that recording alone, with a message that names the separator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.disk.durable import is_full
from stemwright.manifests.foreign_code import foreign_code
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.summing import Sound
from stemwright.separation.jobs import BLOCK_FRAMES, Job, JobOutcome, OnFileProgress, checked_blocks
from stemwright.separation.separator import Used
from stemwright.separation.stem_files import SeparatedFile, StemFolder

TURN = threading.RLock()  # callables of other packages are not asked whether they may be called by two threads


class FunctionSeparator:
    """A callable (``stemwright.separation.separator.SeparationFunction``) under the name by which it was requested.

    ``version`` is its own, that of its package, or the checksum of its file.
    """

    def __init__(self, function: Any, name: str, version: str) -> None:
        self._function, self.name, self.version = function, name, version
        self._call: Callable[[Audio, int], Any] = getattr(function, "separate", function)

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The stems that it declares."""
        return tuple(self._function.stem_names)

    @property
    def sample_rate(self) -> int | None:
        """The sample rate that the callable requires, in Hz; None: the mixture's own."""
        rate = getattr(self._function, "sample_rate", None)
        return None if rate is None else int(rate)

    @property
    def origin(self) -> str:
        """Its name in stem rows."""
        return f"{self.name}@{self.version}"

    @property
    def identity(self) -> dict[str, Any]:
        """The name, the version, and the callable's own ``identity``."""
        return {"separator": self.name, "version": self.version, "stated": dict(getattr(self._function, "identity", {}))}

    @property
    def used(self) -> Used:
        """The device and versions that run it here, as far as it states them."""
        device = getattr(self._function, "device", None)
        return Used("function", None, None if device is None else str(device).partition(":")[0])

    def check(self) -> None:
        """Raises Refused if its stem names cannot become files."""
        if not self.stem_names:
            raise Refused(f"the separator {self.name} names no stems; expected stem_names such as ('vocals', 'other')")

    def separate(self, mixture: Audio, sample_rate: int, *, on_share: Callable[[float], None] | None = None) -> dict[str, Audio]:
        """Stems {name: [C, T]} of a mixture [C, T], at ``self.sample_rate``, without the residual. Raises Refused naming the separator."""
        rate = self.sample_rate or sample_rate
        mixture = np.ascontiguousarray(resample(np.asarray(mixture, dtype=np.float32), sample_rate, rate))
        if np.ptp(mixture, axis=-1).max(initial=0.0) == 0.0:
            return {name: np.zeros_like(mixture) for name in self.stem_names}
        given = self._widened(mixture)
        try:
            with TURN, foreign_code():
                found = self._call(given.copy(), rate)
        except (Exception, SystemExit) as error:  # whatever another package's code does
            raise Refused(f"the separator {self.origin} failed on this recording: {type(error).__name__}: {error}") from error
        stems = self._checked(found, given.shape)
        if on_share:
            on_share(1.0)
        if len(given) == len(mixture):
            return stems
        return {name: audio.mean(axis=0, keepdims=True, dtype=np.float32) for name, audio in stems.items()}

    def separate_file(self, path: Sound | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes ``STEM.flac`` for every stem and the residual into ``out_folder``: all or none."""
        info = probe(path, stream=stream)
        rate = self.sample_rate or info.sample_rate
        with StemFolder(out_folder, self.stem_names, rate, info.num_channels) as folder:
            for block in checked_blocks(path, rate, stream, 2):
                folder.mixture.append(block)
            num_frames = folder.mixture.num_frames
            stems = np.stack(list(self.separate(folder.mixture.read(0, num_frames), rate).values()))
            for start in range(0, num_frames, BLOCK_FRAMES):
                folder.add(stems[..., start : start + BLOCK_FRAMES])
            return folder.finish()

    def separate_files(self, jobs: Iterable[Job], on_share: OnFileProgress | None = None) -> Iterator[tuple[Job, JobOutcome]]:
        """Separates files one after another; one that cannot be separated is yielded with the error that says why."""
        for job in jobs:
            outcome: JobOutcome
            try:
                outcome = self.separate_file(job.path, job.out_folder, stream=job.stream)
            except Exception as error:
                if is_full(error):
                    raise
                outcome = error
            if on_share:
                on_share(job, 1.0)
            yield job, outcome

    def _widened(self, mixture: Audio) -> Audio:
        """The mixture with the number of channels that the callable requires."""
        wanted = int(getattr(self._function, "num_channels", None) or len(mixture))
        if len(mixture) > wanted:
            raise Refused(f"{len(mixture)} channels; the separator {self.name} takes {wanted}")
        return np.repeat(mixture, wanted, axis=0) if len(mixture) < wanted else mixture

    def _checked(self, found: Any, shape: tuple[int, ...]) -> dict[str, Audio]:
        if not isinstance(found, Mapping):
            raise Refused(f"the separator {self.origin} returned a {type(found).__name__}; expected a dict of stem name -> [C, T]")
        if set(found) != set(self.stem_names):
            got = ", ".join(map(str, found))
            raise Refused(f"the separator {self.origin} returned the stems {got}; its stem_names are {', '.join(self.stem_names)}")
        stems = {name: np.asarray(found[name], dtype=np.float32) for name in self.stem_names}
        for name, audio in stems.items():
            if audio.shape != shape:
                raise Refused(
                    f"the separator {self.origin} returned {name} with the shape {list(audio.shape)}; expected that of the mixture, "
                    f"{list(shape)}"
                )
            if not np.isfinite(audio).all():
                raise Refused(f"the separator {self.origin} returned NaN or infinite samples as {name} of this recording")
        return stems
