"""The verb ``mix``: a first mix of dry stems, by rules, a corpus or a trained mixer. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stemwright.datagen.cli.options import WRITTEN, BitRateOption, BitsOption, JsonOption, decimal_number
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.edit.presets.first_mix import FirstMix, Mixer
    from stemwright.datagen.mixing.settling import SettledStem

FILTER_RULES = frozenset({"range", "cuts"})
WAYS = ("rules", "profile", "trained")
LOUDEST_LUFS, SOFTEST_LUFS = 0.0, -60.0


def mix(
    stems: Annotated[Path, typer.Argument(metavar="STEMS", help="Folder with the dry stems, whatever their names.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help=f"Mix to write: {WRITTEN}.", show_default=False)],
    corpus: Annotated[
        Path | None, typer.Argument(metavar="CORPUS", help="With --by profile: the corpus whose levels are taken.", show_default=False)
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="What decides: rules (published rules of mixing), profile (the medians of a corpus), or trained (a trained mixer).",
            autocompletion=lambda: WAYS,
        ),
    ] = "rules",
    loudness: Annotated[
        float,
        typer.Option(parser=decimal_number, metavar="LUFS", help="Loudness of the mix; less where its true peak would exceed -1 dBTP."),
    ] = -16.0,
    flat: Annotated[bool, typer.Option("--flat", help="Set faders and pans only: no high-pass, no equaliser.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --by trained: the mixer's weights (.safetensors); benchmarks/train_mixer.py makes them."),
    ] = None,
    preset: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Where to write the settings: preset (.json), Reaper project (.rpp) or pedalboard script (.py); OUT.json by default.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot levels and places to this file (.png, .svg, .pdf or .jpg).")
    ] = None,
    bits: BitsOption = None,
    bit_rate: BitRateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a first mix of dry stems: faders, pans, high-passes and simple equalisers, each with the rule behind it.

    The settings are saved as a preset; stemwright apply makes the mix again from them, as they are or changed by hand.

    Example: stemwright mix dry mix.wav

    By the levels of a corpus: stemwright mix dry mix.wav --by profile CORPUS

    By a trained mixer: stemwright mix dry mix.wav --by trained --weights mixer.safetensors
    """
    from stemwright.datagen.edit.presets import write_preset
    from stemwright.datagen.edit.presets.first_mix import mix_folder
    from stemwright.datagen.edit.song_output import OutputOptions

    terminal = Terminal(as_json)
    output = OutputOptions(bits, bit_rate).to(out, [stems, *([weights] if weights else [])])
    if preset is None:
        preset = _default_preset(out)
    _check(stems, preset, plot, loudness)
    _check_outside(corpus, [each for each in (out, preset, plot) if each])
    _check_way(by, corpus, weights, flat=flat)
    way = _way(corpus, weights, loudness, flat=flat)
    with terminal.progress("mix") as report:
        made = mix_folder(stems, output, way.mixer, on_progress=report)
    left_out = write_preset(made.preset, made.files, preset)
    _show(terminal, made, way)
    for name, why in made.settings.left_out.items():
        terminal.warn(f"{name} is not in the mix: {why}")
    for note in (*made.settings.notes, *made.made.notes):
        terminal.warn(note)
    for what in left_out:
        terminal.warn(f"{preset.name} cannot hold {what}")
    _say(terminal, made, loudness, out, preset)
    if plot:
        from stemwright.datagen.report.mix_chart import plot_mix

        plot_mix(made.settings, plot)
        terminal.say(f"picture: {plot}")
    terminal.finish(0)


def _check(stems: Path, preset: Path, plot: Path | None, loudness: float) -> None:
    """Raises UsageError for what cannot be written or reached, before stems are read."""
    from stemwright.datagen.edit.presets import FORMATS
    from stemwright.manifests.disk.outputs import PICTURES, check_output

    check_output(preset, tuple(FORMATS), [stems])
    if plot:
        check_output(plot, PICTURES, [stems])
    if not SOFTEST_LUFS <= loudness <= LOUDEST_LUFS:
        raise UsageError(f"--loudness must be between {SOFTEST_LUFS:g} and {LOUDEST_LUFS:g} LUFS; got {loudness:g}")


def _default_preset(out: Path) -> Path:
    """Where the settings go if no file was named. Raises UsageError if the file there is no preset: it was not named to be replaced."""
    from stemwright.datagen.edit.presets.preset import is_preset

    preset = out.with_suffix(".json")
    if preset.exists() and not is_preset(preset):
        raise UsageError(f"{preset} exists and is no preset: it is left as it is; name the file for the settings: --save FILE.json")
    return preset


def _check_outside(corpus: Path | None, outputs: list[Path]) -> None:
    """Raises UsageError for an output within the corpus, whose files are only read."""
    for path in outputs:
        if corpus is not None and path.resolve().is_relative_to(corpus.resolve()):
            raise UsageError(f"{path} is within the corpus {corpus}, which is only read; name a file outside it")


class Way(NamedTuple):
    """What decides about the settings; where its own reasons are from, as a table says it; and what it is, for JSON."""

    mixer: Mixer
    source: str = ""
    facts: Mapping[str, Any] = MappingProxyType({})


def _check_way(by: str, corpus: Path | None, weights: Path | None, *, flat: bool) -> None:
    """Raises UsageError for another way, for what it needs and does not have, and for what nothing would read."""
    if by not in WAYS:
        raise UsageError(f"--by must be {', '.join(WAYS[:-1])} or {WAYS[-1]}; got {by}")
    if corpus is not None and by != "profile":
        raise UsageError(f"{corpus}: --by {by} needs no corpus; leave it out, or mix with --by profile")
    if weights is not None and by != "trained":
        raise UsageError(f"--weights {weights}: --by {by} has no weights; leave them out, or mix with --by trained")
    if flat and by != "rules":
        raise UsageError(f"--flat is for --by rules; --by {by} sets faders and pans only: leave it out")
    if by == "profile" and corpus is None:
        raise UsageError("--by profile needs the corpus whose levels are taken: stemwright mix STEMS OUT --by profile CORPUS")
    if by == "trained" and weights is None:
        from stemwright.datagen.mixing.mixer_weights import HOW

        raise UsageError(f"--by trained needs the weights of a mixer: --weights FILE. None come with the package: {HOW}")


def _way(corpus: Path | None, weights: Path | None, loudness: float, *, flat: bool) -> Way:
    """What decides about the settings: a corpus, weights, or with neither the rules. Raises UsageError where they are none."""
    if corpus is not None:
        from stemwright.datagen.mixing.profile_levels import levels_by_name, mix_by_profile

        return Way(partial(mix_by_profile, profile=levels_by_name(corpus), loudness_lufs=loudness), "the corpus")
    if weights is not None:
        from stemwright.datagen.mixing.mixer_weights import read_mixer
        from stemwright.datagen.mixing.trained_levels import mix_by_trained

        trained = read_mixer(weights)
        facts = {"weights": {"file": str(weights), **trained.facts.plain()}}
        return Way(partial(mix_by_trained, mixer=trained, loudness_lufs=loudness), f"trained on {trained.facts.trained_on}", facts)
    from stemwright.datagen.mixing.stem_plans import mix_by_rules

    return Way(partial(mix_by_rules, loudness_lufs=loudness, equalise=not flat))


def _show(terminal: Terminal, made: FirstMix, way: Way) -> None:
    """The tables of what was set, and why."""
    from stemwright.datagen.mixing.mix_rules import ALWAYS, RULES

    stems = made.settings.stems
    terminal.show("stems", _settings_table(made), {name: _plain(stem) for name, stem in stems.items()})
    used = {reason.rule for stem in stems.values() for reason in stem.plan.reasons} | {*ALWAYS}
    known = {key: rule for key, rule in RULES.items() if key in used}
    terminal.show("rules", _reasons_table(made, way.source), {key: vars(rule) for key, rule in known.items()})
    terminal.collected |= way.facts


def _settings_table(made: FirstMix) -> Table:
    """What was set for each stem."""
    from rich.table import Table

    table = Table("stem", "taken for", "fader, dB", "pan", "level, LU", "filters", title_justify="left")
    for name, stem in made.settings.stems.items():
        plan = stem.plan
        source = "" if plan.role_from == "name" else ", by its sound"
        cuts = (
            ", ".join(
                f"{reason.what} {reason.value}".removeprefix("eq ").split(":")[0] for reason in plan.reasons if reason.rule in FILTER_RULES
            )
            or "none"
        )
        table.add_row(
            name, f"{plan.role}{source}", f"{_shown(stem.gain_db):+.1f}", f"{_shown(plan.pan):+.2f}", f"{_shown(stem.level_lu):.1f}", cuts
        )
    return table


def _shown(value: float) -> float:
    """A value as a table has it: never -0.0."""
    return round(value, 2) + 0.0 if abs(value) >= 0.05 else 0.0


def _reasons_table(made: FirstMix, own_source: str) -> Table:
    """Each rule that set something, and what it set."""
    from rich.table import Table

    from stemwright.datagen.mixing.mix_rules import RULES

    found = dict[str, dict[str, list[str]]]()  # rule -> what it set -> stems
    for name, stem in made.settings.stems.items():
        for reason in stem.plan.reasons:
            found.setdefault(reason.rule, {}).setdefault(f"{reason.what} {reason.value}", []).append(name)
    table = Table("rule", "source", "what it set", title_justify="left")
    for key in [*(key for key in RULES if key in found), *(key for key in found if key not in RULES)]:
        says, source = (RULES[key].says, RULES[key].source) if key in RULES else (key, own_source)
        table.add_row(says, source, "; ".join(f"{what}: {', '.join(names)}" for what, names in found[key].items()))
    return table


def _plain(stem: SettledStem) -> dict[str, Any]:
    from stemwright.datagen.edit.presets.preset import plain_chain

    plan = stem.plan
    return {
        "role": plan.role,
        "role_from": plan.role_from,
        "gain_db": stem.gain_db,
        "pan": plan.pan,
        "level_lu": stem.level_lu,
        "chain": plain_chain(stem.chain),
        "reasons": [vars(reason) for reason in plan.reasons],
    }


def _say(terminal: Terminal, made: FirstMix, loudness: float, out: Path, preset: Path) -> None:
    settings = made.settings
    terminal.collected |= {
        "out": str(out),
        "preset": str(preset),
        "loudness_lufs": settings.loudness_lufs,
        "true_peak_dbtp": settings.true_peak_dbtp,
        "left_out": dict(settings.left_out),
    }
    held = (
        f", {loudness - settings.loudness_lufs:.1f} LU below the request: its true peak allows no more"
        if settings.loudness_lufs < loudness - 0.05
        else ""
    )
    terminal.say(f"mix: {out}, {settings.loudness_lufs:.1f} LUFS, true peak {settings.true_peak_dbtp:.1f} dBTP{held}")
    terminal.say(f"settings: {preset}; change them and run: stemwright apply {preset} STEMS {out}")
