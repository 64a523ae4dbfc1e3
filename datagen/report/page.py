"""A corpus as one HTML page that opens anywhere: numbers, distributions, what was refused, and pairs to listen to.

Conventions
    One file, nothing fetched: style, script, charts and audio are in it, and its content security policy forbids the browser anything
    else. Every text from a table is escaped; the policy names the script by its checksum, so that no other would run.
    The same corpus gives the same bytes: no time, no host, no path but the names of folders.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stemwright.datagen.report import (
    blind_charts,
    chain_text,
    charts,
    group_charts,
    page_charts,
    page_findings,
    page_rules,
    part_charts,
    rows,
)
from stemwright.datagen.report.effect_spreads import EffectSpreads
from stemwright.datagen.report.page_charts import many
from stemwright.datagen.report.players import Player, players
from stemwright.datagen.report.rows import Rows
from stemwright.datagen.report.spooled import Spool
from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.stages.cataloguing import artist_notes
from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.disk.outputs import PAGES, check_output
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.visible import visible
from stemwright.manifests.wording import duration, size
from stemwright.separation.balance.basis import rough

PLAYERS = 12
FILE_NAME = "report.html"
MAX_LISTED = 2000  # rows of a table on the page; the Parquet file has them all
SHORT_KINDS = {
    "removal": "wet is the input, dry the target: one excerpt with and without the effects that a model learns to remove",
    "mix": "stems are the inputs, their mix the target",
    "remix": "stems, of one song or several, are the inputs, a new mix of them the target",
    "limit": "the limited mix is the input, the mix before the limiter the target",
    "edit": "before is the input, after the target, and a sentence says what changes",
}


@dataclass(frozen=True)
class Report:
    """The page, and facts about it for the command line."""

    html: str
    num_players: int
    audio_seconds: float
    notes: tuple[str, ...] = ()


def report_html(corpus: Corpus | Path | str, *, num_players: int = PLAYERS, seed: int = 0, by: Sequence[str] = ()) -> str:
    """The page about a corpus as text: write it to a file, or show it in a notebook.

    ``num_players`` pairs are drawn with ``seed`` and can be listened to; 0 gives a page without audio. ``by`` names columns by which songs
    are compared, besides year and genre. In a notebook:
    ``IPython.display.IFrame(src="report.html", width="100%", height=800)`` of a written file. Raises CorpusError if the folder is no
    corpus.
    """
    return make_report(corpus if isinstance(corpus, Corpus) else Corpus(corpus), num_players=num_players, seed=seed, by=by).html


def make_report(
    corpus: Corpus, *, num_players: int = PLAYERS, seed: int = 0, by: Sequence[str] = (), on_progress: OnProgress | None = None
) -> Report:
    """As ``report_html``, with progress, and what there is to say about the page. Raises ValueError for a negative number of players."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if num_players < 0:
        raise ValueError(f"the number of players must be 0 or more; got {num_players}")
    found = rows.read_rows(corpus)
    heard = players(found, num_players, seed, on_progress)
    environment = Environment(
        loader=PackageLoader("stemwright.datagen.report", "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=charts.number, signed=_signed, percent=lambda value: f"{100 * value:.0f} %")
    script = _resource("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment.get_template("page.html").render(
        style=Markup(_resource("style.css")),
        script=Markup(script),
        script_digest=digest,
        players=heard,
        players_json=_json_in_html([player.for_script() for player in heard]),
        by_column=group_charts.section(found, by),
        **_content(found, heard),
    )
    seconds = sum(player.num_seconds * sum(bool(each.mp3) for each in player.signals) for player in heard)
    silent = tuple(f"{player.pair.kind} {player.pair.id}: {player.notes[0]}" for player in heard if not player.signals)
    return Report(html, len(heard), seconds, silent)


def write_report(
    corpus: Corpus,
    path: Path | None = None,
    *,
    num_players: int = PLAYERS,
    seed: int = 0,
    by: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> tuple[Path, Report]:
    """Writes the page into a file, ``report.html`` in the corpus by default, and gives its path besides. Raises as ``make_report``.

    Raises CorpusError, before anything is done, for a path that is a folder, and UsageError for one that is not to be written over.
    """
    path = path or corpus.folder / FILE_NAME
    if path.is_dir():
        raise CorpusError(f"{path} is a folder; expected the HTML file to write, such as {path / FILE_NAME}")
    check_output(path, PAGES)
    made = make_report(corpus, num_players=num_players, seed=seed, by=by, on_progress=on_progress)
    remove_earlier(path)
    write_bytes(path, made.html.encode())
    return path, made


def _resource(name: str) -> str:
    return files("stemwright.datagen.report").joinpath(name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Text of the tables as a page may show it: marks of direction in a title could turn the text around it."""
    return visible(value, longest=None) if isinstance(value, str) and not isinstance(value, Markup) else value


def _json_in_html(value: Any) -> Markup:
    """JSON that is safe in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _content(found: Rows, heard: Sequence[Player]) -> dict[str, Any]:
    """What the template shows, section by section."""
    on_page: dict[str, float] = defaultdict(float)
    for player in heard:
        if player.signals:
            for track in found.tracks_of(player.pair):
                on_page[track] += player.num_seconds
    with Spool() as spool:
        spreads = EffectSpreads(found.pairs, spool)
        effects, effect_use = page_charts.effects(spreads), page_charts.effect_use(found, spreads)
    return {
        "name": found.name,
        "rows": found,
        "summary": _summary(found),
        "tiles": _tiles(found),
        "splits": rows.split_table(found),
        "stem_rows": rows.stem_table(found),
        "split_names": rows.SPLITS,
        "kind_words": {kind: SHORT_KINDS.get(kind, "") for kind in found.kinds},
        "role_words": chain_text.ROLE_WORDS,
        "balance_charts": page_charts.balance_charts(found),
        "rules": page_rules.section(found),
        "part_charts": part_charts.part_charts(found),
        "loudness_charts": page_charts.loudness_charts(found),
        "effects": effects,
        "effect_use": effect_use,
        "blind": blind_charts.section(found),
        "tempo_charts": page_charts.tempo_charts(found),
        "findings": page_findings.section(found, MAX_LISTED),
        "tracks": _track_rows(found),
        "rejected": [
            (row.stage, rows.without_folders(found, row.subject), rows.without_folders(found, row.reason))
            for row in islice(found.rejected, MAX_LISTED)
        ],
        "rejected_by_stage": sorted(_rejected_by_stage(found).items()),
        "rejected_reasons": _reasons(rows.without_folders(found, reason) for (reason,) in rows.columns(found.rejected, "reason")),
        "rights": rows.rights_table(found, on_page),
        "versions": rows.version_table(found),
        "origins": _origins(found),
        "config": _config_text(found),
    }


def _summary(found: Rows) -> str:
    """What the corpus is, in a sentence or two."""
    if not found.tracks:
        return "No track has been catalogued yet."
    artists = found.num_artists
    phrase = f"{many(len(found.tracks), 'track')}" + (f" by {many(artists, 'artist')}" if artists else "")
    phrase += "".join(f" ({note})" for note in artist_notes(found.tracks))
    origins = [origin for origin, _ in _origins(found)]
    if origins:
        models = [origin for origin in origins if origin != "reference"]
        own = ["with the multitrack's own stems"] if "reference" in origins else []
        phrase += ", " + " or ".join([*own, *([f"separated by {', '.join(models)}"] if models else [])])
    if doubt := rough(origins):
        phrase += f" ({doubt})"
    if found.pairs:
        kinds = ", ".join(f"{found.counts.total(kind=kind)} {kind}" for kind in found.kinds)
        phrase += f". {many(len(found.pairs), 'training pair')} planned ({kinds}), "
        rendered = found.counts.total(rendered=True)
        phrase += "all rendered to audio" if rendered == len(found.pairs) else f"{rendered} of them rendered to audio"
    else:
        phrase += ". No pairs have been planned yet"
    return phrase + "."


def _tiles(found: Rows) -> list[tuple[str, str, str]]:
    """(number, what, detail) of the headline."""
    disk = rows.disk_bytes(found.folder)
    splits = Counter(split for (split,) in rows.columns(found.tracks, "split"))
    stems = sum(name != rows.RESIDUAL for (name,) in rows.columns(found.stems, "name"))
    pairs = Counter({split: found.counts.total(split=split) for split in rows.SPLITS})
    rendered = found.counts.rendered_seconds()
    return [
        (_grouped(len(found.tracks)), "track" if len(found.tracks) == 1 else "tracks", _shares(splits)),
        (duration(sum(length for (length,) in rows.track_columns(found))), "music", f"{duration(rendered)} of rendered pairs"),
        (_grouped(stems), "stems", ", ".join(found.stem_names)),
        (_grouped(len(found.pairs)), "pair" if len(found.pairs) == 1 else "pairs", _shares(pairs)),
        (_grouped(len(found.rejected)), "rejected", _refused_words(found)),
        (size(sum(disk.values())), "audio", f"{size(disk['stems'])} stems, {size(disk['dataset'])} dataset"),
    ]


def _refused_words(found: Rows) -> str:
    stages = _rejected_by_stage(found)
    words = ", ".join(f"{count} in {stage}" for stage, count in stages.items()) or "nothing was rejected"
    return words + (f"; {found.num_redrawn} drawn again" if found.num_redrawn else "")


def _rejected_by_stage(found: Rows) -> Counter[str]:
    return Counter(stage for (stage,) in rows.columns(found.rejected, "stage"))


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[split]} {split}" for split in rows.SPLITS if counts[split]) or "none yet"


def _track_rows(found: Rows) -> list[dict[str, Any]]:
    """The first tracks by title, at most so many as are listed, with the level of each stem."""
    every = rows.track_columns(found, "title", "id", "artist", "split", "rights")
    first = heapq.nsmallest(MAX_LISTED, every, key=lambda track: (track[1].casefold(), track[2]))
    ids = {track_id for _, _, track_id, *_ in first}
    levels, tempo = dict[tuple[str, str], float | None](), dict[str, tuple[float | None, str | None]]()
    for track_id, name, level in rows.columns(found.estimates, "track_id", "name", "level_lu"):
        if track_id in ids:
            levels[track_id, name] = level
    for track_id, bpm, key in rows.columns(found.track_estimates, "track_id", "tempo_bpm", "key"):
        if track_id in ids:
            tempo[track_id] = bpm, key
    shown = []
    for seconds, title, track_id, artist, split, rights in first:
        bpm, key = tempo.get(track_id, (None, None))
        shown.append(
            {
                "title": title,
                "artist": artist or "",
                "split": split,
                "seconds": seconds,
                "rights": rights,
                "pairs": found.counts.of_track[track_id],
                "levels": [levels.get((track_id, name)) for name in found.stem_names],
                "tempo": bpm,
                "key": key or "",
            }
        )
    return shown


def _reasons(reasons: Iterable[str], most: int = 6) -> list[tuple[str, int]]:
    """The most frequent reasons, without the numbers that make each of them look like another."""
    import re

    counted: Counter[str] = Counter()
    example: dict[str, str] = {}
    for reason in reasons:
        shape = re.sub(r"[-+−]?\d+(\.\d+)?", "#", reason)
        counted[shape] += 1
        example.setdefault(shape, reason)
    return [(example[shape], count) for shape, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:most]]


def _origins(found: Rows) -> list[tuple[str, int]]:
    """(origin of stems, tracks), the most frequent first."""
    tracks = Counter(origin for origin, _ in {*rows.columns(found.stems, "origin", "track_id")})
    return sorted(tracks.items(), key=lambda item: (-item[1], item[0]))


def _config_text(found: Rows) -> str:
    """The configuration as TOML; of folders only the last name, since paths on the author's disk are private."""
    import tomllib

    import tomli_w

    values = tomllib.loads(configuration.to_toml(found.config))

    def shortened(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shortened(item) for key, item in value.items()}
        if isinstance(value, str) and ("/" in value or "\\" in value) and "://" not in value:
            return value.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        return value

    return tomli_w.dumps(shortened(values))


def _signed(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else charts.fixed(value, digits)
