"""Names by which files and folders are known as parts of a song, and not as songs; and the stem that an instrument is a part of.

Conventions
    Names are lower case without suffix, as ``stemwright.manifests.names.name_from`` makes them.
    Files of one folder are often called alike but for their part ("Artist - Song (Vocals)", "song-vocals-120bpm"): what all of them have in
    their names says nothing, and a number in front neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from stemwright.manifests.catalog.stem_map import spaced, without_number
from stemwright.manifests.names import name_from
from stemwright.manifests.stem_names import FOUR_STEMS, MIXTURE_NAMES

# In a folder with a mixture, or with others of them, a file of such a name is no song.
PART_NAMES = frozenset(
    {
        *FOUR_STEMS,
        *("guitar", "guitars", "piano", "keys", "synth", "synths", "strings", "brass", "horns", "organ", "pad", "pads", "sax", "fx", "sfx"),
        *("lead_vocals", "backing_vocals", "lead_vocal", "backing_vocal", "vocal", "vox", "lead_vox", "bvox", "bgv", "choir", "rap"),
        *("kick", "snare", "overheads", "overhead", "oh", "hihat", "hi_hat", "hat", "toms", "tom", "percussion", "perc", "cymbals", "room"),
        *(
            "kick_in",
            "kick_out",
            "kick_sub",
            "snare_top",
            "snare_bottom",
            "snare_up",
            "snare_down",
            "floor_tom",
            "rack_tom",
            "ride",
            "crash",
        ),
        *("drum", "drum_kit", "claps", "shaker", "tambourine", "sub", "sub_bass", "bass_di", "bass_amp", "bass_guitar", "808", "click"),
        *("acoustic_guitar", "electric_guitar", "lead_guitar", "rhythm_guitar", "egtr", "agtr", "gtr", "gtrs", "elec_gtr", "ac_gtr"),
    }
)
# Sums of other files of their folder.
SUM_NAMES = frozenset(
    {
        *("accompaniment", "instrumental", "backing", "backing_track", "karaoke", "linear_mixture", "minus_one", "playback", "submix"),
        *("mix_no_vocals", "no_vocals", "no_vox", "no_drums", "no_bass", "no_other", "no_guitar", "no_piano", "mix_without_vocals"),
        *("drumless", "tv_mix", "tv_track", "instrumental_mix", "vocals_removed", "music"),
    }
)
FULL_MIXES = (*MIXTURE_NAMES, "mixdown", "mix_down", "full_mix", "fullmix", "final_mix", "stereo_mix", "2mix", "master", "mastered")
FEWEST_PARTS = 3  # files of such names that make a folder without a mixture one of parts
TWO_STEMS = (frozenset({"vocals", "vocal"}), SUM_NAMES)  # what two-stem separators write; both are there
QUALIFIERS = frozenset(
    {
        *(
            "l",
            "r",
            "left",
            "right",
            "in",
            "out",
            "top",
            "bottom",
            "up",
            "down",
            "upper",
            "lower",
            "mono",
            "stereo",
            "st",
            "mic",
            "di",
            "amp",
        ),
        *(
            "close",
            "far",
            "room",
            "lead",
            "main",
            "dbl",
            "double",
            "dt",
            "take",
            "low",
            "mid",
            "high",
            "hi",
            "lo",
            "pan",
            "dry",
            "wet",
            "bpm",
        ),
        *("a", "b", "c", "i", "ii", "iii", "n", "s"),
    }
)
INSTRUMENTS: tuple[tuple[str, str], ...] = (  # what an instrument's name contains -> its stem; the first that does
    (r"\bbass (clarinet|flute|trombone|saxophone|oboe)\b|\bbassoon\b", "other"),
    (r"\b(vocalists?|singers?|voices?|vocals?|vox|choir|rapper|rap|crowd|beatboxing|vocoder|chant|speaker)\b", "vocals"),
    (r"\b(bass drums?|drum set|drum kit|drum machine|drums?|kick|snare|toms?|hi-?hats?|high hats?|cymbals?|ride|crash)\b", "drums"),
    (r"\b(percussion|timpani|claps?|tambourine|shakers?|maracas|cowbell|bongos?|congas?|cajon|djembe|tabla|darbuka|doumbek)\b", "drums"),
    (r"\b(claves|guiro|castanets?|gong|cabasa|sleigh bells)\b", "drums"),
    (r"\b(contrabass|sub ?bass|bass|808)\b", "bass"),
)


def is_stems_folder(name: str) -> bool:
    """Whether a folder beside a mixture is called as data sets call those of its stems: stems, Artist_Song_STEMS, raw, tracks."""
    return name_from(name).rpartition("_")[2] in STEM_FOLDERS


STEM_FOLDERS = ("stems", "stem", "multitracks", "tracks", "raw")  # where a song has several, the first of them is read


def rank_of_stems_folder(name: str) -> int:
    """The place of a stems folder among several of one song: finished stems before raw tracks."""
    return STEM_FOLDERS.index(name_from(name).rpartition("_")[2])


def part_of_instrument(instrument: str) -> str:
    """Vocals, bass, drums or other, for the name of an instrument ("male singer", "double bass", "drum set", "clean electric guitar")."""
    plain = " ".join(re.findall(r"[a-z0-9-]+", instrument.lower()))
    return next((stem for pattern, stem in INSTRUMENTS if re.search(pattern, plain)), "other")


def bare_names(files: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What files are called, {file: (name, bare name)}: without suffix and number; and then without the words that all of them have."""
    words = {file: name_from(spaced(without_number(PurePosixPath(file).stem))).split("_") for file in files}
    shared = set.intersection(*(set(each) for each in words.values())) if len(words) > 1 else set()
    bare = {file: "_".join(word for word in each if word not in shared) for file, each in words.items()}
    return {file: ("_".join(each), bare[file] or "_".join(each)) for file, each in words.items()}


def is_part(names: Sequence[str]) -> bool:
    """Whether one of a file's names is that of a part: in ``PART_NAMES`` or ``SUM_NAMES``, or such words with numbers and qualifiers."""
    return any(map(_is_part, names))


def _is_part(name: str) -> bool:
    if name in PART_NAMES or name in SUM_NAMES:
        return True
    words = [re.sub(r"\d+$", "", word) for word in name.split("_")]
    known = [word in PART_NAMES for word in words]
    return any(known) and all(there or not word or word in QUALIFIERS for word, there in zip(words, known, strict=True))
