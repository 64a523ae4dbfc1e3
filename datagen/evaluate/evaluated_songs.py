"""The multitracks of an evaluation: mixture and stems, of the user's data in any layout, or the excerpt that ships.

Conventions
    Songs are found as ``balance`` finds them (``stemwright.separation.balance.named_songs``): folders with a mixture and stems, STEM files,
    a list. Stems are mended as everywhere (lag, gain), and the excerpt is cut from both after that.
    A song's key is the path, size and time of its files, not their checksums: it only has to show whether a finished case is of that song.
    Of several copies of one recording the first counts, the others are rejected: a table of ten songs is of ten songs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.evaluate.protocol import EvaluationRequest
from stemwright.datagen.evaluate.song_copies import check_no_copy, copied_titles, length_s
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load, load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.stem_names import MIXTURE_NAMES
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.named_songs import NamedSong, named_songs
from stemwright.separation.balance.own_stems import Files, load_own, multitrack_files

LEAST_S = 0.4  # one gating block of BS.1770-5: what is shorter has no loudness
SILENT = 1e-10  # mean square, -100 dBFS
EXCERPT = "the excerpt of a free song that ships"


@dataclass(frozen=True)
class LoadedSong:
    """A mixture [C, T], its stems {name: [C, T]} and their sample rate in Hz."""

    mixture: Audio
    stems: dict[str, Audio]
    sample_rate: int


def stamp(path: Path) -> list[Any]:
    """What tells whether a file is still the same without reading it. The time of its last change of any kind cannot be set back."""
    about = path.stat()
    return [str(path.resolve()), about.st_size, about.st_mtime_ns, about.st_ctime_ns]


@dataclass(frozen=True)
class EvaluatedSong:
    """A song with stems, not loaded yet. ``duration_s`` limits what is used of it, from the middle; None: all.

    ``copy_of`` is the title of an earlier song of the evaluation that is the same recording; empty: there is none.
    """

    title: str
    named: NamedSong | None
    duration_s: float | None = None
    copy_of: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """What identifies it, for ``Case.key``: path, size in bytes and time of each file."""
        files = self.named.inputs if self.named else _excerpt_files()
        found = [path for each in files for path in (sorted(each.iterdir()) if each.is_dir() else [each])]
        return {"files": [stamp(path) for path in found]} | ({"copy_of": self.copy_of} if self.copy_of else {})

    @property
    def audio_s(self) -> float | None:
        """How much of it is used, in s, by the header of its mixture; None if that cannot be read."""
        whole_s = length_s(_excerpt_files()[0] if self.named is None else _files(self.named)[0])
        return whole_s if whole_s is None or self.duration_s is None else min(whole_s, self.duration_s)

    def load(self, *, mended: bool = True) -> LoadedSong:
        """Reads it; without ``mended`` the stems are as they are, as published figures have them. Raises Refused if a file cannot be read,
        if its stems are of another recording, if what is used of it is silent or shorter than LEAST_S, or if it is a copy of another song.
        """
        check_no_copy(self.copy_of)
        if self.named is None:
            song = excerpt()
        else:
            song = _mended(*_files(self.named)) if mended else _as_given(*_files(self.named))
        part = middle(song.mixture.shape[1], song.sample_rate, self.duration_s)
        check_audible(song.mixture[:, part], song.sample_rate)
        return LoadedSong(song.mixture[:, part], {name: audio[:, part] for name, audio in song.stems.items()}, song.sample_rate)


def _mended(path: Path, files: Files) -> LoadedSong:
    own = load_own(path, files)
    return LoadedSong(own.mixture, own.stems, own.sample_rate)


def _as_given(path: Path, files: Files) -> LoadedSong:
    """A mixture and its stems without any change. Raises Refused for a stem of another rate, length or number of channels."""
    mixture, sample_rate = load_song(path)
    stems = {}
    for name, (file, stream) in files.items():
        audio, rate = load_song(file, stream=stream)
        if rate != sample_rate or audio.shape != mixture.shape:
            raise Refused(
                f"stem {name} has {list(audio.shape)} [channels, frames] at {rate} Hz, its mixture {list(mixture.shape)} at "
                f"{sample_rate} Hz; expected the same"
            )
        stems[name] = audio
    return LoadedSong(mixture, stems, sample_rate)


def songs_of(request: EvaluationRequest, *, stems: Sequence[str] = (), least: int | None = None) -> list[EvaluatedSong]:
    """The multitracks of a request that have all of ``stems``, or with ``least`` at least so many of them and no other; at most
    ``num_songs``. Without data the excerpt that ships.

    Raises UsageError where there is none, naming what was looked for.
    """
    from stemwright.separation.balance.recordings import titles_of

    if request.data is None:
        return [EvaluatedSong("Excerpt", None, request.duration_s)]
    named = named_songs([request.data])
    having = [song for song in named.songs if song.stems is not None]
    if not having:
        looked = f"folders with a file called {' or '.join(MIXTURE_NAMES)} and stems beside it, STEM files (.stem.mp4), or a list of such"
        raise UsageError(f"{request.data} has no multitrack ({len(named.songs)} recordings without stems); looked for {looked}")
    lacking = [song for song in having if not has_stems(_names(song), stems, least)]
    if len(lacking) == len(having):
        raise UsageError(f"{request.data}: no song has the stems {', '.join(stems)}; {having[0].named} has {', '.join(_names(having[0]))}")
    chosen = [song for song in having if song not in lacking][: request.num_songs]
    titles = titles_of([song.path for song in chosen])
    copies = copied_titles([_files(song)[0] for song in chosen], titles)
    return [EvaluatedSong(title, song, request.duration_s, copy_of) for title, song, copy_of in zip(titles, chosen, copies, strict=True)]


def has_stems(names: Collection[str], stems: Sequence[str], least: int | None = None) -> bool:
    """Whether the names of a song's stems include all of ``stems``; with ``least``, at least so many of them and no other."""
    return set(stems) <= set(names) if least is None else set(names) <= set(stems) and len(names) >= least


def check_audible(audio: Audio, sample_rate: int) -> None:
    """Raises Refused for audio [C, T] that nothing can be measured of: silence, or less than LEAST_S seconds."""
    if audio.shape[1] < LEAST_S * sample_rate:
        raise Refused(f"it lasts {audio.shape[1] / sample_rate:.3g} s; expected {LEAST_S:g} s at least")
    if not np.mean(np.square(audio, dtype=np.float64)) > SILENT:
        raise Refused("it is silent (below -100 dBFS); expected sound")


def at_most_stereo(song: LoadedSong) -> LoadedSong:
    """The song, if it is mono or stereo. Raises Refused for one of more channels."""
    if len(song.mixture) > 2:
        raise Refused(f"it has {len(song.mixture)} channels; expected 1 or 2")
    return song


def middle(num_frames: int, sample_rate: int, duration_s: float | None) -> slice:
    """The frames of ``duration_s`` seconds in the middle; all frames where it is None."""
    length = num_frames if duration_s is None else min(num_frames, max(1, round(duration_s * sample_rate)))
    start = (num_frames - length) // 2
    return slice(start, start + length)


def loudest(power: NDArray[np.floating], num_frames: int) -> slice:
    """The ``num_frames`` frames with most energy of a signal whose squared samples are ``power`` [T]; all of a shorter one.

    >>> import numpy as np
    >>> from stemwright.datagen.evaluate.evaluated_songs import loudest
    >>> loudest(np.array([1.0, 0.0, 4.0, 9.0, 0.0]), 2)
    slice(2, 4, None)
    """
    if num_frames >= len(power):
        return slice(0, len(power))
    energy = np.concatenate([[0.0], np.cumsum(power)])
    start = int(np.argmax(energy[num_frames:] - energy[:-num_frames]))
    return slice(start, start + num_frames)


def excerpt() -> LoadedSong:
    """The excerpt that ships: four seconds of a real song in two stems, whose sum is its mixture."""
    sounds = {path.stem: load(path) for path in _excerpt_files()}
    stems = {name: audio for name, (audio, _) in sounds.items()}
    return LoadedSong(np.sum(list(stems.values()), axis=0), stems, next(rate for _, rate in sounds.values()))


def _excerpt_files() -> list[Path]:
    import stemwright.datagen.excerpts

    return sorted(Path(str(stemwright.datagen.excerpts.__file__)).parent.glob("*.ogg"))


def _files(song: NamedSong) -> tuple[Path, Files]:
    return (song.path, song.stems) if isinstance(song.stems, Mapping) else multitrack_files(song.path, song.stems)


def _names(song: NamedSong) -> list[str]:
    return sorted(_files(song)[1])
