"""Which recordings share an artist, however it is spelled, and so belong in one split.

A credit ("A & B feat. C", and the guests that a title names) ties its recording to every other one that shares one of its artists, and
through those to more: connected components. So no artist is in two splits, whatever they sing on.

Conventions
    A tie that is missing lets an artist into two splits; one too many only makes a component larger. So where a credit can be read in two
    ways both count, except where that would tie people who merely share a given or a family name.
    Two spellings are one artist if they are the same without case, accents, punctuation, spaces, invisible characters, full-width forms
    and a leading (or, after a comma, trailing) "The": "AC/DC", "AC-DC", "ACDC"; "The Beatles", "Beatles, The"; "Sigur Rós", "Sigur Ros".
    "&", "+", "n" and "and" are the same, "St." and "Saint", "ö" and "oe". "Jackson, Michael" and "Nirvana (US)" are "Michael Jackson" and
    "Nirvana", too, "Bill Evans Trio" is "Bill Evans", "방탄소년단 (BTS)" is "BTS".
    Initials ("RHCP", "J. S. Bach") are those of an act that is credited in full elsewhere; four letters at least, else a table decides.
    A credit stands for itself and for each of its parts: what ";", " / ", "feat.", "x", "vs", "with", "&", "and", ",", "+" and so on
    separate, but
    - names that are known to contain a separator are one artist (``ONE_NAME``: "Earth, Wind & Fire", "Tyler, The Creator");
    - a part that begins with "The" ("Florence + The Machine") counts only if it stands by itself, with "The", in another credit;
    - the halves of "Smith, John", a given name ("John & Yoko") and the words of a name in katakana ("ジョン・レノン") count only if they
      are another credit by themselves;
    - parts that name no artist ("Friends", "His Orchestra", "Sons") do not count; nor does "Various Artists", which is no artist.
    Where MusicBrainz ids of the artists are given, they decide and the names of that credit do not. A name without ids is tied to the ids
    that are credited under the same name elsewhere.
    Not known: transliterations ("Kino", "Кино"), translations ("Berlin Philharmonic"), other names of a person, remixers in titles.

References
    MusicBrainz, Picard tag mapping: MUSICBRAINZ_ARTISTID. Unicode Standard Annex 15 (NFKC).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from stemwright.manifests.catalog import artist_names

LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h"})  # not decomposed
SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Ø": "Oe", "Å": "Aa"})
ARTICLE = ("the", "ザ")
ARTICLES = "the|die|der|das|los|las|les|la|le|el|il|an|a"  # behind a comma
SHORT = {"st": "saint", "ste": "sainte", "mt": "mount", "dr": "doctor", "mr": "mister", "n": "and"}
SMALL = frozenset(("and", "the", "of", "in", "a", "an", "to", "for", "n"))
MOST_KEPT = 2**15  # names whose keys are remembered: songs of one artist are many
FEWEST_INITIALS = 4  # of an act: three letters are too often those of another one
FEATURED = r"(?:feat|ft|featuring|featured|f/)"
# Followed by a name: "Little Feat" and "Little Feat & Friends" name no artist after it.
FEAT = re.compile(rf"(?:\s|\s?[(\[]){FEATURED}(?:\.\s*|\s+)(?![&+,;/]|and\b|with\b|live\b|{FEATURED}\b)(?=\S)", re.IGNORECASE)
TITLE_GUESTS = re.compile(
    rf"(?:[(\[]\s*(?:{FEATURED}\.?|(?:duet\s+|together\s+)?with|w/|prod\.?(?:\s+by)?|produced\s+by)\s*(?<=[\s./])([^)\]]+)[)\]])"
    rf"|(?:\s{FEATURED}(?:\.\s*|\s+)(.+?)(?=\s+-\s|\s*[(\[]|$))",
    re.IGNORECASE,
)
CJK = r"[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
STRONG = re.compile(r"\s*[;\0\n|、•]\s*|\s*\\\\\s*|\s+//?\s+|\s+·\s+|\s*[(\[]?\bCV[:.]\s*", re.IGNORECASE)
JOINING = (
    r"and|und|et|y|e|och|og|en|ja|és|ve|и|і|та|con|mit|avec|with|w/|f\.|vs\.?|versus|b2b|pres\.?|presents|meets|starring|introducing|"
    r"introduces|alongside|duet\s+with|together\s+with|a\.?k\.?a\.?|a/k/a|f/k/a|prod\.?(?:\s+by)?|produced\s+by"
)
WEAK = re.compile(
    r"\s*(?:,(?!\d{3}\b)|(?<!\d),)(?!\s*(?:jr|sr|ii|iii|iv|inc|ltd|llc)\b)\s*(?:(?:and|&|und|et|y|e|och|og)\s+)?|\s+[&+]\s+"
    r"|(?<=\w{2})×(?=\w{2})|(?<=\w{3})&(?=\w{3})|(?<=[\w.!]{3})/(?=\w{3})|(?<=-\w)/(?=\w{3})"
    rf"|(?<={CJK})\s*[/&+×]\s*(?=\w)|(?<=\w)\s*[/&+×]\s*(?={CJK})"
    rf"|\s+[x×](?!\s+(?:&|(?:and|feat|ft|with|vs)\b))\s+|\s+(?:{JOINING})\s+",
    re.IGNORECASE,
)
KATAKANA = re.compile(r"[\u30a1-\u30faー]{2,}")
VERSION_OF_ACT = re.compile(r"\b(?:band|group|rapper|singer|dj|producer|musician|\d+)\b")  # behind a name in brackets
OWN_CHANNEL = re.compile(r"\s+-\s+Topic$|(?<=\w)VEVO$")  # as video sites call an artist's own channel
MUSICBRAINZ_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
VARIOUS_ARTISTS_ID = "89ad4ac3-39f7-470e-963a-56509c546377"


@dataclass(frozen=True)
class Credit:
    """Who a recording is by: its artist, the guests that its title names, and its artists' MusicBrainz ids, if known."""

    artist: str | None
    title: str = ""
    ids: tuple[str, ...] = ()


@lru_cache(MOST_KEPT)
def folded(text: str) -> str:
    """A name without case, accents, invisible characters, full-width forms and apostrophes, its words apart."""
    if text.isascii():
        plain = text.casefold()
    else:
        plain = unicodedata.normalize("NFKC", text)
        plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf").casefold().translate(LETTERS)
        # Accents of Latin, Greek and Cyrillic only: in other scripts the marks are vowels and consonants.
        plain = unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", plain)))
    plain = re.sub(r"(?<=\w)\$|\$(?=\w)", "s", plain)
    plain = re.sub(r"(?<=[^\W\d_])!(?=[^\W\d_])", "i", plain)
    return re.sub(r"\s*[&+]\s*", " and ", re.sub("['\u2018\u2019\u02bc`\u00b4]", "", plain)).strip()


@lru_cache(MOST_KEPT)
def artist_key(name: str) -> str:
    """What all spellings of one artist's name have in common; "" for a name that is none ("Various Artists", "")."""
    key = plain_key(name)
    return "" if key in _NO_ARTIST or re.fullmatch(r"track\d*", key) else _ALIASES.get(key, key)


def is_unknown(name: str) -> bool:
    """Whether a credit says that the artist is not known ("Unknown Artist"), which "Various Artists" does not."""
    key = plain_key(name)
    return not key or key in _UNKNOWN or bool(re.fullmatch(r"track\d*", key))


@lru_cache(MOST_KEPT)
def plain_key(name: str) -> str:
    """The letters and digits of a name, folded, without an article: equal for spellings of one name."""
    plain = folded(name)
    if inverted := re.fullmatch(rf"(.+),\s*({ARTICLES})", plain):
        plain = f"{inverted[2]} {inverted[1]}"
    words = re.findall(r"\w+", plain.replace("_", " "))
    words[:-1] = [SHORT.get(word, word) if number or word != "n" else word for number, word in enumerate(words[:-1])]  # "Salt-N-Pepa"
    if len(words) > 1 and words[0] in ARTICLE:
        words = words[1:]
    # "Motoerhead" and "Motorhead"; not at an end ("Joe") and not before a vowel ("Queen").
    return re.sub(r"(?<![aeiou])([aou])e(?=[^\W\d_aeiou])", r"\1", "".join(words)) or "".join(plain.split())


_ALIASES = {plain_key(name): plain_key(names.split("|")[0]) for names in artist_names.ALIASES for name in names.split("|")}
_ONE_NAME = frozenset(plain_key(name) for name in artist_names.ONE_NAME) | frozenset(_ALIASES)
_UNKNOWN = frozenset(plain_key(name) for name in artist_names.UNKNOWN.split("|"))
_NO_ARTIST = _UNKNOWN | frozenset(plain_key(name) for name in artist_names.NO_ARTIST.split("|"))
_NOBODY = frozenset(plain_key(name) for name in artist_names.NOBODY)
_INVERTED = re.compile(rf",\s*(?:{ARTICLES})\s*$", re.IGNORECASE)
_LAST_NAME_FIRST = re.compile(r"([^\s,]+),\s*([^\s,]+(?:\s[^\s,]+)?)")
_ASIDE_BEHIND = re.compile(r"(?<=\S)\s*(?:(?<=\s)|(?<=[^\x00-\u024f]))[(\[]([^()\[\]]*)[)\]]?\s*$")


@dataclass(frozen=True)
class Names:
    """What a credit names: the artists (itself without guests first), other spellings of them, and parts that may be none.

    ``doubtful`` parts ("Ike" of "Ike & Tina Turner") count where they are a credit by themselves elsewhere.
    """

    artists: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def names_in(credit: str) -> tuple[str, ...]:
    """The artists that a credit names, first come first: itself without guests, then its parts. Empty if it names none."""
    return _named(credit).artists


@lru_cache(MOST_KEPT)
def _named(credit: str) -> Names:
    artists = [credit] if plain_key(credit) in _ONE_NAME else []
    spellings, doubtful = list[str](), list[str]()
    text = html.unescape(unicodedata.normalize("NFKC", credit))
    for piece in STRONG.split(" ; ".join(FEAT.split(text))):
        whole = OWN_CHANNEL.sub("", piece.strip(" \t()[]"))
        artists.append(whole)
        if plain_key(whole) not in _ONE_NAME:
            parts = _parts(whole)
            artists += parts.artists
            spellings += parts.spellings
            doubtful += parts.doubtful
        if aside := _ASIDE_BEHIND.search(whole):  # "Nirvana (US)", "방탄소년단 (BTS)"
            artists.append(whole[: aside.start()])
            artists += [aside[1]] if _is_other_script(whole[: aside.start()], aside[1]) else []
    known = [tuple(dict.fromkeys(name for name in names if artist_key(name))) for names in (artists, spellings, doubtful)]
    return Names(*known)


def _parts(whole: str) -> Names:
    """The parts of a list of artists; none if the text is one name. A name of ``ONE_NAME`` within it stays whole."""
    inverted = [_LAST_NAME_FIRST.fullmatch(half) for half in re.split(r"\s+(?:[&+/]|and|und|et|y)\s+", whole)]
    if all(inverted):
        spellings = [f"{found[2]} {found[1]}" for found in inverted if found]
        if all(_is_given(found[2]) for found in inverted if found):  # "Jackson, Michael"; else "Drake, Rihanna" as well
            halves = [half for found in inverted if found for half in found.groups()]
            return Names(tuple(found[0] for found in inverted if found), tuple(spellings), tuple(halves))
    else:
        spellings = []
    bare = _INVERTED.sub("", whole)
    separators = list(WEAK.finditer(bare))
    edges = [0, *(place for found in separators for place in found.span()), len(bare)]
    parts, number = list[str](), 0
    while number <= len(separators):
        start = edges[2 * number]
        last = next((n for n in range(len(separators), number, -1) if plain_key(bare[start : edges[2 * n + 1]]) in _ONE_NAME), number)
        parts.append(bare[start : edges[2 * last + 1]].strip())
        number = last + 1
    parts = [part for part in parts if len(parts) > 1 and _is_somebody(part)]
    if len(parts) == 2 and " " not in parts[0] and len(family := parts[1].split()) == 2:  # "Ike & Tina Turner"
        spellings.append(f"{parts[0]} {family[1]}")
    doubtful = [part for part in parts if " " not in part and _is_given(part)]
    listed = [name for name in (bare.split("・") if "・" in bare and len(parts) < 2 else ()) if name]
    if all(KATAKANA.fullmatch(name) for name in listed) or any(len(name) == 1 for name in listed):
        doubtful += listed  # "ジョン・レノン" is one name
    else:
        parts += listed
    return Names(tuple(part for part in parts if part not in doubtful), tuple(spellings), tuple(doubtful))


def _is_given(name: str) -> bool:
    """Whether each word is a given name or an initial."""
    words = folded(name).split()
    return all(len(word.rstrip(".")) == 1 or all(half in artist_names.GIVEN_NAMES for half in word.split("-")) for word in words)


def _is_other_script(name: str, aside: str) -> bool:
    """Whether what is in brackets behind a name is the name in another script."""
    plain = folded(aside)
    return plain not in artist_names.PLACES and bool(plain) and _script(name) != _script(plain) and not VERSION_OF_ACT.search(plain)


def _script(text: str) -> str:
    letter = next((letter for letter in unicodedata.normalize("NFC", text) if letter.isalpha()), "a")
    return "CJK" if re.match(CJK, letter) else unicodedata.name(letter, "LATIN").split()[0]


def _is_somebody(part: str) -> bool:
    words = folded(part).split()
    return bool(words) and words[0] not in ("his", "her", "their", "my", "your") and plain_key(part) not in _NOBODY


def guests(title: str) -> tuple[str, ...]:
    """The artists that a title names: "Song (feat. B)", "Song ft. B & C", "Song (with B)"."""
    found = (name for match in TITLE_GUESTS.finditer(f" {title}") for name in match.groups() if name)
    return tuple(dict.fromkeys(artist for text in found for artist in names_in(text) if _is_somebody(artist)))


def musicbrainz_ids(tags: dict[str, str]) -> tuple[str, ...]:
    """The MusicBrainz ids of a recording's artists, lower case, in the order of its tags (lower-case keys, as ffmpeg names them)."""
    for wanted in ("artist", "albumartist"):
        text = " ".join(value for key, value in tags.items() if re.sub(r"[^a-z]", "", key) == f"musicbrainz{wanted}id")
        if ids := tuple(dict.fromkeys(found.lower() for found in MUSICBRAINZ_ID.findall(text) if found.lower() != VARIOUS_ARTISTS_ID)):
            return ids
    return ()


def nodes_of(credits: Sequence[Credit]) -> list[tuple[str, ...]]:
    """For each recording the artists that it is tied through, as keys: equal keys are one artist. Empty: its artist is unknown."""
    named = [_named(credit.artist or "") for credit in credits]
    named = [replace(names, artists=(*names.artists, *guests(one.title))) for names, one in zip(named, credits, strict=True)]
    alone = {folded(names.artists[0]) for names in named if names.artists}
    alone_keys = {artist_key(name) for name in alone}
    initials = {short for names in named for name in names.artists if (short := _as_initials(name))}
    ids_of = _ids_by_name(credits, named)
    found = []
    for credit, names in zip(credits, named, strict=True):
        if credit.ids:
            found.append(tuple(f"mbid {one}" for one in credit.ids))
            continue
        people = [name for number, name in enumerate(names.artists) if number == 0 or not _is_backing(name, alone)]
        people += [*names.spellings, *(other for name in people for other in _also_called(name))]
        keys = [artist_key(name) for name in people] + [key for name in names.doubtful if (key := artist_key(name)) in alone_keys]
        shortened = [one for name in people for one in (_as_initials(name), *_initials_of(name)) if one in initials]
        found.append(tuple(dict.fromkeys(node for key in keys for node in (key, *sorted(ids_of.get(key, ()))))) + tuple(shortened))
    return found


def _ids_by_name(credits: Sequence[Credit], named: Sequence[Names]) -> dict[str, set[str]]:
    """The ids that are credited under each name, by its key: name by name where a credit has as many as ids, else each with each."""
    ids_of: dict[str, set[str]] = defaultdict(set)
    for credit, names in zip(credits, named, strict=True):
        if not credit.ids or not names.artists:
            continue
        people = names.artists[1:] if len(names.artists) > 1 and len(credit.ids) == len(names.artists) - 1 else names.artists
        if len(people) == len(credit.ids):
            pairs = list(zip(people, credit.ids, strict=True))
        else:
            pairs = [(name, one) for name in names.artists for one in credit.ids]
        if len(credit.ids) == 1:
            pairs += [(name, credit.ids[0]) for name in names.spellings]
        for name, one in pairs:
            ids_of[artist_key(name)].add(f"mbid {one}")
    return ids_of


def _is_backing(name: str, alone: set[str]) -> bool:
    """Whether a part is a band's "The Machine", which never is a credit on its own."""
    plain = folded(name)
    return plain.startswith(f"{ARTICLE[0]} ") and plain not in alone


def _also_called(name: str) -> list[str]:
    """What else an artist is called: "Mueller" for "Müller", "Bill Evans" for "Bill Evans Trio"."""
    composed = unicodedata.normalize("NFC", name)
    words = [word for word in folded(name).split() if word != ARTICLE[0]]
    length = len(words)
    while length and words[length - 1] in artist_names.ENSEMBLES:
        length -= 1
    person = [" ".join(words[:length])] if 2 <= length < len(words) else []
    return person + ([spelt] if (spelt := composed.translate(SPELT_OUT)) != composed else [])


@lru_cache(MOST_KEPT)
def _as_initials(name: str) -> str:
    """A node for an act that is credited by its initials only, "RHCP", or a person with two, "J. S. Bach"; "" for others."""
    plain = unicodedata.normalize("NFKC", name).strip()
    letters = "".join(letter for letter in plain if letter.isalpha())
    if len(letters) >= FEWEST_INITIALS and re.fullmatch(r"[A-Z](?:[.&+]?\s?[A-Z])+\.?", plain):
        return f"initials {letters.lower()}"
    person = re.fullmatch(r"((?:[A-Z]\.\s?){2,3}|(?:[A-Z]\s){2,3})([^\W\d_][\w'-]{2,})", plain)
    return f"initials {''.join(re.findall('[a-z]', person[1].lower()))} {plain_key(person[2])}" if person else ""


def _initials_of(name: str) -> list[str]:
    """The nodes of those that would be credited by a name's initials."""
    terms = re.findall(r"\w+", folded(name))
    if len(terms) < 3:
        return []
    found = ["".join(word[0] for word in terms if word not in left_out) for left_out in ({"and"}, {"and", "the"}, SMALL)]
    acts = [f"initials {letters}" for letters in found if len(letters) >= FEWEST_INITIALS]
    return [*dict.fromkeys(acts), f"initials {''.join(word[0] for word in terms[:-1])} {plain_key(terms[-1])}"]


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
