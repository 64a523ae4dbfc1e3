"""Which recordings share an artist, however it is spelled, and so belong in one split.

A credit ("A & B feat. C", and the guests that a title names) ties its recording to every other one that shares one of its artists, and
through those to more: connected components. So no artist is in two splits, whatever they sing on.

Conventions
    Two spellings are one artist if they are the same without case, accents, punctuation, spaces, invisible characters, full-width forms
    and a leading (or, after a comma, trailing) "The": "AC/DC", "AC-DC", "ACDC"; "The Beatles", "Beatles, The"; "Sigur Rós", "Sigur Ros".
    "&", "+", "n" and "and" are the same. "Jackson, Michael" and "Nirvana (US)" are "Michael Jackson" and "Nirvana", too.
    A credit stands for itself and for each of its parts: what ";", " / ", "feat.", "x", "vs", "with", "&", "and", ",", "+" and so on
    separate. Rather a tie too many than an artist in two splits, but
    - names that are known to contain a separator are one artist (``ONE_NAME``: "Earth, Wind & Fire", "Tyler, The Creator");
    - a part that begins with "The" ("Florence + The Machine") counts only if it stands by itself, with "The", in another credit;
    - parts that name no artist ("Friends", "His Orchestra", "Sons") do not count; nor does "Various Artists", which is no artist.
    Where MusicBrainz ids of the artists are given, they decide and the names of that credit do not. A name without ids is tied to the ids
    that are credited under the same name elsewhere.

References
    MusicBrainz, Picard tag mapping: MUSICBRAINZ_ARTISTID. Unicode Standard Annex 15 (NFKC).
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"})  # not decomposed
ARTICLE = "the"
ARTICLES = "the|die|der|das|los|las|les|la|le|el|il"  # behind a comma
NO_ARTIST = (
    "Various Artists|Various|VA|VVAA|Multiple Artists|Unknown Artist|Unknown|No Artist|None|NA|Artist|Anonymous|Track Artist|Traditional|"
    "Soundtrack|Original Soundtrack|OST|Original Motion Picture Soundtrack|Original Cast|Original Broadway Cast|Original London Cast|"
    "Compilation|Sampler|Karaoke|Unbekannt|Unbekannter Interpret|Unbekannter Künstler|Verschiedene|Verschiedene Interpreten|"
    "Verschiedene Künstler|Interprètes divers|Artistes variés|Artistes divers|Divers|Artiste inconnu|Artisti diversi|Artisti vari|"
    "Artista sconosciuto|Varios artistas|Vários artistas|Artista desconocido|Artista desconhecido|Diverse artiesten|Diverse artister|"
    "Różni wykonawcy|Разные исполнители|Неизвестный исполнитель|Неизвестен|オムニバス|ヴァリアス・アーティスト|不明なアーティスト|"
    "未知|未知艺术家|群星|合辑"
)
NOBODY = frozenset(  # keys of parts that name no artist
    re.findall(
        r"\w+",
        "friends co company others orchestra orchester band choir chorus ensemble family guests more guest crew strings allstars etal "
        "jr sr iii inc",
    )
)
# Names with a separator in them. Any other name with one is a list of artists (see the head).
ONE_NAME = re.split(
    r"\|",
    "AC/DC|Above & Beyond|Aly & Fila|Amadou & Mariam|Angus & Julia Stone|Ashford & Simpson|Belle and Sebastian|Big & Rich|"
    "Brooks & Dunn|C+C Music Factory|Captain & Tennille|Chas & Dave|Chase & Status|Chad & Jeremy|Coheed and Cambria|Dan + Shay|"
    "Dance with the Dead|Daryl Hall & John Oates|Dead or Alive|Delaney & Bonnie|Derek and the Dominos|Dimitri Vegas & Like Mike|"
    "Echo & the Bunnymen|Eric B. & Rakim|Fitz and the Tantrums|Flatt & Scruggs|Florence and the Machine|For King & Country|"
    "Hall & Oates|Hootie & the Blowfish|Iron & Wine|Jan & Dean|Joey + Rory|K-Ci & JoJo|Katrina and the Waves|"
    "King Gizzard & the Lizard Wizard|Kool & the Gang|Kruder & Dorfmeister|Loggins & Messina|Love and Rockets|Macklemore & Ryan Lewis|"
    "Man with a Mission|Marina and the Diamonds|Matt & Kim|Medeski, Martin & Wood|Mel & Kim|Mike + The Mechanics|Mumford & Sons|"
    "Nico & Vinz|Of Mice & Men|Of Monsters and Men|Peaches & Herb|Peter & Gordon|Rodrigo y Gabriela|Sam & Dave|Seals & Crofts|"
    "She & Him|Simon & Garfunkel|Siouxsie and the Banshees|Sleeping with Sirens|Sly & Robbie|Smith & Wesson|Sonny & Cher|"
    "Tegan and Sara|Wisin & Yandel|Years & Years|Yusuf / Cat Stevens|Zager & Evans|Zion & Lennox|Lil Nas X|Little Feat|10,000 Maniacs|"
    "Beck, Bogert & Appice|Blood, Sweat & Tears|Crosby, Stills & Nash|Crosby, Stills, Nash & Young|Dave Dee, Dozy, Beaky, Mick & Tich|"
    "Earth, Wind & Fire|Emerson, Lake & Palmer|Lambert, Hendricks & Ross|Now, Now|Peter, Bjorn & John|Peter, Paul & Mary|"
    "Tyler, The Creator|West, Bruce & Laing|Wet, Wet, Wet",
)
FEATURED = r"(?:feat|ft|featuring|featured|f/)"
# Followed by a name: "Little Feat" and "Little Feat & Friends" name no artist after it.
FEAT = re.compile(rf"(?:\s|\s?[(\[]){FEATURED}(?:\.\s*|\s+)(?![&+,;/]|and\b|with\b|live\b|{FEATURED}\b)(?=\S)", re.IGNORECASE)
TITLE_GUESTS = re.compile(
    rf"(?:[(\[]\s*(?:{FEATURED}\.?|with|prod\.?(?:\s+by)?|produced\s+by)\s+([^)\]]+)[)\]])|(?:\s{FEATURED}(?:\.\s*|\s+)(.+)$)",
    re.IGNORECASE,
)
STRONG = re.compile(r"\s*[;\0|、•]\s*|\s*\\\\\s*|\s+//?\s+")
WEAK = re.compile(
    r"\s*,\s*(?:(?:and|&|und|et|y|e|och|og)\s+)?|\s+[&+]\s+|(?<=\w{2})×(?=\w{2})|(?<=\w{3})&(?=\w{3})|(?<=\w{4})/(?=\w{4})|\s+[x×](?!\s+(?:&|(?:and|feat|ft|with|vs)\b))\s+"
    r"|\s+(?:and|und|et|y|e|och|og|и|con|mit|avec|with|w/|f\.|vs\.?|versus|pres\.?|presents|meets|prod\.?(?:\s+by)?|produced\s+by)\s+",
    re.IGNORECASE,
)
MUSICBRAINZ_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
VARIOUS_ARTISTS_ID = "89ad4ac3-39f7-470e-963a-56509c546377"
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


@dataclass(frozen=True)
class Credit:
    """Who a recording is by: its artist, the guests that its title names, and its artists' MusicBrainz ids, if known."""

    artist: str | None
    title: str = ""
    ids: tuple[str, ...] = ()


def folded(text: str) -> str:
    """A name without case, accents, invisible characters, full-width forms and apostrophes, its words apart."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf").casefold().translate(LETTERS)
    # Accents of Latin, Greek and Cyrillic only: in other scripts the marks are vowels and consonants.
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", plain))
    plain = re.sub(r"(?<=\w)\$|\$(?=\w)", "s", unicodedata.normalize("NFC", plain))
    plain = re.sub(r"(?<=[^\W\d_])!(?=[^\W\d_])", "i", plain)
    return re.sub(r"\s*[&+]\s*", " and ", re.sub("['\u2018\u2019\u02bc`\u00b4]", "", plain)).strip()


def artist_key(name: str) -> str:
    """What all spellings of one artist's name have in common; "" for a name that is none ("Various Artists", "")."""
    key = _key(name)
    return "" if key in _NO_ARTIST or re.fullmatch(r"track\d*", key) else key


def _key(name: str) -> str:
    plain = folded(name)
    if inverted := re.fullmatch(rf"(.+),\s*({ARTICLES})", plain):
        plain = f"{inverted[2]} {inverted[1]}"
    words = re.findall(r"\w+", plain.replace("_", " "))
    words[1:-1] = ["and" if word == "n" else word for word in words[1:-1]]  # "Guns N' Roses", "Salt-N-Pepa"
    if len(words) > 1 and words[0] == ARTICLE:
        words = words[1:]
    return "".join(words) or "".join(plain.split())


_ONE_NAME = frozenset(_key(name) for name in ONE_NAME)
_NO_ARTIST = frozenset(_key(name) for name in NO_ARTIST.split("|"))
_INVERTED = re.compile(rf",\s*(?:{ARTICLES})\s*$", re.IGNORECASE)
_LAST_NAME_FIRST = re.compile(r"([^\s,]+),\s*([^\s,]+(?:\s[^\s,]+)?)")
_ASIDE_BEHIND = re.compile(r"(?<=\S)\s+[(\[][^()\[\]]*[)\]]?\s*$")


def names_in(credit: str) -> tuple[str, ...]:
    """The artists that a credit names, first come first: itself without guests, then its parts. Empty if it names none."""
    found = [credit] if _key(credit) in _ONE_NAME else []
    for piece in STRONG.split(" ; ".join(FEAT.split(unicodedata.normalize("NFKC", credit)))):
        whole = piece.strip(" \t()[]")
        found += [whole, *(_parts(whole) if _key(whole) not in _ONE_NAME else ())]
        if (bare := _ASIDE_BEHIND.sub("", whole)) != whole:  # "Nirvana (US)"
            found.append(bare)
        if inverted := _LAST_NAME_FIRST.fullmatch(whole):  # "Jackson, Michael"; of a list of two a name too many, which harms nothing
            found.append(f"{inverted[2]} {inverted[1]}")
    return tuple(dict.fromkeys(name for name in found if artist_key(name)))


def _parts(whole: str) -> list[str]:
    """The parts of a list of artists; none if the text is one name. A name of ``ONE_NAME`` within it stays whole."""
    bare = _INVERTED.sub("", whole)
    separators = list(WEAK.finditer(bare))
    edges = [0, *(place for found in separators for place in found.span()), len(bare)]
    parts, number = [], 0
    while number <= len(separators):
        start = edges[2 * number]
        last = next((n for n in range(len(separators), number, -1) if _key(bare[start : edges[2 * n + 1]]) in _ONE_NAME), number)
        parts.append(bare[start : edges[2 * last + 1]].strip())
        number = last + 1
    return [part for part in parts if len(parts) > 1 and _is_somebody(part)]


def _is_somebody(part: str) -> bool:
    words = folded(part).split()
    return bool(words) and words[0] not in ("his", "her", "their", "my", "your") and _key(part) not in NOBODY


def guests(title: str) -> tuple[str, ...]:
    """The artists that a title names: "Song (feat. B)", "Song ft. B & C", "Song (with B)"."""
    found = (name for match in TITLE_GUESTS.finditer(f" {title}") for name in match.groups() if name)
    return tuple(dict.fromkeys(artist for text in found for artist in names_in(text)))


def musicbrainz_ids(tags: dict[str, str]) -> tuple[str, ...]:
    """The MusicBrainz ids of a recording's artists, lower case, in the order of its tags (lower-case keys, as ffmpeg names them)."""
    for wanted in ("artist", "albumartist"):
        text = " ".join(value for key, value in tags.items() if re.sub(r"[^a-z]", "", key) == f"musicbrainz{wanted}id")
        if ids := tuple(dict.fromkeys(found.lower() for found in MUSICBRAINZ_ID.findall(text) if found.lower() != VARIOUS_ARTISTS_ID)):
            return ids
    return ()


def nodes_of(credits: Sequence[Credit]) -> list[tuple[str, ...]]:
    """For each recording the artists that it is tied through, as keys: equal keys are one artist. Empty: its artist is unknown."""
    named = [tuple(dict.fromkeys([*names_in(credit.artist or ""), *guests(credit.title)])) for credit in credits]
    alone = {folded(names[0]) for names in named if names}
    ids_of: dict[str, set[str]] = defaultdict(set)
    for credit, names in zip(credits, named, strict=True):
        if credit.ids and names:
            people = names[1:] if len(names) > 1 and len(credit.ids) == len(names) - 1 else names
            if len(people) == len(credit.ids):
                pairs = list(zip(people, credit.ids, strict=True))
            else:
                pairs = [(name, one) for name in names for one in credit.ids]
            for name, one in pairs:
                ids_of[artist_key(name)].add(f"mbid {one}")
    found = []
    for credit, names in zip(credits, named, strict=True):
        if credit.ids:
            found.append(tuple(f"mbid {one}" for one in credit.ids))
            continue
        keys = [artist_key(name) for number, name in enumerate(names) if number == 0 or not _is_backing(name, alone)]
        found.append(tuple(dict.fromkeys(node for key in keys for node in (key, *sorted(ids_of.get(key, ()))))))
    return found


def _is_backing(name: str, alone: set[str]) -> bool:
    """Whether a part is a band's "The Machine", which never is a credit on its own."""
    plain = folded(name)
    return plain.startswith(f"{ARTICLE} ") and plain not in alone


class Ties:
    """Which nodes are connected, as pairs are tied one after another: a union-find forest."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def root(self, node: Hashable) -> Hashable:
        """The node that stands for all that a node is connected with."""
        while (parent := self._parent.setdefault(node, node)) != node:
            self._parent[node] = node = self._parent[parent]
        return node

    def tie(self, nodes: Iterable[Hashable]) -> Hashable:
        """Connects nodes with one another, and returns what stands for them now."""
        first, *others = [self.root(node) for node in nodes]
        for other in others:
            self._parent[other] = first
        return first


def groups(nodes: Sequence[Iterable[Hashable]]) -> list[int]:
    """The connected component of each item, as the number of its first item: items that share a node are in one component."""
    ties = Ties()
    for number, shared in enumerate(nodes):
        ties.tie([("item", number), *shared])
    first: dict[Hashable, int] = {}
    return [first.setdefault(ties.root(("item", number)), number) for number in range(len(nodes))]


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


def version_of(title: str) -> frozenset[str]:
    """The words that make a title that of a version ("live", "remastered", "remix", ...), lower case."""
    asides = " ".join(text for found in ASIDE.finditer(title) for text in found.groups() if text)
    return frozenset(found.casefold() for found in VERSION.findall(asides))


def title_key(title: str) -> str:
    """What the titles of all versions of one song have in common: without what is in brackets or behind a dash."""
    bare = ASIDE.sub("", TITLE_GUESTS.sub("", title))
    return _key(bare or title)
