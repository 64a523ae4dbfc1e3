"""The presets of ``restore``: their ranges are the published ones, and so are numbers, weights and order of what is drawn."""

import itertools
from collections import Counter

import numpy as np
import pytest
from test_recipe_restore import planned

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.scaling import at_level
from stemwright.datagen.pairs.recipes.remfx import JUCE_TIME
from stemwright.datagen.pairs.recipes.restoration import SONICMASTER_GROUPS, eyring_rt60_s
from stemwright.datagen.pairs.recipes.restoration_sentences import NAMED
from stemwright.datagen.pairs.recipes.restore import Config

# MSRKit, data/augment.py and eq_utils.py. Gains are true ones: twice those of the file, whose filters use 10^(gain / 20). Times of JUCE's
# compressor are those of our detector. Resampling to 8 to 32 kHz is a low-pass from 4 to 16 kHz, MP3 of quality 9 to 1 about 65 to 225
# kbit/s.
Q = (0.5, 3.0, "linear")
MSR = {
    "eq-lowpass": ("lowpass", {"cutoff_hz": (200.0, 8000.0, "linear")}),
    "eq-highpass": ("highpass", {"cutoff_hz": (20.0, 2000.0, "linear")}),
    "eq-peak": ("eq", {"peak1_gain_db": (-12.0, 12.0), "peak1_hz": (100.0, 8000.0, "linear"), "peak1_q": Q}),
    "eq-low-shelf": ("eq", {"low_shelf_gain_db": (-12.0, 12.0), "low_shelf_hz": (50.0, 1000.0, "linear"), "low_shelf_q": Q}),
    "eq-high-shelf": ("eq", {"high_shelf_gain_db": (-12.0, 12.0), "high_shelf_hz": (1000.0, 10_000.0, "linear"), "high_shelf_q": Q}),
    "resampled": ("lowpass", {"cutoff_hz": (4000.0, 16_000.0, "linear"), "order": 8.0}),
    "compressed": (
        "compressor",
        {
            "threshold_db": (-20.0, 0.0),
            "ratio": (1.5, 10.0, "linear"),
            "detector_attack_ms": (JUCE_TIME * 1.0, JUCE_TIME * 10.0, "linear"),
            "detector_release_ms": (JUCE_TIME * 50.0, JUCE_TIME * 200.0, "linear"),
            "attack_ms": 0.0,
            "release_ms": 0.0,
            "linked": False,
        },
    ),
    "distorted": ("distortion", {"drive_db": (0.0, 5.0), "output_db": "0 - drive_db"}),
    "reverberated": ("reverb", {"room_size": (0.1, 1.0), "damping": (0.1, 1.0), "wet": (0.1, 0.5), "dry": 0.8, "width": (0.1, 1.0)}),
    "limited": ("limiter", {"ceiling_db": (-10.0, 0.0), "release_ms": (50.0, 200.0, "linear"), "lookahead_ms": 0.0}),
    "resampled-mixture": ("lowpass", {"cutoff_hz": (4000.0, 16_000.0, "linear"), "order": 8.0}),
    "mp3": ("codec", {"codec": "mp3", "bit_rate_kbps": (65.0, 225.0, "linear"), "level_db": 0.0}),
}
MSR_BANDS_HZ = (25, 40, 63, 100, 160, 250, 400, 630, 1000, 1600, 2500, 4000, 6300, 10_000, 16_000, 20_000)

# SonicMaster, dataset_scripts. Shelves have the gain that they record; the peaks of "xband" twice of it. Clipping at full scale of a peak
# times 2, 3, 5; volumes are peaks of 0.001, 0.003, 0.01, 0.05; rooms by Eyring's equation from their sizes and absorptions.
ROOM = {"pre_delay_ms": (0.0, 40.0), "damping": 0.0, "wet_db": (-18.0, 0.0), "seed": (0.0, 2.0**31 - 1.0)}
SONICMASTER = {
    "comp": (
        "compressor",
        {
            "threshold_db": (-45.0, -38.0, "integer"),
            "ratio": (6.0, 45.0, "linear"),
            "detector": "rms",
            "detector_attack_ms": 2.9,
            "detector_release_ms": 2.9,
            "attack_ms": (3.0, 150.0, "linear"),
            "release_ms": (80.0, 250.0, "linear"),
            "makeup_db": (16.0, 25.0),
        },
    ),
    "bright": ("eq", {"high_shelf_gain_db": (-15.0, -6.0), "high_shelf_hz": 6000.0, "high_shelf_q": 0.707}),
    "dark": ("eq", {"high_shelf_gain_db": (6.0, 15.0), "high_shelf_hz": 6000.0, "high_shelf_q": 0.707}),
    "airy": ("eq", {"high_shelf_gain_db": (-20.0, -10.0), "high_shelf_hz": 10_000.0, "high_shelf_q": 0.707}),
    "boom": ("eq", {"low_shelf_gain_db": (-20.0, -10.0), "low_shelf_hz": 120.0, "low_shelf_q": 0.707}),
    "warm": ("eq", {"low_shelf_gain_db": (-20.0, -6.0), "low_shelf_hz": 400.0, "low_shelf_q": 0.707}),
    "clarity": ("lowpass", {"cutoff_hz": 4000.0, "order": (3.0, 5.0)}),
    "mud": ("eq", {"peak1_gain_db": (6.0, 15.0), "peak1_hz": 316.23, "peak1_q": 1.054}),
    "reverb-small": ("room", {"rt60_s": (0.21, 3.11), **ROOM}),
    "reverb-big": ("room", {"rt60_s": (0.44, 8.1), **ROOM}),
    "reverb-mix": ("room", {"rt60_s": (0.13, 0.85), **ROOM}),
    "stereo": ("width", {"width": 0.0}),
    "clip-2": ("clip", {"ceiling_db": -6.02}),
    "clip-3": ("clip", {"ceiling_db": -9.54}),
    "clip-5": ("clip", {"ceiling_db": -13.98}),
    "volume-0.01": ("fader", {"gain_db": -40.0}),
    "volume-0.05": ("fader", {"gain_db": -26.02}),
}
GROUPS = {"equalization": 0.4, "dynamics": 0.125, "reverb": 0.225, "amplitude": 0.125, "stereo": 0.125}
EQUALISATIONS = {"xband": 7, "bright": 3, "dark": 3, "airy": 2, "boom": 2, "clarity": 3, "mud": 3, "warm": 3}
REVERBS = {"reverb-small": 0.15, "reverb-big": 0.15, "reverb-mix": 0.3}
AMPLITUDES = {"clip": 3, "volume": 1}
DRAFTS = 2000


def ranges_of(preset):
    return {name: [(stage.effect, stage.ranges) for stage in each.chain] for name, each in Config(preset=preset).degradations.items()}


# Ranges


def test_msr_has_the_ranges_of_its_kit_with_true_gains():
    ranges = ranges_of("msr")
    graphic = ranges.pop("eq-graphic")
    assert ranges == {name: [stage] for name, stage in MSR.items()}
    wanted = dict(zip(MSR_BANDS_HZ, [(-12.0, 12.0)] * 16, strict=True))
    found = {each[f"{band}_hz"]: each[f"{band}_gain_db"] for _, each in graphic for band in bands(each)}
    assert found == wanted
    assert {each[f"{band}_q"] for _, each in graphic for band in bands(each)} == {0.7}


def bands(ranges):
    return [key.removesuffix("_hz") for key in ranges if key.endswith("_hz")]


def test_sonicmaster_has_the_ranges_of_its_scripts_with_true_gains():
    ranges = ranges_of("sonicmaster")
    for number in range(8, 13):
        chain = ranges.pop(f"xband-{number}")
        frequencies = [each[f"{band}_hz"] for _, each in chain for band in bands(each)]
        np.testing.assert_allclose(frequencies, np.geomspace(40.0, 16_000.0, number), atol=0.01)
        (q,) = {each[f"{band}_q"] for _, each in chain for band in bands(each)}
        assert q == pytest.approx(frequencies[-1] / (frequencies[-1] - frequencies[-2]) / 2.0, abs=0.001)
        assert {each[f"{band}_gain_db"] for _, each in chain for band in bands(each)} == {(-12.0, 12.0)}
    for peak in (0.001, 0.003):
        chain = ranges.pop(f"volume-{peak:g}")
        assert {effect for effect, _ in chain} == {"fader"}
        assert sum(each["gain_db"] for _, each in chain) == pytest.approx(20.0 * np.log10(peak), abs=0.02)
    assert ranges == {name: [stage] for name, stage in SONICMASTER.items()}


@pytest.mark.parametrize("size_m", [(3.0, 3.0, 2.5), (15.0, 18.0, 14.0)])
def test_a_room_that_absorbs_little_decays_as_sabine_says_and_any_other_faster(size_m):
    length, width, height = size_m
    surface = 2.0 * (length * width + length * height + width * height)
    sabine_s = {absorption: 0.161 * length * width * height / (surface * absorption) for absorption in (0.001, 0.05, 0.3)}
    assert eyring_rt60_s(size_m, 0.001) == pytest.approx(sabine_s[0.001], rel=1e-3)
    assert eyring_rt60_s(size_m, 0.05) < sabine_s[0.05]
    assert eyring_rt60_s(size_m, 0.3) < 0.85 * sabine_s[0.3]
    assert eyring_rt60_s(size_m, 0.3) == pytest.approx(eyring_rt60_s(size_m, 0.0, 0.3 * surface))


# What is drawn


RATES_KBPS = {64.0, 80.0, 96.0, 112.0, 128.0, 160.0, 192.0, 224.0}  # what constant MP3 has next to 65 to 225
MIXTURE_PEAK, STEM_PEAK = -6.0, -15.0  # dBFS: what the rows' peaks are where the mixture of -15 LUFS is brought to -20


def is_within(name, value, wanted):
    if name == "bit_rate_kbps":
        return value in RATES_KBPS
    if isinstance(wanted, tuple) and not isinstance(wanted[0], str | bool):
        return float(wanted[0]) <= float(value) <= float(wanted[1])
    return value == wanted or (isinstance(wanted, str) and " - " in wanted)  # the latter follows from another setting


def fits(use, stage, peak_dbfs):
    """Whether a use has settings in the ranges of a stage, for a sound with a peak."""
    if use.effect != stage.effect:
        return False
    settings = EFFECTS[use.effect].Settings(**use.settings)
    values = {name: round(value, 6) if isinstance(value, float) else value for name, value in moved_up(use.effect, settings, peak_dbfs)}
    return all(is_within(name, values[name], wanted) for name, wanted in stage.filled().items())


def moved_up(effect, settings, peak_dbfs):
    return at_level(effect, settings, -peak_dbfs).plain().items()


def names_of(chain, names, config, peak_dbfs):
    """The degradations, in their listed order, that a chain consists of; an error where it is none."""
    found, left = [], list(chain)
    for name in names:
        stages = config.degradations[name].chain
        peak = peak_dbfs if config.degradations[name].relative_to == "peak" else 0.0
        if len(left) >= len(stages) and all(fits(use, stage, peak) for use, stage in zip(left, stages, strict=False)):
            found.append(name)
            left = left[len(stages) :]
    assert not left, f"{[use.effect for use in left]} are in no published range"
    return found


def family(name):
    return name if name in NAMED else name.rsplit("-", 1)[0]


def is_likely(count, of, share):
    """Whether a number of successes is within three standard deviations of its mean."""
    return abs(count - of * share) <= 3.0 * np.sqrt(of * share * (1.0 - share))


@pytest.fixture(scope="module")
def msr_chains():
    """The degradations of 2,000 stems and of 500 mixtures."""
    config = Config(preset="msr")
    stems, mixtures = [], []
    for pair in planned(DRAFTS // 4, preset="msr", sample_rate=48_000):
        (degraded,) = pair.inputs
        stems += [names_of(branch.chain[1:], config.stem_effects, config, STEM_PEAK) for branch in degraded.branches]
        mixtures.append(names_of(degraded.bus, (*config.bus_effects, *config.final_effects), config, MIXTURE_PEAK))
    return stems, mixtures


def test_msr_degrades_each_stem_and_the_mixture_by_each_kind_with_a_probability_of_a_half(msr_chains):
    stems, mixtures = msr_chains
    assert len(stems) == DRAFTS
    kinds = Counter("eq" if name.startswith("eq-") else name for chain in stems for name in chain)
    assert set(kinds) == {"eq", "resampled", "compressed", "distorted", "reverberated"}
    assert all(is_likely(count, DRAFTS, 0.5) for count in kinds.values()), kinds
    both = sum({"compressed", "reverberated"} <= set(chain) for chain in stems)
    assert is_likely(both, DRAFTS, 0.25)
    graphic = sum("eq-graphic" in chain for chain in stems)
    assert is_likely(graphic, kinds["eq"], 0.5)
    last = Counter(name for chain in mixtures for name in chain)
    assert set(last) == {"limited", "resampled-mixture", "mp3"}
    assert all(is_likely(count, len(mixtures), 0.5) for count in last.values()), last


@pytest.fixture(scope="module")
def sonicmaster_texts():
    """Of 2,000 pairs the degradations that their sentences ask to repair, which are those of their chains, in the published order."""
    config = Config(preset="sonicmaster")
    asked = {sentence: name for name, sentences in NAMED.items() for sentence in sentences}
    found = []
    for pair in planned(DRAFTS, preset="sonicmaster"):
        names = [asked[f"{sentence}."] for sentence in pair.text.removesuffix(".").split(". ")]
        listed = [name for name in config.bus_effects if family(name) in names]
        assert [family(name) for name in names_of(pair.inputs[0].bus, listed, config, MIXTURE_PEAK)] == names
        found.append(names)
    return found


def test_sonicmaster_has_the_published_numbers_of_degradations_and_their_order(sonicmaster_texts):
    counts = Counter(len(names) for names in sonicmaster_texts)
    assert set(counts) == {1, 2, 3}
    assert all(is_likely(counts[number], DRAFTS, weight / 7.0) for number, weight in ((1, 4), (2, 2), (3, 1))), counts
    assert list(SONICMASTER_GROUPS) == ["dynamics", "equalization", "reverb", "stereo", "amplitude"]
    for names in sonicmaster_texts:
        groups = [group_of(name) for name in names]
        assert groups == [group for group in SONICMASTER_GROUPS if group in groups]


def group_of(name):
    members = {"comp": "dynamics", "stereo": "stereo"} | dict.fromkeys(EQUALISATIONS, "equalization")
    return (members | dict.fromkeys(REVERBS, "reverb") | dict.fromkeys(AMPLITUDES, "amplitude"))[name]


def test_sonicmaster_draws_groups_and_their_members_by_the_published_weights(sonicmaster_texts):
    alone = Counter(group_of(names[0]) for names in sonicmaster_texts if len(names) == 1)
    assert all(is_likely(alone[group], alone.total(), share) for group, share in GROUPS.items()), alone
    members = Counter(name for names in sonicmaster_texts for name in names)
    for weights in (EQUALISATIONS, REVERBS, AMPLITUDES):
        drawn = sum(members[name] for name in weights)
        assert all(is_likely(members[name], drawn, weight / sum(weights.values())) for name, weight in weights.items()), members


def test_a_named_degradation_has_four_sentences_at_least_and_shares_none():
    assert all(len(set(sentences)) >= 4 for sentences in NAMED.values())
    assert max(Counter(itertools.chain(*NAMED.values())).values()) == 1
    assert {family(name) for name in Config(preset="sonicmaster").degradations} == set(NAMED)


@pytest.mark.parametrize("preset", ["msr", "sonicmaster", "sonicmaster-equalization", "sonicmaster-stereo"])
def test_a_preset_draws_what_a_low_sample_rate_can_represent(preset):
    for pair in planned(40, preset=preset, sample_rate=8000):
        for use in (*pair.inputs[0].bus, *(use for branch in pair.inputs[0].branches for use in branch.chain)):
            frequencies = [value for name, value in use.settings.items() if name.endswith("_hz")]
            assert all(value <= 3600.0 for value in frequencies)
