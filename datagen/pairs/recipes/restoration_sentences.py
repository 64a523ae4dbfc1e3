"""Sentences that ask for the repair of a degradation: of the named ones of ``sonicmaster``, and of groups of effects without a name.

Conventions
    A sentence asks for what undoes the degradation, in the words of a listener; it gives no figures. The sentences are this project's,
    around the key words of the published ones.
"""

from __future__ import annotations

NAMED = {  # degradation of SonicMaster -> sentences
    "comp": (
        "Bring back the dynamic range.",
        "Decompress this; it sounds squashed.",
        "Let loud and soft passages differ again.",
        "Undo the heavy compression.",
        "Make it less flat and give it more dynamics.",
    ),
    "xband": (
        "Correct the equalisation.",
        "Even out the tonal balance.",
        "Some bands are too loud and others too soft; balance them.",
        "Repair the uneven frequency response.",
        "Make the tone natural again.",
    ),
    "bright": (
        "Make it brighter.",
        "Add some treble.",
        "It sounds dull; bring back the sparkle.",
        "Raise the highs for more brightness.",
        "Give the cymbals and consonants their treble back.",
    ),
    "dark": (
        "Make it darker.",
        "Take away some treble; it is too sharp.",
        "Give it a warmer, less piercing sound.",
        "Tame the harsh highs.",
        "Soften the top so that it is less sharp.",
    ),
    "airy": (
        "Make it more airy.",
        "Open the top end.",
        "Add air above the treble.",
        "It sounds closed in; lift the highest frequencies.",
        "Give it a more open sound.",
    ),
    "boom": (
        "Give it more bass.",
        "Add weight at the low end.",
        "It needs more boom; raise the lowest frequencies.",
        "Bring back the deep bass.",
        "The low end is thin; fill it up.",
    ),
    "warm": (
        "Make it warmer.",
        "Add body in the low mids.",
        "It sounds cold and thin; give it warmth.",
        "Raise the low mids for a fuller sound.",
        "Bring back the warmth of the lower range.",
    ),
    "clarity": (
        "Make it clearer.",
        "Bring back the clarity.",
        "It sounds muffled; open it up.",
        "Restore the missing highs and the detail.",
        "Take off the blanket that covers the highs.",
    ),
    "mud": (
        "Make it less muddy.",
        "Take the boxy sound out of the low mids.",
        "Clean up the mud between bass and mids.",
        "Reduce the build-up in the low mids.",
        "It sounds boxy; clear the lower mids.",
    ),
    "reverb-small": (
        "Dereverberate this.",
        "Take away the sound of the small room.",
        "Make it drier.",
        "Remove the roominess.",
        "It sounds as if it was played in a small room; remove the reflections.",
    ),
    "reverb-big": (
        "Remove the long echo of the hall.",
        "Take away the reverb of the large room.",
        "Make it dry; it sounds as if it was played in a hall.",
        "Shorten the tail and bring everything closer.",
        "Reduce the excessive reverberation.",
    ),
    "reverb-mix": (
        "Remove the echo of the room.",
        "Reduce the roominess.",
        "Make it sound drier and closer.",
        "Take the room out of this recording.",
        "Clean up the reverb.",
    ),
    "clip": (
        "Remove the clipping.",
        "Repair the distorted peaks.",
        "It sounds gritty; make it clean.",
        "Reduce the distortion of the loud passages.",
        "Reconstruct the peaks that were cut off.",
    ),
    "volume": (
        "Make it louder.",
        "Raise the volume.",
        "It is far too quiet; turn it up.",
        "Bring it to a normal level.",
        "Increase the loudness.",
    ),
    "stereo": (
        "Make it wider.",
        "Restore the stereo image.",
        "It sounds mono; make it spacious.",
        "Spread the instruments between left and right.",
        "Give it a wide stereo field.",
    ),
}
OF_GROUP = {  # group of effects without a name -> sentences
    "equalization": ("Correct the equalization.", "Remove the tonal imbalances."),
    "dynamics": ("Restore the dynamics.",),
    "reverb": ("Remove the reverb.", "Reduce the excessive reverberation."),
    "amplitude": ("Restore the amplitude.", "Remove the clipping."),
    "stereo": ("Restore the stereo image.", "Widen the narrowed stereo image."),
}
GROUPS = {  # group -> the effects that are it
    "equalization": ("eq", "lowpass"),
    "dynamics": ("compressor",),
    "reverb": ("reverb", "room"),
    "amplitude": ("clip",),
    "stereo": ("width",),
}


def groups_of(effects: tuple[str, ...]) -> list[str]:
    """The groups that some effects belong to, in the order of the table."""
    return [group for group, members in GROUPS.items() if any(effect in members for effect in effects)]
