"""Plans from a corpus: stems are mixed at the median level, and mono ones at the median place, that its estimates have for stems like them.

Conventions
    A stem is like those of its own name; else like those of the part of a song that its role belongs to (lead_vox.wav: vocals). Several
    stems of one such name share its level. What the corpus has no name for is left out, and said. Levels are relative to the mixture of
    each song, in LU; the medians of the names are mixed relative to one another. There is no equaliser.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stemwright.datagen.mixing.settling import MIX_LUFS, MixSettings, Reason, StemPlan, notes_on_faders, settle
from stemwright.datagen.mixing.stem_plans import KnownStem, name_among, parts_of
from stemwright.manifests.records import Estimate
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

FARTHEST = 0.95  # a median pan beyond is held here, so that neither side is silent


class NameLevels(NamedTuple):
    """The median level in LU and pan of a name in a corpus, and the number of stems that have them."""

    level_lu: float
    pan: float
    num_stems: int


def levels_by_name(corpus: Path) -> dict[str, NameLevels]:
    """The medians of a corpus's estimates by the names of stems. Raises UsageError for a folder that has none."""
    from stemwright.manifests.table import read

    path = corpus / "estimates.parquet"
    if not path.exists():
        raise UsageError(f"expected a corpus with estimates.parquet, got {corpus} without it; run `stemwright estimate` on it first")
    levels, pans = dict[str, list[float]](), dict[str, list[float]]()
    for row in read(path, Estimate):
        if row.level_lu is not None:
            levels.setdefault(row.name, []).append(row.level_lu)
            pans.setdefault(row.name, []).append(row.pan or 0.0)
    if not levels:
        raise UsageError(f"the estimates of {corpus} have no level of any stem: there is nothing to mix by")
    return {name: NameLevels(float(np.median(found)), float(np.median(pans[name])), len(found)) for name, found in levels.items()}


def mix_by_profile(
    stems: Mapping[str, Audio], sample_rate: int, profile: Mapping[str, NameLevels], *, loudness_lufs: float = MIX_LUFS
) -> MixSettings:
    """Faders and pans of dry stems by the medians of a corpus.

    ``stems`` are float32 [2, T] of one shape. Raises UsageError where the corpus has no name for any of them, Refused where all are silent.
    """
    parts, left_out = parts_of(stems, sample_rate)
    names = {part.name: name_among(profile, part) for part in parts}
    left_out |= {
        name: f"the corpus has no stem like it; it has {', '.join(sorted(profile))}" for name, like in names.items() if like is None
    }
    known = [part for part in parts if names[part.name] is not None]
    if not known:
        raise UsageError(f"the corpus has no stems like {', '.join(names)}; it has {', '.join(sorted(profile))}")
    shared = Counter(names[part.name] for part in known)
    plans = {part.name: _plan(part, like, profile[like], shared[like]) for part in known if (like := names[part.name])}
    settled, bus, measured_lufs, peak_dbtp = settle(stems, sample_rate, plans, loudness_lufs=loudness_lufs)
    return MixSettings(settled, bus, measured_lufs, peak_dbtp, left_out, notes_on_faders(settled, bus))


def _plan(part: KnownStem, like: str, found: NameLevels, shared: int) -> StemPlan:
    level_lu = found.level_lu - 10.0 * math.log10(shared)
    pan = round(min(max(found.pan, -FARTHEST), FARTHEST), 3) if part.sound.is_mono and shared == 1 else 0.0
    by = f"median of {found.num_stems} stems called {like}"
    level = Reason("level", f"{level_lu:.1f} LU" + (f", shared by {shared}" if shared > 1 else ""), by)
    place = Reason("pan", f"{pan:+.2f}", by) if part.sound.is_mono else Reason("pan", "as it is", "stereo")
    return StemPlan(part.role.name, part.role_from, level_lu, (), pan, reasons=(level, place))
