"""Pairs whose wet and dry sound alike, or which name an effect that does nothing, teach nothing or what is not true: rendering refuses
them, and others are drawn in their place.

Rule 2 of the house holds: what is drawn in place of a refused pair is written to the table ``redraws`` before it is rendered. A round
renders what is planned, refuses what cannot be heard, draws and writes the replacements; the next round renders those.

Conventions
    Alike: the multi-resolution STFT distance of the first input (wet) and the first target (dry) is smaller than the pair's
    ``redraw_below``. The distance is auraloss's ``MultiResolutionSTFTLoss`` with its defaults: for three resolutions the spectral
    convergence plus the mean difference of the log magnitudes, averaged.
    Inaudible: leaving out one removed or added effect changes its signal by less than the pair's ``min_change_db``
    (``stemwright.datagen.pairs.chain_runs``), what an edit names cannot be heard in the excerpt, or a signal is too soft to be brought to
    its loudness. A replacement is drawn with the generator of [seed, track, kind, number, attempt]: neither processes nor a resume change
    it. A refused pair's row names its replacement (``Rejected.replaced_by``), the replacement's row the pair (``Pair.redraw_of``).

References
    RemFX (Rice et al. 2023): a pair is drawn again while its distance is below 1e-3. Yamamoto et al. 2020 for the distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemwright.datagen.pairs.plan import material_of, redraw_pair
from stemwright.datagen.pairs.render import Rendered, one_thread
from stemwright.manifests.records import Pair, Refused, Rejected, Stem, Track, seal
from stemwright.manifests.sound.audio import Audio

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.run.config import Config
    from stemwright.datagen.run.corpus import Corpus

ATTEMPTS = 5  # how often one pair is drawn again before it is given up
ALIKE = "wet and dry sound alike"
INAUDIBLE = "not all that the pair is about can be heard"
GIVEN_UP = f"given up after {ATTEMPTS} attempts"
PLANNED = ("seed", "split", "num_frames", "sample_rate", "redraw_below", "min_change_db")  # what a replacement has from the pair
MOST_TELLING = (1, 0, 2)  # the resolutions, the one with the fewest frames first


def check_audible(pair: Pair, signals: Mapping[str, Audio]) -> None:
    """Raises Refused with what was measured if the wet and the dry of a pair sound alike, or an effect does nothing by itself."""
    if pair.redraw_below and pair.inputs and pair.targets:
        distance = distance_below(signals[pair.inputs[0].name], signals[pair.targets[0].name], pair.redraw_below)
        if distance is not None:
            raise Refused(f"{ALIKE}: their MR-STFT distance is {distance:.3g}, expected at least {pair.redraw_below:g}")
    if isinstance(signals, Rendered) and signals.inaudible:
        raise Refused(f"{INAUDIBLE}: {signals.inaudible}")


def distance_below(wet: Audio, dry: Audio, limit: float) -> float | None:
    """The MR-STFT distance of wet and dry, both [C, T], if it is below a limit; otherwise None.

    Every resolution, and in it every frame, adds something positive: once a part has reached the limit the rest need not be measured. A
    tenth of the frames of one resolution nearly always has.
    """
    import torch
    from auraloss.freq import MultiResolutionSTFTLoss

    loss = MultiResolutionSTFTLoss()
    one, other = torch.from_numpy(wet)[None], torch.from_numpy(dry)[None]
    if one.shape[1] != other.shape[1]:  # a chain may have made stereo of mono
        one, other = torch.broadcast_tensors(one, other)
    missing = max(0, max(loss.fft_sizes) - one.shape[-1])  # shorter than one window: silence follows
    one, other = (torch.nn.functional.pad(signal, (0, missing)) for signal in (one, other))
    total = 0.0
    with one_thread():
        if _share(loss.stft_losses[MOST_TELLING[0]], one[0], other[0]) / len(MOST_TELLING) >= limit:
            return None
        for index in MOST_TELLING:
            total += float(loss.stft_losses[index](one, other)) / len(MOST_TELLING)
            if total >= limit:
                return None
    return total


def _share(loss: Any, wet: torch.Tensor, dry: torch.Tensor) -> float:
    """What the middle tenth of the frames of [C, T] adds to one resolution's mean difference of log magnitudes: less than the whole."""
    frames = wet.shape[-1]
    start = int(0.45 * frames) // loss.hop_size * loss.hop_size  # on the grid of the whole signal's frames
    part = slice(start, start + max(frames // 10, 2 * loss.fft_size))
    edge = -(-loss.fft_size // 2 // loss.hop_size) + 1  # frames that reach beyond the part
    logs = [loss.stft(signal[:, part])[0][..., edge:-edge].log() for signal in (wet, dry)]
    return float((logs[0] - logs[1]).abs().sum()) / (logs[0].shape[0] * logs[0].shape[1] * (1 + frames // loss.hop_size))


def unreplaced(rejected: Sequence[Rejected]) -> list[Rejected]:
    """The refused rows in whose place nothing was made: what is missing in the end."""
    return [row for row in rejected if row.replaced_by is None]


def is_to_be_redrawn(row: Rejected) -> bool:
    """Whether a pair was refused for what its draw gave: its wet and dry sound alike, or an effect of it does nothing."""
    return row.reason.startswith((ALIKE, INAUDIBLE))


def is_settled(row: Rejected) -> bool:
    """Whether a refused pair has been replaced or given up, so that to render it again would change nothing."""
    return row.replaced_by is not None or (is_to_be_redrawn(row) and row.reason.endswith(GIVEN_UP))


class Redraws:
    """The pairs of a corpus that are drawn while rendering, round after round. ``rows`` are all of them so far."""

    def __init__(self, corpus: Corpus, config: Config) -> None:
        self.corpus, self.config = corpus, config
        self.rows: list[Pair] = []
        self.rejected: list[Rejected] = []
        self._attempt = 0
        self._known: dict[str, tuple[Track, list[Stem], dict[str, Any]]] | None = None

    def next_round(self, pairs: Sequence[Pair], rejected: Sequence[Rejected]) -> list[Pair]:
        """Draws and writes down what takes the place of the pairs of the last round that sounded alike; empty when none is left to draw.

        ``rejected`` are the rows of the last round; what becomes of them is added to ``self.rejected``.
        """
        refused = {row.row_id: row for row in rejected}
        self._attempt += 1
        drawn: list[Pair] = []
        for pair in pairs:  # in their order: the rows come in the order in which workers were done
            if (row := refused.get(pair.id)) is None:
                continue
            if is_to_be_redrawn(row):
                self.rejected.append(self._drawn_again(row, pair, drawn))
            else:
                self.rejected.append(row)
        self.rows += drawn
        if drawn:
            self._write()
        return drawn

    def _drawn_again(self, row: Rejected, pair: Pair, drawn: list[Pair]) -> Rejected:
        """The row of a refused pair with what came of drawing it again; a replacement is added to ``drawn``."""
        if self._attempt > ATTEMPTS:
            return _reworded(row, GIVEN_UP)
        try:
            track, stems, estimates = self._of_track(pair.track_id)
            again = redraw_pair(pair, self._attempt, material_of(track, stems, estimates, self.config.pairs), self.config)
            if any(getattr(again, column) != getattr(pair, column) for column in PLANNED):
                raise Refused("the configuration has changed since the pairs were planned; run plan again")
        except Refused as reason:
            return _reworded(row, f"not drawn again: {reason}")
        drawn.append(again)
        return _reworded(row, f"replaced by {again.id}", again.id)

    def finish(self) -> None:
        """Leaves the table as the last round has it, or none if nothing was drawn again."""
        if self.rows:
            self._write()
        else:
            self.corpus.table("redraws").unlink(missing_ok=True)

    def _write(self) -> None:
        from stemwright.manifests import table

        table.replace(self.corpus.table("redraws"), self.rows, Pair)

    def _of_track(self, track_id: str) -> tuple[Track, list[Stem], dict[str, Any]]:
        """Track, stems and estimates by stem id; the tables are read when the first pair is drawn again."""
        from stemwright.manifests.records import Estimate

        if self._known is None:
            estimates = {row.stem_id: row for row in self.corpus.rows("estimates", Estimate)}
            self._known = {track.id: (track, [], estimates) for track in self.corpus.rows("tracks", Track)}
            for stem in self.corpus.rows("stems", Stem):
                if stem.track_id in self._known:
                    self._known[stem.track_id][1].append(stem)
        if track_id not in self._known:
            raise Refused(f"the track {track_id} is no longer in the table of tracks; run plan again")
        return self._known[track_id]


def _reworded(row: Rejected, what: str, replaced_by: str | None = None) -> Rejected:
    columns = row.model_dump(exclude={"id", "reason", "replaced_by"})
    return seal(Rejected, **columns, reason=f"{row.reason}; {what}", replaced_by=replaced_by)
