"""Recordings that share an artist, however it is spelled and whatever it sings on, are in one split; others are not tied to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_credits import ALSO_APART, ALSO_TIED

from stemwright.manifests.catalog.artists import Credit, artist_key, groups, guests, musicbrainz_ids, names_in, nodes_of
from stemwright.manifests.catalog.song_names import named_after
from stemwright.manifests.catalog.splits import SplitMember, SplitShares, assign, group_of, split_of

SHARES = SplitShares(train=0.4, valid=0.3, test=0.3)
SPELLINGS = [
    ("Sigur Rós", "Sigur Ros", "SIGUR  RO\u0301S", "sigur ros "),
    ("AC/DC", "ACDC", "AC-DC", "ac/dc"),
    ("The Beatles", "Beatles", "Beatles, The", "THE BEATLES"),
    ("Maker’s Row", "Maker's Row", "Makers Row", "Maker`s Row"),
    ("Lumera", "Lumera\u200b", "\ufeffLumera", "Ｌｕｍｅｒａ", "Lu\u00admera"),
    ("Mötley Crüe", "Motley Crue"),
    ("Simon & Garfunkel", "Simon and Garfunkel", "Simon + Garfunkel"),
    ("Røyksopp", "Royksopp"),
    ("A$AP Rocky", "ASAP Rocky"),
    ("P!nk", "Pink"),
    ("椎名林檎", " 椎名林檎"),
    ("Guns N' Roses", "Guns N’ Roses", "Guns & Roses", "Guns and Roses"),
    ("Salt-N-Pepa", "Salt 'n' Pepa", "Salt & Pepa"),
    ("Die Ärzte", "Ärzte, Die"),
    ("JAY‐Z", "Jay-Z", "Jay Z"),
    ("Yusuf / Cat Stevens", "Yusuf/Cat Stevens"),
    ("КИНО", "Кино"),
]
SHARED = [
    ("A1", "A1 & B1"),
    ("A1", "A1 feat. B1"),
    ("A1", "A1 ft. B1"),
    ("A1", "A1 (featuring B1)"),
    ("B1", "A1 feat. B1"),
    ("B1", "A1; B1"),
    ("B1", "A1 / B1"),
    ("B1", "A1 x B1"),
    ("B1", "A1 × B1"),
    ("B1", "A1 with B1"),
    ("B1", "A1, B1 & C1"),
    ("B1", "A1 vs. B1"),
    ("B1", "A1\0B1"),
    ("B1 & C1", "A1 & B1"),
    ("The Weeknd", "Drake, The Weeknd"),
    ("Bob Marley", "Bob Marley & The Wailers"),
    ("Tyler, The Creator", "Tyler, The Creator feat. Kali Uchis"),
    ("Kali Uchis", "Tyler, The Creator feat. Kali Uchis"),
    ("Lil Nas X", "Lil Nas X & Billy Ray Cyrus"),
    ("Peter, Paul & Mary", "Bob Dylan with Peter, Paul and Mary"),
    ("Little Feat", "Little Feat & Bonnie Raitt"),
    ("Bonnie Raitt", "Little Feat feat. Bonnie Raitt"),
    ("JAY‐Z", "Beyoncé feat. Jay-Z"),
    ("Foo", "Skrillex, Diplo, and Foo"),
    ("Diplo", "Skrillex×Diplo"),
    ("Diplo", "Skrillex • Diplo"),
    ("Diplo", r"Skrillex\\Diplo"),
    ("Diplo", "Skrillex avec Diplo"),
    ("Diplo", "Skrillex f. Diplo"),
    ("Metro Boomin", "Future prod. by Metro Boomin"),
    ("Кино", "Виктор Цой и Кино"),
    ("Cat Stevens", "Yusuf / Cat Stevens"),
    ("Michael Jackson", "Jackson, Michael"),
    ("Nirvana", "Nirvana (US)"),
    ("Crosby, Stills, Nash & Young", "Crosby Stills Nash and Young"),
]
APART = [
    ("Little Feat", "Little"),
    ("Tiny Feat", "Tiny"),
    ("Tyler, The Creator", "The Creator"),
    ("Earth, Wind & Fire", "Fire"),
    ("Earth, Wind and Fire", "Earth"),
    ("Simon & Garfunkel", "Simon"),
    ("Florence + The Machine", "Machine"),
    ("Blood, Sweat & Tears", "Tears"),
    ("Soft Cell", "So"),
    ("Lil Nas X", "Lil Nas"),
    ("X Ambassadors", "Ambassadors"),
    ("Amadou & Friends", "Sara & Friends"),
    ("Louis & His Orchestra", "Benny & His Orchestra"),
    ("Various Artists", "Various"),
    ("バ", "ハ"),
    ("Unknown Artist feat. A1", "Unknown Artist feat. B1"),
    ("John Smith", "John Brown"),
    ("Paul Simon", "Paul McCartney"),
]
NO_NAMES = ["Various Artists", "VA", "V.A.", "V/A", "<unknown>", "[unknown]", "Original Soundtrack", "Artisti vari", "Unbekannter Künstler"]
NO_NAMES += ["Разные исполнители", "ヴァリアス・アーティスト", "Track 01", "Traditional", "Ｖａｒｉｏｕｓ　Ａｒｔｉｓｔｓ"]


def tied(*credits: Credit | str) -> bool:
    """Whether recordings of these credits are all in one component."""
    return len(set(groups(nodes_of([Credit(one) if isinstance(one, str) else one for one in credits])))) == 1


@pytest.mark.parametrize("spellings", SPELLINGS, ids=lambda found: found[0])
def test_spellings_of_one_artist_are_one(spellings):
    assert len({artist_key(name) for name in spellings}) == 1
    assert tied(*spellings)


@pytest.mark.parametrize(("one", "other"), [*SHARED, *ALSO_TIED], ids=repr)
def test_a_shared_artist_ties(one, other):
    assert tied(one, other)


@pytest.mark.parametrize(("one", "other"), [*APART, *ALSO_APART], ids=repr)
def test_a_fragment_of_a_name_ties_nothing(one, other):
    assert not tied(one, other)


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_names_no_artist_ties_nothing(name):
    assert names_in(name) == ()
    assert not tied(Credit(name, "A"), Credit(name, "B"))


def test_ties_go_on_through_others():
    assert groups(nodes_of([Credit("A1"), Credit("C1"), Credit("A1 & B1"), Credit("D1"), Credit("B1; C1")])) == [0, 0, 0, 3, 0]


def test_a_guest_in_the_title_counts():
    assert guests("Song (feat. B1 & C1)") == ("B1 & C1", "B1", "C1")
    assert guests("Song ft. B1") == guests("Song [with B1]") == ("B1",)
    assert guests("Dance with me") == guests("The Feat") == ()
    assert guests("Song (prod. B1)") == guests("Song [Prod. by B1]") == ("B1",)
    assert tied(Credit("B1"), Credit("A1", "Song (feat. B1)"))


def test_musicbrainz_ids_decide_where_they_are():
    one, other = (f"{digit * 8}-1111-1111-1111-111111111111" for digit in "ab")
    assert musicbrainz_ids({"musicbrainz artist id": f"{one.upper()}/{other}"}) == (one, other)
    assert musicbrainz_ids({"musicbrainz_artistid": one, "musicbrainz_albumartistid": other}) == (one,)
    assert tied(Credit("Prince", ids=(one,)), Credit("The Artist", ids=(one,)))
    assert not tied(Credit("Nirvana", ids=(one,)), Credit("Nirvana", ids=(other,)))
    assert tied(Credit("Nirvana", ids=(one,)), Credit("Nirvana"))  # which of them is not known: rather a tie too many
    assert not tied(Credit("A1 & B1", ids=(one, other)), Credit("C1"))
    assert groups(nodes_of([Credit("A1 & B1", ids=(one, other)), Credit("A1"), Credit("Other name", ids=(other,))])) == [0, 0, 0]


@pytest.mark.parametrize(
    ("path", "artist", "title"),
    [
        ("Lumera - Song 1.flac", "Lumera", "Song 1"),
        ("Album/01 - Lumera - Song.flac", "Lumera", "Song"),
        ("01. Lumera - Song.flac", "Lumera", "Song"),
        ("01 Lumera - Song.flac", "Lumera", "Song"),
        ("1-03 Lumera - Song.flac", "Lumera", "Song"),
        ("A1 Lumera - Song.flac", "Lumera", "Song"),
        ("Lumera - Album - 03 - Song.flac", "Lumera", "Song"),
        ("Lumera \u2013 Song.flac", "Lumera", "Song"),
        ("Lumera_-_Some_Song.mp3", "Lumera", "Some Song"),
        ("Lumera - Song - Live.flac", "Lumera", "Song - Live"),
        ("50 Cent - Song.mp3", "50 Cent", "Song"),
        ("3 Doors Down - Song.mp3", "3 Doors Down", "Song"),
        ("01 - Song.flac", None, "01 - Song"),
        ("01 Song.flac", None, "01 Song"),
        ("Track 01 - Song.flac", None, "Track 01 - Song"),
        ("Song - Live.flac", None, "Song - Live"),
        ("Song - Remastered 2011.flac", None, "Song - Remastered 2011"),
        ("Lumera - 01.flac", None, "Lumera - 01"),
        ("Well-known.flac", None, "Well-known"),
        ("Various Artists - Song.flac", None, "Song"),
    ],
)
def test_artist_and_title_are_read_from_the_name(path, artist, title):
    assert named_after(path) == (artist, title)


def member(path: str, artist: str | None, **facts: object) -> SplitMember:
    return SplitMember(path, path, Credit(artist), **facts)


def of_split(wanted: str, start: str = "Artist") -> str:
    """The name of an artist whose own split is the wanted one."""
    return next(name for number in range(1000) if split_of(name := f"{start} {number}", "", SHARES) == wanted)


def test_an_artist_by_itself_has_the_split_of_its_name():
    names = [f"Artist {number}" for number in range(50)]
    found = assign([member(name, name) for name in names], SHARES)
    assert found.splits == {name: split_of(name, "", SHARES) for name in names}
    assert not found.refused


@given(st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=3), min_size=1, max_size=20), st.randoms())
def test_no_artist_is_in_two_splits_in_whatever_order(lists, random):
    members = [member(f"{n:02}", "; ".join(f"Artist {one}" for one in sorted(artists))) for n, artists in enumerate(lists)]
    found = assign(members, SHARES)
    of_artist: dict[int, set[str]] = {}
    for one, artists in zip(members, lists, strict=True):
        for artist in artists:
            of_artist.setdefault(artist, set()).add(found.splits[one.path])
    assert all(len(splits) == 1 for splits in of_artist.values())
    random.shuffle(members)
    assert assign(members, SHARES).splits == found.splits


@given(st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=3), min_size=2, max_size=20), st.data())
def test_adding_songs_moves_no_other_and_ties_no_two_splits(lists, data):
    members = [member(f"{n:02}", "; ".join(f"Artist {one}" for one in sorted(artists))) for n, artists in enumerate(lists)]
    known = data.draw(st.sets(st.sampled_from(range(len(members)))))
    before = assign([members[n] for n in known], SHARES).splits
    found = assign([member(one.path, one.credit.artist, before=before.get(one.path)) for one in members], SHARES)
    assert {path: found.splits[path] for path in before} == before
    of_artist: dict[int, set[str]] = {}
    for one, artists in zip(members, lists, strict=True):
        for artist in artists if one.path in found.splits else ():
            of_artist.setdefault(artist, set()).add(found.splits[one.path])
    assert all(len(splits) == 1 for splits in of_artist.values())
    assert set(found.splits) | set(found.refused) == {one.path for one in members}


def test_a_song_that_would_tie_two_splits_is_refused_with_the_reason():
    one, other = of_split("train"), of_split("test")
    old = [member("a", one, before="train"), member("b", other, before="test")]
    found = assign([*old, member("c", f"{one} & {other}")], SHARES)
    assert found.splits == {"a": "train", "b": "test"}
    assert found.refused["c"].startswith(f"ties {one} (train) and {other} (test), which are in different splits of this corpus")
    assert set(assign([member("a", one), member("b", other), member("c", f"{one} & {other}")], SHARES).splits) == {"a", "b", "c"}


def test_spellings_that_were_in_two_splits_go_where_most_are_and_it_is_said():
    old = [member(path, name, before=split) for path, name, split in (("a", "Beatles", "test"), ("b", "The Beatles", "valid"))]
    found = assign([*old, member("c", "Beatles, The", before="valid")], SHARES)
    assert set(found.splits.values()) == {"valid"}
    assert found.notes == ["the songs that share artists with Beatles were in different splits; all are in valid now"]


def test_a_stated_split_takes_the_other_songs_along():
    found = assign([member("a", "Lumera", stated="test"), member("b", "Lumera & X1"), member("c", "X1", before="train")], SHARES)
    assert set(found.splits.values()) == {"test"}
    assert assign([member("a", "L1", stated="test"), member("b", "L1", stated="train")], SHARES).splits == {"a": "test", "b": "train"}


def test_one_large_component_is_said():
    found = assign([member(f"{n:02}", f"Star feat. Guest {n}") for n in range(25)], SHARES)
    assert "25 of 25 songs are tied to 00 by shared artists, copies or songs.group_by" in found.notes[0]


def test_songs_of_a_group_share_a_split_that_more_songs_do_not_change():
    genres = ("rock", "Rock ", "ROCK", "jazz", "jazz", None)
    members = [replace(member(f"{n}", f"Artist {n}"), groups=group_of("genre", genre)) for n, genre in enumerate(genres)]
    found = assign(members, SHARES).splits
    assert len({found[n] for n in "012"}) == 1
    assert found["5"] == split_of("Artist 5", "", SHARES)
    more = [replace(member(f"x{n}", f"Other {n}"), groups=group_of("genre", "rock")) for n in range(20)]
    assert {path: split for path, split in assign([*members, *more], SHARES).splits.items() if path in found} == found


def test_unknown_artists_are_not_one():
    found = assign([member(f"{n:03}", artist) for n, artist in enumerate([None, "Various Artists", "VA", "Unknown"] * 25)], SHARES)
    assert set(found.splits.values()) == {"train", "valid", "test"}
    assert names_in("Various Artists") == names_in("  ") == ()
