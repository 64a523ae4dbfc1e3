"""The stems that are given with a recording, wherever they are: found, examined, mended, and loaded with it. All verbs take them from here.

Conventions
    A recording has its stems in a folder beside it, or is itself a folder with a file called mixture or mix and stems, or a STEM file.
    What is certain is mended and noted: ``stemwright.manifests.stems.given_stems``. Stems of which none is found in the recording are
    refused; a single one is named in a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stemwright.manifests.records import RESIDUAL, Refused
from stemwright.manifests.sound.containers import num_streams
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import BLOCK_FRAMES, READABLE_SUFFIXES, Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.stem_names import MIXTURE_NAMES, STREAMS
from stemwright.manifests.stems.given_stems import Findings, examine
from stemwright.manifests.stems.stem_reading import LOSSY_SUFFIXES, GivenStems
from stemwright.manifests.usage import UsageError

Files = Mapping[str, tuple[Path, int]]  # name -> the file, and the number of its audio stream


@dataclass(frozen=True)
class OwnStems:
    """A mixture [C, T], its stems {name: [C, T]} mended to it, their sample rate, and what was found of them."""

    mixture: Audio
    stems: dict[str, Audio]
    sample_rate: int
    findings: Findings


def folder_name(folder: Path) -> str:
    """The name of a folder, of "." and ".." too."""
    place = folder.absolute()
    return (place.resolve() if place.name == ".." else place).name


def stem_paths(folder: Path | str, mixture_path: Path | str) -> dict[str, Path]:
    """The stems of a mixture in a folder by their names: the sound files in it, or in its sub-folder that is named like the mixture, or
    like the folder of a file that is called mixture or mix.

    The mixture itself, a file called mixture or mix, and a residual are left out. Raises ValueError when there is none, UsageError where
    two files are of one name, without regard to case: vocals.wav and vocals.flac.
    """
    mixture_path, folder = Path(mixture_path), Path(folder)
    names = [mixture_path.stem, *([folder_name(mixture_path.parent)] if mixture_path.stem.lower() in MIXTURE_NAMES else [])]
    place = next((folder / name for name in names if name not in ("", ".", "..") and (folder / name).is_dir()), folder)
    if not place.is_dir():
        raise ValueError(f"expected a folder of stems, got {folder}, which is not a folder")
    left_out = {*MIXTURE_NAMES, RESIDUAL}
    paths = [
        path
        for path in sorted(place.iterdir())
        if path.suffix.lower() in READABLE_SUFFIXES
        and not path.name.startswith(".")
        and path.stem.lower() not in left_out
        and path.resolve() != mixture_path.resolve()
    ]
    if not paths:
        raise ValueError(f"expected stems such as vocals.wav in {place}, got no sound file; give the folder that holds them")
    _check_names(paths, place)
    return {path.stem: path for path in paths}


def _check_names(paths: list[Path], place: Path) -> None:
    """Raises UsageError where two of the files are of one name: which of them is the stem cannot be known."""
    alike = dict[str, list[str]]()
    for path in paths:
        alike.setdefault(path.stem.lower(), []).append(path.name)
    if found := [", ".join(names) for names in alike.values() if len(names) > 1]:
        raise UsageError(f"{'; '.join(found)} are stems of one name in {place}: rename one, or take it out of the folder")


def multitrack_files(path: Path | str, stems: Path | str | None = None) -> tuple[Path, Files]:
    """The file of a mixture, and those of its stems: in the folder ``stems``, else in the folder that ``path`` is, or in a STEM file.

    Raises ValueError where there are none.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; expected a mixture, a STEM file or a folder with mixture.wav and stems")
    if path.is_dir():
        mixes = sorted(each for each in path.iterdir() if each.stem.lower() in MIXTURE_NAMES and each.suffix.lower() in READABLE_SUFFIXES)
        if not mixes:
            raise ValueError(
                f"{path}: a folder, not a sound file, and without mixture.wav; expected a mixture, whose stems may be given as a folder"
            )
        path, stems = mixes[0], stems or path
    if stems is not None:
        return path, {name: (file, 0) for name, file in stem_paths(stems, path).items()}
    if path.suffix.lower() in (".mp4", ".m4a") and num_streams(path) == len(STREAMS):
        return path, {name: (path, stream) for stream, name in enumerate(STREAMS) if stream}
    raise ValueError(f"{path} has no stems of its own; give the folder with the stems: --stems FOLDER")


def load_own(mixture_path: Path, files: Files, *, undo_gains: bool = True) -> OwnStems:
    """Loads a mixture and its stems, mended. Raises Refused if a file cannot be read, if no stem is of this recording, or if one
    is of another clock.

    ``undo_gains`` false leaves their levels as they are: those of dry stems, whose faders are to be found.
    """
    mixture, sample_rate = load_song(mixture_path)
    whole, rates = {}, {}
    for name, (path, stream) in files.items():
        try:
            audio, rates[name] = load_song(path, stream=stream)
        except Refused as reason:
            raise Refused(f"stem {name}: {reason}") from reason
        whole[name] = resample(audio, rates[name], sample_rate)
    lossy = any(path.suffix.lower() in LOSSY_SUFFIXES for path in (mixture_path, *(path for path, _ in files.values())))
    sources = {name: partial(_pieces, audio) for name, audio in whole.items()}
    given = GivenStems(partial(_pieces, mixture), sources, sample_rate, mixture.shape[0], lossy, rates=rates)
    findings = examine(given, undo_gains=undo_gains)
    findings.check_clocks()
    if findings.foreign and len(findings.foreign) == len(findings.stems):
        place = next(iter(files.values()))[0].parent
        raise Refused(
            f"none of the stems in {place} is found in {mixture_path.name}: they are of another recording, or of another take of it"
        )
    kept = {name: source for name, source in sources.items() if name in findings.stems}
    mended = GivenStems(given.mixture, kept, sample_rate, given.num_channels, lossy, findings.mending)
    return OwnStems(mixture, mended.load()[1], sample_rate, findings)


def load_stems(folder: Path | str, mixture_path: Path | str) -> tuple[Audio, dict[str, Audio], int]:
    """Reads a mixture and its stems from a folder: mixture [C, T], name -> [C, T], sample rate. Raises ValueError as ``load_own`` does."""
    own = load_own(*multitrack_files(mixture_path, folder))
    return own.mixture, own.stems, own.sample_rate


def _pieces(audio: Audio) -> Iterator[Audio]:
    for start in range(0, audio.shape[1], BLOCK_FRAMES):
        yield audio[:, start : start + BLOCK_FRAMES]
