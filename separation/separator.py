"""Separators: their protocol, the visible table of them, and a multitrack's own stems.

Conventions
    Audio is float32 [C, T], full scale 1.0. Stems have the mixture's channels (a mono mixture gives mono stems) and the separator's sample
    rate; their length is that of the mixture at that rate.
    Stems are on the mixture's own scale; only ``separate_files`` may lower all of them by one gain, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Refused
from stemwright.manifests.registry import Registry, UnknownNameError
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError
from stemwright.separation.jobs import BLOCK_FRAMES, Job, JobOutcome, OnFileProgress, checked_blocks
from stemwright.separation.stem_files import SeparatedFile, StemFolder

LENGTH_TOLERANCE_S = 0.1  # codecs and editors differ by a few packets about the end of a file


class Used(NamedTuple):
    """What stems were actually made with: columns of their rows."""

    engine: str
    precision: str | None
    device: str | None


class Separator(Protocol):
    """What stages, ``balance`` and ``edit`` use: something that turns mixtures into stems.

    Another package gives less, a ``SeparationFunction``; ``stemwright.separation.choosing`` makes a ``Separator`` of it.
    ``origin`` goes into stem rows; ``identity`` is everything requested that determines the stems, as JSON values, and goes into their
    cache keys; ``used`` says which device, engine and versions run it here, and goes into no key. ``sample_rate`` is None for the
    mixture's own.
    """

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The stems, without the residual."""

    @property
    def sample_rate(self) -> int | None:
        """The rate of the stems in Hz."""

    @property
    def origin(self) -> str:
        """Its name in stem rows."""

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the stems."""

    @property
    def used(self) -> Used:
        """The engine, device, precision and versions used on this machine."""

    def check(self) -> None:
        """Raises an error, before any song is read, if this separator cannot run on this machine."""

    def separate(self, mixture: Audio, sample_rate: int, *, on_share: Callable[[float], None] | None = None) -> dict[str, Audio]:
        """Stems {name: [C, T]} of a mixture [C, T], without the residual; ``on_share`` is called with the share done, 0 to 1."""

    def separate_file(self, path: Path | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes the stems of a file and their residual into a folder."""

    def separate_files(self, jobs: Iterable[Job], on_share: OnFileProgress | None = None) -> Iterator[tuple[Job, JobOutcome]]:
        """Separates many files; a file that cannot be separated is yielded with the error that says why."""


class SeparationFunction(Protocol):
    """The smallest separator that another package can provide: a callable with a list of its stem names.

    It may also have ``sample_rate`` (in Hz; default: the mixture's own), ``num_channels`` (1 or 2, the number that it requires; a mono
    mixture is duplicated), ``version`` (a text; without it the version of its package counts, or the checksum of its file) and
    ``identity`` (a dict of whatever else determines the stems, such as the checksum of its weights). A class is made
    without arguments, or with ``device`` if it takes one.
    """

    stem_names: Sequence[str]

    def __call__(self, mixture: Audio, sample_rate: int) -> Mapping[str, Audio]:
        """Stems {name: [C, T]} of a mixture float32 [C, T] at its sample rate, on its scale and of its length."""


MULTITRACKS, NETWORKS = "reference", "demucs"
WAYS = ("auto", NETWORKS, MULTITRACKS)  # of [separation] separator, besides other separators
ONNX = "onnx:"


def _check(name: str, found: Any) -> None:
    del name
    if not hasattr(found, "stem_names") or not callable(getattr(found, "separate", found)):
        raise TypeError("a separator is a callable with stem_names; see SeparationFunction in stemwright.separation.separator")


SEPARATORS: Registry[Any] = Registry(
    "separator", "stemwright.separators", {NETWORKS: "stemwright.separation.demucs.separator:DemucsSeparator"}, check=_check
)


def is_other(reference: str) -> bool:
    """Whether ``[separation] separator`` names another separator than Demucs and a multitrack's own stems."""
    return reference not in WAYS


def names_other(text: str) -> bool:
    """Whether a text, which may be a model's name as well, names another separator: of another package, in a module, or in an ONNX file."""
    module, colon, name = text.partition(":")
    in_module = bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
    return in_module or (text.startswith(ONNX) and text != ONNX) or text in SEPARATORS.others()


def checked_reference(reference: str) -> str:
    """Returns what may name a separator: auto, demucs, reference, a name of another package's, ``package.module:object`` or
    ``onnx:path/model.onnx``. Raises UsageError; imports no other package for the last two.
    """
    if reference in WAYS or reference in SEPARATORS:
        return reference
    if names_other(reference):
        return reference
    try:
        SEPARATORS[reference]
    except UnknownNameError as error:
        ways = f"{', '.join(WAYS)}, package.module:object or onnx:path/model.onnx"
        raise UsageError(f"{error}. A separator is also {ways}") from None
    return reference


class ReferenceStems:
    """A multitrack's own stems as a separator: {name: (path, stream)}, converted to the mixture's rate and length.

    It has the methods of ``DemucsSeparator``. ``stream`` is 0 but for the streams of a STEM mp4. What the stems do not explain is the
    residual. Raises ValueError without stems, ``Refused`` (a ValueError) where one is longer or shorter than the mixture by more than a
    tenth of a second.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100)).astype("float32")
    >>> for name, audio in {"vocals.wav": vocals, "drums.wav": drums, "song.wav": vocals + drums}.items():
    ...     _ = sw.save(name, audio, 44_100)
    >>> reference = sw.ReferenceStems({"vocals": ("vocals.wav", 0), "drums": ("drums.wav", 0)})
    >>> files = reference.separate_file("song.wav", "stems")
    >>> files["vocals"].name, files.gain_db
    ('vocals.flac', 0.0)
    """

    origin = "reference"
    sample_rate = None

    def __init__(self, stems: Mapping[str, tuple[Path | str, int]]) -> None:
        if not stems:
            raise ValueError("a multitrack needs at least one stem")
        self._stems = dict(stems)

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The names of the stems, as given."""
        return tuple(self._stems)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The checksums of the stems' files. One file that holds several streams is read once."""
        sums = {path: file_sha256(Path(path)) for path, _ in self._stems.values()}
        return {"origin": self.origin, "stems": {name: [sums[path], stream] for name, (path, stream) in self._stems.items()}}

    def separate(self, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        """The stems {name: [C, T]} at the mixture's rate, length and channels."""
        parts = list(self._blocks(mixture.shape[0], mixture.shape[1], sample_rate))
        return dict(zip(self.stem_names, np.concatenate(parts, axis=-1), strict=True))

    def separate_file(self, path: Path | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes ``STEM.flac`` for every stem and the residual into ``out_folder``, at the mixture's rate: all or none."""
        info = probe(path, stream=stream)
        with StemFolder(out_folder, self.stem_names, info.sample_rate, info.num_channels) as folder:
            for block in checked_blocks(path, info.sample_rate, stream, 2):
                folder.mixture.append(block)
            for stems in self._blocks(info.num_channels, folder.mixture.num_frames, info.sample_rate):
                folder.add(stems)
            return folder.finish()

    def _blocks(self, num_channels: int, num_frames: int, sample_rate: int) -> Iterator[Audio]:
        """The stems stacked, [S, C, t], exactly ``num_frames`` in all."""
        readers = [_Fitted(name, path, stream, num_channels, num_frames, sample_rate) for name, (path, stream) in self._stems.items()]
        for start in range(0, num_frames, BLOCK_FRAMES):
            yield np.stack([reader.take(min(BLOCK_FRAMES, num_frames - start)) for reader in readers])
        for reader in readers:
            reader.finish()


class _Fitted:
    """One stem's stream, resampled to the mixture's rate, with its channels, zero-padded or cut to its length."""

    def __init__(self, name: str, path: Path | str, stream: int, num_channels: int, num_frames: int, sample_rate: int) -> None:
        self._name, self._num_channels, self._num_frames, self._sample_rate = name, num_channels, num_frames, sample_rate
        self._blocks = checked_blocks(path, sample_rate, stream, 2)
        self._held = np.zeros((num_channels, 0), np.float32)
        self._taken = 0

    def take(self, count: int) -> Audio:
        """The next ``count`` frames [C, count]."""
        while self._held.shape[1] < count and (block := next(self._blocks, None)) is not None:
            self._held = np.concatenate([self._held, self._fit(block)], axis=1)
        got, self._held = self._held[:, :count], self._held[:, count:]
        self._taken += got.shape[1]
        return np.pad(got, ((0, 0), (0, count - got.shape[1])))

    def finish(self) -> None:
        """Raises Refused if the stem's length differs from the mixture's."""
        length = self._taken + self._held.shape[1] + sum(block.shape[1] for block in self._blocks)
        if abs(length - self._num_frames) > LENGTH_TOLERANCE_S * self._sample_rate:
            raise Refused(
                f"stem {self._name} lasts {length / self._sample_rate:.2f} s, its mixture {self._num_frames / self._sample_rate:.2f} s; "
                f"expected the same within {LENGTH_TOLERANCE_S} s"
            )

    def _fit(self, block: Audio) -> Audio:
        if block.shape[0] == self._num_channels:
            return block
        if self._num_channels == 2:
            return np.repeat(block, 2, axis=0)  # a mono stem in the middle of a stereo mixture
        raise Refused(f"stem {self._name} is stereo, its mixture mono")
