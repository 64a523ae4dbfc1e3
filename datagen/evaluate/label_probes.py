"""What is measured of our own effects, and of effects that other packages register.

Conventions
    Every setting of every effect of ours has a probe; a test compares the lists. The definitions are those of the effects' module heads,
    of which ``definition`` repeats what a measure takes from them. An effect of another package states its own probes as ``LABEL_PROBES``,
    a tuple of ``Probe``; of a setting without one only is measured what its declaration says (a gain after all else, a ceiling), and
    otherwise whether the output moves with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from stemwright.datagen.effects.settings import Choice, Range, fields
from stemwright.datagen.evaluate.label_audit import AuditedEffect, Plain, Probe
from stemwright.datagen.evaluate.label_measures import coding_noise, echoes, freeverb, level_steps, modulation, responses, signal_levels

HZ: dict[str, Any] = {"unit": "Hz", "tolerance": 0.01, "relative": True}
MS: dict[str, Any] = {"unit": "ms", "tolerance": 0.02, "relative": True}
DB: dict[str, Any] = {"unit": "dB", "tolerance": 0.1}
Q: dict[str, Any] = {"tolerance": 0.02, "relative": True, "definition": "on the frequency axis of the analogue prototype"}
TIME_SHARE = "89 % of the change (1 - e^-2.2)"


def _fader() -> Iterable[Probe]:
    yield Probe("gain_db", (-40.0, -12.0, -3.0, 6.0, 20.0), signal_levels.gain_db, **DB)
    yield Probe("pan", (-0.9, -0.5, 0.25, 0.8), signal_levels.pan, tolerance=0.005, channels=(2,))


def _width() -> Iterable[Probe]:
    yield Probe("width", (0.0, 0.5, 1.5, 3.0), signal_levels.width, tolerance=0.01, channels=(2,))


def _eq() -> Iterable[Probe]:
    for band, near in (("low_shelf", 300.0), ("peak1", 250.0), ("peak2", 2500.0), ("peak3", 9000.0), ("peak4", 14_000.0)):
        shelf = band.startswith("low")
        hz = near if shelf else near / 2.0, near, near * 1.3
        gain = responses.shelf_db(high=False) if shelf else responses.peak_db()
        yield Probe(f"{band}_gain_db", (-18.0, -6.0, 3.0, 12.0), gain, {f"{band}_hz": near}, **DB)
        centre = responses.shelf_hz if shelf else responses.peak_hz
        yield Probe(f"{band}_hz", hz, centre, {f"{band}_gain_db": 9.0}, **HZ)
        steep = responses.shelf_q(near) if shelf else responses.peak_q(near)
        yield Probe(f"{band}_q", (0.3, 0.71, 1.5, 4.0), steep, {f"{band}_gain_db": 9.0, f"{band}_hz": near}, **Q)
    yield Probe("high_shelf_gain_db", (-18.0, -6.0, 3.0, 12.0), responses.shelf_db(high=True), {"high_shelf_hz": 6000.0}, **DB)
    yield Probe("high_shelf_hz", (2000.0, 6000.0, 14_000.0), responses.shelf_hz, {"high_shelf_gain_db": 9.0}, **HZ)
    fixed = {"high_shelf_gain_db": 9.0, "high_shelf_hz": 6000.0}
    yield Probe("high_shelf_q", (0.3, 0.71, 1.5, 4.0), responses.shelf_q(6000.0), fixed, **Q)


def _pass(*, high: bool) -> Iterable[Probe]:
    yield Probe("cutoff_hz", (60.0, 300.0, 3000.0, 16_000.0), responses.cutoff(high=high), **HZ, definition="where the gain is -3.01 dB")
    yield Probe("order", (1.0, 2.0, 4.0, 8.0), responses.order(1000.0, high=high), {"cutoff_hz": 1000.0}, tolerance=0.03)


def _compressor() -> Iterable[Probe]:
    at_once: dict[str, Plain] = dict.fromkeys(("detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms"), 0.0)
    quick = {**at_once, "release_ms": 20.0}
    whole = {**at_once, "threshold_db": -30.0, "ratio": math.inf}
    yield Probe("threshold_db", (-55.0, -40.0, -25.0, -10.0), level_steps.threshold(), {**quick, "ratio": 4.0}, **DB)
    ratio = level_steps.ratio_inverse(-30.0)
    values = (1.5, 3.0, 8.0, math.inf)
    yield Probe("ratio", values, ratio, {**quick, "threshold_db": -30.0}, "1/ratio", lambda value: 1.0 / value, tolerance=0.005)
    reading = {"peak": 20.0 * math.log10(2.0 / math.pi), "rms": -10.0 * math.log10(2.0)}
    fixed = {**whole, "detector_attack_ms": 50.0, "detector_release_ms": 50.0}
    yield Probe("detector", ("peak", "rms"), level_steps.sine_reading(-10.0), fixed, "dB", reading.__getitem__, tolerance=0.1)
    up, down = level_steps.LevelStep((-25.0, -10.0), domain="level"), level_steps.LevelStep((-10.0, -25.0), domain="level")
    yield Probe("detector_attack_ms", (1.0, 10.0, 100.0), level_steps.step_time(up), whole, **MS, definition=TIME_SHARE)
    yield Probe("detector_release_ms", (2.0, 20.0, 500.0), level_steps.step_time(down), whole, **MS, definition=TIME_SHARE)
    fixed = {**at_once, "threshold_db": -30.0, "ratio": 4.0}
    up, down = level_steps.LevelStep((-40.0, -10.0)), level_steps.LevelStep((-10.0, -40.0))
    yield Probe("attack_ms", (1.0, 10.0, 100.0), level_steps.step_time(up), fixed, **MS, definition=TIME_SHARE)
    yield Probe("release_ms", (5.0, 50.0, 500.0), level_steps.step_time(down), fixed, **MS, definition=TIME_SHARE)
    yield Probe("makeup_db", (-12.0, 3.0, 20.0), level_steps.soft_gain(-50.0), fixed, **DB)
    yield Probe("linked", (True, False), level_steps.linked(-10.0, -40.0), fixed, channels=(2,))


def _limiter() -> Iterable[Probe]:
    yield Probe("ceiling_db", (-40.0, -20.0, -6.0, -1.0), level_steps.ceiling(), **DB)
    release = level_steps.step_time(level_steps.LevelStep((0.0, -40.0), hold_s=0.2))
    yield Probe("release_ms", (10.0, 100.0, 1000.0), release, {"ceiling_db": -20.0, "lookahead_ms": 0.0}, **MS, definition=TIME_SHARE)
    yield Probe(
        "lookahead_ms", (0.5, 1.5, 5.0, 20.0), level_steps.lookahead((-40.0, 0.0)), {"ceiling_db": -20.0}, unit="ms", tolerance=0.03
    )
    yield Probe("linked", (True, False), level_steps.linked(0.0, -40.0), {"ceiling_db": -20.0}, channels=(2,))


def _clip() -> Iterable[Probe]:
    yield Probe("ceiling_db", (-40.0, -20.0, -6.0, 0.0), level_steps.ceiling(), **DB)


def _distortion() -> Iterable[Probe]:
    yield Probe("drive_db", (-10.0, 0.0, 15.0, 35.0), signal_levels.drive_db, **DB)
    yield Probe("asymmetry", (-0.8, -0.2, 0.2, 0.8), signal_levels.asymmetry, {"drive_db": 6.0}, tolerance=0.01)
    yield Probe("output_db", (-30.0, -6.0, 12.0), signal_levels.full_scale_db, {"drive_db": 6.0}, **DB)


def _reverb() -> Iterable[Probe]:
    yield Probe("room_size", (0.1, 0.4, 0.8), freeverb.room_size, {"damping": 0.0, "wet": 0.5, "dry": 0.0}, tolerance=0.03)
    fixed = {"room_size": 0.6, "wet": 0.5, "dry": 0.0}
    yield Probe("damping", (0.1, 0.4, 0.8), freeverb.damping(3.0), fixed, tolerance=0.05)
    yield Probe("wet", (0.1, 0.33, 0.9), freeverb.wet, {"damping": 0.0}, tolerance=0.005)
    yield Probe("dry", (0.0, 0.5, 1.6), echoes.direct, {"wet": 0.3}, tolerance=0.005)
    yield Probe("width", (0.0, 0.3, 0.7), freeverb.width, {"wet": 0.3, "damping": 0.0}, tolerance=0.005, channels=(2,))


def _room() -> Iterable[Probe]:
    fixed = {"wet_db": 0.0, "damping": 0.0}
    yield Probe("rt60_s", (0.3, 1.0, 3.0), echoes.decay(60.0, 10_000.0), fixed, "s", tolerance=0.03, relative=True)
    yield Probe("pre_delay_ms", (5.0, 20.0, 100.0), echoes.pre_delay_ms, fixed, unit="ms", tolerance=0.1)
    fixed = {"rt60_s": 4.0, "wet_db": 0.0}
    yield Probe("damping", (0.2, 1.0, 3.0), echoes.damping(4.0), fixed, tolerance=0.1, relative=True)
    yield Probe("wet_db", (-40.0, -12.0, 0.0, 6.0), echoes.tail_db(1.5), {"rt60_s": 0.8, "pre_delay_ms": 1.0}, **DB)
    yield Probe("seed", (0.0, 1.0, 2.0), None, {"wet_db": 0.0})


def _delay() -> Iterable[Probe]:
    yield Probe("delay_ms", (10.0, 120.3, 700.0, 3000.0), echoes.delay_ms, {"mix": 0.6}, unit="ms", tolerance=0.023)
    yield Probe("feedback", (0.1, 0.5, 0.9), echoes.feedback(200.0), {"delay_ms": 200.0, "mix": 0.5}, tolerance=0.001)
    yield Probe("mix", (0.1, 0.5, 0.9), echoes.echo_factor(200.0), {"delay_ms": 200.0}, tolerance=0.001)
    yield Probe("mix", (0.1, 0.5, 0.9), echoes.dry_share, {"delay_ms": 200.0}, tolerance=0.001)


def _chorus() -> Iterable[Probe]:
    copy: dict[str, Plain] = {"mix": 1.0, "centre_ms": 10.0, "rate_hz": 2.0}
    yield Probe("rate_hz", (0.2, 1.5, 8.0), modulation.rate, {**copy, "depth": 0.3}, **HZ)
    yield Probe("depth", (0.1, 0.4, 0.8), modulation.relative_depth(2.0), copy, tolerance=0.005)
    yield Probe("depth_ms", (1.0, 4.0, 8.0), modulation.depth_ms(2.0), {**copy, "depth": 0.0}, unit="ms", tolerance=0.02)
    yield Probe("centre_ms", (2.0, 10.0, 40.0), modulation.centre_ms(2.0), {**copy, "depth": 0.2}, **MS)
    still: dict[str, Plain] = {"depth": 0.0, "centre_ms": 20.0}
    yield Probe("feedback", (-0.7, 0.2, 0.8), echoes.feedback(20.0), {**still, "mix": 0.5}, tolerance=0.001)
    yield Probe("mix", (0.1, 0.5, 0.9), echoes.dry_share, still, tolerance=0.001)
    yield Probe("mix", (0.1, 0.5, 0.9), echoes.echo_factor(20.0), still, tolerance=0.001)
    yield Probe("phase", (0.1, 0.5, 0.8), modulation.phase(2.0), {**copy, "depth": 0.3}, unit="cycle", tolerance=0.005)


def _noise() -> Iterable[Probe]:
    yield Probe("snr_db", (10.0, 25.0, 40.0, 60.0), signal_levels.snr_db, {"seed": 3.0}, **DB)
    slopes = {"white": 0.0, "pink": -10.0 * math.log10(2.0), "brown": -20.0 * math.log10(2.0)}
    fixed: dict[str, Plain] = {"snr_db": 10.0}
    yield Probe("colour", tuple(slopes), signal_levels.noise_slope_db, fixed, "dB/octave", slopes.__getitem__, tolerance=0.2)
    yield Probe("seed", (0.0, 1.0, 2.0), None, fixed)


def _dc() -> Iterable[Probe]:
    yield Probe("offset", (-0.3, -0.05, 0.02, 0.4), signal_levels.offset, tolerance=0.0005)


def _envelope() -> Iterable[Probe]:
    yield Probe("step_s", (0.3, 0.7, 1.5), signal_levels.turning_s(4.0), {"gain_02_db": -20.0}, "s", tolerance=0.01, relative=True)
    for number in range(1, 33):
        at = signal_levels.gain_db_at(0.05 * (number - 1), 1.8)
        yield Probe(f"gain_{number:02}_db", (-30.0, -6.0, 12.0), at, {"step_s": 0.05}, **DB)


def _codec() -> Iterable[Probe]:
    def among(setting: str, values: tuple[Any, ...], codings: list[coding_noise.Coding], unit: str = "") -> Probe:
        """Each value is expected to be found as its own coding: the unit of the measure is the place in the list."""
        measure = coding_noise.nearest_coding(codings)
        said = "the nearest of these in the spectrum of its noise, coded by ffmpeg" if measure else "not measured: needs the program ffmpeg"
        fixed: dict[str, Plain] = {"codec": "mp3", "bit_rate_kbps": 96.0}
        return Probe(setting, values, measure, fixed, unit, lambda value: float(values.index(value)), tolerance=0.0, definition=said)

    coding, codecs, rates, gains = coding_noise.Coding, ("mp3", "aac", "opus", "vorbis"), (48.0, 96.0, 192.0), (-40.0, 0.0)
    yield among("codec", codecs, [coding(codec, 96.0) for codec in codecs])
    yield among("bit_rate_kbps", rates, [coding("mp3", rate) for rate in rates])
    yield among("level_db", gains, [coding("mp3", 96.0, gain) for gain in gains])


def _loudness() -> Iterable[Probe]:
    yield Probe("target_db", (-40.0, -23.0, -14.0), signal_levels.sine_loudness(), {"measure": "lufs"}, **DB)
    yield Probe("target_db", (-40.0, -23.0, -3.0), signal_levels.peak_db, {"measure": "peak"}, **DB)
    reads = {"lufs": -20.0, "peak": -20.0 + signal_levels.FULL_SCALE_LKFS}
    sine = signal_levels.sine_loudness()
    yield Probe("measure", ("lufs", "peak"), sine, {"target_db": -20.0}, "LUFS", reads.__getitem__, tolerance=0.1, channels=(1,))
    yield Probe("gate_db", (-90.0, -70.0, -50.0), signal_levels.gate_lufs, {"target_db": -56.0}, "LUFS", tolerance=0.2)


OWN = {
    "fader": _fader,
    "width": _width,
    "eq": _eq,
    "lowpass": lambda: _pass(high=False),
    "highpass": lambda: _pass(high=True),
    "compressor": _compressor,
    "limiter": _limiter,
    "clip": _clip,
    "distortion": _distortion,
    "reverb": _reverb,
    "room": _room,
    "delay": _delay,
    "chorus": _chorus,
    "codec": _codec,
    "noise": _noise,
    "dc": _dc,
    "envelope": _envelope,
    "loudness": _loudness,
}


def probes_of(name: str, effect: Any) -> tuple[Probe, ...]:
    """The probes of a registered effect: ours, those that it states itself, and for other settings what their declaration says."""
    stated = tuple(OWN[name]()) if name in OWN else tuple(getattr(effect, "LABEL_PROBES", ()))
    probed = {probe.setting for probe in stated}
    return (*stated, *(_declared(effect, setting) for key, setting in fields(effect.Settings).items() if key not in probed))


def _declared(effect: Any, setting: Range | Choice) -> Probe:
    """What is measured of a setting of which only its declaration is known; the other settings are in the middle of what is drawn."""
    others = {key: _middle(other, effect.TYPICAL) for key, other in fields(effect.Settings).items() if key != setting.name}
    if isinstance(setting, Choice):
        return Probe(setting.name, setting.options, None, others)
    if setting.bound == "ceiling":
        return Probe(setting.name, _spread(setting, effect.TYPICAL), level_steps.ceiling(), others, setting.unit, tolerance=0.1)
    return Probe(setting.name, _spread(setting, effect.TYPICAL), None, others, setting.unit)


def _drawn(setting: Range, typical: Mapping[str, Any]) -> Range:
    """The setting within the range that is drawn."""
    ends = typical.get(setting.name)
    return setting.narrowed(*ends) if isinstance(ends, tuple) and len(ends) in (2, 3) else setting


def _spread(setting: Range, typical: Mapping[str, Any]) -> tuple[float, ...]:
    drawn = _drawn(setting, typical)
    return tuple(float(drawn.from_unit(unit)) for unit in (0.1, 0.5, 0.9))


def _middle(setting: Range | Choice, typical: Mapping[str, Any]) -> Plain:
    if isinstance(setting, Choice):
        return setting.neutral
    fixed = typical.get(setting.name)
    if isinstance(fixed, int | float):
        return float(fixed)
    return float(_drawn(setting, typical).from_unit(0.5))


def registered(names: Iterable[str] = ()) -> dict[str, AuditedEffect]:
    """The effects that are registered, ours and those of other packages, ready to be audited; all, or those named."""
    from stemwright.datagen.effects import EFFECTS
    from stemwright.manifests import __version__

    wanted = list(names) or list(EFFECTS)
    return {name: AuditedEffect(name, _applied(name), probes_of(name, EFFECTS[name]), "stemwright", __version__) for name in wanted}


def _applied(name: str) -> Any:
    def apply(audio: Any, sample_rate: int, settings: Mapping[str, Plain]) -> Any:
        import torch

        from stemwright.datagen.effects import EFFECTS

        effect = EFFECTS[name]
        with torch.inference_mode():
            return effect.apply(torch.from_numpy(audio), sample_rate, effect.Settings(**settings)).numpy()

    return apply
