"""The second of two separations: a further model takes a stem apart, drums into kick, snare, toms and cymbals, say.

Any separator will do for it. What it gives of a stem are the stem's parts: they have names of their own, the sample rate and the length of
the stem, and with a residual of their own they sum to it.

Conventions
    Audio is float32 [C, T], full scale 1.0. Parts are on the scale of the stem's file, up to one joint gain of all of them.
    A model of another sample rate gets the stem at its rate, and its parts are converted back. A silent stem has silent parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.attempts import attempt_name
from stemwright.manifests.disk.durable import is_full
from stemwright.manifests.names import is_name
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.summing import Sound
from stemwright.manifests.stem_names import SIX_STEMS
from stemwright.manifests.stems.stem_reading import Mending
from stemwright.manifests.usage import UsageError
from stemwright.separation.jobs import Job, JobOutcome, OnFileProgress
from stemwright.separation.separator import ReferenceStems, Separator, Used
from stemwright.separation.stem_files import WORK_FOLDER, SeparatedFile, clear_attempt

DRUMS = "drums"  # the stem that is taken apart
LONGEST_SHOWN = 40  # characters of a name in a message


class Stems(Protocol):
    """What is asked of a first separator: its stems."""

    @property
    def origin(self) -> str:
        """Its name in stem rows."""

    @property
    def stem_names(self) -> Sequence[str]:
        """The stems, without the residual."""


class PartSeparator:
    """A separator of one stem. It has the methods of a separator.

    ``separator`` takes the stem apart; ``names`` are other names for what it gives: {its name: name of the part}. No part may have the name
    of a stem; ``check_first`` says whether a first separation suits it. Raises UsageError, before anything is separated, for names that
    cannot be those of parts.

    >>> import numpy, stemwright as sw
    >>> from stemwright.separation.function_separator import FunctionSeparator
    >>> from stemwright.separation.part_separator import PartSeparator
    >>> def halves(audio, sample_rate):
    ...     return {"kick": audio / 2, "snare": audio / 4}
    >>> halves.stem_names = ("kick", "snare")
    >>> parts = PartSeparator(FunctionSeparator(halves, "halves", "1"), {"kick": "bd"})
    >>> drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)).astype("float32")
    >>> _ = sw.save("drums.wav", drums, 44_100)
    >>> files = parts.separate_file("drums.wav", "parts")
    >>> sorted(files)
    ['bd', 'residual', 'snare']
    """

    sample_rate = None

    def __init__(self, separator: Separator, names: Mapping[str, str] | None = None) -> None:
        self.separator, self._names = separator, dict(names or {})

    @cached_property
    def _part_of(self) -> dict[str, str]:
        """What the separator gives -> the name of the part."""
        return part_names(self.separator.stem_names, self._names, self.separator.origin)

    @property
    def stem_names(self) -> tuple[str, ...]:
        """The names of the parts, without the residual. Raises UsageError for names that cannot be those of parts."""
        return tuple(self._part_of.values())

    @property
    def origin(self) -> str:
        """The separator's name."""
        return self.separator.origin

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the parts of a stem."""
        return {"parts": self.separator.identity} | ({"names": self._names} if self._names else {})

    @property
    def used(self) -> Used:
        """The engine, device and precision of the separator."""
        return self.separator.used

    @property
    def device(self) -> str:
        """The device that the separator runs on."""
        return str(getattr(self.separator, "device", "cpu"))

    def check(self) -> None:
        """Raises an error if the separator cannot run on this machine, or if its names cannot be those of parts."""
        self.separator.check()
        _ = self.stem_names

    def check_first(self, stem: str, separator: Stems) -> None:
        """Raises UsageError if a first separator does not give the stem, or gives one with the name of a part."""
        check_gives(stem, separator)
        part_names(self.separator.stem_names, self._names, self.origin, others=separator.stem_names)

    def separate(self, stem: Audio, sample_rate: int, *, on_share: Callable[[float], None] | None = None) -> dict[str, Audio]:
        """The parts {name: [C, T]} of a stem [C, T], at its rate and of its length, without the residual."""
        rate = self.separator.sample_rate or sample_rate
        found = self.separator.separate(stem, sample_rate, on_share=on_share)
        return {self._part_of[name]: _as_long(resample(audio, rate, sample_rate), stem.shape[1]) for name, audio in found.items()}

    def separate_file(self, path: Sound | str, out_folder: Path | str, *, stream: int = 0) -> SeparatedFile:
        """Writes ``PART.flac`` for every part and their residual into ``out_folder``: all or none."""
        [(_, outcome)] = self.separate_files([Job(path, out_folder, stream)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def separate_files(self, jobs: Iterable[Job], on_share: OnFileProgress | None = None) -> Iterator[tuple[Job, JobOutcome]]:
        """Takes the stems in many files apart; one that cannot be is yielded with its error."""
        renamed = any(name != part for name, part in self._part_of.items())
        wanted: dict[Path, Job] = {}  # by the folder in which the separator works
        failed: list[tuple[Job, Exception]] = []

        def inner() -> Iterator[Job]:
            for job in jobs:
                try:
                    rate = probe(job.path, stream=job.stream).sample_rate
                except (ValueError, OSError) as error:
                    failed.append((job, error))
                    continue
                place = Path(job.out_folder)
                if renamed or self.separator.sample_rate not in (None, rate):
                    place = place.parent / f"{WORK_FOLDER}-parts.{attempt_name()}"
                wanted[place] = job
                yield Job(job.path, place, job.stream)

        def share(job: Job, done: float) -> None:
            if on_share:
                on_share(wanted[Path(job.out_folder)], done)

        try:
            for job, outcome in self.separator.separate_files(inner(), share):
                yield from failed
                failed.clear()
                place = Path(job.out_folder)
                asked = wanted[place]
                if place != Path(asked.out_folder) and not isinstance(outcome, Exception):
                    outcome = self._converted(asked, outcome)
                    clear_attempt(place, KEPT_STEMS)
                del wanted[place]
                yield asked, outcome
        finally:
            for place, asked in wanted.items():
                if place != Path(asked.out_folder):
                    clear_attempt(place, KEPT_STEMS)
        yield from failed

    def _converted(self, job: Job, found: SeparatedFile) -> JobOutcome:
        """The parts under their own names, at the rate of the stem and on its scale."""
        back = Mending(gain_db=-found.gain_db)
        files = {self._part_of[name]: (path, 0) for name, path in found.items() if name != RESIDUAL}
        mending = dict.fromkeys(files, back) if found.gain_db else {}
        try:
            return ReferenceStems(files, mending).separate_file(job.path, job.out_folder, stream=job.stream)
        except Exception as error:  # of this stem alone
            if is_full(error):
                raise
            return error


class ApartSeparator:
    """Two separators as one, for what listens to a recording in memory: stems, and the parts of one of them as ``"drums/kick"``."""

    def __init__(self, first: Separator, further: PartSeparator, stem: str = DRUMS) -> None:
        self._first, self._further, self._stem = first, further, stem

    @property
    def origin(self) -> str:
        """The name of the first separator."""
        return self._first.origin

    @property
    def parts_origin(self) -> str:
        """The name of the separator that takes the stem apart."""
        return self._further.origin

    @property
    def sample_rate(self) -> int | None:
        """The rate of stems and parts in Hz; None: the mixture's own."""
        return self._first.sample_rate

    def check(self) -> None:
        """Raises an error if one of the two cannot run on this machine, or if they do not suit each other."""
        self._first.check()
        self._further.check()
        self._further.check_first(self._stem, self._first)

    def separate(self, mixture: Audio, sample_rate: int, *, on_share: Callable[[float], None] | None = None) -> dict[str, Audio]:
        """Stems and parts {name: [C, T]} of a mixture [C, T], without residuals; half of the time counts for each separator."""
        self._further.check_first(self._stem, self._first)
        halves = ({"on_share": _half(on_share, start)} if on_share else {} for start in (0.0, 0.5))
        stems = self._first.separate(mixture, sample_rate, **next(halves))
        parts = self._further.separate(stems[self._stem], self.sample_rate or sample_rate, **next(halves))
        return {**stems, **{f"{self._stem}/{name}": audio for name, audio in parts.items()}}


def _half(on_share: Callable[[float], None], start: float) -> Callable[[float], None]:
    return lambda share: on_share(start + share / 2)


def check_gives(stem: str, separator: Stems) -> None:
    """Raises UsageError if a first separator does not give the stem that is to be taken apart."""
    if stem not in separator.stem_names:
        raise UsageError(
            f"[separation.{stem}] takes the stem {stem!r} apart, and {separator.origin} gives {', '.join(separator.stem_names)}; "
            f"name another [separation] model, or remove [separation.{stem}]"
        )


def _as_long(audio: Audio, num_frames: int) -> Audio:
    """[C, T] cut, or with silence at its end: two conversions of the rate may give a frame more or less."""
    short = max(0, num_frames - audio.shape[1])
    return np.pad(audio, ((0, 0), (0, short)))[:, :num_frames] if short or audio.shape[1] > num_frames else audio


def part_names(given: Iterable[str], names: Mapping[str, str], origin: str, *, others: Collection[str] = SIX_STEMS) -> dict[str, str]:
    """{what a separator gives: name of the part}. Raises UsageError where parts would not have names of their own; ``others`` are names
    of stems, which no part may have.
    """
    given = tuple(given)
    example = '[separation.drums] names = { "its name" = "kick" }'
    if unknown := [name for name in names if name not in given]:
        raise UsageError(f"[separation.drums] names: {origin} gives {', '.join(given)}; got {unknown[0]!r}")
    found = {name: names.get(name, name) for name in given}
    for name, part in found.items():
        if not is_name(part):
            shown = part if len(part) <= LONGEST_SHOWN else f"{part[:LONGEST_SHOWN]}..."
            raise UsageError(
                f"{origin} calls a part {shown!r}; expected lower-case letters, digits, '_' and '-'. Give it another name: {example}"
            )
        if part in (*others, RESIDUAL):
            what = "what parts leave of their stem" if part == RESIDUAL else "a stem of a whole mixture"
            raise UsageError(
                f"{origin} gives a part called {part!r}, which is {what}; expected a model of drums, with parts such as kick, snare, toms "
                f"and cymbals. If it is one, give the part another name: {example}"
            )
        if list(found.values()).count(part) > 1 or given.count(name) > 1:
            raise UsageError(f"{origin} gives two parts called {part!r}; expected names that differ. Give one another name: {example}")
    return found
