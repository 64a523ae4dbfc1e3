"""Names of stems and of their mixture, in the order that MUSDB18 and Demucs give them: the streams of a STEM file have it too."""

from __future__ import annotations

MIXTURE = "mixture"
MIXTURE_NAMES = (MIXTURE, "mix")  # what a file of the whole recording is called beside its stems
FOUR_STEMS = ("drums", "bass", "other", "vocals")
SIX_STEMS = (*FOUR_STEMS, "guitar", "piano")  # of htdemucs_6s
STREAMS = (MIXTURE, *FOUR_STEMS)  # of a STEM file; the files of a folder of MUSDB18-HQ
