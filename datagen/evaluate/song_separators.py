"""The separators of an evaluation, as they were named: a model, a callable, or a folder of stems that another program wrote.

    for separator in separators_of(request):  separator.stems(song) -> {name: [C, T]}

A folder of ready stems has a folder for each song, named as the song's title, with a file for each stem: FOLDER/SONG/vocals.wav. The
folder of a song may be one level below (FOLDER/test/SONG, FOLDER/htdemucs/SONG), as separators and museval write them.

Conventions
    Stems have the song's sample rate and shape, whatever the separator's own are. Ready stems must have the rate already: a resampled
    stem is another one, and its score too. They may be LENGTH_FRAMES longer or shorter, as codecs make them, and are cut or followed by
    silence; museval would do so with any difference.
    A residual is no stem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.evaluated_songs import stamp
from stemwright.datagen.evaluate.given_models import GivenModel, HowToSeparate, call, checked_stems
from stemwright.datagen.evaluate.protocol import EvaluationRequest
from stemwright.manifests.records import RESIDUAL, Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.own_stems import stem_paths
from stemwright.separation.choosing import other_separator
from stemwright.separation.separator import Separator

LENGTH_FRAMES = 2400  # two frames of the longest codec (1105 samples of MP3's delay, 1024 of AAC)
DEFAULT = "bundled"
MODELS = (
    "a separation model's or separator's name, a folder of ready stems (FOLDER/SONG/STEM.wav), or package.module:callable, "
    "(mixture float32 [C, T], sample_rate) -> {stem: [C, T]}"
)

Separate = Callable[[str, Audio, int], dict[str, Audio]]  # title, mixture [C, T] and sample rate -> stems


@dataclass(frozen=True)
class SongSeparator:
    """A separator under the name by which it was given. ``key`` is what its stems depend on beside the name; ``model`` the separator that
    it is, None for a folder and for a plain callable; ``origin`` as in stem rows.
    """

    name: str
    separate: Separate
    origin: str
    key: Mapping[str, Any] = field(default_factory=dict)
    model: Separator | None = None
    folder: Path | None = None

    def stems(self, title: str, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        """The stems {name: [C, T]} of a song at its rate. Raises Refused for what is no stem of it."""
        return {name: audio for name, audio in self.separate(title, mixture, sample_rate).items() if name != RESIDUAL}

    def song_key(self, title: str) -> dict[str, Any]:
        """What its stems of one song depend on, for the key of a case: of ready stems their files."""
        if self.folder is None:
            return {"model": self.name, **self.key}
        place = _song_folder(self.folder, title)
        files = sorted(place.iterdir()) if place else []
        return {"model": self.name, "files": [stamp(file) for file in files]}


def separators_of(request: EvaluationRequest, *, cut: bool = False) -> list[SongSeparator]:
    """The separators of a request; without any the bundled model. Raises UsageError for a name that is none, or a folder without songs.

    ``cut`` says that only a part of each song is evaluated, which ready stems do not fit.
    """
    given = request.models or (GivenModel(DEFAULT),)
    if cut and (folders := [each.text for each in given if each.folder is not None]):
        raise UsageError(f"--model {folders[0]} has the stems of whole songs; leave out --seconds")
    return [separator_of(each, request.separation) for each in given]


def separator_of(given: GivenModel, how: HowToSeparate) -> SongSeparator:
    """One separator. Raises UsageError as ``separators_of`` does, ModelError where weights cannot be had."""
    if given.folder is not None:
        if not any(each.is_dir() for each in given.folder.iterdir()):
            raise UsageError(f"--model {given.text} is a folder without folders; expected one for each song: {given.text}/SONG/vocals.wav")
        return SongSeparator(given.text, partial(_ready, given.folder), given.text, folder=given.folder)
    if given.is_callable and not isinstance(getattr(given.function, "stem_names", None), list | tuple):
        return SongSeparator(given.text, partial(_called, given), given.text, {"version": given.version})
    separator = other_separator(given.text, how.device) if given.is_callable else given.separator(how)
    separator.check()
    return SongSeparator(given.text, partial(_separated, separator), separator.origin, dict(separator.identity), separator)


def fitted(audio: Audio, num_frames: int) -> Audio:
    """Audio [C, T] of a number of frames: cut, or followed by silence."""
    return np.pad(audio[:, :num_frames], ((0, 0), (0, max(num_frames - audio.shape[1], 0))))


def _separated(separator: Separator, title: str, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
    del title
    stems = separator.separate(mixture, sample_rate)
    rate = separator.sample_rate or sample_rate
    return {name: fitted(resample(audio, rate, sample_rate), mixture.shape[1]) for name, audio in stems.items()}


def _called(given: GivenModel, title: str, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
    del title
    return checked_stems(call(given.text, given.function, mixture, sample_rate), mixture.shape, given.text)


def _ready(folder: Path, title: str, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
    place = _song_folder(folder, title)
    if place is None:
        there = sorted(each.name for each in folder.iterdir() if each.is_dir())
        raise Refused(f"{folder} has no folder {title!r}, nor has one of its folders; it has {', '.join(there[:3])} ({len(there)} in all)")
    try:
        files = stem_paths(place, place / "mixture.wav")
    except ValueError as error:
        raise Refused(str(error)) from error
    return {name: _checked_ready(file, mixture, sample_rate) for name, file in files.items()}


def _checked_ready(file: Path, mixture: Audio, sample_rate: int) -> Audio:
    audio, rate = load(file)
    place = f"{file.parent.name}/{file.name}"
    if rate != sample_rate:
        raise Refused(f"{place} has {rate} Hz, its song {sample_rate} Hz; expected the song's. Have the separator write it at that rate")
    if abs(audio.shape[1] - mixture.shape[1]) > LENGTH_FRAMES:
        lasts, song = (each.shape[1] / sample_rate for each in (audio, mixture))
        raise Refused(f"{place} lasts {lasts:.3f} s, its song {song:.3f} s; expected the same within {LENGTH_FRAMES} frames")
    if len(audio) != len(mixture):
        raise Refused(f"{place} has {len(audio)} channels, its song {len(mixture)}; expected the same")
    if not np.isfinite(audio).all():
        raise Refused(f"{place} contains NaN or infinite samples")
    return fitted(audio, mixture.shape[1])


def _song_folder(folder: Path, title: str) -> Path | None:
    """The folder of a song's ready stems: in the folder, or in one of its folders."""
    name = title.rpartition("/")[2].removesuffix(".stem.mp4")
    places = [folder / name, *(each / name for each in sorted(folder.iterdir()) if each.is_dir())]
    return next((place for place in places if place.is_dir()), None)
