"""Names by which files and folders are known as parts of a song, and not as songs.

Conventions
    Names are lower case without suffix, as ``stemwright.manifests.names.name_from`` makes them.
"""

from __future__ import annotations

from stemwright.manifests.names import name_from
from stemwright.manifests.stem_names import FOUR_STEMS

# In a folder with a mixture, or with others of them, a file of such a name is no song.
PART_NAMES = frozenset(
    {
        *FOUR_STEMS,
        "guitar",
        "piano",
        "keys",
        "synth",
        "strings",
        "accompaniment",
        "instrumental",
        "backing",
        "karaoke",
        "linear_mixture",
        "lead_vocals",
        "backing_vocals",
        "kick",
        "snare",
        "overheads",
        "hihat",
        "toms",
        "percussion",
    }
)
FEWEST_PARTS = 3  # files of such names that make a folder without a mixture one of parts


def is_stems_folder(name: str) -> bool:
    """Whether a folder beside a mixture is called as data sets call those of its stems: stems, Artist_Song_STEMS, raw, tracks."""
    return name_from(name).rpartition("_")[2] in ("stems", "stem", "raw", "tracks", "multitracks")
