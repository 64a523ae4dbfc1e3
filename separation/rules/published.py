"""The table of published rules of mixing: one record a rule, and the registry that adds those of other packages.

A rule of another package is a ``Rule`` behind an entry point of the group ``stemwright.rules``. What could not be found again in a text is
not in the table, but for what is marked as recalled; numbers that are ours are said to be so in ``range_from``.

Conventions
    Those of ``stemwright.separation.rules.rule``. Levels of stems are those of single sources in most of the studies; in stems of groups,
    such as drums, the level is the group's.
"""

from __future__ import annotations

from types import SimpleNamespace

from stemwright.manifests.registry import Registry
from stemwright.separation.rules.rule import YEAR, Rule, Source, check_rule

GERDES_2023 = Source(
    "Gerdes, Siedenburg",
    2023,
    "Lead-vocal level in recordings of popular music 1946-2020",
    "JASA Express Letters 3, 043201, doi 10.1121/10.0017773: abstract",
    "abstract",
)
GERDES_2023_METAL = Source(
    "Gerdes, Siedenburg",
    2023,
    "Lead-vocal level in recordings of popular music 1946-2020",
    "JASA Express Letters 3, 043201: metal, mean -3.1 dB, interval -3.6 to -2.6",
    "quoted",
    "a collection of notes on mastering in a public repository",
)
GERDES_2022 = Source(
    "Gerdes, Siedenburg",
    2022,
    "Lead-to-Accompaniment-Ratio in populaerer Musik",
    "DAGA 2022: abstract, songs to 1960 at 0 to 7 dB",
    "abstract",
)
DE_MAN_2014 = Source(
    "De Man, Leonard, King, Reiss",
    2014,
    "An analysis and evaluation of audio features for multitrack music mixtures",
    "ISMIR 2014, pages 137-142: figure 1 and table 2, eight songs mixed by eight engineers each",
    "quoted",
    "a collection of notes on mastering in a public repository",
)
DE_MAN_2017 = Source(
    "De Man, McNally, Reiss",
    2017,
    "Perceptual evaluation and analysis of reverberation in multitrack music production",
    "J. Audio Eng. Soc. 65(1/2), 108-116: summary of 27 February 2017 on De Man's site",
    "summary",
)
PESTANA_2013 = Source(
    "Pestana, Ma, Reiss, Barbosa, Black",
    2013,
    "Spectral characteristics of popular commercial recordings 1950-2010",
    "AES 135th Convention, paper 8960, page 5: 772 number-one singles",
    "quoted",
    "four public repositories, with the same numbers",
)
PESTANA_2014 = Source(
    "Pestana, Reiss",
    2014,
    "Intelligent audio production strategies informed by best practices",
    "AES 53rd Conference on Semantic Audio, paper S2-2",
    "quoted",
    "public repositories that cite its sections, one after a full reading",
)
PESTANA_2014_CREST = Source(
    "Pestana, Reiss",
    2014,
    "Intelligent audio production strategies informed by best practices",
    "AES 53rd Conference on Semantic Audio, figure 6: 928 number-one singles",
    "quoted",
    "an article of Sage Audio and a public repository",
)
PESTANA_2014_VOCAL = Source(
    "Pestana, Reiss",
    2014,
    "Intelligent audio production strategies informed by best practices",
    "AES 53rd Conference on Semantic Audio: preferred level of the lead vocal",
    "quoted",
    "an article of Sage Audio",
)
REFUTED_LEVELS = Source(
    "Pestana, Reiss", 2014, "Intelligent audio production strategies informed by best practices", "AES 53rd Conference", "recalled"
)
ELOWSSON_2017 = Source(
    "Elowsson, Friberg",
    2017,
    "Long-term average spectrum in popular music and its relation to the level of the percussion",
    "AES 142nd Convention, paper 9762: 12,345 songs",
    "quoted",
    "two public repositories, with the same numbers",
)
HOVE_2019 = Source(
    "Hove, Vuust, Stupacher",
    2019,
    "Increased levels of bass in popular music recordings 1955-2016 and their relation to loudness",
    "J. Acoust. Soc. Am. 145(4), 2247-2253, doi 10.1121/1.5097587: abstract",
    "abstract",
)
DERUTY_2014 = Source(
    "Deruty, Tardieu",
    2014,
    "About dynamic processing in mainstream music",
    "J. Audio Eng. Soc. 62(1/2), 42-55: tracks of 1967 to 2011",
    "quoted",
    "two public repositories, from its abstract",
)
DERUTY_2011 = Source(
    "Deruty", 2011, "'Dynamic range' and the loudness war", "Sound on Sound, September 2011: 4500 tracks of 1969 to 2010", "quoted",
    "lecture notes in a public repository",
)  # fmt: skip
JEON_2022 = Source(
    "Jeon, Lee", 2022, "Towards robust music source separation on loud commercial music", "ISMIR 2022, arXiv 2208.14355", "recalled"
)
IMP_2019 = Source(
    "De Man, Stables, Reiss",
    2019,
    "Intelligent music production",
    "Routledge, doi 10.4324/9781315166100, on panning: after Pestana and Reiss, Mansbridge and others",
    "quoted",
    "a public repository, which adds that it holds up to the low mids only",
)
LUDWIG_2011 = Source(
    "Castle, Ludwig",
    2011,
    "Recording tips for the loudness wars: an interview with mastering great Bob Ludwig",
    "Christian Castle, December 2011: where bass and kick are",
    "quoted",
    "a collection of notes on mastering in a public repository",
)
MELLOR_2009 = Source(
    "Mellor",
    2009,
    "Should you pan low-frequency instruments?",
    "Audio Masterclass, 27 July 2009: of vinyl, and what remains of it",
    "paper",
)
WICHERN_2015 = Source(
    "Wichern, Wishnick, Lukin, Robertson",
    2015,
    "Comparison of loudness features for automatic level adjustment in mixing",
    "AES 139th Convention, e-library 17928: abstract",
    "abstract",
)
LWMR = Source(
    "Mastering engineers of a forum",
    2023,
    "Loudness standards and streaming delivery",
    "LWMR wiki: the -14 LUFS myth, a summary of 22,909 messages",
    "paper",
)
VICKERS_2010 = Source(
    "Vickers", 2010, "The loudness war: background, speculation, and recommendations", "AES 129th Convention", "quoted",
    "a collection of notes on mastering in a public repository",
)  # fmt: skip
STREAMING = Source(
    "Sapunov", 2026, "LUFS targets per platform", "Fora Soft, 5 June 2026, after the platforms' own pages", "paper"
)  # fmt: skip

OURS = "the source gives no number; this one is ours"
AROUND = "the source's mean; what is around it is ours"
DEVIATION = "the source's mean, one standard deviation around it"
CENTRE = 0.1  # a pan: 1.4 dB between the channels

PUBLISHED = (
    Rule(
        "vocal_3_lu", "The lead vocal is about 3 LU below the whole mix.", "vocal_level", -4.3, -1.1, DEVIATION, "measured", DE_MAN_2014
    ),
    Rule(
        "vocal_loudest", "The lead vocal is louder than every other source.", "vocal_lead", 0.0, None, "the source", "measured", DE_MAN_2014
    ),
    Rule(
        "vocal_equals_rest", "The lead vocal is as loud as all the rest together.", "vocal_against_rest", -2.0, 2.0, AROUND, "surveyed",
        PESTANA_2014_VOCAL,
    ),
    Rule(
        "vocal_from_1975", "Since 1975 the lead vocal is about 1 dB above the accompaniment.", "vocal_against_rest", -3.0, 5.0, AROUND,
        "measured", GERDES_2023, years=(1975, None),
    ),
    Rule(
        "vocal_to_1960", "Up to 1960 the lead vocal is 0 to 7 dB above the accompaniment.", "vocal_against_rest", 0.0, 7.0, "the source",
        "measured", GERDES_2022, years=(None, 1960),
    ),
    Rule(
        "vocal_fell_to_1975", "From 1946 to 1975 the lead vocal fell by about 4 dB against the accompaniment.", "vocal_against_rest",
        -2.4, -0.4, "the source's 5 dB in 1946 and 1 dB in 1975, 1 dB a decade around it is ours", "measured", GERDES_2023,
        years=(1946, 1975), against=YEAR,
    ),
    Rule(
        "vocal_steady", "Since 1975 the lead vocal stays where it is against the accompaniment.", "vocal_against_rest", -0.5, 0.5, OURS,
        "measured", GERDES_2023, years=(1975, None), against=YEAR,
    ),
    Rule(
        "vocal_country", "In country the lead vocal is above the accompaniment.", "vocal_against_rest", 0.0, None, "the source",
        "measured", GERDES_2023, genres=("country",),
    ),
    Rule(
        "vocal_rap", "In rap the lead vocal is above the accompaniment.", "vocal_against_rest", 0.0, None, "the source", "measured",
        GERDES_2023, genres=("rap", "hip hop"),
    ),
    Rule(
        "vocal_pop", "In pop the lead vocal is above the accompaniment.", "vocal_against_rest", 0.0, None, "the source", "measured",
        GERDES_2023, genres=("pop",),
    ),
    Rule(
        "vocal_rock", "In rock the lead vocal is as loud as the accompaniment.", "vocal_against_rest", -2.0, 2.0, AROUND, "measured",
        GERDES_2023, genres=("rock",),
    ),
    Rule(
        "vocal_metal", "In metal the lead vocal is about 3 dB below the accompaniment.", "vocal_against_rest", None, 0.0, "the source",
        "measured", GERDES_2023_METAL, genres=("metal",),
    ),
    Rule("bass_9_lu", "The bass is about 9 LU below the whole mix.", "bass_level", -13.0, -6.0, DEVIATION, "measured", DE_MAN_2014),
    Rule("kick_13_lu", "The kick drum is about 13 LU below the whole mix.", "kick_level", -17.3, -9.1, DEVIATION, "measured", DE_MAN_2014),
    Rule(
        "snare_17_lu", "The snare drum is about 17 LU below the whole mix.", "snare_level", -23.0, -10.6, DEVIATION, "measured", DE_MAN_2014
    ),
    Rule("equal_levels", "All sources are equally loud.", "level_spread", 0.0, 3.0, OURS, "refuted", REFUTED_LEVELS),
    Rule(
        "reverb_14_lu", "All reverb together is about 14 LU below the whole mix.", "reverb_level", -18.0, -10.0, AROUND, "measured",
        DE_MAN_2017,
    ),
    Rule("vocal_centre", "The lead vocal is in the centre.", "vocal_pan", -CENTRE, CENTRE, OURS, "surveyed", PESTANA_2014),
    Rule("bass_centre", "The bass is in the centre.", "bass_pan", -CENTRE, CENTRE, OURS, "surveyed", PESTANA_2014),
    Rule("kick_centre", "The kick drum is in the centre.", "kick_pan", -CENTRE, CENTRE, OURS, "opinion", LUDWIG_2011),
    Rule("snare_centre", "The snare drum is in the centre.", "snare_pan", -CENTRE, CENTRE, OURS, "surveyed", PESTANA_2014),
    Rule("no_hard_pan", "No source is panned hard to a side.", "largest_pan", None, 0.8, OURS, "refuted", PESTANA_2014),
    Rule("low_narrow", "What is below 120 Hz is in the centre.", "low_side", None, -10.0, OURS, "opinion", MELLOR_2009),
    Rule("higher_wider", "The higher the frequencies, the wider they are.", "width_rise", 0.01, None, OURS, "surveyed", IMP_2019),
    Rule("sides_balanced", "Left and right have the same energy.", "left_right", -1.0, 1.0, OURS, "surveyed", PESTANA_2014),
    Rule("mono_safe", "Left and right do not cancel each other in mono.", "correlation", -0.1, None, OURS, "surveyed", PESTANA_2014),
    Rule(
        "slope_5_db", "The spectrum falls by about 5 dB an octave from 100 Hz to 4 kHz.", "spectral_slope", -6.0, -4.0, AROUND, "measured",
        PESTANA_2013,
    ),
    Rule(
        "slope_whole", "The spectrum falls by about 5.8 dB an octave from 94 Hz to 15.7 kHz.", "whole_slope", -7.0, -4.6, AROUND,
        "measured", ELOWSSON_2017,
    ),
    Rule(
        "percussion_treble", "The louder the percussion, the more there is above 4.5 kHz.", "treble_level", 0.0, None, "the source",
        "measured", ELOWSSON_2017, against="percussive_level",
    ),
    Rule(
        "percussion_bass", "The louder the percussion, the more there is below 100 Hz.", "low_level", 0.0, None, "the source", "measured",
        ELOWSSON_2017, against="percussive_level",
    ),
    Rule(
        "percussion_slope", "How loud the percussion is does not change the slope between bass and treble.", "spectral_slope", -0.1, 0.1,
        OURS, "measured", ELOWSSON_2017, against="percussive_level",
    ),
    Rule(
        "bass_rises", "From 1955 to 2016 the lowest frequencies grew against the whole.", "low_level", 0.0, None, "the source", "measured",
        HOVE_2019, years=(1955, 2016), against=YEAR,
    ),
    Rule(
        "louder_to_2004", "Up to 2004 records became louder.", "loudness", 0.0, None, "the source", "measured", DERUTY_2014,
        years=(1967, 2004), against=YEAR,
    ),
    Rule(
        "crest_falls", "From 1990 to 2010 the crest factor fell.", "crest", None, 0.0, "the source", "measured", DERUTY_2011,
        years=(1990, 2010), against=YEAR,
    ),
    Rule(
        "range_steady", "From 1969 to 2010 the loudness range did not fall.", "loudness_range", -0.5, None, OURS, "measured", DERUTY_2011,
        years=(1969, 2010), against=YEAR,
    ),
    Rule(
        "released_8_lufs", "Released songs of today are at about -8 LUFS.", "loudness", -11.0, -6.0, AROUND, "measured", JEON_2022,
        years=(2010, None),
    ),
    Rule("master_14_lufs", "A master is at -14 LUFS, as streaming plays it.", "loudness", -15.0, -13.0, AROUND, "refuted", LWMR),
    Rule("peak_1_dbtp", "The true peak of a master is at most -1 dBTP.", "true_peak", None, -1.0, "the source", "opinion", STREAMING),
    Rule("crest_healthy", "A healthy crest factor is 10 to 14 dB.", "crest", 10.0, 14.0, "the source", "opinion", VICKERS_2010),
    Rule(
        "crest_rises", "Low frequencies are compressed more than high ones.", "crest_rise", 0.0, None, "the source", "measured",
        PESTANA_2014_CREST,
    ),
    Rule(
        "energy_loudness", "To set levels, a simple energy loudness does as well as a model of hearing.", "", None, None, "", "measured",
        WICHERN_2015, not_measured="It is about what listeners prefer, which cannot be measured in audio.",
    ),
)  # fmt: skip

OWN = SimpleNamespace(**{rule.name: rule for rule in PUBLISHED})  # the registry finds each by its name
RULES: Registry[Rule] = Registry(
    "rule", "stemwright.rules", {rule.name: f"{__name__}:OWN.{rule.name}" for rule in PUBLISHED}, check=check_rule
)
