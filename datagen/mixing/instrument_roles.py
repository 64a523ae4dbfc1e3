"""What a stem is, by its name: its role in the mix, and what the rules say about that role.

Conventions
    ``level_lu`` is the level against the mix of a full band: the measured means of vocal, bass, kick and snare, and for what was not
    measured the middle of the published range of gains, at most -10 LU; toms and hi-hat are as far from the snare as they are there.
    A role of several instruments has the sum of their energies: drums that of kick, snare, hi-hat and overheads; other that of guitar,
    keys and synthesiser; a backing track that of all of these and the bass. Vocal, drums, bass and other then make the mix, within 0.1 LU.
    ``level_rule``, ``pan_rule`` are keys of ``mix_rules.RULES``.
    ``pan`` is how far out a mono stem goes, 0 to 1. ``lowest_hz`` is the lowest note of the instrument; a high-pass is set below it.
    ``cuts`` are bands of the equaliser: (band, gain in dB, frequency in Hz). ``shared``: all stems of the role are one source.

References
    Gains, pans and equalisers: the sources of ``mix_rules``. Lowest notes: E1 41 Hz (bass), E2 82 Hz (guitar, bass voice), G3 196 Hz
    (violin), C2 65 Hz (cello), E2 82 Hz (trombone), B-flat 2 104 Hz (tenor saxophone), A0 28 Hz (piano).
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Cut = tuple[str, float, float]


@dataclass(frozen=True)
class Role:
    """A role, and what the rules say about it."""

    name: str
    pattern: str
    level_lu: float
    pan: float = 0.0
    lowest_hz: float = 0.0
    cuts: tuple[Cut, ...] = ()
    shared: bool = False
    group: bool = False
    lead: bool = False
    level_rule: str = "instrument"
    pan_rule: str = "place"


def _together(*levels_lu: float) -> float:
    """The level of unrelated signals together."""
    return 10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in levels_lu))


LEAD_LU, HIGHEST_LU = -3.0, -10.0
BASS, KICK, SNARE = -9.5, -13.2, -16.8  # De Man et al. 2014, means
HIHAT, OVERHEADS, GUITAR, KEYS, SYNTH = SNARE - 1.0, -11.5, -10.0, -11.5, -11.5
KIT, BAND = _together(KICK, SNARE, HIHAT, OVERHEADS), _together(GUITAR, KEYS, SYNTH)
LOW_CUT = "low_shelf"

# The first pattern that is found in the name of a stem, spelt with spaces ("OH_L.wav" is "oh l"), says its role.
ROLES = (
    Role(
        "backing vocals",
        r"\b((backing|back|background|bg|harmony|harm|support|gang|crowd) ?(vocals?|vox|voc|voices?)|bvs?|bvox|bgvs?|bvocs?|choirs?|chorus|"
        r"choeurs?|chor|harmon(y|ies)|vocoder|adlibs?|ad libs?|(vocals?|vox) (harm\w*|bg|backing|back))\b",
        HIGHEST_LU,
        0.7,
        82.0,
        ((LOW_CUT, -4.0, 150.0),),
        shared=True,
    ),
    Role(
        "accompaniment",
        r"\b(accompaniment|backing( tracks?)?|instrumentals?|karaoke|minus one|playback|playalong|no vocals?|music|band|begleitung)\b",
        _together(KIT, BASS, BAND),
        group=True,
        level_rule="group",
        pan_rule="group centre",
    ),
    Role(
        "low winds",
        r"\b(bass (clarinet|flute|trombone|sax\w*|oboe)|bassoons?|tubas?|trombones?|euphonium|baritone sax\w*)\b",
        -10.5,
        0.3,
        29.0,
    ),
    Role(
        "kick",
        r"\b(kicks?|bass drums?|bd|kik|kd|kickdrum|grosse caisse)\b",
        KICK,
        cuts=(("peak1", -1.5, 300.0),),
        shared=True,
        level_rule="kick",
        pan_rule="kick centre",
    ),
    Role(
        "snare",
        r"\b(snares?|snr|sd|sn|rim ?shot|sidestick|caisse claire)\b",
        SNARE,
        lowest_hz=120.0,
        shared=True,
        level_rule="snare",
        pan_rule="snare centre",
    ),
    Role("hi-hat", r"\b(hi ?hats?|high ?hats?|hats?|hh|charleston)\b", HIHAT, 0.7, 300.0, ((LOW_CUT, -4.5, 225.0),)),
    Role("toms", r"\b(toms?|floor ?tom|rack ?tom|floor|rack|timpani)\b", SNARE, 0.3, 60.0),
    Role("overheads", r"\b(over ?heads?|oh|ohs|ohl|ohr|cymbals?|rides?|crash(es)?|chinas?|splash)\b", OVERHEADS, 0.7, 60.0, shared=True),
    Role("room", r"\b(rooms?|ambien(t|ce)|amb|roommic|hall mics?)\b", -14.0, 0.7, 40.0, shared=True),
    Role(
        "drums",
        r"\b(drums?|drum ?(kit|set|machine|loop|bus|stem)s?|drumkit|kit|beats?|batterie|schlagzeug|bateria|batteria|breaks?|loops?)\b",
        KIT,
        group=True,
        level_rule="group",
        pan_rule="group centre",
    ),
    Role(
        "hand percussion",
        r"\b(shakers?|tamb|tambourines?|maracas|cowbells?|claps?|guiro|cabasa|castanets?|claves|sleigh ?bells|snaps?|triangle|clicks?)\b",
        -14.0,
        1.0,
        150.0,
        ((LOW_CUT, -6.0, 225.0),),
    ),
    Role("percussion", r"\b(perc(s|ussion)?|bongos?|congas?|cajon|djembe|tabla|darbuka|doumbek|timbales?)\b", -10.5, 0.3, 60.0),
    Role(
        "lead vocals",
        r"\b(vocals?|vox|voc|vocs|voices?|singers?|lead ?(vocals?|vox|voc)|ldvox|lv|lead v|raps?|rapper|speech|narrat(or|ion)|acapella|"
        r"a cappella|voix|chant|gesang|stimme|voz|voce|female|male|verse|sing)\b",
        LEAD_LU,
        0.0,
        82.0,
        ((LOW_CUT, -4.0, 150.0),),
        shared=True,
        lead=True,
        level_rule="vocal",
        pan_rule="vocal centre",
    ),
    Role(
        "bass", r"\b(bass|basses|basse|basso|bajo|contrabass|subbass|808|sub|kontrabass)\b", BASS, level_rule="bass", pan_rule="bass centre"
    ),
    Role(
        "guitar",
        r"\b(\w*guitars?\w*|e?gtrs?|agtrs?|acgtr|gits?|egit|guit|guitare|gitarren?|chitarra|banjos?|mandolins?|ukuleles?|ukes?|lap steel|"
        r"pedal steel|slide|strum|oud|sitar|dobro)\b",
        GUITAR,
        0.3,
        82.0,
        ((LOW_CUT, -2.5, 100.0),),
    ),
    Role(
        "keys",
        r"\b(e?pianos?|keys?|keyboards?|rhodes|wurli\w*|organs?|hammond|b3|clav\w*|harpsichord|accordions?|melodica|klavier|orgue|orgel)\b",
        KEYS,
        0.3,
        28.0,
    ),
    Role("synth", r"\b(synth\w*|pads?|arp\w*|plucks?|leads?|sequ?|sequencer|stabs?|moog|juno|samples?|sampler)\b", SYNTH, 0.3),
    Role("effects", r"\b(fx|sfx|effects?|risers?|sweeps?|impacts?|noises?|foley|scratch\w*)\b", -14.0, 0.3),
    Role("violins", r"\b(violins?|fiddles?|violon|geige)\b", -11.5, 0.7, 196.0),
    Role("strings", r"\b(strings?|violas?|cell(o|i|os)|harps?|quartet|orchestra|cordes|streicher)\b", -11.5, 0.7, 65.0),
    Role("brass", r"\b(brass|trumpets?|horns?|cornets?|tpts?|flugelhorns?|trompette|cuivres|blaser)\b", -12.0, 0.7, 82.0),
    Role(
        "winds",
        r"\b(flutes?|clarinets?|sax\w*|oboes?|piccolos?|whistles?|woodwinds?|winds?|bagpipes?|recorders?|harmonicas?)\b",
        -12.0,
        0.7,
        104.0,
    ),
    Role(
        "mallets", r"\b(xylophones?|marimbas?|vibraphones?|vibes|glockenspiels?|glock|bells?|chimes?|kalimba|celesta)\b", -11.5, 0.7, 104.0
    ),
    Role("other", r"\b(other|rest|others|misc|accomp)\b", BAND, group=True, level_rule="group", pan_rule="group centre"),
)
BY_NAME = {role.name: role for role in ROLES}
UNKNOWN = Role("instrument", "", -11.0)  # one instrument, between guitar and woodwinds
Side = Literal["left", "right"]
SIDES: tuple[tuple[Side, str], ...] = (
    ("left", r"\b(left|l|lt|links|gauche|izq|sx)\b"),
    ("right", r"\b(right|r|rt|rechts|droite?|der|dx)\b"),
)
GLUED = r"\b(oh|ohs|overhead|overheads|gtr|guitar|room|rm|amb|piano|keys|vox|str|perc|hat|hh)([lr])\b"


def spelt(name: str) -> str:
    """A name as words: lower case without accents, a space for what is no letter or digit, between "Kick" and "In", and before numbers."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
    words = re.sub(r"(?<=[a-z])(?=\d)", " ", re.sub(r"[^a-z0-9]+", " ", words.lower())).strip()
    return re.sub(GLUED, r"\1 \2", words)


def role_of_name(name: str) -> Role | None:
    """The role that a stem's name says; None if it says none ("Audio 03")."""
    words = spelt(name)
    return next((role for role in ROLES if re.search(role.pattern, words)), None)


def side_of_name(name: str) -> Side | None:
    """The side that a stem's name says: "OH_L" is left; None if it says none, or both."""
    found = [side for side, pattern in SIDES if re.search(pattern, spelt(name))]
    return found[0] if len(found) == 1 else None


def without_side(name: str) -> str:
    """A name as words, without those that say a side: what the two files of a pair have in common."""
    words = spelt(name)
    for _, pattern in SIDES:
        words = re.sub(pattern, " ", words)
    return " ".join(words.split())
