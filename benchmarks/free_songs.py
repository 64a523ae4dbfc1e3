"""Songs of free packages as folders: stems that sum to their mixture bit for bit, whole songs, and single drum hits.

Conventions
    Audio is [T, C], as soundfile and libopenmpt have it, full scale 1.0. Files are FLAC, 24 bit, at the source's rate. Stems are rounded to
    24 bit and the mixture is the sum of the rounded ones, so that it is exact; what was written is read again and compared.
    A song is scaled by one power of two, column ``gain``, where a stem or the sum would pass full scale; no stem is scaled by itself. Full
    scale of the source is therefore at ``gain``: ``clipped`` is the share of the sum's samples beyond it, which the source's player clips.
    ``correlation`` is the energy of the sum over that of the stems, less 1: 0 where the stems have nothing in common.
    ``player_db`` is the error of a module's mixture against the player's own render of all channels; above LIMIT_DB it is left out.
    Stems that are silent are left out. A folder is written under a hidden name and renamed when it is complete; its row is in .row.json.

    What neither name nor measures tell of a module's instruments (`tracker_modules.group`) is the stem ``unsorted``. A song with more than
    UNSORTED of its energy there has drums and rest only, if what is undecided is surely no drum. It has no groups if that is not so
    either, or if one group has more than LARGEST of the energy. ``by_name`` is the share of energy that names decided, column ``trust`` is
    "names" where that is NAMED at least, else "measures".
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import math
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from game_scores import RATE as SCORE_RATE
from game_scores import credits_in, scores_in, stems_of
from tracker_modules import RATE, Module, Player, group

from stemwright.separation.loudness.meter import integrated_loudness

Array = np.ndarray
Row = dict[str, Any]
Stems = Mapping[str, Callable[[], Array]]  # rendered when called: one stem at a time is in memory

LIMIT_DB, UNSORTED, LARGEST, NAMED, SHORTEST_S = -80.0, 0.1, 0.95, 0.8, 20.0
SILENT = 1e-5  # peak of a stem that is left out
FULL = 1 << 23
ROW = ".row.json"
DOUBTFUL = ("rough_journey",)  # what the measures call its drums, a separation model does not hear at all


class Made(NamedTuple):
    """The folders of a song, and why it has no others."""

    folders: list[Path]
    why: str = ""


@dataclass(frozen=True)
class Song:
    """A song to be laid out: its folder, stems, what its row says already, and the whole as its player renders it, if there is one."""

    folder: Path
    stems: Stems
    sample_rate: int
    row: Row
    whole: Callable[[], Array] | None = None


class Levels(NamedTuple):
    """The sum of a song's stems [T, 2], the names of those that sound, the largest peak, and the energy of all of them."""

    total: Array
    sounding: list[str]
    peak: float
    energy: float


def slug(name: str) -> str:
    """A name as a folder's: lower case, words joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def measured(stems: Stems) -> Levels:
    """Adds the stems up."""
    total, sounding, peak, energy = np.zeros((0, 2)), [], 0.0, 0.0
    for name, render in stems.items():
        audio = render()
        total = np.pad(total, ((0, max(0, len(audio) - len(total))), (0, 0)))
        total[: len(audio)] += audio
        highest = float(np.abs(audio).max(initial=0.0))
        if highest > SILENT:
            sounding.append(name)
            peak, energy = max(peak, highest), energy + float(np.square(audio, dtype=float).sum())
    return Levels(total, sounding, max(peak, float(np.abs(total).max(initial=0.0))), energy)


def is_laid_out(folder: Path, made_by: Any) -> bool:
    """Whether a folder holds a song of this version of its package."""
    path = folder / ROW
    return path.exists() and bool(json.loads(path.read_text(encoding="utf-8"))["made_by"] == made_by)


def write_song(song: Song) -> str:
    """Writes the stems and their sum, all or nothing; a song that is there is kept. Returns why a song was not written, or "".

    Raises OSError if the disk has no space for it, and AssertionError if what was written does not sum to the mixture.
    """
    if is_laid_out(song.folder, song.row["made_by"]):
        return ""
    levels, row = measured(song.stems), dict(song.row)
    if not levels.sounding:
        return "is silent"
    if song.whole is not None:
        own = song.whole().astype(float)
        error_db = 10 * math.log10(float(((levels.total - own) ** 2).sum() / (own**2).sum()) + 1e-20)
        if error_db > LIMIT_DB:
            return f"is {error_db:.0f} dB from the player's own mix (effects drawn at random, or one note that changes its sample)"
        row["player_db"] = round(error_db, 1)
    gain = 2.0 ** -max(0, math.ceil(math.log2(levels.peak / 0.9999)))
    part = song.folder.with_name(f".{song.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was stopped
    part.mkdir(parents=True)
    try:
        _write_stems(part, song, levels, gain)
        row |= _facts(levels, gain, song.sample_rate)
        (part / ROW).write_text(json.dumps(row), encoding="utf-8")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(song.folder, ignore_errors=True)  # of an earlier version of the package
    part.rename(song.folder)
    return ""


def _facts(levels: Levels, gain: float, sample_rate: int) -> Row:
    """The columns that are measured of a song."""
    return {
        "stems": " ".join(levels.sounding),
        "gain": gain,
        "clipped": round(float((np.abs(levels.total) > 1).mean()), 6),
        "duration_s": round(len(levels.total) / sample_rate, 2),
        "sample_rate": sample_rate,
        "loudness_lufs": round(integrated_loudness((levels.total * gain).T, sample_rate), 2),
        "correlation": round((float((levels.total**2).sum()) - levels.energy) / levels.energy, 3),
    }


def _write_stems(folder: Path, song: Song, levels: Levels, gain: float) -> None:
    """Writes the stems that sound and their sum, reads them again, and compares."""
    mixture = np.zeros(levels.total.shape, np.int32)
    check_space(folder, 3 * mixture.size * (len(levels.sounding) + 1))
    for name in levels.sounding:
        audio, whole = song.stems[name](), np.zeros(mixture.shape, np.int32)
        whole[: len(audio)] = np.rint(audio * (gain * FULL)).astype(np.int32)
        mixture += whole
        _save(folder / f"{name}.flac", whole, song.sample_rate)
    _save(folder / "mixture.flac", mixture, song.sample_rate)
    total = sum(_saved(folder / f"{name}.flac") for name in levels.sounding)
    if not np.array_equal(_saved(folder / "mixture.flac"), total):
        raise AssertionError(f"{song.folder}: the stems that were written do not sum to the mixture")


def check_space(folder: Path, num_bytes: int) -> None:
    """Raises OSError if a disk has no space for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise OSError(errno.ENOSPC, f"{num_bytes / 1e6:.0f} MB are needed for the next song, and {free / 1e6:.0f} MB are free", str(folder))


def _save(path: Path, samples: Array, sample_rate: int) -> None:
    soundfile.write(path, samples << 8, sample_rate, "PCM_24", compression_level=0.2)


def _saved(path: Path) -> Array:
    return np.asarray(soundfile.read(path, dtype="int32")[0] >> 8)


# ----------------------------------------------------------------------------------------------------------- songs of each kind of package


def guitar_song(out: Path, path: Path, row: Row, _player: Player | None) -> Made:
    """A song of Frets on Fire: song.ogg is what plays behind guitar.ogg, song.ini has the title."""
    lead = path.with_name("guitar.ogg")
    if not lead.is_file():
        return Made([], "has no guitar.ogg")
    sample_rate = soundfile.info(path).samplerate
    if soundfile.info(lead).samplerate != sample_rate:
        return Made([], "guitar.ogg and song.ogg have different sample rates")
    settings = path.with_name("song.ini")
    text = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
    named = re.search(r"^name\s*=\s*(.+)$", text, re.MULTILINE)
    stems = {"guitar": lambda: _stereo(lead), "backing": lambda: _stereo(path)}
    folder = out / "guitar" / slug(path.parent.name)
    title = named[1].strip() if named else path.parent.name
    why = write_song(Song(folder, stems, sample_rate, row | {"collection": "guitar", "title": title}))
    return Made([] if why else [folder], why)


def _stereo(path: Path) -> Array:
    """A file as audio [T, 2]."""
    audio = np.asarray(soundfile.read(path, always_2d=True)[0])
    return audio if audio.shape[1] == 2 else audio[:, :1].repeat(2, axis=1)


def played_scores(out: Path, path: Path, row: Row, _player: Player | None) -> Made:
    """The scores in the WAD of a game that have two parts at least, each played by itself; one of those that are equal."""
    folders, left_out = list[Path](), list[str]()
    others = [json.loads(file.read_text(encoding="utf-8")) for file in (out / "scores").glob(f"*/{ROW}")]
    known = {other["score"]: other["title"] for other in others}
    for name, score in scores_in(path.read_bytes()).items():
        title, digest = f"{path.stem} {name}", hashlib.sha256(score).hexdigest()
        folder, parts = out / "scores" / slug(title), stems_of(score)
        said = credits_in(score)
        facts = row | {
            "collection": "scores",
            "title": title,
            "score": digest,
            "artist": f"{row['artist']} ({said})" if said else row["artist"],
        }
        if known.setdefault(digest, title) != title:
            why = f"is {known[digest]}"
        else:
            why = "has one part" if len(parts) < 2 else _played_score(folder, parts, facts)
        if why:
            left_out.append(f"{name} {why}")
        else:
            folders.append(folder)
    return Made(folders, f"without {'; '.join(left_out)}" if left_out else "")


def _played_score(folder: Path, parts: Stems, row: Row) -> str:
    """Writes the parts of a score, each played once; returns why it was not written, or ""."""
    if is_laid_out(folder, row["made_by"]):
        return ""
    played = {name: play() for name, play in parts.items()}
    if max(len(audio) for audio in played.values()) < SHORTEST_S * SCORE_RATE:
        return "is too short"
    return write_song(Song(folder, {name: partial(dict.__getitem__, played, name) for name in played}, SCORE_RATE, row))


def whole_song(out: Path, path: Path, row: Row, _player: Player | None) -> Made:
    """A song without stems, copied as it is."""
    folder = out / "mixtures" / slug(path.stem)
    audio, sample_rate = soundfile.read(path, always_2d=True)
    check_space(out, path.stat().st_size)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / f"mixture{path.suffix}")
    facts = {"collection": "mixtures", "title": path.stem, "duration_s": round(len(audio) / sample_rate, 2), "sample_rate": sample_rate}
    facts |= {"gain": 1, "clipped": round(float((np.abs(audio) > 1).mean()), 6)}
    facts |= {"loudness_lufs": round(integrated_loudness(audio.T, sample_rate), 2)}
    (folder / ROW).write_text(json.dumps(row | facts), encoding="utf-8")
    return Made([folder])


def tracker_song(out: Path, path: Path, row: Row, player: Player | None) -> Made:
    """A module: a stem for each channel that sounds and, where its instruments can be grouped, a stem for each group."""
    if player is None:
        raise ValueError("a module needs a player")
    module = player.load(path)
    if module.seconds < SHORTEST_S:
        return Made([], f"lasts {module.seconds:.0f} s only")
    name, row = slug(f"{row['package'].split('-')[0]} {path.stem}"), row | {"title": module.title}
    channels, folder = out / "channels" / name, out / "modules" / name

    def soloed(number: int) -> Callable[[], Array]:
        return lambda: player.render(module, channels={number})

    def together(instruments: set[int]) -> Callable[[], Array]:
        return lambda: player.render(module, instruments=instruments)

    def whole() -> Array:
        return player.render(module)

    stems = {f"ch{number + 1:02d}": soloed(number) for number in range(module.channels)}
    if why := write_song(Song(channels, stems, RATE, row | {"collection": "channels"}, whole)):
        return Made([], why)
    found = grouped(player, module)
    parts, why = parts_of(found, len(module.names))
    if why or path.stem in DOUBTFUL:
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier version of the package
        return Made([channels], f"channels only: {why or 'its drums are doubtful'}")
    stems = {part: together(instruments) for part, instruments in parts.items() if instruments}
    by_name = found.named / found.total
    row |= {"collection": "modules", "by_name": round(by_name, 2), "trust": "names" if by_name >= NAMED else "measures"}
    why = write_song(Song(folder, stems, RATE, row, whole))
    return Made([channels] if why else [channels, folder], why)


@dataclass
class Groups:
    """The instruments of each group, the energy of each instrument, and the energy of those that were grouped by their names."""

    instruments: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    energies: dict[int, float] = field(default_factory=dict)
    named: float = 0.0

    @property
    def total(self) -> float:
        """The energy of all instruments."""
        return sum(self.energies.values())

    def share(self, instruments: set[int]) -> float:
        """The share of the energy that instruments have."""
        return sum(self.energies.get(number, 0.0) for number in instruments) / self.total


def grouped(player: Player, module: Module) -> Groups:
    """Each instrument that sounds in its group."""
    found = Groups()
    for number in sorted(module.notes):
        if number >= len(module.names):
            continue
        audio = player.render(module, instruments={number})
        energy = float(np.square(audio, dtype=float).sum())
        if energy > 1e-3:
            name, by_name = group(module.names[number], module.notes[number], module.chords[number], audio)
            found.instruments[name].add(number)
            found.energies[number] = energy
            found.named += energy * by_name
    return found


def parts_of(found: Groups, num_instruments: int) -> tuple[dict[str, set[int]], str]:
    """The instruments of each stem, and why there are none."""
    groups, total = found.instruments, found.total
    if not total:
        return {}, "no instrument sounds by itself"
    unknown = found.share(groups["unsorted"])
    is_whole = unknown + found.share(groups["tonal"]) <= UNSORTED
    if is_whole:
        parts = {name: groups[name] for name in ("drums", "bass", "other")} | {"unsorted": groups["unsorted"] | groups["tonal"]}
    else:
        parts = {"drums": groups["drums"], "rest": groups["bass"] | groups["other"] | groups["tonal"], "unsorted": groups["unsorted"]}
    shares = {name: found.share(part) for name, part in parts.items()}
    if unknown > UNSORTED or max(shares.values()) > LARGEST or not (shares["drums"] or (is_whole and shares["bass"])):
        return {}, f"{unknown:.0%} of the energy unsorted; " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    silent = set(range(num_instruments)).difference(*parts.values())  # what the patterns name without a note may sound too
    return parts | {"unsorted": parts["unsorted"] | silent}, ""


# ---------------------------------------------------------------------------------------------------------------------------- drum kits


def kit_licence(kit: str, text: str) -> str:
    """The licence of a kit by the copyright file of its package."""
    licence = "not stated"
    for stanza in re.split(r"\n\s*\n(?=Files:)", text):
        patterns = re.findall(r"drumkits/(\S+?)\.h2drumkit", stanza)
        said = re.search(r"^License: *(.+)$", stanza, re.MULTILINE)
        if said and any(fnmatch.fnmatch(kit, pattern) or kit.startswith(pattern) for pattern in patterns):
            licence = said[1]
    return licence


def drum_hits(out: Path, path: Path, text: str) -> list[Row]:
    """Copies the hits of a kit of Hydrogen; a row for each layer: kit, licence, instrument, layer, velocities, gain, path, length."""
    kit, rows = path.parent.name, []
    licence, place = kit_licence(kit, text), out / "drumkits" / slug(kit)
    root = ET.fromstring(re.sub(r'\sxmlns="[^"]*"', "", path.read_text(encoding="utf-8", errors="replace")))
    for instrument in root.iter("instrument"):
        for number, layer in enumerate(list(instrument.iter("layer")) or [instrument]):  # old kits have none
            source = path.parent / (layer.findtext("filename") or "")
            if not source.is_file() or not source.resolve().is_relative_to(path.parent.resolve()):
                continue
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place / source.name)
            info = soundfile.info(source)
            facts = {"kit": kit, "licence": licence, "instrument": instrument.findtext("name"), "layer": number}
            facts |= {column: layer.findtext(column) for column in ("min", "max", "gain")}
            facts |= {"path": f"{place.name}/{source.name}", "seconds": round(info.duration, 3)}
            rows.append(facts | {"sample_rate": info.samplerate, "channels": info.channels})
    return rows


MAKERS: dict[str, Callable[[Path, Path, Row, Player | None], Made]] = {
    "guitar": guitar_song,
    "module": tracker_song,
    "score": played_scores,
    "mixture": whole_song,
}
