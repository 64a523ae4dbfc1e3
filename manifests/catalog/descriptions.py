"""What a recording is called, and by whom it is: from a CSV or data set, its tags, its name, the folders that it is in.

Conventions
    A CSV or a data set takes precedence over tags, tags over names ("Artist - Title", with or without a track number), and the name of a
    file over that of a folder (``stemwright.manifests.catalog.folder_artists``). Tags that say nothing ("Unknown Artist", "Track 01", or
    empty ones) do not count. Of a file whose tags name another title than its name only the tags count.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from stemwright.manifests.catalog.artists import artist_key, is_unknown, musicbrainz_ids
from stemwright.manifests.catalog.candidates import Candidate
from stemwright.manifests.catalog.song_names import artist_and_title, named_after, title_key, without_number
from stemwright.manifests.metadata import year_and_genre
from stemwright.manifests.sound import containers

# Vorbis comments, ID3 (TCOP, WCOP and free texts), MP4 and RIFF as ffmpeg names them, and what players and shops add.
RIGHTS_TAGS = (
    "copyright",
    "license",
    "licence",
    "rights",
    "copyrighturl",
    "copyright_url",
    "licenseurl",
    "license_url",
    "usageterms",
    "webstatement",
)
LICENCE_ADDRESS = "creativecommons.org/"  # free archives write the licence into the comment
ARTIST_UNKNOWN = "artist unknown: the split is drawn for this recording alone"  # a note of a track
ARTIST_OF_FOLDER = "neither tags nor its name give the artist: taken from the name of the folder, {}"  # a note of a track
NO_TITLE = re.compile(
    r"(?:audio\s*)?(?:track|titel|title|piste|pista|traccia|spur|faixa|трек|дорожка|トラック)\s*[#№-]?\s*\d+|0\d|"
    r"[<\[(]?(?:unknown|untitled|no title|unbekannt|sans titre)(?: title| track)?[>\])]?",
    re.IGNORECASE,
)


def tagged_title(tags: dict[str, str]) -> str:
    """The title of a recording by its tags; "" if they name none, or only a number."""
    title = tags.get("title", "")
    return "" if NO_TITLE.fullmatch(title.strip()) else title


def describe(songs: Path, candidate: Candidate) -> tuple[dict[str, Any], list[str]]:
    """The columns of a track that say what it is called and whose it is, and what is to be noted about that."""
    tags = containers.tags(songs / candidate.path) if candidate.mixture == "file" else {}
    artist, title = called(candidate)
    tagged = tagged_title(tags)
    if tagged and artist and not candidate.references and title_key(tagged) not in title_key(title):
        artist = None  # the name is that of something else
    credits = [text for text in (candidate.artist, tags.get("artist"), tags.get("album_artist")) if text]
    credited = next((text for text in credits if artist_key(text)), None) or artist
    ids = () if candidate.artist else musicbrainz_ids(tags)
    notes = []
    if credited is None and not ids and candidate.folder_artist and all(map(is_unknown, credits)):
        credited, notes = candidate.folder_artist, [ARTIST_OF_FOLDER.format(candidate.folder_artist)]
        title = without_number(title)
    elif not credited and not ids and candidate.split is None:
        notes = [ARTIST_UNKNOWN]
    rights = [tags[name] for name in RIGHTS_TAGS if name in tags]
    rights += [tags[name] for name in ("comment", "description") if LICENCE_ADDRESS in tags.get(name, "").lower()]
    more, doubts = year_and_genre(candidate.metadata, tags)
    described = {
        "title": candidate.title or tagged or title,
        "artist": credited or next(iter(credits), None),
        "artist_ids": ids,
        "album": candidate.album or tags.get("album"),
        "rights": candidate.rights or "; ".join(dict.fromkeys(rights)) or "unknown",
        **more,
    }
    return described, [*notes, *doubts]


def called(candidate: Candidate) -> tuple[str | None, str]:
    """Artist and title as the name of the file, or of a multitrack's folder, gives them; without an artist the name is the title."""
    path = PurePosixPath(candidate.path)
    if not candidate.references:
        return named_after(candidate.path)
    in_folder = candidate.references[0][1] != candidate.path and path.parent.name
    return artist_and_title(path.parent.name if in_folder else path.stem.removesuffix(".stem"))
