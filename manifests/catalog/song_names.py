"""Artist and title as the names of files give them, and what the titles of all versions of a song have in common."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from stemwright.manifests.catalog.artists import TITLE_GUESTS, artist_key, plain_key

# With a dot, a dash or a bracket behind it any number is one; with a space only what is hardly a name's ("50 Cent", "3 Doors Down").
TRACK_NUMBER = re.compile(
    r"^\s*(?:(?:\d{1,2}-)?(?:0\d{1,2}|1\d|20|[A-D]\d{1,2})\s+(?![-.])"
    r"|[(\[]?(?:\d{1,2}-)?[A-D]?\d{1,3}\s*[._)\]-]+\s*)(?=\S)"
)
NUMBER = re.compile(r"(?:track|disc|cd|side|take)?\s*[A-D]?[\d.]+", re.IGNORECASE)
DASH = re.compile(r"\s+[-\u2013\u2014]+\s+|_-_")
VERSION_WORDS = (
    "live|remaster(?:ed)?|remix(?:ed)?|re-?mix|mix|edit|version|demo|acoustic|unplugged|instrumental|karaoke|a ?cappella|acapella|"
    "rehearsal|outtake|alternate|alternative take|session|sessions|mono|stereo|re-?recorded|rerecorded|bonus|radio|extended|"
    "dub|orchestral|take \\d+"
)
VERSION = re.compile(rf"\b(?:{VERSION_WORDS})\b", re.IGNORECASE)
ASIDE = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]|\s+[-\u2013\u2014]\s+([^-\u2013\u2014]+)$")


def artist_and_title(name: str) -> tuple[str | None, str]:
    """The two halves of "Artist - Title"; a name without the dash is a title."""
    artist, dash, title = name.partition(" - ")
    return (artist.strip() or None, title.strip() or name) if dash else (None, name)


def named_after(path: str) -> tuple[str | None, str]:
    """Artist and title as the name of a file gives them: "Artist - Title", with or without track numbers. No artist, if none is clear."""
    stem = PurePosixPath(path).stem
    bare = TRACK_NUMBER.sub("", stem) if TRACK_NUMBER.match(stem) and not DASH.fullmatch(stem) else stem
    parts = [part.strip(" _") for part in DASH.split(bare)]
    parts = [part.replace("_", " ") if " " not in part else part for part in parts if part and not NUMBER.fullmatch(part)]
    if len(parts) < 2 or not any(letter.isalpha() for letter in parts[0]) or VERSION.fullmatch(parts[1]):
        return None, stem
    if len(parts) == 2 and VERSION.search(parts[1]) and not VERSION.sub("", re.sub(r"\d+", "", parts[1])).strip(" ()[]"):
        return None, stem
    title = parts[-1] if not VERSION.search(parts[-1]) or len(parts) == 2 else " - ".join(parts[-2:])
    return (parts[0], title) if artist_key(parts[0]) else (None, title)


def without_number(title: str) -> str:
    """A title without the track number before it, if anything with a letter remains."""
    bare = TRACK_NUMBER.sub("", title)
    return bare if any(letter.isalpha() for letter in bare) else title


def title_key(title: str) -> str:
    """What the titles of all versions of one song have in common: without what is in brackets or behind a dash."""
    bare = ASIDE.sub("", TITLE_GUESTS.sub("", title))
    return plain_key(bare or title)
