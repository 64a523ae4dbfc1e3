"""Presets of the recipe ``restore``: the published tasks of restoration, as far as they are published.

Conventions
    What a preset takes from its publication: which kinds of degradation there are, on what they act, and the words of its sentences.
    What it does not: ranges of values, numbers of degradations and their probabilities. Those are this project's: the typical ranges of our
    effects, and the counts given here. All gains of a row are true: they are what was done to the sound.

    msr                music source restoration: one dry stem from a mixture that is a degraded sum of degraded sources. The kinds are
                       those that RawStems names: spectral filtering, dynamic range compression, harmonic distortion, reverberation, lossy
                       codec. The thirteen conditions of the challenge's test set, some of them recordings, are not made here
    sonicmaster        the mixture without its degradations, and a sentence that asks for it: the five groups of SonicMaster,
                       equalization, dynamics, reverb, amplitude, stereo
    sonicmaster-GROUP  one group alone. Of the nineteen degradations those are made that are effects of ours; measured responses of rooms
                       and telephones, for one, are not
    The words of the sentences are those of SonicMaster's abstract: the groups, "excessive reverberation", "clipping", "tonal imbalances",
    "a narrowed stereo image". The sentences around them are this project's.

References
    Zang et al. 2025, "Music Source Restoration" (RawStems), arXiv 2505.21827; the challenge, arXiv 2601.04343; Melechovsky, Mehrish and
    Herremans 2025, "SonicMaster", arXiv 2508.03448: their abstracts, the first and the last as recalled.
"""

from __future__ import annotations

from typing import Any

MSR_KINDS = {  # what RawStems names -> the effects that are it
    "spectral filtering": ("eq", "lowpass", "highpass"),
    "dynamic range compression": ("compressor", "limiter"),
    "harmonic distortion": ("distortion",),
    "reverberation": ("reverb", "room"),
    "lossy codec": ("codec",),
}
GROUPS = {  # of SonicMaster -> the effects that are it
    "equalization": ("eq", "lowpass"),
    "dynamics": ("compressor",),
    "reverb": ("reverb", "room"),
    "amplitude": ("clip",),
    "stereo": ("width",),
}
SENTENCES = {
    "equalization": ("Correct the equalization.", "Remove the tonal imbalances."),
    "dynamics": ("Restore the dynamics.",),
    "reverb": ("Remove the reverb.", "Reduce the excessive reverberation."),
    "amplitude": ("Restore the amplitude.", "Remove the clipping."),
    "stereo": ("Restore the stereo image.", "Widen the narrowed stereo image."),
}
NARROWED = (0.0, 0.7)  # a width that is heard as narrower
_SONICMASTER: dict[str, Any] = {
    "target": "mixture",
    "stem_removed": (0, 0),
    "final_removed": (0, 0),
    "sentences": True,
    "ranges": {"width": {"width": NARROWED}},
}


def _presets() -> dict[str, dict[str, Any]]:
    on_stems = [kind for kind in MSR_KINDS if kind != "lossy codec"]
    found: dict[str, dict[str, Any]] = {
        "msr": {
            "target": "stem",
            "stem_effects": tuple(effect for kind in on_stems for effect in MSR_KINDS[kind]),
            "stem_removed": (1, 3),
            "bus_effects": tuple(effect for kind in on_stems[:2] for effect in MSR_KINDS[kind]),
            "bus_removed": (0, 2),
            "final_effects": MSR_KINDS["lossy codec"],
            "final_removed": (0, 1),
        },
        "sonicmaster": {**_SONICMASTER, "bus_effects": tuple(each for group in GROUPS.values() for each in group), "bus_removed": (1, 3)},
    }
    for group, effects in GROUPS.items():
        found[f"sonicmaster-{group}"] = {**_SONICMASTER, "bus_effects": effects, "bus_removed": (1, 1)}
    return found


PRESETS = _presets()


def groups_of(effects: tuple[str, ...]) -> list[str]:
    """The groups of SonicMaster that some effects belong to, in their published order."""
    return [group for group, members in GROUPS.items() if any(effect in members for effect in effects)]
