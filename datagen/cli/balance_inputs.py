"""Which songs ``balance`` measures, with which stems, and where separated stems are kept: checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.cli.terminal import Terminal
    from stemwright.manifests.sound.formats import Audio
    from stemwright.separation.balance.named_songs import NamedSong, NamedSongs
    from stemwright.separation.balance.recordings import Hear, Keep, RecordingOptions


def songs_to_measure(paths: Sequence[Path], stems: str | None, separation: Mapping[str, Any]) -> NamedSongs:
    """The songs that are named, with their stems. Raises UsageError for what does not exist, and for settings of a separation that does not
    take place.
    """
    from stemwright.separation.balance.named_songs import NamedSongs, named_songs

    check_stems_alone(stems, separation)
    if not any(path.exists() for path in paths):
        raise UsageError(f"{', '.join(map(str, paths))}: no such file; expected recordings")
    named = named_songs(paths, stems)
    own = [song for song in named.songs if song.stems is not None]
    given = any(value is not None for value in separation.values())
    streams = [song for song in own if song.place is None and song.path in paths]
    if stems is None and given and streams:  # a STEM file is separated where a model is named
        songs = tuple(song.without_stems() if song in streams else song for song in named.songs)
        named = NamedSongs(songs, named.rejected, named.notes)
    elif stems is None and own and len(own) == len(named.songs):
        check_stems_alone(own[0].named, separation, where=f"{own[0].named}, which has its own stems")
    return named


def check_stems_alone(stems: object, separation: Mapping[str, Any], *, where: str = "") -> None:
    """Raises UsageError if given stems come with settings of a separation, which then does not take place.

    What only allows or forbids something (``--offline``) holds there as well.
    """
    given = [f"--{key.replace('_', '-')}" for key, value in separation.items() if value is not None]
    if stems is not None and given:
        remedy = ", ".join(given) if where else "one of them"
        raise UsageError(
            f"{', '.join(given)}: for a separation, and nothing is separated with {where or f'--stems {stems}'}; leave out {remedy}"
        )


def ready_separator(stems: str | None, name: str | None) -> Any:
    """What made given stems, by the name of its calibration; None without a name. Raises UsageError for a name without stems, and for one
    of which there is no calibration."""
    if name is None:
        return None
    if stems is None:
        raise UsageError("--stems-of names the separator of ready stems; expected --stems FOLDER with it")
    from stemwright.separation.balance.kept_calibrations import kept_calibrations, key_of, place_of_calibrations
    from stemwright.separation.calibrating.ready_stems import ReadyStems

    try:
        found = ReadyStems(name, stems)
    except ValueError as error:
        raise UsageError(f"--stems-of: {error}") from error
    kept = kept_calibrations(place_of_calibrations())
    if key_of(found) not in [each.key for each in kept]:
        known = ", ".join(str(each.identity["stems_of"]) for each in kept if "stems_of" in each.identity) or "none"
        raise UsageError(f"there is no calibration of ready stems called {name!r} (kept: {known}); make one: stemwright calibrate --stems")
    return found


def recording_options(calibration: str, keep: Keep | None = None, hear: Hear | None = None) -> RecordingOptions:
    """How recordings are measured, with the calibration of that name. Raises UsageError for one that is not on this machine."""
    from stemwright.separation.balance.calibration_names import AUTO, NONE
    from stemwright.separation.balance.kept_calibrations import named_calibration, place_of_calibrations
    from stemwright.separation.balance.recordings import RecordingOptions

    if calibration not in (AUTO, NONE):
        try:
            named_calibration(calibration, [place_of_calibrations()])
        except UsageError as error:
            raise UsageError(f"--calibration: {error}") from error
    return RecordingOptions(keep, hear, calibration)


def warn_of_damaged(terminal: Terminal) -> None:
    """Warns of calibrations in the cache that cannot be used."""
    from stemwright.separation.balance.kept_calibrations import damage, damaged_in, place_of_calibrations

    for path in damaged_in(place_of_calibrations()):
        terminal.warn(damage(path))


def mixture_files() -> list[str]:
    """What the mixture is called in a folder that is a multitrack."""
    from stemwright.manifests.sound.formats import READABLE_SUFFIXES
    from stemwright.manifests.stem_names import MIXTURE_NAMES

    return [f"{name}{suffix}" for name in MIXTURE_NAMES for suffix in sorted(READABLE_SUFFIXES)]


def check_outputs(paths: Sequence[Path], stems: str | None, csv: Path | None, plot: Path | None) -> None:
    """Raises UsageError for an output that cannot be written, or that is one of the inputs."""
    from stemwright.manifests.disk.outputs import PICTURES, TABLES, check_output

    for out, suffixes in ((csv, TABLES), (plot, PICTURES)):
        if out:
            check_output(out, suffixes, [*paths, *([Path(stems)] if stems else [])])


def kept_stems(folder: Path | None, songs: Sequence[NamedSong], *, force: bool, others: Sequence[Path] = ()) -> Keep | None:
    """What writes the stems of each song that is separated, into a sub-folder that is named like it; None if none are kept.

    Raises UsageError if there are stems already, unless ``force``, if a song or anything else that is read is there (``others``: lists and
    outputs beside the songs), and if no song is separated.
    """
    if folder is None:
        if force:
            raise UsageError("--force lets --save-stems write over stems; expected --save-stems FOLDER with it, or leave it out")
        return None
    separated = [song.path for song in songs if song.stems is None]
    if not separated:
        raise UsageError(f"--save-stems {folder}: no song is separated, since all have stems; leave it out")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--save-stems {folder} is a file; expected a folder")
    places = _places(folder, separated)
    for path, place in places.items():
        if path.resolve().parent in (place.resolve(), folder.resolve()) or place.resolve() == path.resolve():
            raise UsageError(f"--save-stems {folder}: the folder of {path} itself, which would then be taken for its stems; name another")
        _check_untouched(folder, place, [*(each for song in songs for each in song.inputs), *others])
        if place.exists() and not force and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(
                f"--save-stems {folder}: {place} exists; name another folder, measure in it with --stems {folder}, or use --force"
            )

    def keep(path: Path, stems: dict[str, Audio], sample_rate: int, origin: str, key: str) -> None:
        from stemwright.separation.balance.saved_stems import save_stems

        save_stems(places[path], stems, sample_rate, origin, key)

    return keep


def _check_untouched(folder: Path, place: Path, files: Sequence[Path]) -> None:
    """Raises UsageError if the folder of one song's stems is not directly within their folder, or if one of the files is in it."""
    below = list(place.iterdir()) if place.is_dir() else []
    if place.resolve().parent != folder.resolve() or any(each.is_symlink() and each.is_dir() for each in (place, *below)):
        raise UsageError(
            f"--save-stems {folder}: {place} or a folder in it is a link, and nothing is written through it; name another folder"
        )
    for file in files:
        if file.resolve().is_relative_to(place.resolve()):
            raise UsageError(f"--save-stems {folder}: {file} is in {place}, whose files would be replaced; name another folder")


def _places(folder: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    """The sub-folder of each song: as ``--stems`` looks for it."""
    from stemwright.separation.balance.named_songs import song_name

    names = {path: song_name(path) for path in paths}
    for path, name in names.items():
        if same := [other for other, its in names.items() if its.lower() == name.lower() and other.absolute() != path.absolute()]:
            raise UsageError(f"--save-stems {folder}: {path} and {same[0]} are both called {name}; keep their stems in different folders")
    return {path: folder / name for path, name in names.items()}
