"""What a dry run shows of the songs: the songs that would be read, and which stem each file of a multitrack is a part of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.running import RequestedChanges, exit_code, requested_config
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.corpus import Corpus
    from stemwright.manifests.catalog.candidates import Candidate

SHOWN = 20  # songs, in the table; --json lists all
FILE_NOT_FOUND = "file not found"  # as the list of songs says it
REFUSED_SHOWN = 5  # songs that would be refused, in lines
NAMED = 12  # files without a pattern, in a line


def dry_run(terminal: Terminal, place: Corpus, songs: Path, asked: RequestedChanges, *, limit: int | None) -> None:
    """Shows what a catalog would be of, and exits as it would. Writes nothing and decodes nothing."""
    from stemwright.datagen.run.stages.cataloguing import found_songs, limited

    config = requested_config(place, songs, asked)
    found = limited(place, found_songs(config), limit)
    multitracks = show_stems(terminal, found.candidates, config.songs.unmatched)
    summed = sum(song.mixture == "sum" for song in multitracks)
    terminal.collected["songs"] = {"multitracks": len(multitracks), "summed": summed, "others": len(found.candidates) - len(multitracks)}
    terminal.collected["refused"] = [{"path": path, "reason": reason} for path, reason in found.refused]
    for note in found.notes:
        terminal.say(f"  {note}")
    say_refused(terminal, found.refused)
    without = f"; {counted(summed, 'mixture is a sum', 'mixtures are sums')} of stems" if summed else ""
    others = len(found.candidates) - len(multitracks)
    terminal.say(f"songs: {len(multitracks):,} with stems of their own, {others:,} without{without}")
    terminal.say("catalog --dry-run: nothing was written, and no sound was decoded")
    terminal.finish(exit_code(len(found.candidates), len(found.refused)))


def show_stems(terminal: Terminal, songs: Sequence[Candidate], unmatched: str) -> list[Candidate]:
    """Shows which stem each file of the multitracks among songs is a part of, and the files that no pattern matches; the multitracks."""
    multitracks = [song for song in songs if song.references]
    if multitracks or terminal.as_json:
        terminal.show("stems", _table(multitracks[:SHOWN]), [row for song in multitracks for row in _rows(song)])
    if len(multitracks) > SHOWN:
        terminal.say(f"  ... and {counted(len(multitracks) - SHOWN, 'song')} more; --json lists all")
    _say_unmatched(terminal, multitracks, unmatched)
    return multitracks


def say_refused(terminal: Terminal, refused: Sequence[tuple[str, str]]) -> None:
    """How many songs would be refused as far as is known without decoding them, and the first of them."""
    if not refused:
        return
    missing = sum(FILE_NOT_FOUND in reason for _, reason in refused)
    which = f", {missing} of them since there is no such file" if missing else ""
    terminal.warn(f"{counted(len(refused), 'song')} would be refused{which}")
    for path, reason in refused[:REFUSED_SHOWN]:
        terminal.warn(f"  {path}: {reason}")
    if len(refused) > REFUSED_SHOWN:
        terminal.warn(f"  ... and {len(refused) - REFUSED_SHOWN} more; --json lists all")


def _say_unmatched(terminal: Terminal, songs: Sequence[Candidate], unmatched: str) -> None:
    """The files that no pattern matches, by name, with in how many songs they are."""
    counts = Counter(name for song in songs for name in song.unmatched)
    terminal.collected["unmatched"] = dict(sorted(counts.items()))
    if not counts:
        return
    named = [f"{name} ({count})" if count > 1 else name for name, count in counts.most_common(NAMED)]
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    into = "stems of their own" if unmatched == "own" else f"summed into {unmatched}"
    terminal.warn(f"no pattern of [songs.stems] matches {', '.join(named)}{more}: {into} (songs.unmatched = {unmatched!r})")


def _rows(song: Candidate) -> list[dict[str, Any]]:
    """One row for each file of a song."""
    return [
        {
            "song": _called(song),
            "file": path,
            "name": name,
            "stem": song.parts.get(name, name),
            "matched": name not in song.unmatched,
            "bleed": song.bleed.get(name),
            "mixture": song.mixture,
        }
        for name, path, _ in song.references
    ]


def _called(song: Candidate) -> str:
    """A song by its artist and title as its data set or list states them; else its folder, or the file that contains its stems."""
    if song.title:
        return " - ".join(filter(None, (song.artist, song.title)))
    path = PurePosixPath(song.path)
    in_file = song.references[0][1] == song.path
    return path.name if in_file or song.mixture == "sum" else path.parent.name or path.name


def _table(songs: Sequence[Candidate]) -> Table:
    """A line for each file: the song, at its first one, and the stem."""
    from rich.table import Table

    shown = Table(title="Which stem each file is a part of", title_justify="left", title_style="bold")
    for heading in ("song", "file", "stem"):
        shown.add_column(heading, overflow="fold")
    for song in songs:
        name = _called(song)
        for row in _rows(song):
            shown.add_row(name, _file(row), row["stem"] if row["matched"] else f"{row['stem']} (no pattern)")
            name = ""
        shown.add_section()
    return shown


def _file(row: dict[str, Any]) -> str:
    """The file's own name, or what it is where its name does not say it (a number, an id)."""
    from stemwright.manifests.catalog.multitracks import stem_name

    own = PurePosixPath(row["file"])
    return own.name if stem_name(own.name).endswith(row["name"].rpartition("_")[2]) and len(own.name) < 40 else row["name"]
