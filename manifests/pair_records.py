"""The records of pairs: what is planned (``Pair``), of which sources and effects (``Signal``), and what was rendered (``Example``).

Conventions
    Those of ``stemwright.manifests.records``. A signal is branches, each a source through a chain of effects, summed, then through the
    chain of a bus. Sends are buses beside it, as of a shared reverb: branches feed them after their chains, each with a gain of its own,
    and what their chains make of the sum is added to the branches before the bus.
    A signal without sends is written, in JSON and so for ids and digests, as before there were any: the column is left out. So are the
    columns of a send that say nothing.
"""

from __future__ import annotations

from itertools import compress
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stemwright.manifests.metadata import is_none
from stemwright.manifests.names import LONGEST_EXCERPT_S, MOST_FRAMES, MOST_PARTS, Name, SampleRate
from stemwright.manifests.records import AudioFile, CacheKey, Db, EffectUse, Id, Record, Split


class Branch(Record):
    """A source through a chain of effects."""

    source_id: Id = Field(description="id of a stem, or of a track for its mixture")
    chain: tuple[EffectUse, ...] = Field((), max_length=MOST_PARTS, description="effects of the branch, in order")
    offset_frames: int = Field(
        0, ge=-MOST_FRAMES, le=MOST_FRAMES, description="offset in frames of this source's excerpt, added to the pair's start_frame"
    )
    channels: Literal["all", "mono", "left", "right"] = Field(
        "all", description="channels of the source that enter the chain; mono: the mean of all; left, right: the first, the last"
    )


SendGain = Annotated[float, Field(ge=-48.0, le=24.0, allow_inf_nan=False)]  # the range of the effect ``fader``


class SendBus(Record):
    """A bus that branches feed, each with a gain of its own, after their chains: a shared reverb or delay. Its output joins the sum."""

    name: Name = Field(description="name of the bus, such as reverb")
    gains_db: tuple[SendGain | None, ...] = Field(
        max_length=MOST_PARTS, description="gain in dB with which each branch of the signal is sent to it, in order; None: it is not"
    )
    chain: tuple[EffectUse, ...] = Field((), max_length=MOST_PARTS, description="effects of the bus, in order")
    feed: Literal["mean"] | None = Field(
        None, exclude_if=is_none, description="what enters the chain; mean: in every channel the mean of all; None: the sum as it is"
    )
    returns: Literal["difference"] | None = Field(
        None,
        exclude_if=is_none,
        description="what joins the sum; difference: what the chain makes of its input, less that input, as of an effect that keeps the "
        "direct sound; None: what the chain makes of it",
    )


def _is_empty(value: tuple[object, ...]) -> bool:
    return not value


class Signal(Record):
    """Branches, summed, with what sends make of them, then through a bus chain. Without branches it is silence, one channel of it."""

    name: Name = Field(description="name of the signal; the file's name begins with input_ or target_")
    branches: tuple[Branch, ...] = Field(max_length=MOST_PARTS, description="branches that are summed")
    bus: tuple[EffectUse, ...] = Field((), max_length=MOST_PARTS, description="effects of the sum, in order")
    view: Literal["audio", "gain", "unlimited"] = Field(
        "audio",
        description="gain: the gain curve of the bus limiter, per sample; unlimited: the audio divided by that curve",
    )
    sends: tuple[SendBus, ...] = Field(
        (), max_length=MOST_PARTS, exclude_if=_is_empty, description="buses that branches feed with gains of their own"
    )

    @property
    def chains(self) -> tuple[tuple[EffectUse, ...], ...]:
        """All its chains: those of the branches, of the sends, and of the bus."""
        return (*(branch.chain for branch in self.branches), *(send.chain for send in self.sends), self.bus)

    def of_source(self, source_id: str) -> Signal:
        """What it has of one source: its branches, and the sends that they feed."""
        kept = [branch.source_id == source_id for branch in self.branches]
        sends = tuple(send.model_copy(update={"gains_db": tuple(compress(send.gains_db, kept))}) for send in self.sends)
        fed = tuple(send for send in sends if any(gain_db is not None for gain_db in send.gains_db))
        return self.model_copy(update={"branches": tuple(compress(self.branches, kept)), "sends": fed})

    @model_validator(mode="after")
    def _sends_are_fed(self) -> Signal:
        for send in self.sends:
            if len(send.gains_db) != len(self.branches):
                raise ValueError(
                    f"the send {send.name!r} of the signal {self.name!r} has {len(send.gains_db)} gains; expected one for each of its "
                    f"{len(self.branches)} branches, None for a branch that does not feed it"
                )
            if all(gain_db is None for gain_db in send.gains_db):
                raise ValueError(f"no branch of the signal {self.name!r} feeds its send {send.name!r}; leave the send out")
        names = [send.name for send in self.sends]
        if len(set(names)) < len(names):
            raise ValueError(f"sends of the signal {self.name!r} share a name: {', '.join(names)}; give each bus a name of its own")
        return self


class Pair(Record):
    """A planned training example: which signals, from which sources, with which settings."""

    id: Id
    kind: Name = Field(description="kind of pair: the recipe that planned it")
    number: int = Field(ge=0, description="number of this pair among the track's pairs of this kind")
    track_id: Id = Field(description="the recording it is planned for")
    split: Split = Field(description="train, valid or test")
    start_frame: int = Field(ge=0, le=MOST_FRAMES, description="first frame of the excerpt, at sample_rate")
    num_frames: int = Field(gt=0, description="length of the excerpt in frames")
    sample_rate: SampleRate = Field(description="Hz, of all signals of the pair")
    inputs: tuple[Signal, ...] = Field(max_length=MOST_PARTS, description="input signals of a model")
    targets: tuple[Signal, ...] = Field(max_length=MOST_PARTS, description="signals that the model is to predict")
    text: str | None = Field(None, description="the sentence of an edit or a restoration; None: a pair without one")
    seed: int = Field(description="seed of the configuration")
    redraw_of: Id | None = Field(None, description="the pair in whose place this one was drawn, because its wet and dry sounded alike")
    redraw_below: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="refused if the MR-STFT distance of first input and target is smaller; 0: never"
    )
    min_change_db: Db | None = Field(
        None, description="refused if a removed or added effect changes its signal by less (``Change.change_db``); None: never"
    )

    @model_validator(mode="after")
    def _not_too_long(self) -> Pair:
        if self.num_frames > LONGEST_EXCERPT_S * self.sample_rate:
            raise ValueError(f"an excerpt of {self.num_frames} frames at {self.sample_rate} Hz; at most {LONGEST_EXCERPT_S:g} s are made")
        return self


class SignalFile(Record):
    """One rendered signal of an example."""

    role: Literal["input", "target"] = Field(description="input or target")
    name: Name = Field(description="name of the signal")
    audio: AudioFile = Field(description="its file")
    loudness_lufs: Db | None = Field(description="integrated loudness as written; None: silent, or shorter than a gating block")
    peak_dbfs: Db | None = Field(description="largest absolute sample as written; None: silent")
    levelled_db: tuple[Db, ...] = Field(
        (),
        description="gains in dB of its `loudness` effects, known only after rendering: of branches, of sends, of the bus, in order",
    )


class Change(Record):
    """The change that one removed or added effect makes: measured in rendering by leaving it out, before any joint gain."""

    signal: Name = Field(description="the signal that it was measured in")
    branch: int | None = Field(
        description="number of the branch whose chain holds the effect; numbers after the last branch: the sends, in order; None: the bus"
    )
    position: int = Field(ge=0, description="number of the effect in that chain")
    effect: str = Field(description="name of the effect")
    change_db: Db | None = Field(
        description="energy of the difference that leaving it out makes to the output of that chain, over the energy of the output, in dB; "
        "up to the best one gain, but for a fader, whose gain is its effect. None: it changes nothing"
    )
    mean_reduction_db: Db | None = Field(
        None, description="of compressor and limiter: mean gain reduction where the input is above -60 dB of its peak; None: another effect"
    )
    most_reduction_db: Db | None = Field(None, description="of compressor and limiter: largest gain reduction there")


class Example(Record):
    """A rendered pair: its files, and the values that are known only after rendering."""

    id: Id
    cache_key: CacheKey
    pair_id: Id = Field(description="the pair that was rendered")
    gain_db: Db = Field(
        description="joint gain of all signals of the example in dB, applied before writing; 0 unless a peak exceeded full scale"
    )
    signals: tuple[SignalFile, ...] = Field(description="its files")
    changes: tuple[Change, ...] = Field((), description="one for each removed or added effect, signal by signal in the order of the chains")
