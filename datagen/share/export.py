"""Exporting: a whole dataset as tables, without audio; with them and one's own copies of the songs it can be made again.

    manifest.json     what is here: versions, the separation model with its checksums, how many rows, the checksum of every table
    README.md         what this folder is, and how to use it
    config.toml       the configuration, without the folders of this machine
    tracks, stems, estimates, track_estimates, normalisations, pairs, redraws, examples .parquet      as in the corpus
    fingerprints, sketches .parquet       to recognise a song, or another encoding of it, and to compare it

Conventions
    No path of this machine is written: a track's file is called ``<track id>/mixture<suffix>``, and is found by its checksum.
    Titles, artists and rights stay: who makes the songs has to be credited.
    What [rights] excludes is left out. The same corpus gives the same bytes; a path that ends in ``.zip`` makes one file of all.
    Fingerprints are taken from the stems, which sum to the mixture, so the songs need not be there.
    An export is built under a hidden name and moved into place when it is complete (``placing``).
"""

from __future__ import annotations

import json
import platform
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from stemwright.datagen.pairs.rights import RightsConfig, RightsOfPairs, admitted, renders_everything, summary
from stemwright.datagen.run import configuration
from stemwright.datagen.run.configuration import Config, ConfigError
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.runner import shared
from stemwright.datagen.run.stages import separator_of
from stemwright.datagen.run.stages.separation_keys import separation_key
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.datagen.share.placing import clear, copy_synced, replaced
from stemwright.datagen.share.stored_export import check_free, dataset_files, put_export, stored_shards
from stemwright.manifests import __version__, shards, table
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.durable import begin, copy_file, make_folder, naming, put, remove, write_bytes
from stemwright.manifests.disk.regular import file_sha256, regular
from stemwright.manifests.disk.stores import Address, address_of, is_address
from stemwright.manifests.names import MOST_FRAMES, SampleRate
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import AudioFile, Id, Record, Stem, Track, canonical_json, content_id
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.sound import fingerprint, sketch
from stemwright.manifests.sound.decoding import blocks
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resampled
from stemwright.manifests.wording import counted

R = TypeVar("R", bound=Record)

FORMAT = 1  # raised when what is written changes
MANIFEST = "manifest.json"
README = "README.md"
BLOCK_FRAMES = 1 << 16
OF_SEPARATION = ("demucs", "torch")  # the libraries whose versions may change stems
OF_TRACKS = ("stems", "estimates", "track_estimates", "normalisations", "pairs", "redraws")  # tables whose rows carry a track_id
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same bytes at any time of day


class FingerprintRow(Record):
    """By what a song is known again in any encoding, and by what a copy is laid on it to the sample."""

    id: Id
    sample_rate: SampleRate
    num_frames: int = Field(gt=0, le=MOST_FRAMES)
    num_channels: int = Field(ge=1, le=2)
    words: str
    anchors: str


class SketchRow(Record):
    """128 sums of a song's mixture (by its track's id), or of a stem: enough to measure by how many dB a copy differs, and no more."""

    id: Id
    energy: float
    values: str


TYPES: dict[str, type[Record]] = {
    **{name: kind for name, kind in ROW_TYPES.items() if name in ("tracks", "examples", *OF_TRACKS)},
    "fingerprints": FingerprintRow,
    "sketches": SketchRow,
}


@dataclass(frozen=True)
class Exported:
    """What was exported: how much, how large, and notes."""

    tracks: int
    pairs: int
    examples: int
    bytes_by_file: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Of all files without sound."""
        return sum(self.bytes_by_file.values())

    @property
    def kb_per_song(self) -> float:
        """Thousands of bytes for each song."""
        return self.total_bytes / 1000 / max(1, self.tracks)


def export(corpus: Corpus, out: Path, *, audio: bool, workers: Workers, on_progress: OnProgress | None = None) -> Exported:
    """Writes a corpus as tables into ``out``, a new folder or zip; with ``audio`` the dataset folder as well.

    An earlier export in a folder is replaced; ``out`` may be an address in a store. Raises CorpusError if something else is there,
    ConfigError if [rights] forbids what is rendered.
    """
    if is_address(out):
        return _export_to_store(corpus, address_of(out), audio=audio, workers=workers, on_progress=on_progress)
    _check_place(corpus, out, audio=audio)
    out = _resolved(out)
    rows = _allowed_rows(corpus)
    notes = _add_sound_marks(corpus, rows, workers, on_progress)
    if out.suffix == ".zip":
        clear(out)
        with tempfile.TemporaryDirectory(prefix="stemwright-") as made:
            phrase = _write_tables(corpus, rows, Path(made))
            temporary = begin(out)
            try:
                with naming(out):
                    _zip(Path(made), temporary)
                put(temporary, out)
            finally:
                remove([temporary])
        sizes = {out.name: out.stat().st_size}
    else:
        with replaced(out, _names_of(out)) as folder:
            phrase = _write_tables(corpus, rows, folder)
            sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
            if audio and corpus.dataset.exists():
                copy_synced(corpus.dataset, folder / shards.DATASET, dataset_files(corpus.dataset))
                for name, path in stored_shards(corpus.dataset).items():
                    copy_file(regular(path), folder / shards.DATASET / name)
    return Exported(len(rows["tracks"]), len(rows["pairs"]), len(rows["examples"]), sizes, (*notes, *phrase))


def _export_to_store(corpus: Corpus, place: Address, *, audio: bool, workers: Workers, on_progress: OnProgress | None) -> Exported:
    """An export whose place is a prefix in a store."""
    check_free(place)
    rows = _allowed_rows(corpus)
    notes = _add_sound_marks(corpus, rows, workers, on_progress)
    with tempfile.TemporaryDirectory(prefix="stemwright-") as made:
        phrase = _write_tables(corpus, rows, Path(made))
        sizes = {path.name: path.stat().st_size for path in sorted(Path(made).iterdir())}
        files: dict[str, Path] = {}
        if audio and corpus.dataset.exists():
            files = {name: corpus.dataset / name for name in dataset_files(corpus.dataset)} | stored_shards(corpus.dataset)
        put_export(place, Path(made), files, on_progress)
    return Exported(len(rows["tracks"]), len(rows["pairs"]), len(rows["examples"]), sizes, (*notes, *phrase))


def _resolved(out: Path) -> Path:
    """The place itself, if it was named through a link; the folder that it is in is made."""
    out = out.resolve()
    make_folder(out.parent)
    return out


def _write_tables(corpus: Corpus, rows: dict[str, list[Any]], folder: Path) -> tuple[str, ...]:
    """Writes everything without sound; returns what there is to say about the model."""
    write_bytes(folder / "config.toml", configuration.to_toml(without_local_paths(corpus.config)).encode())
    for name, found in rows.items():
        table.write(folder / f"{name}.parquet", found, TYPES[name], made_from=table.made_from(corpus.table(name)) or "")
    identity, phrase = _model(corpus, rows["tracks"], rows["stems"])
    write_bytes(folder / README, _readme(rows, identity).encode())
    write_bytes(folder / MANIFEST, _manifest(folder, rows, identity, corpus).encode())
    return phrase


def _names_of(out: Path) -> set[str]:
    """The paths in an earlier export that it wrote itself, as far as its own tables name them; whatever else is there stays there."""
    try:
        named = {MANIFEST, *json.loads(regular(out / MANIFEST).read_text(encoding="utf-8"))["files"]}
        dataset = out / shards.DATASET
        if dataset.is_dir():
            named |= {f"{shards.DATASET}/{path}" for path in dataset_files(dataset)}
    except (OSError, ValueError, KeyError, TypeError):
        return {MANIFEST, README, "config.toml", *(f"{name}.parquet" for name in TYPES)}
    return named


def _check_place(corpus: Corpus, out: Path, *, audio: bool) -> None:
    _ = corpus.config  # says so when the folder is no corpus
    if out.resolve().is_relative_to(corpus.folder.resolve()):
        raise CorpusError(f"{out} is inside the corpus; export to a separate folder")
    if out.suffix == ".zip" and audio:
        raise CorpusError(f"{out}: a dataset with audio is exported to a folder; give a name without .zip, or add --no-audio")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise CorpusError(f"{out} contains other files and is not an earlier export; give an empty or a new folder")
    if out.exists() and not out.is_dir() and (not out.is_file() or not zipfile.is_zipfile(out)):
        raise CorpusError(f"{out} is another file; give a new name")


def without_local_paths(config: Config) -> Config:
    """The configuration without paths of this machine: those of songs, models and profiles, whichever keys name them."""
    values = configuration.plain(config)
    values["songs"]["folder"] = "."
    values["storage"] = {}
    return configuration.check(_without_places(values), where="the configuration")


def _without_places(value: Any) -> Any:
    """Leaves out every text that is an absolute path, here or on another system."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if not _is_place(item)}
    return value


def _is_place(value: object) -> bool:
    return isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute() or value.startswith("~"))


def _allowed_rows(corpus: Corpus) -> dict[str, list[Any]]:
    """The tables of a corpus as far as [rights] lets them out. Raises ConfigError if more was rendered or planned than it
    allows now, CorpusError if the examples are of an earlier plan.
    """
    rows: dict[str, list[Any]] = {}
    for name, kind in TYPES.items():
        wanted = name in ("tracks", "stems", "pairs", "examples")  # the others may never have been made
        rows[name] = corpus.rows(name, kind) if wanted or corpus.table(name).exists() else []
    planned = {pair.id for name in ("pairs", "redraws") for pair in rows[name]}
    if stale := sum(example.pair_id not in planned for example in rows["examples"]):
        raise CorpusError(
            f"{stale} of {len(rows['examples'])} examples are of pairs that are no longer planned; bring the dataset up to date with: "
            f"stemwright render {corpus.folder}"
        )
    policy = corpus.config.rights
    if wrong := [] if renders_everything(policy) else _forbidden(policy, rows):
        raise ConfigError(
            f"[rights] does not allow {len(wrong)} of {len(rows['pairs'])} pairs as they are in the corpus (the first is {wrong[0].id}); "
            f"bring it up to date with: stemwright plan {corpus.folder} and stemwright render {corpus.folder}"
        )
    kept = {track.id for track in admitted(policy, rows["tracks"])[0]}
    rows["tracks"] = [_anonymous(track) for track in rows["tracks"] if track.id in kept]
    for name in OF_TRACKS:
        rows[name] = [row for row in rows[name] if row.track_id in kept]
    return rows


def _forbidden(policy: RightsConfig, rows: dict[str, list[Any]]) -> list[Pair]:
    """The pairs that are planned or rendered though the policy now says otherwise."""
    uses = RightsOfPairs(policy, rows["tracks"], rows["stems"])
    rendered = {example.pair_id for example in rows["examples"]}
    requested = [(pair, uses.of_pair(pair)) for name in ("pairs", "redraws") for pair in rows[name]]
    return [pair for pair, use in requested if use == "excluded" or (use == "recipes" and pair.id in rendered)]


def _anonymous(track: Track) -> Track:
    """The track with names for its files that say nothing about anybody's disk; its id is over their content and stays."""
    named: dict[str, str] = {}

    def renamed(file: AudioFile, name: str) -> AudioFile:
        suffix = ".stem.mp4" if file.path.lower().endswith(".stem.mp4") else PurePosixPath(file.path).suffix.lower()
        return file.model_copy(update={"path": named.setdefault(file.path, f"{track.id}/{name}{suffix}")})

    mixture = renamed(track.audio, "mixture") if track.mixture == "file" else track.audio.model_copy(update={"path": track.id})
    references = tuple(stem.model_copy(update={"audio": renamed(stem.audio, stem.name)}) for stem in track.references)
    return track.model_copy(update={"audio": mixture, "references": references})


def _add_sound_marks(corpus: Corpus, rows: dict[str, list[Any]], workers: Workers, on_progress: OnProgress | None) -> tuple[str, ...]:
    """Adds fingerprints and sketches of all songs whose stems are there; a note counts the others."""
    stems: dict[str, list[Stem]] = defaultdict(list)
    for stem in rows["stems"]:
        stems[stem.track_id].append(stem)
    tasks = [Task(track.id, track.title, track.id, stems[track.id], track.audio.duration_s) for track in rows["tracks"] if stems[track.id]]
    found: dict[str, tuple[Record, ...]] = {}
    for count, result in enumerate(shared(partial(sound_marks, corpus.folder), workers)(tasks, lambda _: None), 1):
        found[result.task.id] = result.rows
        if on_progress:
            on_progress(count, len(tasks), result.task.subject)
    for track in rows["tracks"]:
        for row in found.get(track.id, ()):
            rows["fingerprints" if isinstance(row, FingerprintRow) else "sketches"].append(row)
    without = sum(not found.get(track.id) for track in rows["tracks"])
    songs = counted(without, "song has", "songs have")
    note = f"{songs} no fingerprint, since their stems are not in the corpus: only the identical file will be recognised"
    return (note,) if without else ()


def sound_marks(folder: Path, stems: Sequence[Stem]) -> list[Record]:
    """The fingerprint of a song and the sketches of its mixture and its stems, read from its stems in one pass."""
    first = stems[0].audio
    gain = np.float32(1.0 / db_to_gain(stems[0].gain_db))
    readers = [blocks(located(folder, stem.audio), BLOCK_FRAMES) for stem in stems]
    sketches = {stem.id: sketch.Sketch(stem.audio.num_channels) for stem in stems}
    whole = sketch.Sketch(first.num_channels)
    starts, length = sketch.anchor_starts(first.num_frames, first.sample_rate)
    windows = sketch.Windows(starts, length)

    def mixture() -> Iterator[Audio]:
        for parts in zip(*readers, strict=True):
            for stem, part in zip(stems, parts, strict=True):
                sketches[stem.id].add(part)
            summed = np.asarray(np.sum(parts, axis=0, dtype=np.float32) * gain, np.float32)
            whole.add(summed)
            windows.add(summed)
            yield summed.mean(axis=0, keepdims=True, dtype=np.float32)

    low = mixture() if first.sample_rate == fingerprint.RATE else resampled(mixture(), first.sample_rate, fingerprint.RATE)
    words = fingerprint.words_of(fingerprint.mono_of(low))
    facts = {"sample_rate": first.sample_rate, "num_frames": first.num_frames, "num_channels": first.num_channels}
    anchors = sketch.pack(sketch.project(windows.values))
    marks: list[Record] = [FingerprintRow(id=stems[0].track_id, words=fingerprint.pack(words), anchors=anchors, **facts)]
    made = {stems[0].track_id: whole, **sketches}
    return marks + [SketchRow(id=name, energy=one.energy, values=sketch.pack(one.values)) for name, one in made.items()]


def _model(corpus: Corpus, tracks: Sequence[Track], stems: Sequence[Stem]) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What identifies the model that separated: what was asked of it, its checksums among that, and what was used, which the rows say;
    None if no stem is separated, or if the model that the configuration names is not here or is not the one of the rows, which a note says.
    """
    from stemwright.separation.demucs.checkpoints import ModelError

    separated = [stem for stem in stems if stem.origin != "reference"]
    if not separated:
        return None, ()
    phrase = f"only the name of the model ({separated[0].origin}) is exported, not its checksums"
    try:
        separator = separator_of(corpus.config, offline=True)
        identity = separator.identity
    except (ModelError, ValueError) as error:
        return None, (f"{phrase}: {error}",)
    expected = {separation_key(track, identity) for track in tracks}
    if all(stem.cache_key in expected for stem in separated):
        versions = table.versions(corpus.table("stems"))
        used = {name: getattr(separated[0], name) for name in sorted(Stem.USED)}
        return {**identity, "used": {**used, "versions": {name: versions[name] for name in OF_SEPARATION}}}, ()
    return None, (f"{phrase}: the stems were made by another version than the one installed",)


def _manifest(folder: Path, rows: dict[str, list[Any]], identity: dict[str, Any] | None, corpus: Corpus) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    facts = {
        "format": FORMAT,
        "stemwright": __version__,
        "machine": platform.machine(),
        "versions": {name: table.versions(corpus.table(name)) for name in ("stems", "pairs", "examples")},
        "model": identity,
        "origins": sorted({stem.origin for stem in rows["stems"]}),
        "rows": {name: len(found) for name, found in rows.items()},
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
    }
    return json.dumps({"id": content_id(json.loads(canonical_json(facts))), **facts}, indent=1, sort_keys=True) + "\n"


def _readme(rows: dict[str, list[Any]], identity: dict[str, Any] | None) -> str:
    """The text that says what the export is and how to use it."""
    seconds = sum(pair.num_frames / pair.sample_rate for pair in rows["pairs"])
    kinds = Counter(pair.kind for pair in rows["pairs"])
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    origins = sorted({stem.origin for stem in rows["stems"]})
    weights = [f"| `{name}` | `{sha256}` |" for name, sha256 in (identity or {}).get("weights", {}).items()]
    return "\n".join(
        [
            "# Recipes of a stemwright corpus",
            "",
            f"{len(rows['pairs']):,} pairs ({counted}; {seconds / 3600:.2f} hours) from {len(rows['tracks']):,} songs, as tables:",
            "it contains no audio. A reader who has the songs can rebuild the dataset byte for byte, whatever the files are called:",
            "",
            "```sh",
            "stemwright rebuild RECIPES SONGS OUT",
            "```",
            "",
            f"Stems: {', '.join(origins)}.",
            "",
            *(["| weights | SHA-256 |", "|---|---|", *weights, ""] if weights else []),
            "| rights of the songs | songs |",
            "|---|---:|",
            *(f"| {' '.join(name.replace('|', '/').split())} | {count:,} |" for name, count in summary(rows["tracks"]).items()),
            "",
        ]
    )


def _zip(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(file.name, ZIP_TIME)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if file.suffix != ".parquet" else zipfile.ZIP_STORED
            archive.writestr(info, file.read_bytes())
