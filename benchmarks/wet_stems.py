"""A mixer trained on dry stems, on wet ones, on separated ones and on effect-normalised ones, and judged on dry stems.

    python benchmarks/wet_stems.py --work FOLDER [--songs 32] [--held-out 24] [--states NAME ...] [--networks NAME ...]
        [--seeds 3] [--steps 100] [--write]

What is measured
    Multitracks with dry stems are few, released mixtures are many: their stems are wet, and leak where they are separated. A mixer of gains
    is trained on the songs of ``engineered_songs.py`` in each state, and judged on the dry stems of other songs, as it will be used. All
    conditions have the same songs, excerpts and labels, the true levels of the dry stems in the mix: only what the network hears differs.
    So the effect of the inputs alone is measured. In one row the labels are levels that were measured in the separated stems, as in a
    pipeline on released music; ``label_error.py`` measures the effect of the labels alone.
    ``wet`` are the stems after their effects, without leakage; ``separated`` what the bundled model makes of the mixture; ``normalised``
    either after ``normalise``, to what is typical of the training songs in the same state. What is trained on normalised stems is judged
    on dry ones as they are and on dry ones that are normalised to the same profile, as FxNorm does before it mixes.
    There are two mixers. One is a ridge regression on features of the sound (``linear_mixer.py``), whose strength is chosen on songs left
    out in the state that it is trained on, as a person without dry stems has to. The other is the network of ``label_error.py``, trained
    with several seeds.
    FOLDER keeps every song that is ready (``wet_songs.py``), so that a run that was stopped resumes.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): wet stems, normalised, for training a mixer; there the mix itself was the target, and
    there are no labels of levels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from engineered_songs import STEMS
from linear_mixer import Examples, cross_validated, fitted
from mixer_training import Material, centred, ratio_of, rms, shown, song_errors, train_on_labels
from results import report
from wet_songs import State, WetSongs

from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained

DATA_RATE, EXCERPT_S, STARTS_S = 22_050, 5.0, (0.0, 3.5, 7.0)
FIRST_TRAIN, FIRST_TEST = 2000, 9300
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "wet_stems.png"
DRY = State("dry")
SHOWN = (0.01, 0.1, 1.0, 10.0)  # strengths of the ridge that the table has beside the chosen one


@dataclass(frozen=True)
class Condition:
    """What is trained on; ``measured``: with the levels that were measured in the separated stems, instead of the true ones."""

    state: State
    measured: bool = False

    @property
    def name(self) -> str:
        """The row of the table."""
        normalised = ", normalised" if self.state.normalised_to else ""
        return f"{self.state.stems}{normalised}{', levels measured in them' if self.measured else ''}"

    @property
    def judged_on(self) -> tuple[State, ...]:
        """Dry stems, and dry stems that are prepared as those that were trained on."""
        return (DRY, State("dry", self.state.normalised_to)) if self.state.normalised_to else (DRY,)


CONDITIONS = (
    Condition(DRY),
    Condition(State("wet")),
    Condition(State("separated")),
    Condition(State("separated"), measured=True),
    Condition(State("wet", "wet")),
    Condition(State("separated", "separated")),
)


@dataclass(frozen=True)
class Outcome:
    """A condition: errors of the levels [songs, stems] of every run, on dry stems and on normalised dry stems where it has those; and on
    songs left out in its own state, where they were judged. ``by_strength`` are texts: the errors with each ridge of SHOWN.
    """

    dry: tuple[np.ndarray, ...]
    normalised: tuple[np.ndarray, ...] = ()
    own: np.ndarray | None = None
    by_strength: tuple[str, ...] = ()


def material_of(songs: WetSongs, seeds: Sequence[int], state: State) -> Material:
    """The excerpts of songs in a state, with the true levels."""
    network, heard, truth = untrained(torch.zeros(len(STEMS)), DATA_RATE), [], []
    for seed in seeds:
        whole = torch.from_numpy(songs.heard(seed, state, DATA_RATE))
        cuts = [whole[:, round(start * DATA_RATE) :][:, : round(EXCERPT_S * DATA_RATE)] for start in STARTS_S]
        heard.append(network.banded(torch.stack(cuts)[:, :, None].expand(-1, -1, 2, -1)))
        truth += [songs.levels_db(seed)] * len(cuts)
    names = [str(seed) for seed in seeds for _ in STARTS_S]
    return Material(torch.cat(heard), torch.from_numpy(np.stack(truth)).float(), names)


def with_measured_levels(songs: WetSongs, material: Material) -> Material:
    """The material with the balance that was measured in the separated stems; NaN for a stem that is said not to be present."""
    levels = [[songs.facts(int(seed)).get(name, {}).get("level_lu", -np.inf) for name in STEMS] for seed in material.songs]
    return replace(material, truth=torch.tensor(levels).masked_fill(~torch.isfinite(torch.tensor(levels)), torch.nan))


def by_regression(condition: Condition, material: Material, held_out: dict[State, Material]) -> Outcome:
    """The ridge regression, with the strength that does best on its own songs."""
    examples = Examples.of(material)
    strength, own = cross_validated(examples, material.songs)

    def errors(value: float, state: State) -> np.ndarray:
        return judged(fitted(examples, value).gains_db(Examples.of(held_out[state]).features), held_out[state])

    dry, *normalised = ((errors(strength, state),) for state in condition.judged_on)
    by_strength = tuple(", ".join(f"{rms(errors(value, state)):.2f}" for value in SHOWN) for state in condition.judged_on)
    print(f"{condition.name}: ridge {strength:g}, own {rms(own):.2f}, dry {rms(dry[0]):.2f} LU", flush=True)
    return Outcome(dry, normalised[0] if normalised else (), own, by_strength)


def by_network(condition: Condition, material: Material, held_out: dict[State, Material], options: argparse.Namespace) -> Outcome:
    """The network, trained with every seed; gains of earlier runs are kept."""
    found = {state: list[np.ndarray]() for state in condition.judged_on}
    for seed in range(options.seeds):
        name = f"{condition.name}, {options.songs} songs, {options.held_out}, {options.steps} steps, seed {seed}.npz"
        kept = options.work / "trained" / name
        if not kept.exists():
            start = untrained(torch.from_numpy(material.mean_db).float(), DATA_RATE)
            network = train_on_labels(start, material, options.steps, seed, report=False)
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, **{state.name: _gains(network, held_out[state]) for state in found})
        with np.load(kept) as gains:
            for state, errors in found.items():
                errors.append(judged(gains[state.name], held_out[state]))
        print(f"{condition.name}, seed {seed}: {[round(rms(errors[-1]), 3) for errors in found.values()]} LU", flush=True)
    dry, *normalised = (tuple(errors) for errors in found.values())
    return Outcome(dry, normalised[0] if normalised else ())


def judged(gains_db: np.ndarray, material: Material) -> np.ndarray:
    """[songs, stems]: the errors of gains on the material."""
    return song_errors(gains_db, material.truth.numpy(), material.songs)


@torch.inference_mode()
def _gains(network: MixerNetwork, material: Material) -> np.ndarray:
    """[examples, stems]: the gains that a network gives."""
    gains: np.ndarray = network.decide(material.heard)[0].numpy()
    return gains


# ------------------------------------------------------------------------------------------------------------------------------- the page


def rows_of(outcomes: dict[Condition, Outcome], mean: np.ndarray) -> list[str]:
    """Rows of Markdown."""
    base = np.concatenate(outcomes[Condition(DRY)].dry, axis=1)
    number = len(outcomes[Condition(DRY)].dry)
    with_ridge = f"with a ridge of {', '.join(f'{value:g}' for value in SHOWN)}, LU"
    more = ("of each seed, LU",) if number > 1 else ("on songs left out in its own state, LU", with_ridge)
    head = ("trained on", "judged on", "error of the levels, LU", "against dry", "against the mean of each name", *more)
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for condition, found in outcomes.items():
        for place, (judged_on, errors) in enumerate((("dry", found.dry), ("dry, normalised", found.normalised))):
            if errors:
                pooled, each = np.concatenate(errors, axis=1), sorted(rms(one) for one in errors)
                further = [f"{each[0]:.2f} to {each[-1]:.2f}"] if found.own is None else [f"{rms(found.own):.2f}", found.by_strength[place]]
                against = "1" if errors is outcomes[Condition(DRY)].dry else shown(ratio_of(pooled, base))
                cells = (f"{rms(pooled):.2f}", against, shown(ratio_of(pooled, np.tile(mean, (1, number)))), *further)
                rows.append(f"| {condition.name} | {judged_on} | {' | '.join(cells)} |")
    return rows


def drawn(outcomes: dict[Condition, Outcome], mean: np.ndarray) -> None:
    """The picture: the error of every condition on dry stems with its interval, and on songs left out in its own state."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = [(one.name, found.dry, found.own) for one, found in outcomes.items()]
    parts += [(f"{one.name}; judged on\ndry, normalised", found.normalised, None) for one, found in outcomes.items() if found.normalised]
    figure, axes = pyplot.subplots(figsize=(7.2, 1.2 + 0.42 * len(parts)), layout="constrained")
    for place, (_, errors, own) in enumerate(parts):
        found = ratio_of(errors[0], mean)
        axes.plot([found.low, found.high], [place, place], color="tab:blue", linewidth=2)
        axes.plot([found.value], [place], "o", color="tab:blue", label="on dry stems of other songs" if place == 0 else None)
        if own is not None:
            axes.plot(
                [rms(own) / rms(mean)], [place], "x", color="tab:orange", label="on songs left out in its own state" if place == 0 else None
            )
    axes.axvline(1.0, color="0.3", linestyle="--", linewidth=1.0, label="mean of each name")
    axes.set(xlabel="by regression: error, by that of the mean of each name")
    axes.set(yticks=range(len(parts)), yticklabels=[name for name, *_ in parts], ylim=(len(parts) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def facts_of(songs: WetSongs, seeds: Sequence[int], materials: dict[Condition, Material]) -> str:
    """How well the training songs were separated, how exact the levels measured in them are, and what was refused."""
    gains = [each["si_sdr_db"] - each["mixture_db"] for seed in seeds for each in songs.facts(seed).values()]
    sdr = [each["si_sdr_db"] for seed in seeds for each in songs.facts(seed).values()]
    better = f"{np.median(gains):+.1f} dB against the mixture"
    text = f"The separated stems of the training songs have a median SI-SDR of {np.median(sdr):.1f} dB ({better})."
    measured = next((found for condition, found in materials.items() if condition.measured), None)
    if measured is not None:
        off = centred(measured.truth.numpy()) - centred(materials[Condition(DRY)].truth.numpy())
        text += f" The levels measured in them are off by {rms(off):.2f} LU."
    refused, tried = songs.num_refused(), songs.num_normalised()
    return text + (f" The normalisation refused {refused} of {tried} stems, which stay as they are." if tried else "")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=32)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--states", nargs="+", choices=[one.name for one in CONDITIONS], help="what is trained on beside dry (default: all)"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=[one.name for one in CONDITIONS], help="those of networks beside dry (default: all)"
    )
    parser.add_argument("--write", action="store_true")
    return parser.parse_args(arguments)


def trained(songs: WetSongs, train: Sequence[int], test: Sequence[int], options: argparse.Namespace) -> tuple[list[str], str]:
    """Trains in every condition, judges, draws: the tables, and the facts beside them."""
    conditions = [one for one in CONDITIONS if one == Condition(DRY) or not options.states or one.name in options.states]
    held_out = {state: material_of(songs, test, state) for state in {state for one in conditions for state in one.judged_on}}
    materials = dict[Condition, Material]()
    for one in conditions:
        true = material_of(songs, train, one.state)
        materials[one] = with_measured_levels(songs, true) if one.measured else true
    mean = judged(np.broadcast_to(materials[Condition(DRY)].mean_db, held_out[DRY].truth.shape), held_out[DRY])
    equal = judged(np.zeros(held_out[DRY].truth.shape), held_out[DRY])
    regressed = {one: by_regression(one, material, held_out) for one, material in materials.items()}
    if options.write:
        drawn(regressed, mean)
    rows = [
        f"The mean of each name has an error of {rms(mean):.2f} LU on the dry stems, equal loudness {rms(equal):.2f} LU. By regression:",
        "",
        *rows_of(regressed, mean),
    ]
    if options.seeds:
        chosen = [one for one in materials if one == Condition(DRY) or not options.networks or one.name in options.networks]
        networks = {one: by_network(one, materials[one], held_out, options) for one in chosen}
        rows += ["", f"By the network, {options.seeds} seeds of {options.steps} steps:", "", *rows_of(networks, mean)]
    return rows, facts_of(songs, train, materials)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the songs, trains, judges, prints."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    train = range(FIRST_TRAIN, FIRST_TRAIN + options.songs)
    test = range(FIRST_TEST, FIRST_TEST + options.held_out)
    rows, facts = trained(WetSongs(options.work, train), train, test, options)
    lines = [
        f"{options.songs} songs of {len(STARTS_S)} excerpts of {EXCERPT_S:g} s, judged on {options.held_out} others. Labels are the true "
        f"levels but for one row. In brackets 95 % intervals over songs; below 1 is better. {facts}",
        "",
        *rows,
    ]
    given = f"--songs {options.songs} --held-out {options.held_out} --seeds {options.seeds} --steps {options.steps}"
    for option, names in (("states", options.states), ("networks", options.networks)):
        given += f" --{option} {' '.join(map(repr, names))}" if names else ""
    report("Wet stems", f"python benchmarks/wet_stems.py --work FOLDER {given} --write", "\n".join(lines), write=options.write)


if __name__ == "__main__":
    main()
