"""Separators: their protocol, the visible table of them, and a multitrack's own stems.

Conventions
    Audio is float32 [C, T], full scale 1.0. Stems have the mixture's channels (a mono mixture gives mono stems) and the separator's sample
    rate; their length is that of the mixture at that rate.
    Stems are on the mixture's own scale; only ``separate_files`` may lower all of them by one gain, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.registry import Registry, UnknownNameError
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.summing import Sound
from stemwright.manifests.stems.stem_reading import GivenStems, Mending, Source
from stemwright.manifests.usage import UsageError
from stemwright.separation.jobs import BLOCK_FRAMES, Job, JobOutcome, OnFileProgress, checked_blocks
from stemwright.separation.stem_files import SeparatedFile, StemFolder


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

    def separate_file(self, path: Sound | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
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

    It has the methods of ``DemucsSeparator``. ``stream`` is 0 but for the streams of a STEM mp4. ``mending`` says by name what is done to
    stems that do not fit (``stemwright.manifests.stems.given_stems``), ``parts`` which of them are summed into one stem: {name: stem}.
    What the stems do not explain is the residual. Raises ValueError without stems, ``Refused`` (a ValueError) where one is longer or
    shorter than the mixture by more than a second, unless they may be of ``any_length``.

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

    def __init__(
        self,
        stems: Mapping[str, tuple[Path | str, int]],
        mending: Mapping[str, Mending] | None = None,
        *,
        parts: Mapping[str, str] | None = None,
        any_length: bool = False,
    ) -> None:
        if not stems:
            raise ValueError("a multitrack needs at least one stem")
        self._stems, self._mending, self._any_length = dict(stems), dict(mending or {}), any_length
        stem_of = {name: (parts or {}).get(name, name) for name in self._stems}
        self._numbers = {stem: [number for number, each in enumerate(stem_of.values()) if each == stem] for stem in stem_of.values()}

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The names of the stems, in the order of the first file of each."""
        return tuple(self._numbers)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The checksums of the stems' files. One file that holds several streams is read once."""
        sums = {path: file_sha256(Path(path)) for path, _ in self._stems.values()}
        stems = {name: [sums[path], stream] for name, (path, stream) in self._stems.items()}
        parts = {"parts": self._numbers} if len(self._numbers) < len(self._stems) else {}
        return {"origin": self.origin, "stems": stems, **parts}

    def separate(self, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        """The stems {name: [C, T]} at the mixture's rate, length and channels."""
        given = self._given(partial(_pieces, mixture), sample_rate, mixture.shape[0])
        files = np.stack(list(given.load()[1].values()))
        return dict(zip(self.stem_names, self._summed(files), strict=True))

    def _summed(self, files: Audio) -> Audio:
        """The stems [S, C, t] of files [F, C, t]."""
        if len(self._numbers) == len(files):
            return files
        return np.stack([files[numbers].sum(axis=0, dtype=np.float64) for numbers in self._numbers.values()]).astype(np.float32)

    def separate_file(self, path: Sound | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes ``STEM.flac`` for every stem and the residual into ``out_folder``, at the mixture's rate: all or none."""
        info = probe(path, stream=stream)
        given = self._given(partial(checked_blocks, path, info.sample_rate, stream, 2), info.sample_rate, info.num_channels)
        with StemFolder(out_folder, self.stem_names, info.sample_rate, info.num_channels) as folder:
            return folder.encode(lambda: ((mixture, self._summed(stems)) for mixture, stems in given.blocks()))

    def _given(self, mixture: Source, sample_rate: int, num_channels: int) -> GivenStems:
        sources = {name: partial(checked_blocks, path, sample_rate, stream, 2) for name, (path, stream) in self._stems.items()}
        return GivenStems(mixture, sources, sample_rate, num_channels, mending=self._mending, any_length=self._any_length)


def _pieces(audio: Audio) -> Iterator[Audio]:
    for start in range(0, audio.shape[1], BLOCK_FRAMES):
        yield audio[:, start : start + BLOCK_FRAMES]
