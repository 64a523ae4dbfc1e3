"""The contracts of the extension points, for a package that brings an extension of its own: ``from stemwright import testing``.

    check_effect, check_recipe, check_format, check_separator, check_statistic, check_layout,
    check_rule, check_protocol

Each raises AssertionError with a sentence that says what does not hold, and passes silently otherwise. They are what our own tests run over
our own extensions, so an extension that passes is held to the same. Whether it sounds as it should is for a test of its own.

Conventions
    An extension is named as its entry point names it; an effect, a separator, a statistic, a layout, a rule and a
    protocol may also be given as objects.
    Audio is made here, from fixed seeds; files go into a temporary folder. Only what is tested is imported.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.layout_contract import check_layout as check_layout
from stemwright.protocol_contract import check_protocol as check_protocol
from stemwright.rule_contract import check_rule as check_rule

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.run.corpus import Corpus
    from stemwright.manifests.pair_records import Pair

RATE = 44_100
SONG_RATE, SONG_S, NUM_SONGS = 22_050, 6.0, 2
STEMS = ("bass", "drums", "other", "vocals")
INVERSE_ERROR = 1e-8  # of invert after apply, in float64
STEP = 2.0**-22  # two steps of a 24-bit file


def check_effect(effect: Any) -> None:
    """Holds an effect to its contract: a module with ``NAME``, ``Settings`` and ``apply``, or its name. Takes about a second.

    Neutral settings change nothing, at any rate; shape, type, batches and silence are kept; the input is left as it was; what is not finite
    is refused; settings have descriptions, survive JSON and are drawn within their ranges; the trait ``linear`` is true where it is stated;
    ``invert`` undoes ``apply``. Of one with the trait ``normalising``, which rendering and the loader ask what was measured: ``levelled``
    gives the sound of ``apply`` and its gain, ``gain_db`` the gain; ``is_too_soft`` and ``reached`` tell silence from the rest.

    >>> from stemwright import testing
    >>> testing.check_effect("fader")
    """
    from stemwright.datagen.effects import EFFECTS
    from stemwright.datagen.effects.settings import describe

    effect = EFFECTS[effect] if isinstance(effect, str) else effect
    name = effect.NAME
    for row in describe(effect.Settings):
        _require(bool(row.description), f"the setting {row.name} of {name} has no description")
    for settings in (effect.Settings(), *(_drawn(effect, seed) for seed in range(20))):
        _require(effect.Settings(**settings.plain()) == settings, f"settings of {name} do not survive JSON: {settings.plain()}")
    for rate in (8000, RATE, 96_000):
        audio = _noise(2, 4000)
        _alike(effect.apply(audio, rate, effect.Settings()), audio, 1e-6, f"neutral settings of {name} change the sound at {rate} Hz")
    _check_shapes(effect)
    _check_values(effect)
    if "normalising" in getattr(effect, "TRAITS", ()):
        _check_normalising(effect)


def _check_normalising(effect: Any) -> None:
    """What rendering (``levelled``, ``gain_db``, ``is_too_soft``) and the loader (``reached``) ask a normalising effect."""
    import torch

    from stemwright.separation.loudness.meter import integrated_loudness

    name, settings, audio = effect.NAME, _drawn(effect, 3), _noise(2, 2, 20_000).double()
    missing = [each for each in ("levelled", "gain_db", "is_too_soft", "reached") if not callable(getattr(effect, each, None))]
    _require(not missing, f"{name} is normalising, and has no function {', '.join(missing)}")
    wet = effect.apply(audio, RATE, settings)
    _alike(effect.apply(0.5 * audio, RATE, settings), wet, 1e-6, f"{name} is normalising, and a gain before it changes the sound")
    out, gain_db = effect.levelled(audio, RATE, settings)
    _alike(out, wet, 1e-6, f"levelled of {name} gives another sound than apply")
    _require(tuple(gain_db.shape) == (2,), f"levelled of {name} gives gains of the shape {list(gain_db.shape)} for a batch; expected [2]")
    _alike(audio * 10.0 ** (gain_db.to(audio)[:, None, None] / 20.0), wet, 1e-6, f"the gain of levelled of {name} is not that of apply")
    _alike(effect.gain_db(audio, RATE, settings).to(gain_db), gain_db, 1e-6, f"gain_db of {name} is not the gain of levelled")
    silence = torch.zeros(2, 20_000)
    silent_db = float(effect.levelled(silence, RATE, settings)[1])
    _require(silent_db == 0.0, f"levelled of {name} gives silence a gain of {silent_db:g} dB; expected 0")
    _require(bool(effect.is_too_soft(silence, RATE, settings)), f"is_too_soft of {name} is false for silence")
    _require(not effect.is_too_soft(audio, RATE, settings), f"is_too_soft of {name} is true for noise that apply brings to its level")
    levels = integrated_loudness(wet[0].numpy(), RATE), 20.0 * math.log10(float(wet[0].abs().max()))
    _require(bool(effect.reached(settings.plain(), *levels)), f"reached of {name} is false for what apply has brought to its level")
    _require(not effect.reached(settings.plain(), None, None), f"reached of {name} is true for silence (a loudness and a peak of None)")


def _check_shapes(effect: Any) -> None:
    """Shape, type, batches."""
    import torch

    from stemwright.datagen.effects.settings import Range, fields

    name, settings = effect.NAME, _drawn(effect, 1)
    for dtype in (torch.float32, torch.float64):
        audio = _noise(2, 20_000).to(dtype)
        wet, before = effect.apply(audio, RATE, settings), _noise(2, 20_000).to(dtype)
        _require(wet.shape == audio.shape, f"{name} gives the shape {list(wet.shape)} for {list(audio.shape)}")
        _require(wet.dtype == dtype, f"{name} gives {wet.dtype} for {dtype}")
        _require(torch.equal(audio, before), f"{name} changes its input in place")
        _require(float((wet - audio).abs().max()) > 1e-4, f"{name} with the settings {settings.plain()} changes nothing")
    batch, other = _noise(2, 2, 15_000).double(), _drawn(effect, 2)
    alone = torch.stack([effect.apply(item, RATE, settings) for item in batch])
    _alike(effect.apply(batch, RATE, settings), alone, 1e-6, f"{name} treats a batch otherwise than its items one by one")
    numeric = [key for key, field in fields(effect.Settings).items() if isinstance(field, Range) and field.scale != "integer"]
    same = {key: getattr(settings, key) for key in fields(effect.Settings) if key not in numeric}
    both = {key: torch.tensor([getattr(each, key) for each in (settings, other)], dtype=torch.float64) for key in numeric}
    mixed = [effect.Settings(**same, **{key: getattr(each, key) for key in numeric}) for each in (settings, other)]
    alone = torch.stack([effect.apply(item, RATE, each) for item, each in zip(batch, mixed, strict=True)])
    together = effect.apply(batch, RATE, effect.Settings(**same, **both))
    _alike(together, alone, 1e-6, f"settings of {name} that are tensors do not act each on its item of a batch")


def _check_values(effect: Any) -> None:
    """Precision, repetition, silence, what is not finite, what the traits and ``invert`` promise."""
    import torch

    name, settings, audio = effect.NAME, _drawn(effect, 3), _noise(2, 20_000)
    apply = partial(effect.apply, sample_rate=RATE, settings=settings)
    single, double = apply(audio), apply(audio.double())
    _alike(single.double(), double, 2e-5, f"{name} differs between float32 and float64")
    _require(torch.equal(single, apply(audio)), f"{name} gives other bits for the same input")
    silence = torch.zeros(2, 5000)
    _require(torch.equal(apply(silence), silence), f"{name} makes a sound of silence")
    broken = audio[:, :100].clone()
    broken[1, 50] = float("nan")
    _raises(ValueError, lambda: apply(broken), f"{name} accepts NaN; call `stemwright.datagen.effects.signal.checked` first")
    if "linear" in getattr(effect, "TRAITS", ()):
        one, other = _noise(2, 20_000).double(), _noise(2, 20_000, seed=1).double()
        _alike(apply(one + other), apply(one) + apply(other), 1e-9, f"{name} states that it is linear, and is not")
    if hasattr(effect, "invert"):
        undone = effect.invert(double, RATE, settings)
        _alike(undone, audio.double(), INVERSE_ERROR, f"invert of {name} does not undo apply with {settings.plain()}")


def check_recipe(kind: str, section: Mapping[str, Any] | None = None) -> None:
    """Holds a kind of pair to its contract, by its name, with the keys of its ``section``: songs are made, planned and rendered.

    Pairs are planned at all; one seed gives the same rows and another seed others; how many there are changes none of them; signals have
    names of their own and are no more than ``num_signals`` states; excerpts lie within their sources, settings within their ranges; the
    dataset that is rendered from them passes ``check``. Takes some seconds.
    """
    from stemwright.datagen.effects import EFFECTS
    from stemwright.manifests.records import Stem

    with tempfile.TemporaryDirectory() as place:
        corpus = _prepared(Path(place), {kind: {"per_track": 4, **(section or {})}})
        lengths = {stem.id: stem.audio.num_frames for stem in corpus.rows("stems", Stem)}
        pairs = _planned(corpus)
        refused = "; ".join(sorted({row.reason for row in corpus.rejected() if row.stage == "plan"}))
        _require(bool(pairs), f"{kind} gives no pair of songs with the stems {', '.join(STEMS)}: {refused}")
        _require(_planned(corpus, seed=1) != pairs, f"another seed gives the same pairs of {kind}; draw from rng alone")
        fewer = _planned(corpus, pairs={kind: {"per_track": 2}})
        _require({pair.id for pair in fewer} <= {pair.id for pair in pairs}, f"pairs of {kind} depend on how many there are")
        _require(_planned(corpus) == pairs, f"the same seed gives other pairs of {kind}; draw from rng alone")
        most = getattr(corpus.config.pairs, kind).num_signals(len(STEMS))
        for pair in pairs:
            signals = (*pair.inputs, *pair.targets)
            names = [signal.name for signal in signals]
            _require(len(set(names)) == len(names), f"signals of a {kind} pair share a name: {', '.join(names)}")
            _require(len(names) <= most, f"a {kind} pair has {len(names)} signals; its num_signals states {most}")
            for branch in (branch for signal in signals for branch in signal.branches):
                stop = pair.start_frame + branch.offset_frames + pair.num_frames
                within = pair.start_frame + branch.offset_frames >= 0 and stop <= lengths[branch.source_id]
                _require(within, f"an excerpt of a {kind} pair is not within its source: it ends at frame {stop}")
            for use in (use for s in signals for chain in s.chains for use in chain):
                EFFECTS[use.effect].Settings(**use.settings)  # raises outside a range
        _rendered(corpus)


def check_format(name: str, pairs: Mapping[str, Any] | None = None) -> None:
    """Holds a dataset format to its contract, by its name. ``pairs`` are kinds that it can hold; by default stem/mix and removal pairs.

    ``PairDataset`` reads it, sample by sample as the format ``folder``; the same songs give the same bytes, also where the pairs were in
    another format before; ``check`` finds nothing wrong; a second run does nothing. Takes some seconds.
    """
    kinds = dict(pairs or {"mix": {"per_track": 2}, "removal": {"per_track": 2}})
    with tempfile.TemporaryDirectory() as place:
        corpus = _prepared(Path(place), kinds, dataset_format="folder")
        _planned(corpus)
        folder = _rendered(corpus)
        known = {kind: _items(folder.dataset, kind) for kind in kinds}
        _planned(corpus, dataset={"format": name})
        converted = _contents(_rendered(corpus).dataset)
        fresh = _prepared(Path(place, "other"), kinds, songs=Path(place, "songs"), dataset_format=name)
        _planned(fresh)
        written = _contents(_rendered(fresh).dataset)
        differing = sorted(path for path in {*written, *converted} if written.get(path) != converted.get(path))
        _require(
            not differing, f"the format {name} gives other bytes where the pairs were in another format before: {', '.join(differing)}"
        )
        for kind, items in known.items():
            for ours, theirs in zip(items, _items(fresh.dataset, kind), strict=True):
                alike = all((one == other).all() for one, other in zip(ours, theirs, strict=True))
                _require(alike, f"PairDataset reads other samples of {kind} from the format {name} than were rendered")


def check_separator(separator: Any) -> None:
    """Holds a separator to its contract: an object with ``stem_names``, or what ``--separator`` takes. It separates noise of two seconds.

    Its stems have names of their own, the shape of the mixture and finite samples, of mono and stereo; the same mixture gives the same
    bits; as files they sum, with the residual, to the mixture; its identity goes into JSON.

    >>> import numpy
    >>> from stemwright import testing
    >>> def halves(mixture, sample_rate):
    ...     return {"vocals": 0.5 * mixture, "other": 0.5 * mixture}
    >>> halves.stem_names = ("vocals", "other")
    >>> testing.check_separator(halves)
    """
    from stemwright.manifests.names import is_name
    from stemwright.manifests.records import Refused
    from stemwright.separation.choosing import other_separator
    from stemwright.separation.function_separator import FunctionSeparator

    if isinstance(separator, str):
        used: Any = other_separator(separator)
    else:
        used = FunctionSeparator(separator, getattr(separator, "__name__", type(separator).__name__), str(getattr(separator, "version", 1)))
    names = used.stem_names
    _require(bool(names), f"{used.name} names no stems")
    _require(
        len(set(names)) == len(names) and "residual" not in names, f"stems of {used.name} must differ, and none be 'residual': {names}"
    )
    _require(all(map(is_name, names)), f"stems of {used.name} are to be file names in small letters: {', '.join(names)}")
    _require(isinstance(json.loads(json.dumps(used.identity)), dict), f"the identity of {used.name} is no dict for JSON")
    noise = _noise(2, 2 * RATE).numpy()
    try:
        for mixture in (noise, noise[:1], noise[:, :1001]):
            stems = used.separate(mixture, RATE)
            _require(list(stems) == list(names), f"{used.name} gives {', '.join(stems)}; it states {', '.join(names)}")
        again = used.separate(noise, RATE)
        _require(
            all((again[key] == audio).all() for key, audio in used.separate(noise, RATE).items()), f"{used.name} gives other bits again"
        )
        _check_sum(used, noise)
    except Refused as error:
        raise AssertionError(str(error)) from error


def _check_sum(separator: Any, mixture: np.ndarray) -> None:
    """The stems as files, with the residual and on the scale of their joint gain, against the mixture."""
    from stemwright.manifests.sound.decoding import load
    from stemwright.manifests.sound.resampling import resample
    from stemwright.manifests.sound.writing import save

    with tempfile.TemporaryDirectory() as place:
        save(Path(place, "song.wav"), mixture, RATE)
        written = separator.separate_file(Path(place, "song.wav"), Path(place, "stems"))
        total = np.sum([load(path)[0].astype(np.float64) for path in written.values()], axis=0)
    expected = resample(mixture, RATE, separator.sample_rate or RATE) * 10 ** (written.gain_db / 20)
    error = np.abs(total - expected).max()
    _require(error < STEP, f"the stems of {separator.name} and their residual differ from the mixture by {error:.3g}")


def check_statistic(statistic: Any) -> None:
    """Holds a statistic of the profile to its contract: a function (stem [C, T], sample_rate) -> number(s), or its name.

    It gives equally many finite numbers for every stem, mono or stereo, loud or soft, or None; the same for the same stem; silence is no
    error; the stem is left as it was.

    >>> from stemwright import testing
    >>> testing.check_statistic(lambda stem, sample_rate: float(abs(stem).max()))
    """
    from stemwright.datagen.inverse.blind.statistics import STATISTICS

    name = statistic if isinstance(statistic, str) else getattr(statistic, "__name__", "the statistic")
    function: Callable[..., Any] = STATISTICS[statistic] if isinstance(statistic, str) else statistic
    noise = _noise(2, RATE).numpy()
    counts: dict[int, str] = {}
    for what, stem in {"noise": noise, "mono": noise[:1], "soft": 1e-4 * noise, "short": noise[:, :3], "silence": 0.0 * noise}.items():
        before = stem.copy()
        first, second = (function(stem, RATE) for _ in range(2))
        _require(np.array_equal(stem, before), f"{name} changes the stem that it is given")
        _require((first is None) == (second is None), f"{name} gives other numbers for the same stem")
        if first is None:
            continue
        values = np.atleast_1d(np.asarray(first, dtype=np.float64))
        _require(values.ndim == 1 and bool(np.isfinite(values).all()), f"{name} of {what} is {first!r}; expected finite numbers, or None")
        _require(
            np.array_equal(values, np.atleast_1d(np.asarray(second, dtype=np.float64))), f"{name} gives other numbers for the same stem"
        )
        counts.setdefault(len(values), what)
    _require(bool(counts), f"{name} gives no number for any stem, noise included")
    several = ", ".join(f"{count} of {what}" for count, what in counts.items())
    _require(len(counts) < 2, f"{name} gives more numbers for some stems than for others: {several}")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _alike(found: torch.Tensor, expected: torch.Tensor, tolerance: float, sentence: str) -> None:
    worst = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
    _require(worst <= tolerance, f"{sentence}: by {worst:.3g}, more than {tolerance:g}")


def _raises(kind: type[Exception], call: Callable[[], Any], sentence: str) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(sentence)


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Noise that swells and decays, with a peak of 0.5: effects on levels have something to do."""
    import torch

    audio = np.random.default_rng(seed).standard_normal(shape) * (0.55 - 0.45 * np.cos(np.arange(shape[-1]) * 2e-3))
    return torch.from_numpy((audio * (0.5 / np.abs(audio).max())).astype(np.float32))


def _drawn(effect: Any, seed: int) -> Any:
    from stemwright.datagen.effects.settings import draw

    return draw(effect.Settings, np.random.default_rng(seed), getattr(effect, "TYPICAL", None))


def _prepared(place: Path, kinds: Mapping[str, Any], *, songs: Path | None = None, dataset_format: str = "folder") -> Corpus:
    """A corpus of made songs whose stems are given, up to its estimates, for these kinds of pairs and no other of ours."""
    from stemwright.datagen.pairs.recipes import RECIPES
    from stemwright.datagen.run.configuration import check
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import build_stages
    from stemwright.manifests.sound.writing import save

    songs = songs or place / "songs"
    for number in range(NUM_SONGS if not songs.exists() else 0):
        frames = round(SONG_S * SONG_RATE)
        stems = {name: 0.4 * _noise(2, frames, seed=10 * number + index).numpy() for index, name in enumerate(STEMS)}
        for name, audio in {**stems, "mixture": np.sum(list(stems.values()), axis=0)}.items():
            (songs / f"Song {number}").mkdir(parents=True, exist_ok=True)
            save(songs / f"Song {number}" / f"{name}.wav", audio, SONG_RATE)
    sections = {kind: {"per_track": 0} for kind in RECIPES.own} | dict(kinds)
    pairs = {"sample_rate": SONG_RATE, "duration_s": 0.5, **sections}
    dataset = {"format": dataset_format}
    corpus = Corpus(place / "corpus")
    values = {"songs": {"folder": str(songs), "kind": "multitracks"}, "pairs": pairs, "dataset": dataset}
    corpus.create(check(values, where="the contract"))
    for name, stage in build_stages().items():
        if name in ("catalog", "separate", "estimate"):
            stage(corpus)
    return corpus


def _planned(corpus: Corpus, **changes: Any) -> Sequence[Pair]:
    """The pairs that the corpus plans with changes of its configuration; the configuration stays as it was, but for the format."""
    from stemwright.datagen.run.config_changes import changed
    from stemwright.datagen.run.stages import run_plan
    from stemwright.manifests.pair_records import Pair

    kept = corpus.config
    corpus.create(changed(kept, values=changes))
    run_plan(corpus)
    pairs = corpus.rows("pairs", Pair)
    if "dataset" not in changes:
        corpus.create(kept)
    return pairs


def _rendered(corpus: Corpus) -> Corpus:
    """The corpus with its dataset, which ``check`` finds nothing wrong with, and which a second run leaves as it is."""
    from stemwright.datagen.run.corpus_check import problems_of
    from stemwright.datagen.run.stages import run_render
    from stemwright.datagen.run.tasks import Workers

    summary = run_render(corpus, Workers())
    _require(not summary.rejected, "; ".join(row.reason for row in corpus.rejected() if row.stage == "render"))
    problems = problems_of(corpus)
    _require(not problems, "; ".join(f"{problem.file}: {problem.what}" for problem in problems))
    before = _contents(corpus.dataset)
    _require(run_render(corpus, Workers()).done == 0, "a second run renders or packs again what is finished")
    _require(_contents(corpus.dataset) == before, "a second run changes files of the dataset")
    return corpus


def _items(dataset: Path, kind: str) -> list[Any]:
    from stemwright.datagen.dataset.loader import PairDataset

    found = PairDataset(dataset, kind=kind, split="all")
    return [found[number] for number in range(len(found))]


def _contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
