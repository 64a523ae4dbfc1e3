"""Recordings undone from file to file: one, or many with resume. What is undone, and how, is in ``stemwright.datagen.inverse.undo``.

    out = mixture + Σ over its stems (undone - stem)                    with stems; else the recording itself, undone

Conventions
    Formats and levels are those of ``stemwright.datagen.edit.song_output``; ``.wav`` is 32-bit float and holds every peak. A recording of
    which nothing is undone is not written, unless that is requested.
    Many recordings: each gets its own file in the folder OUT, under its path within its folder, and a line in ``OUT/undo.jsonl`` once the
    file is whole. A recording whose line says the same of its bytes and of the request is not undone again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.edit.edited_file import check_song, stems_in, with_stems
from stemwright.datagen.edit.song_output import Levelled, OutputOptions
from stemwright.datagen.inverse.undo.figures import gain_figures, measured
from stemwright.datagen.inverse.undo.known import MIXTURE, KnownSettings, dry_reference, gain_curve
from stemwright.datagen.inverse.undo.requests import Knowledge, Request, Undone
from stemwright.datagen.inverse.undo.reversal import undo
from stemwright.manifests import __version__
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import READABLE_SUFFIXES, Audio
from stemwright.manifests.usage import UsageError

RECORDS = "undo.jsonl"
FOLDER_SUFFIX = ".flac"  # of each of many recordings
OnShare = Callable[[float], None]


@dataclass(frozen=True)
class Files:
    """Where the stems of a recording are from: a folder, a separator, or neither."""

    stems: Path | None = None
    separator: Any = None

    @property
    def any(self) -> bool:
        """Whether effects are undone stem by stem."""
        return self.stems is not None or self.separator is not None


@dataclass(frozen=True)
class UndoneFile:
    """One recording before and after, [C, T]; ``parts`` says what was undone in each stem, "" being the recording itself."""

    song: Path
    out: Path | None  # None: nothing was undone, and nothing written
    before: Audio
    after: Audio
    sample_rate: int
    parts: Mapping[str, Undone]
    level: Levelled
    notes: tuple[str, ...] = ()

    @property
    def gain_db(self) -> float:
        """The gain that the whole got: 0.0, or what its file needed."""
        return self.level.gain_db

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The figures before and after, and the gain over time."""
        return {
            "before": measured(self.before, self.sample_rate),
            "after": measured(self.after, self.sample_rate),
            "gain": gain_figures(self.before, self.after, self.sample_rate),
        }

    @property
    def done(self) -> bool:
        """Whether anything was undone."""
        return any(part.steps for part in self.parts.values())

    def plain(self) -> dict[str, Any]:
        """All of it but the audio, as plain values for JSON."""
        undone = [{"stem": name or None, **step.plain()} for name, part in self.parts.items() for step in part.steps]
        left = [
            {"stem": name or None, "effect": effect, "reason": why}
            for name, part in self.parts.items()
            for effect, why in part.left.items()
        ]
        errors = {name or "recording": part.error_db for name, part in self.parts.items() if part.error_db is not None}
        return {
            "song": str(self.song),
            "out": str(self.out) if self.out else None,
            "undone": undone,
            "left": left,
            "error_against_dry_db": errors,
            "gain_db": self.gain_db,
            "limited": self.level.limited.plain() if self.level.limited else None,
            "notes": list(self.notes),
            **self.figures,
        }


@dataclass(frozen=True)
class Undoing:
    """A request with the files of what is known read once, for any number of recordings."""

    request: Request
    files: Files = field(default_factory=Files)
    writing: OutputOptions = field(default_factory=OutputOptions)

    @cached_property
    def settings(self) -> KnownSettings | None:
        """The settings of --settings."""
        return KnownSettings(self.request.settings) if self.request.settings else None

    @cached_property
    def profile(self) -> Any:
        """The profile of --profile. Raises UsageError where it has none."""
        from stemwright.datagen.inverse.blind.profile import profile_at

        return None if self.request.profile is None else profile_at(self.request.profile)

    def undo_file(self, song: Path, out: Path, *, always: bool = False, on_share: OnShare | None = None) -> UndoneFile:
        """Undoes one recording and writes it. Raises Refused, or UsageError for an output that cannot be written."""
        check_song(song, out)
        writing = self.writing.to(out)
        paths = stems_in(self.files.stems, song)
        if self.files.any:
            before, sample_rate, stems, notes = with_stems(song, paths, self.files.separator, on_share)
        else:
            before, sample_rate = load_song(song)
            stems, notes = {MIXTURE: before}, ()
        if self.settings is not None:
            notes += self.settings.unused(stems)
        parts = {
            name: undo(
                audio,
                sample_rate,
                self.request.effects,
                self._known(song, name, audio, sample_rate),
                least_confidence=self.request.least_confidence,
                on_share=on_share,
            )
            for name, audio in stems.items()
        }
        for name, part in parts.items():
            if part.steps and any(note.startswith(f"stem {name} is not found") for note in notes):
                raise Refused(
                    f"stem {name} has effects to undo and is not found in {song.name}: it is of another recording or another take"
                )
        done = any(part.steps for part in parts.values())
        after = _put_back(before, stems, parts)
        notes += self.settings.notes if self.settings else ()
        notes += tuple(f"{name}: {note}" if name else note for name, part in parts.items() for note in part.notes)
        level = writing.levelled(after, sample_rate, "the undone recording")
        if done or always:
            level = writing.write(level, sample_rate, like=song)
        return UndoneFile(song, out if done or always else None, before, level.audio, sample_rate, parts, level, notes + level.notes)

    def _known(self, song: Path, name: str, audio: Audio, sample_rate: int) -> Knowledge:
        """What is known of the recording, or of one of its stems."""
        if self.settings is not None:
            known = self.settings.of(song, name)
            return known if self.request.dry is None else replace(known, dry=dry_reference(self._dry(name), audio, sample_rate))
        if self.request.gain is not None:
            return Knowledge(gain=gain_curve(self.request.gain, audio, sample_rate), source="gain curve")
        if self.request.dry is not None:
            return Knowledge(dry=dry_reference(self._dry(name), audio, sample_rate), source="dry")
        if self.profile is not None:
            return Knowledge(profile=self.profile[name], source="profile")
        return Knowledge()

    def _dry(self, name: str) -> Path:
        """The dry reference of the recording, or of a stem by its name. Raises Refused where there is none of that name."""
        assert self.request.dry is not None
        if not name:
            return self.request.dry
        found = [path for path in stems_in(self.request.dry, Path("mixture")).items() if path[0] == name]
        if not found:
            raise Refused(f"{self.request.dry} has no dry stem called {name!r}")
        return found[0][1]


def _put_back(before: Audio, stems: Mapping[str, Audio], parts: Mapping[str, Undone]) -> Audio:
    """The recording with its undone stems in place of the stems; bit for bit what it was where nothing changed."""
    if MIXTURE in parts:
        return parts[MIXTURE].audio
    changed = [name for name, part in parts.items() if part.steps]
    if not changed:
        return before
    out = before.astype(np.float64)
    for name in changed:
        out += parts[name].audio.astype(np.float64) - stems[name]
    return np.asarray(out, np.float32)


def recordings(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """(each recording, its path within the folder that was named): files as they are, folders at any depth, in order of their names."""
    for path in paths:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix.lower() in READABLE_SUFFIXES and not file.name.startswith("."):
                yield file, file.relative_to(path)


def outputs(found: Sequence[tuple[Path, Path]], out: Path) -> list[tuple[Path, Path]]:
    """(each recording, its output): FLAC in the folder OUT; two recordings of one name get their own suffixes into it."""
    names: dict[Path, Path] = {}
    for song, within in found:
        name = within.with_suffix(FOLDER_SUFFIX)
        if name in names:
            name = within.with_name(f"{within.name}{FOLDER_SUFFIX}")
        if name in names:
            raise UsageError(f"{song} and {names[name]} would both be written to {out / name}; undo them into two folders")
        names[name] = song
    return [(song, out / name) for name, song in names.items()]


class Records:
    """The lines of a folder of undone recordings: what each output was made of, the latest line of it last."""

    def __init__(self, folder: Path, undoing: Undoing, *, always: bool) -> None:
        self.path, self.undoing = folder / RECORDS, undoing
        self.request = {**undoing.request.plain(), "always": always, "separator": getattr(undoing.files.separator, "origin", None)}
        self.request |= {"writing": writing} if (writing := undoing.writing.plain()) else {}
        self.rows: dict[str, dict[str, Any]] = {}
        with suppress(FileNotFoundError):
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError):  # the line of a killed run
                    row = json.loads(line)
                    self.rows[row["place"]] = row

    def key(self, song: Path) -> str:
        """What a result depends on: the bytes of the recording, of its stems and of what is known, the request, and the version."""
        known = {name: _contents(path) for name in ("settings", "gain", "dry", "profile") if (path := getattr(self.undoing.request, name))}
        stems = {name: file_sha256(path) for name, path in stems_in(self.undoing.files.stems, song).items()}
        return content_id({"song": file_sha256(song), "stems": stems, "known": known, "request": self.request, "version": __version__})

    def finished(self, place: Path, key: str) -> dict[str, Any] | None:
        """The line of an output, if it was made of the same and what was written is there."""
        row = self.rows.get(str(place))
        return row if row and row["key"] == key and (row["out"] is None or Path(row["out"]).is_file()) else None

    def add(self, place: Path, key: str, row: Mapping[str, Any]) -> None:
        """Appends the line of a recording whose file is whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("a", encoding="utf-8") as file:
            line = json.dumps({"place": str(place), "key": key, **_finite(row)}, sort_keys=True)
            file.write(("\n" if torn else "") + line + "\n")
            file.flush()


def _contents(path: Path) -> Any:
    """The sums of a file, or of what identifies a folder: its tables and sound files."""
    if path.is_file():
        return file_sha256(path)
    files = [file for file in sorted(path.glob("*")) if file.is_file() and file.suffix.lower() in {*READABLE_SUFFIXES, ".parquet"}]
    return {file.name: file_sha256(file) for file in files}


def _finite(value: Any) -> Any:
    """Plain values without infinities, which JSON cannot hold: as the text "inf"."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else None
    return value
