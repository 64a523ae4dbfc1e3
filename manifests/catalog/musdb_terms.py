"""The terms of MUSDB18's tracks, as the list of the data set states them.

MUSDB18 as a whole may be used for academic purposes. Of its 150 tracks, 46 come from MedleyDB and two from a remix competition, under
Creative Commons licences; the other 102 (from DSD100 and from Native Instruments) are restricted to that use.

References
    The list of tracks on the pages of MUSDB18 (sigsep, datasets, tracklist.csv). Bittner et al., MedleyDB (2014), for the version 4.0.
"""

from __future__ import annotations

MEDLEYDB = "CC-BY-NC-SA-4.0 (MUSDB18, from MedleyDB)"
REMIX_COMPETITION = "CC-BY-NC-SA-3.0 (MUSDB18, from a remix competition)"
RESTRICTED = "MUSDB18: academic use; the terms of each track are in the data set's track list"

OF_MEDLEYDB: dict[str, tuple[str, ...]] = {
    "A Classic Education": ("NightOwl",),
    "Aimee Norwich": ("Child",),
    "Alexander Ross": ("Goodbye Bolero", "Velvet Curtain"),
    "Auctioneer": ("Our Future Faces",),
    "AvaLuna": ("Waterduct",),
    "BigTroubles": ("Phantom",),
    "Celestial Shore": ("Die For Us",),
    "Clara Berry And Wooldog": ("Air Traffic", "Stella", "Waltz For My Victims"),
    "Creepoid": ("OldTree",),
    "Dreamers Of The Ghetto": ("Heavy Love",),
    "Faces On Film": ("Waiting For Ga",),
    "Grants": ("PunchDrunk",),
    "Helado Negro": ("Mitad Del Mundo",),
    "Hezekiah Jones": ("Borrowed Heart",),
    "Hop Along": ("Sister Cities",),
    "Invisible Familiars": ("Disturbing Wildlife",),
    "Lushlife": ("Toynbee Suite",),
    "Matthew Entwistle": ("Dont You Ever",),
    "Meaxic": ("Take A Step", "You Listen"),
    "Music Delta": (
        *("80s Rock", "Beatles", "Britpop", "Country1", "Country2", "Disco", "Gospel", "Grunge", "Hendrix", "Punk", "Reggae"),
        *("Rock", "Rockabilly"),
    ),
    "Night Panther": ("Fire",),
    "Port St Willow": ("Stay Even",),
    "Secret Mountains": ("High Horse",),
    "Snowmine": ("Curfews",),
    "Steven Clark": ("Bounty",),
    "Strand Of Oaks": ("Spacestation",),
    "Sweet Lights": ("You Let Me Down",),
    "The Districts": ("Vermont",),
    "The Scarlet Brand": ("Les Fleurs Du Mal",),
    "The So So Glos": ("Emergency",),
}
OF_REMIX_COMPETITION: dict[str, tuple[str, ...]] = {"The Easton Ellises": ("Falcon 69",), "The Easton Ellises (Baumi)": ("SDRNR",)}


def terms_of(artist: str | None, title: str) -> str:
    """The terms of one track of MUSDB18 or MUSDB18-HQ."""
    if title in OF_MEDLEYDB.get(artist or "", ()):
        return MEDLEYDB
    return REMIX_COMPETITION if title in OF_REMIX_COMPETITION.get(artist or "", ()) else RESTRICTED
