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
import shutil
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from stemwright.datagen.pairs.rights import summary
from stemwright.datagen.run import configuration
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages import separator_of
from stemwright.datagen.run.stages.separation_keys import separation_key
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.run.tasks import Workers
from stemwright.datagen.share.export_rows import TYPES, ExportRows, add_sound_marks, allowed_rows
from stemwright.datagen.share.placing import clear, copy_synced, replaced
from stemwright.datagen.share.stored_export import check_free, dataset_files, put_export, stored_shards
from stemwright.manifests import __version__, shards, table
from stemwright.manifests.disk.durable import begin, copy_file, make_folder, naming, put, remove, write_bytes
from stemwright.manifests.disk.regular import file_sha256, regular
from stemwright.manifests.disk.stores import Address, address_of, is_address
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Record, Stem, canonical_json, content_id

R = TypeVar("R", bound=Record)

FORMAT = 1  # raised when what is written changes
MANIFEST = "manifest.json"
README = "README.md"
OF_SEPARATION = ("demucs", "torch")  # the libraries whose versions may change stems
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same bytes at any time of day


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
    rows = allowed_rows(corpus)
    with tempfile.TemporaryDirectory(prefix="stemwright-") as scratch:
        notes = add_sound_marks(corpus, rows, Path(scratch), workers, on_progress)
        sizes, phrase = _write(corpus, rows, out, audio=audio)
    return _exported(rows, sizes, (*notes, *phrase))


def _exported(rows: ExportRows, sizes: dict[str, int], notes: tuple[str, ...]) -> Exported:
    counts = rows.counts
    return Exported(counts["tracks"], counts["pairs"], counts["examples"], sizes, notes)


def _write(corpus: Corpus, rows: ExportRows, out: Path, *, audio: bool) -> tuple[dict[str, int], tuple[str, ...]]:
    """Writes an export as a folder or a zip; returns the sizes of its files, and what there is to say about the model."""
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
    return sizes, phrase


def _export_to_store(corpus: Corpus, place: Address, *, audio: bool, workers: Workers, on_progress: OnProgress | None) -> Exported:
    """An export whose place is a prefix in a store."""
    check_free(place)
    rows = allowed_rows(corpus)
    with tempfile.TemporaryDirectory(prefix="stemwright-") as made, tempfile.TemporaryDirectory(prefix="stemwright-") as scratch:
        notes = add_sound_marks(corpus, rows, Path(scratch), workers, on_progress)
        phrase = _write_tables(corpus, rows, Path(made))
        sizes = {path.name: path.stat().st_size for path in sorted(Path(made).iterdir())}
        files: dict[str, Path] = {}
        if audio and corpus.dataset.exists():
            files = {name: corpus.dataset / name for name in dataset_files(corpus.dataset)} | stored_shards(corpus.dataset)
        put_export(place, Path(made), files, on_progress)
    return _exported(rows, sizes, (*notes, *phrase))


def _resolved(out: Path) -> Path:
    """The place itself, if it was named through a link; the folder that it is in is made."""
    out = out.resolve()
    make_folder(out.parent)
    return out


def _write_tables(corpus: Corpus, rows: ExportRows, folder: Path) -> tuple[str, ...]:
    """Writes everything without sound; returns what there is to say about the model."""
    write_bytes(folder / "config.toml", configuration.to_toml(without_local_paths(corpus.config)).encode())
    for name in rows.names:
        table.write(folder / f"{name}.parquet", rows.written(name), TYPES[name], made_from=table.made_from(corpus.table(name)) or "")
    identity, phrase = _model(corpus, rows)
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


def _model(corpus: Corpus, rows: ExportRows) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """What identifies the model that separated: what was asked of it, its checksums among that, and what was used, which the rows say;
    None if no stem is separated, or if the model that the configuration names is not here or is not the one of the rows, which a note says.
    """
    from stemwright.separation.demucs.checkpoints import ModelError

    first = next((number for number, (origin,) in enumerate(rows.columns("stems", "origin")) if origin != "reference"), None)
    if first is None:
        return None, ()
    (separated,) = rows["stems"].few([first])
    phrase = f"only the name of the model ({separated.origin}) is exported, not its checksums"
    try:
        separator = separator_of(corpus.config, offline=True)
        identity = separator.identity
    except (ModelError, ValueError) as error:
        return None, (f"{phrase}: {error}",)
    expected = {separation_key(track, identity) for track in rows["tracks"]}
    if all(key in expected for key, origin in rows.columns("stems", "cache_key", "origin") if origin != "reference"):
        versions = table.versions(corpus.table("stems"))
        used = {name: getattr(separated, name) for name in sorted(Stem.USED)}
        return {**identity, "used": {**used, "versions": {name: versions[name] for name in OF_SEPARATION}}}, ()
    return None, (f"{phrase}: the stems were made by another version than the one installed",)


def _of_parts(corpus: Corpus, rows: ExportRows) -> dict[str, Any]:
    """What identifies the model that took the drums apart, as far as it is known here; nothing where none did."""
    from stemwright.separation.demucs.checkpoints import ModelError

    order = SeparationOrder(corpus.config, offline=True).of_parts()
    if order is None or not len(rows["parts"]):
        return {}
    try:
        return {"parts_model": order.separator().identity}
    except (ModelError, ValueError):
        return {"parts_model": None}


def _manifest(folder: Path, rows: ExportRows, identity: dict[str, Any] | None, corpus: Corpus) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    facts = {
        "format": FORMAT,
        "stemwright": __version__,
        "machine": platform.machine(),
        "versions": {name: table.versions(corpus.table(name)) for name in ("stems", "pairs", "examples")},
        "model": identity,
        "origins": sorted({origin for (origin,) in rows.columns("stems", "origin")}),
        **_of_parts(corpus, rows),
        "rows": rows.counts,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
    }
    return json.dumps({"id": content_id(json.loads(canonical_json(facts))), **facts}, indent=1, sort_keys=True) + "\n"


def _readme(rows: ExportRows, identity: dict[str, Any] | None) -> str:
    """The text that says what the export is and how to use it."""
    seconds = sum(num_frames / sample_rate for num_frames, sample_rate in rows.columns("pairs", "num_frames", "sample_rate"))
    kinds = Counter(kind for (kind,) in rows.columns("pairs", "kind"))
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    origins = sorted({origin for (origin,) in rows.columns("stems", "origin")})
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
            info.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(info, "w") as member:
                shutil.copyfileobj(source, member)
