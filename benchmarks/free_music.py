"""Real free music from Debian packages, as multitracks, whole songs and drum hits: the folder that benchmarks take with ``--music``.

    python benchmarks/free_music.py OUT [--only guitar ...] [--cache FOLDER] [--packages FOLDER]

    OUT/guitar/SONG/      mixture, guitar, backing: songs that a band recorded, from their Vorbis files
    OUT/modules/SONG/     mixture, drums, bass, other, or mixture, drums, rest: tracker modules whose instruments could be grouped
    OUT/channels/SONG/    mixture, ch01 ...: the same modules, and those that could not be grouped, a stem for each channel that sounds
    OUT/scores/SONG/      mixture, drums, bass, other: scores in General MIDI, played by fluidsynth from the sound font FluidR3 (MIT)
    OUT/mixtures/SONG/    whole songs without stems, as they are in their package
    OUT/drumkits/KIT/     single hits, listed in drumkits/index.csv
    OUT/licences/         the copyright file of each package
    OUT/index.csv         a row for each song: licence, length, loudness, clipping, and how surely instruments were grouped
    OUT/COLLECTION/catalog.csv    the songs of a collection, for `stemwright catalog OUT/COLLECTION/catalog.csv CORPUS`

A name after --only is a collection or a package: guitar needs 30 MB of downloads; everything 250 MB, 6 GB in OUT and a quarter of an hour.
Songs that are there are kept, so that a run that was stopped continues where it was. Packages are downloaded with apt-get and unpacked in
OUT/.packages (--cache), never installed. On a system that has no apt-get, or without a network, put .deb files into a folder (--packages).
Scores are played by the program fluidsynth with fluid-soundfont-gm, which have to be installed.

Conventions
    The columns of index.csv are explained in free_songs.py, the grouping of instruments in tracker_modules.py. Drums, bass and other of
    tracker modules are grouped by names of instruments where those tell, else by measures, which agree with names in 89 % of cases:
    "bass" is the low part. No one has listened to the grouping. Scores say which instrument plays: their parts are exact, and their levels
    and pans are the composer's. Modules and scores have no voices. The guitars are from Vorbis and end at 13 to
    19 kHz; their sums pass full scale in up to 0.1 % of samples, where the game's player clips.
"""

from __future__ import annotations

import argparse
import csv
import errno
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from free_packages import SOURCES, PackageError, Packages, Source, kept_copyright
from free_songs import MAKERS, ROW, Row, drum_hits
from tracker_modules import Player

from stemwright.manifests.disk.locks import LockedError, locked

FORMAT = 1  # of the files and columns: songs of another are made again
FOLDERS = {
    "guitar": ("guitar",),
    "module": ("modules", "channels"),
    "score": ("scores",),
    "mixture": ("mixtures",),
    "drumkit": ("drumkits",),
}
COLUMNS = (
    "path", "collection", "title", "artist", "licence", "package", "version", "stems", "duration_s", "sample_rate", "gain", "clipped",
    "loudness_lufs", "correlation", "player_db", "trust", "by_name",
)  # fmt: skip
CATALOG_COLUMNS = ("path", "title", "artist", "rights")


class Journal:
    """What was made of each file, in OUT/.done.json: the folders of its song, and why it has no others."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / ".done.json"
        self.done: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}

    def has(self, row: Row) -> bool:
        """Whether a file was treated by this version, and its songs are there."""
        made = self.done.get(row["source"])
        return (
            made is not None and made["made_by"] == row["made_by"] and all((self.out / folder / ROW).exists() for folder in made["folders"])
        )

    def add(self, row: Row, folders: Iterable[Path], why: str) -> None:
        """Notes what was made of a file."""
        names = [folder.relative_to(self.out).as_posix() for folder in folders]
        self.done[row["source"]] = {"made_by": row["made_by"], "folders": names, "why": why}
        self.path.write_text(json.dumps(self.done, indent=1), encoding="utf-8")


def write_table(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Writes rows as CSV; other columns are left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
        table.writeheader()
        table.writerows(rows)


def write_tables(out: Path, hits: Sequence[Row]) -> int:
    """Writes the tables of all that is in OUT, by the rows in the folders; returns the number of songs."""
    if hits:
        write_table(out / "drumkits" / "index.csv", hits, list(hits[0]))
    files = sorted(out.glob(f"*/*/{ROW}"))
    rows = [json.loads(file.read_text(encoding="utf-8")) | {"path": file.parent.relative_to(out).as_posix()} for file in files]
    write_table(out / "index.csv", rows, COLUMNS)
    for name in sorted({row["collection"] for row in rows}):
        songs = [catalogued(out, row) for row in rows if row["collection"] == name]
        write_table(out / name / "catalog.csv", songs, CATALOG_COLUMNS)
    return len(rows)


def catalogued(out: Path, row: Row) -> Row:
    """A row of catalog.csv: a folder is a multitrack, a song without stems a file."""
    folder = Path(row["path"])
    path = folder.name if row.get("stems") else f"{folder.name}/{next((out / folder).glob('mixture.*')).name}"
    return row | {"path": path, "rights": f"{row['licence']}, {row['artist']}"}


def lay_out(source: Source, out: Path, packages: Packages, player: Player | None) -> list[Row]:
    """Makes the songs of a package that are not there; returns rows of drum hits. Prints a line for each song."""
    root, version = packages.unpacked(source.package), packages.version(source.package)
    text, journal, hits = kept_copyright(source, root, out), Journal(out), list[Row]()
    paths = sorted(path for path in root.glob(source.files) if path.stem not in source.left_out)
    if not paths:
        raise PackageError(f"{source.package} {version} has no {source.files}; expected the files of an earlier version")
    for number, path in enumerate(paths, 1):
        name = f"{source.package} {number}/{len(paths)} {path.parent.name if path.stem in ('song', 'drumkit') else path.stem}"
        if source.kind == "drumkit":
            hits += drum_hits(out, path, text)
            continue
        row: Row = {"source": f"{source.package}/{path.relative_to(root)}", "artist": source.artist, "licence": source.licence}
        row |= {"package": source.package, "version": version, "made_by": [version, FORMAT]}
        if journal.has(row):
            print(f"{name}: kept", flush=True)
            continue
        start = time.monotonic()
        folders, why = MAKERS[source.kind](out, path, row, player)
        journal.add(row, folders, why)
        print(f"{name}: {why or 'done'} ({time.monotonic() - start:.0f} s)", flush=True)
    if hits:
        print(f"{source.package}: {len(hits)} hits of {len(paths)} kits", flush=True)
    return hits


def run(sources: Iterable[Source], out: Path, packages: Packages) -> None:
    """Lays out the music of packages, with the tables after each."""
    player, hits = None, list[Row]()
    for source in sources:
        if source.kind == "module" and player is None:
            player = Player(packages.unpacked)
        hits += lay_out(source, out, packages, player)
        count = write_tables(out, hits)
        print(f"{out / 'index.csv'}: {count} songs", flush=True)


def main(arguments: Sequence[str] | None = None, sources: Sequence[Source] = SOURCES) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to be made, or continued")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="collections or packages (default: all)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where packages are unpacked (default: OUT/.packages)")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="folder of .deb files that are used instead of a download")
    asked = parser.parse_args(arguments)
    known = {name for source in sources for name in (source.package, *FOLDERS[source.kind])}
    if wrong := sorted(set(asked.only or ()) - known):
        parser.error(f"--only does not know {', '.join(wrong)}; expected one of {', '.join(sorted(known))}")
    if asked.packages and not asked.packages.is_dir():
        parser.error(f"--packages is {asked.packages}; expected a folder with .deb files")
    chosen = [source for source in sources if not asked.only or {source.package, *FOLDERS[source.kind]} & set(asked.only)]
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        with locked(asked.out / ".lock"):
            run(chosen, asked.out, Packages(asked.cache or asked.out / ".packages", asked.packages))
    except (LockedError, PackageError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        parser.exit(1, f"{parser.prog}: no space left for {asked.out}: {error}. Make space and start it again: finished songs are kept\n")


if __name__ == "__main__":
    main()
