"""Rebuilding: an export and one's own copies of the songs -> the same corpus, on the same kind of machine byte for byte; nothing is drawn.

The songs are found by content and linked into ``OUT/songs``, or, from another encoding, aligned and written there; they are separated
with the model of the recipes (a model with other checksums is refused); exactly the recorded pairs are rendered, and every file's
checksum is compared with the recorded one.

Conventions
    OUT is a corpus like any other: the same checks and stages work on it. ``OUT/rebuild.json`` says which recipes it is made from.
    Stems that differ (another machine's arithmetic, another encoding) have other checksums and so other ids; their pairs
    are the recorded ones with these ids put in, and so have new ids themselves. How much they differ is measured on sketches.
    What was measured on stems (estimates, normalisations) is copied only where the stems are the same; `stemwright estimate` measures
    the others.
    Finished work is kept: the same command resumes after a kill.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stemwright.datagen.dataset.writers import DatasetWriter, writer_of
from stemwright.datagen.dataset.writers.base import PresentFiles
from stemwright.datagen.dataset.writers.stale_files import forget_started
from stemwright.datagen.pairs.render import Rendered, Sources, render
from stemwright.datagen.pairs.rights import sources_of
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError, is_foreign
from stemwright.datagen.run.runner import Stage, finish
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages import run_separate, separator_of
from stemwright.datagen.run.stages.rendering import unrendered
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.run.stages.writing_pairs import writing_pairs
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.datagen.share.export import OF_SEPARATION
from stemwright.datagen.share.export_rows import TYPES
from stemwright.datagen.share.known_songs import Copy, LocatedSong, aligned, decibels, find_sources
from stemwright.datagen.share.reading import Recipes
from stemwright.datagen.share.rebuilt_parts import check_parts_model, matching_parts
from stemwright.datagen.share.sound_marks import BLOCK_FRAMES, FingerprintRow, SketchRow
from stemwright.manifests import __version__, table
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.deletion import check_way
from stemwright.manifests.disk.durable import copy_file, make_folder, sync_folder, write_bytes
from stemwright.manifests.disk.regular import file_sha256, regular
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Refused, Rejected, Stem, Track, seal, track_id
from stemwright.manifests.sound import identity, sketch
from stemwright.manifests.sound.decoding import blocks
from stemwright.manifests.sound.writing import Writer, remove_leftovers
from stemwright.separation.demucs.checkpoints import ModelError
from stemwright.separation.demucs.engines import Precision, has_openvino

SONGS = "songs"
MARKER = "rebuild.json"


@dataclass(frozen=True)
class Options:
    """How a rebuild is carried out; it changes nothing in the result."""

    workers: Workers = field(default_factory=Workers)
    model_folder: Path | None = None
    offline: bool = False
    trust_pickle: bool = False


@dataclass
class Rebuilt:
    """The result: how many of the recorded examples are identical, differ, and are missing; and what was found for each song."""

    recorded: int
    identical: int = 0
    different: int = 0
    loudness_off_lu: float = 0.0
    peak_off_db: float = 0.0
    songs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejected: int = 0

    @property
    def missing(self) -> int:
        """Examples that could not be made."""
        return self.recorded - self.identical - self.different


class Rebuild:
    """The steps of one rebuild, in order: ``begin``, ``find``, ``separate``, ``render``. The caller holds the lock of the corpus."""

    def __init__(self, recipes: Recipes, songs: Path, corpus: Corpus, options: Options) -> None:
        self.recipes, self.songs, self.corpus, self.options = recipes, songs, corpus, options
        self.result = Rebuilt(len(recipes.examples()))
        self._precision: Precision | None = None  # what "auto" meant where the recipes were made
        self._sources: list[LocatedSong] = []
        self._tracks: dict[str, Track] = {}  # recorded id -> the track as it is here
        self._renamed: dict[str, str] = {}  # recorded id of a stem or a track -> its id here

    def begin(self) -> None:
        """Makes the corpus folder and compares the model. Raises CorpusError if the folder is in use for other things, ModelError if the
        model is missing or is not the one of the recipes.
        """
        self.recipes.check_rows()
        config = self._config()
        self._check_model(config)
        make_folder(self.corpus.folder)
        write_bytes(self.corpus.folder / MARKER, (json.dumps({"recipes": self.recipes.id}) + "\n").encode())  # from now on it is ours
        self.corpus.create(config)

    def _config(self) -> Config:
        recorded = self.recipes.config
        folder = self.options.model_folder
        model = self.recipes.manifest.get("model") or {}
        changes: dict[str, Any] = {"model_folder": None if folder is None else str(folder)}
        used = model.get("used", {})
        if used.get("engine") == "openvino" and not has_openvino():
            self.result.notes.append("the recipes were made with OpenVINO, which is not installed here: stems will differ slightly")
        elif used:
            changes["engine"] = used["engine"]
            self._precision = used["precision"]
        if folder is not None and (folder / f"{recorded.separation.drums.model}.yaml").exists():
            changes["drums"] = recorded.separation.drums.model_copy(update={"model_folder": str(folder)})
        separation = recorded.separation.model_copy(update=changes)
        songs = recorded.songs.model_copy(update={"folder": str(self.corpus.folder / SONGS)})
        return recorded.model_copy(update={"separation": separation, "songs": songs})

    def _check_model(self, config: Config) -> None:
        origins = [origin for origin in self.recipes.manifest["origins"] if origin != "reference"]
        if self.recipes.manifest["stemwright"] != __version__:
            self.result.notes.append(
                f"the recipes were made by stemwright {self.recipes.manifest['stemwright']}, this is {__version__}: bytes may differ"
            )
        check_parts_model(self.recipes, SeparationOrder(config, self.options.offline, self.options.trust_pickle, self._precision))
        if not origins:
            return
        options = {"offline": self.options.offline, "trust_pickle": self.options.trust_pickle}
        separator = separator_of(config, **options, auto_precision=self._precision)
        recorded, here = self.recipes.manifest.get("model"), separator.identity
        if recorded is None:
            self.result.notes.append(f"the recipes name the model ({', '.join(origins)}) but not its checksums: it could not be compared")
            return
        for what in ("weights", "bag", "segment_s"):
            if recorded[what] != here[what]:
                raise ModelError(
                    f"model {config.separation.model!r} here differs from the recipes' model: its {what} are {_short(here[what])}, "
                    f"theirs {_short(recorded[what])}. Name the folder of the recipes' model with --model-folder"
                )
        there = {"schedule": recorded["schedule"], **recorded["used"]}
        now = {"schedule": here["schedule"], **separator.used._asdict(), "versions": {name: version(name) for name in OF_SEPARATION}}
        for what in ("versions", "engine", "precision", "device", "schedule"):
            if there[what] != now[what]:
                self.result.notes.append(f"{what} of the separation: {now[what]} here, {there[what]} there; stems may differ slightly")

    def find(self, on_progress: OnProgress | None = None) -> None:
        """Finds the songs, puts them into place, and writes the table of tracks and a row for every song that is not there."""
        remove_leftovers(self.corpus.folder / SONGS)
        self._sources = find_sources(self.recipes, self.songs, on_progress)
        marks = {row.id: row for row in self.recipes.rows("fingerprints", FingerprintRow)}
        rejected = []
        for source in self._sources:
            recorded = source.track
            if source.reason:
                subject = " - ".join(filter(None, (recorded.artist, recorded.title)))
                rejected.append(seal(Rejected, stage="catalog", row_id=recorded.id, subject=subject, reason=source.reason))
                self._say(recorded, "missing", source.reason)
            elif source.copy is not None:
                self._tracks[recorded.id] = self._place_copy(recorded, source.copy, marks[recorded.id])
            else:
                for path, file in source.files.items():
                    _link(self.corpus.folder / SONGS, path, file.resolve())
                self._tracks[recorded.id] = recorded
        if not self._tracks:
            raise CorpusError(f"none of {len(self._sources)} songs was found in {self.songs}: {self._sources[0].reason}")
        self._renamed = {before: track.id for before, track in self._tracks.items()}
        self.corpus.replace_rejected("catalog", rejected)
        self.result.rejected += len(rejected)
        table.replace(self.corpus.table("tracks"), list(self._tracks.values()), Track)

    def _place_copy(self, recorded: Track, copy: Copy, mark: FingerprintRow) -> Track:
        """Writes another encoding as the song: at its rate and length, in its place. Its bytes differ, so it is another track."""
        path, songs = f"{recorded.id}/aligned.wav", self.corpus.folder / SONGS
        check_way(songs, songs / path)
        with Writer(songs / path, mark.sample_rate, mark.num_channels, encoding="wav32f") as writer:
            for block in aligned(copy.path, mark, copy.offset_frames, copy.gain):
                writer.write(block)
        facts = {"sample_rate": mark.sample_rate, "num_channels": mark.num_channels, "num_frames": mark.num_frames}
        file = AudioFile(path=path, sha256=writer.sha256, num_bytes=writer.num_bytes, **facts)
        self._say(recorded, "another encoding", copy.description, offset_frames=copy.offset_frames, distortion_db=copy.distortion_db)
        notes = (*recorded.notes, copy.description)
        sound = identity.of_file(self.corpus.folder / SONGS / path)
        changed = {"id": track_id(sound), "sound": sound, "delay_frames": None, "audio": file, "references": (), "notes": notes}
        return recorded.model_copy(update=changed)

    def _say(self, track: Track, status: str, what: str, *, offset_frames: int | None = None, distortion_db: float | None = None) -> None:
        named = {"id": track.id, "title": track.title, "artist": track.artist, "status": status, "what": what}
        measurable = distortion_db is not None and math.isfinite(distortion_db)
        self.result.songs.append({**named, "offset_frames": offset_frames, "distortion_db": distortion_db if measurable else None})

    def separate(self, on_progress: OnProgress | None = None) -> None:
        """Separates what is not separated yet, compares the stems, and writes the tables of what is known about them and of the pairs."""
        offline, trust_pickle = self.options.offline, self.options.trust_pickle
        done = run_separate(self.corpus, on_progress, offline=offline, trust_pickle=trust_pickle, auto_precision=self._precision)
        self.result.rejected += done.rejected
        stems: dict[str, dict[str, Stem]] = defaultdict(dict)
        for stem in self.corpus.rows("stems", Stem):
            stems[stem.track_id][stem.name] = stem
        sketches = {row.id: row for row in self.recipes.rows("sketches", SketchRow)}
        differ: dict[str, list[float | None]] = defaultdict(list)
        for recorded in self.recipes.rows("stems", Stem):
            track = self._tracks.get(recorded.track_id)
            here = stems[track.id].get(recorded.name) if track else None
            if here is None:
                continue
            self._renamed[recorded.id] = here.id
            if here.id != recorded.id:
                differ[recorded.track_id].append(self._difference_db(here, sketches.get(recorded.id)))
        for before, found_db in differ.items():
            if self._tracks[before].id == before:
                worst = min((found for found in found_db if found is not None), default=None)
                how_much = "by an unknown amount" if worst is None else f"by at most {decibels(worst)}"
                what = f"the same file, but its stems differ here, {how_much}"
                self._say(self._tracks[before], "other stems", what, distortion_db=worst)
        self._renamed |= matching_parts(self.recipes, self.corpus, self._tracks)
        self._write_tables({track for track in self._tracks if track not in differ})

    def _difference_db(self, stem: Stem, kept: SketchRow | None) -> float | None:
        if kept is None:
            return None
        here = sketch.sketch_of(blocks(located(self.corpus.folder, stem.audio), BLOCK_FRAMES), stem.audio.num_channels)
        return sketch.distortion_db(sketch.unpack(kept.values), kept.energy, here.values)

    def _write_tables(self, same: set[str]) -> None:
        """Writes the pairs with the ids that their sources have here, and what was measured on stems that are the same."""
        for name in ("estimates", "track_estimates", "normalisations", "part_estimates"):
            rows: list[Any] = [row for row in self.recipes.rows(name, TYPES[name]) if getattr(row, "track_id", None) in same]
            if name == "part_estimates":
                rows = [row for row in rows if self._renamed.get(row.stem_id) == row.stem_id]
            if rows or self.corpus.table(name).exists():
                table.replace(self.corpus.table(name), rows, TYPES[name])
        for name in ("pairs", "redraws"):
            kept = [self._pair_here(pair) for pair in self.recipes.rows(name, Pair) if self._has_sources(pair)]
            whole = len(same) == len(self._sources)
            before = table.made_from(self.recipes.folder / f"{name}.parquet") or ""
            if kept or name == "pairs" or self.corpus.table(name).exists():
                table.replace(self.corpus.table(name), kept, Pair, made_from=before if whole else "")

    def _has_sources(self, pair: Pair) -> bool:
        return {pair.track_id, *sources_of(pair)} <= self._renamed.keys()

    def _pair_here(self, pair: Pair) -> Pair:
        """The recorded pair with the ids of this corpus; the pair itself where these are the recorded ones."""
        redraw_of = pair.redraw_of and self._renamed.get(pair.redraw_of, pair.redraw_of)
        if redraw_of == pair.redraw_of and all(self._renamed[old] == old for old in (pair.track_id, *sources_of(pair))):
            self._renamed[pair.id] = pair.id
            return pair
        columns = pair.model_dump(exclude={"id"})
        for signal in (*columns["inputs"], *columns["targets"]):
            for branch in signal["branches"]:
                branch["source_id"] = self._renamed[branch["source_id"]]
        columns["track_id"] = self._renamed[pair.track_id]
        columns["redraw_of"] = redraw_of
        here = _sealed(columns)
        self._renamed[pair.id] = here.id
        return here

    def render(self, on_progress: OnProgress | None = None) -> Rebuilt:
        """Renders every recorded example whose sources are there, and compares it with the record."""
        corpus, config = self.corpus, self.corpus.config
        remove_leftovers(corpus.dataset.resolve())  # which may be a link to another disk
        pairs = {pair.id: pair for name in ("pairs", "redraws") if corpus.table(name).exists() for pair in corpus.rows(name, Pair)}
        writer = writer_of(config.dataset, config.encoding, partial(corpus.rows, "tracks", Track))
        files = {row.id: row.audio for row in corpus.source_rows()}
        wanted = {self._renamed[row.pair_id]: row for row in self.recipes.examples() if self._renamed.get(row.pair_id) in pairs}
        tasks = [_task(pairs[pair_id], writer, files) for pair_id in wanted]
        stage = Stage("render", corpus.folder, "examples", Example)
        with writing_pairs(corpus.folder, writer, _signals, self.options.workers) as work:
            outcome = run_tasks(stage, tasks, work, on_progress, PresentFiles(corpus.folder))
        examples = list(outcome.rows)
        self._compare(wanted, examples)
        whole = [row.id for row in examples] == [row.id for row in self.recipes.examples()]
        made_from = self.recipes.rendered_from if whole else ""
        writer.finish(corpus.folder, list(pairs.values()), examples, made_from=made_from)
        unmade = self._unmade(pairs, {row.pair_id for row in examples} | {row.row_id for row in outcome.rejected})
        corpus.replace_rejected("render", [*outcome.rejected, *unmade])
        finish(stage, examples, made_from=made_from)
        forget_started(corpus.folder)
        self.result.rejected += len(outcome.rejected)
        return self.result

    def _unmade(self, pairs: Mapping[str, Pair], decided: set[str]) -> list[Rejected]:
        """Rows for the pairs that were not rendered where the recipes were made either, and so are not here."""
        recipes_only, _ = unrendered(self.corpus)
        instead = {pair.redraw_of: pair.id for pair in pairs.values() if pair.redraw_of}
        return [
            seal(
                Rejected,
                stage="render",
                row_id=pair.id,
                subject=f"{pair.kind} {pair.id}",
                reason="was not rendered where the recipes were made" + (f"; replaced by {instead[pair.id]}" if pair.id in instead else ""),
                replaced_by=instead.get(pair.id),
            )
            for pair in pairs.values()
            if pair.id not in decided and pair.id not in recipes_only
        ]

    def _compare(self, recorded: Mapping[str, Example], rows: Iterable[Example]) -> None:
        result = self.result
        for row in rows:
            before = recorded[row.pair_id]
            if [file.audio.sha256 for file in row.signals] == [file.audio.sha256 for file in before.signals]:
                result.identical += 1
                continue
            result.different += 1
            for file, was in zip(row.signals, before.signals, strict=True):
                result.loudness_off_lu = max(result.loudness_off_lu, _distance(file.loudness_lufs, was.loudness_lufs))
                result.peak_off_db = max(result.peak_off_db, _distance(file.peak_dbfs, was.peak_dbfs))


def check_place(recipes: Recipes, songs: Path, out: Path) -> None:
    """Raises CorpusError if the folder holds something else than a rebuild of these recipes."""
    for inner, outer in ((out, songs), (songs, out)):
        if songs.is_dir() and inner.resolve().is_relative_to(outer.resolve()):
            raise CorpusError(f"{inner} is inside {outer}; give the rebuilt corpus a separate folder")
    if not out.exists():
        return
    if not out.is_dir():
        raise CorpusError(f"{out} is a file; expected a folder for the rebuilt corpus")
    marker = out / MARKER
    made_from = json.loads(regular(marker).read_text(encoding="utf-8"))["recipes"] if marker.exists() else None
    if made_from is None and any(map(is_foreign, out.iterdir())):
        raise CorpusError(f"{out} contains other files and is not a rebuilt corpus; give an empty or a new folder")
    if made_from not in (None, recipes.id):
        raise CorpusError(f"{out} is being rebuilt from other recipes ({made_from}, these are {recipes.id}); give another folder")


def _sealed(columns: Mapping[str, Any]) -> Pair:
    checked = Pair.model_validate({"id": "0" * 16, **columns})
    return checked.model_copy(update={"id": checked.seal_id()})


def _link(songs: Path, path: str, file: Path) -> None:
    """Makes a place below the songs of a rebuild the file: by a link, or where the system has none, by a copy.

    Raises CorpusError if something else is there: an earlier rebuild leaves links, or files with the same bytes.
    """
    place = songs / path
    try:
        check_way(songs, place)
        if place.is_symlink():
            if place.resolve() == file:
                return
            place.unlink()  # of an earlier run, to a file that has moved since
        elif place.exists():
            if place.is_file() and file_sha256(place) == file_sha256(file):
                return
            raise CorpusError(f"{place} is in the way of the song {file}; move it away")
        make_folder(place.parent)
        try:
            place.symlink_to(file)
        except (OSError, NotImplementedError):
            copy_file(file, place)
        else:
            sync_folder(place.parent)
    except (Refused, OSError) as error:
        raise CorpusError(f"{place} cannot be made the song {file}: {error}") from error


def _task(pair: Pair, writer: DatasetWriter, files: Mapping[str, AudioFile]) -> Task:
    payload = (pair, {source: files[source] for source in sources_of(pair) if source in files})
    return Task(writer.cache_key(pair), f"{pair.kind} {pair.id}", pair.id, payload, pair.num_frames / pair.sample_rate)


def _signals(corpus: Path, pair: Pair, files: dict[str, AudioFile]) -> Rendered:
    return render(pair, Sources(corpus, files))


def _distance(one: float | None, other: float | None) -> float:
    return 0.0 if one is None or other is None else abs(one - other)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
