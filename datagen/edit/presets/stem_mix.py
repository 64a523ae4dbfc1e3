"""The stems of a folder mixed with a preset, from file to file.

Conventions
    Stems are matched by the names of their files, without regard to case; they may be of other rates and lengths: all are brought to the
    highest rate and padded to the longest. A mono stem gets two channels if any other has two, or if the preset needs two. Formats and
    levels are those of ``stemwright.datagen.edit.song_output``; stems to save are written as the mix is, and get the gain that it gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.edit.presets.preset import SHARED_ROOM, Preset, plain_chain
from stemwright.datagen.edit.song_output import Levelled, SongOutput
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.inverse.effect_roles import has
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.own_stems import stem_paths


@dataclass(frozen=True)
class StemMix:
    """A mix that was written: its stems by name, its audio and level, and notes."""

    stems: tuple[str, ...]
    level: Levelled
    notes: tuple[str, ...] = ()

    def plain(self, preset: Preset) -> dict[str, Any]:
        """The chains that were used, and the gains into a shared room, as plain values for JSON."""
        chains: dict[str, Any] = {name: plain_chain(preset.stems[name]) for name in self.stems}
        room = {SHARED_ROOM: dict(preset.send.gains_db)} if preset.send else {}
        return {**chains, **room, "mix bus": plain_chain(preset.bus)}


def mix_stems(
    preset: Preset,
    folder: Path,
    out: SongOutput,
    *,
    save_stems: Path | None = None,
    partial: bool = False,
    renamed: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> StemMix:
    """Mixes the stems of a folder with a preset and writes the mix. ``renamed`` are stems of the preset whose files have other names.

    Raises UsageError for a folder without stems, or, unless ``partial``, without one that the preset has, and where a stem to save would
    replace one that is read; Refused for a file that is no sound, or a level that the file cannot hold and is to be kept.
    """
    files, notes = matched(preset, folder, partial=partial, renamed=renamed or {})
    saved = {name: save_stems / f"{name}{out.format.suffix}" for name in (*files, SHARED_ROOM)} if save_stems else {}
    _check_saved(saved, folder, out.path)
    stems, rate = loaded(files, on_progress, channels=max(preset.channels, 2 if needs_stereo(preset) else 1))
    made = write_mix(preset, stems, rate, out, saved)
    return replace(made, notes=notes + made.notes)


def write_mix(preset: Preset, stems: Mapping[str, Audio], rate: int, out: SongOutput, saved: Mapping[str, Path] | None = None) -> StemMix:
    """Mixes stems [C, T] of one shape with a preset and writes the mix, and what is summed in it before the bus to the files ``saved``."""
    mix, wet = preset.mix(stems, rate)
    level = out.levelled(np.asarray(mix, np.float32), rate, "the mix", wet.values() if saved else ())
    for name, audio in wet.items() if saved else ():
        assert saved is not None
        out.beside(saved[name]).write(Levelled(np.asarray(db_to_gain(level.gain_db) * audio, np.float32)), rate)
    level = out.write(level, rate)
    return StemMix(tuple(stems), level, level.notes)


def needs_stereo(preset: Preset) -> bool:
    """Whether the preset makes two channels of one: by a pan out of the centre, a width, or a room of two channels."""
    if preset.send is not None and preset.send.response is not None and len(preset.send.response) > 1:
        return True
    chain = [use for chain in (*preset.stems.values(), preset.bus) for use in chain]
    return any(
        isinstance(field, Range) and field.needs == "stereo" and getattr(settings, field.name) != field.neutral
        for _, settings in chain
        for field in fields(type(settings)).values()
    ) or any(has(name, "stereo") and not settings.is_neutral() for name, settings in chain)


def _check_saved(saved: Mapping[str, Path], folder: Path, out: Path) -> None:
    """Raises UsageError where a stem to save is in the folder of those that are read, or is the file of the mix."""
    if any(path.parent.resolve() == folder.resolve() for path in saved.values()):
        raise UsageError(f"--save-stems {folder} is the folder of the stems to read; name another one, they are left as they are")
    if any(path.resolve() == out.resolve() for path in saved.values()):
        raise UsageError(f"{out} is the file of the mix and of one of the stems to save; name another file or another folder")


def matched(preset: Preset, folder: Path, *, partial: bool, renamed: Mapping[str, str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The file of each stem of the preset, by its name or that in ``renamed``, and notes on files that it has no chain for."""
    try:
        there = stem_paths(folder, folder / "mixture.wav")
    except ValueError as error:
        raise UsageError(str(error)) from error
    by_name = {called.lower(): path for path in there.values() for called in (path.name, path.stem)}
    _check_renamed(preset, renamed, folder, by_name)
    called = {name: renamed.get(name, name).lower() for name in preset.stems}
    files = {name: by_name[file] for name, file in called.items() if file in by_name}
    if missing := [name for name in preset.stems if name not in files]:
        what = f"{folder} has no {', '.join(missing)}; it has {', '.join(there)}"
        if not partial or not files:
            way = f'Name the files after the stems of the preset, or add --stem "{missing[0]}=NAME OF ITS FILE"'
            raise UsageError(f"{what}. {way}" + ("" if not files else ", or --partial"))
    left = sorted(set(there.values()) - set(files.values()))
    notes = [f"the preset has no chain for {path.name}: it is not in the mix" for path in left]
    if preset.send and (unfed := [name for name in preset.send.gains_db if name not in preset.stems]):
        notes.append(f"the preset sends {', '.join(unfed)} to the shared room, but has no such stem: nothing of it is in the mix")
    return files, tuple(notes + ([f"without {', '.join(missing)}: there is no such stem"] if missing else []))


def _check_renamed(preset: Preset, renamed: Mapping[str, str], folder: Path, by_name: Mapping[str, Path]) -> None:
    """Raises UsageError for a stem that the preset does not have, a file that is missing, and one file for two stems."""
    if unknown := [name for name in renamed if name not in preset.stems]:
        raise UsageError(f"--stem: the preset has no stem {', '.join(unknown)}; it has {', '.join(preset.stems)}")
    if lost := [file for file in renamed.values() if file.lower() not in by_name]:
        raise UsageError(
            f"--stem: {folder} has no {', '.join(lost)}; it has {', '.join(path.stem for path in dict.fromkeys(by_name.values()))}"
        )
    used = [by_name.get(renamed.get(name, name).lower()) for name in preset.stems]
    if twice := [file for file in renamed.values() if used.count(by_name[file.lower()]) > 1]:
        raise UsageError(f"--stem: {twice[0]} would be two stems of the preset; expected a file for each")


def loaded(files: Mapping[str, Path], on_progress: OnProgress | None = None, *, channels: int = 1) -> tuple[dict[str, Audio], int]:
    """The stems [C, T] of one shape, at least ``channels`` of them, and their rate."""
    read = dict[str, tuple[Audio, int]]()
    for number, (name, path) in enumerate(files.items()):
        if on_progress:
            on_progress(number, len(files), path.name)
        try:
            read[name] = load_song(path)
        except Refused as reason:
            raise Refused(f"{path}: {reason}") from reason
    if on_progress:
        on_progress(len(files), len(files), "")
    rate = max(rate for _, rate in read.values())
    stems = {name: resample(audio, own, rate) for name, (audio, own) in read.items()}
    channels, frames = max(channels, *(len(audio) for audio in stems.values())), max(audio.shape[1] for audio in stems.values())
    if wrong := [name for name, audio in stems.items() if audio.shape[0] not in (1, channels)]:
        raise Refused(f"{', '.join(wrong)}: expected 1 or {channels} channels, as the other stems have")
    return {name: _shaped(audio, channels, frames) for name, audio in stems.items()}, rate


def _shaped(audio: Audio, channels: int, frames: int) -> Audio:
    padded = np.pad(audio, ((0, 0), (0, frames - audio.shape[1])))
    return np.repeat(padded, channels, axis=0) if audio.shape[0] < channels else padded
