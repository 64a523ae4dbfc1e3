"""A first mix of the stems of a folder, by the rules or by a corpus: the sound file, and the preset that makes it again.

Conventions
    The preset is that of ``stemwright apply``, which gives the same mix of the same folder: the mix is made by it. Stems that are left out,
    as silent ones are, are not in the preset, and have no say in the rate and the length of the mix. The mix has two channels at least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stemwright.datagen.edit.presets.preset import Preset
from stemwright.datagen.edit.presets.stem_mix import StemMix, loaded, write_mix
from stemwright.datagen.edit.song_output import SongOutput
from stemwright.datagen.mixing.settling import MixSettings
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.own_stems import stem_paths

Mixer = Callable[[Mapping[str, Audio], int], MixSettings]  # stems [C, T] of one shape, and their rate -> settings


@dataclass(frozen=True)
class FirstMix:
    """The settings of a mix, as a preset, the files it is of, and the mix that was written."""

    settings: MixSettings
    preset: Preset
    files: Mapping[str, Path]
    made: StemMix


def mix_folder(folder: Path, out: SongOutput, mixer: Mixer, *, on_progress: OnProgress | None = None) -> FirstMix:
    """Mixes the stems of a folder into a file. Raises UsageError for a folder without stems, or with two of one name, and where the mix
    would be among them; Refused for a file that is no sound, and where all stems are silent.
    """
    files = _stems_of(folder, out.path)
    stems, rate = loaded(files, on_progress, channels=2)
    if (channels := len(next(iter(stems.values())))) > 2:
        raise Refused(f"a stem in {folder} has {channels} channels; expected 1 or 2: mix it down to two")
    settings = mixer(stems, rate)
    if settings.left_out:
        kept = {name: files[name] for name in files if name not in settings.left_out}
        if not kept:
            raise UsageError(f"{folder} has no stem to mix: " + "; ".join(f"{name}: {why}" for name, why in settings.left_out.items()))
        stems, rate = loaded(kept, channels=2)
        settings = replace(again := mixer(stems, rate), left_out={**settings.left_out, **again.left_out})
    files = {name: files[name] for name in settings.stems}
    preset = Preset({name: stem.chain for name, stem in settings.stems.items()}, settings.bus, rate, channels=2)
    return FirstMix(settings, preset, files, write_mix(preset, {name: stems[name] for name in files}, rate, out))


def _stems_of(folder: Path, out: Path) -> dict[str, Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {what}; expected the folder that holds the dry stems (vocals.wav, drums.wav ...)")
    if folder.resolve() in out.resolve().parents:
        raise UsageError(f"{out} is in the folder of the stems, where it would be taken for one of them; write it to another folder")
    try:
        return stem_paths(folder, folder / "mixture.wav")
    except ValueError as error:
        raise UsageError(str(error)) from error
