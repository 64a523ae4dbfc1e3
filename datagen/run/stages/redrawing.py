"""Pairs whose wet and dry sound alike, or which name an effect that does nothing, teach nothing or something false: rendering refuses
them, and others are drawn in their place.

A row is written before its audio: what is drawn in place of a refused pair goes to the table ``redraws`` before it is rendered. A round
renders what is planned, refuses what cannot be heard, draws and writes the replacements; the next round renders those.

Conventions
    ``stemwright.datagen.pairs.audibility`` says which pairs are refused. A replacement is drawn with the generator of [seed, track, kind,
    number, attempt]: neither processes nor a resume change it. A refused pair's row names its replacement (``Rejected.replaced_by``), the
    replacement's row the pair (``Pair.redraw_of``).
"""

from __future__ import annotations

from collections.abc import Sequence

from stemwright.datagen.pairs.audibility import ALIKE, INAUDIBLE
from stemwright.datagen.pairs.plan import redraw_pair
from stemwright.datagen.pairs.recipes.base import TrackMaterial
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.planning import materials_by_track
from stemwright.manifests import table
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Refused, Rejected, seal

ATTEMPTS = 5  # how often one pair is drawn again before it is given up
GIVEN_UP = f"given up after {ATTEMPTS} attempts"
PLANNED = ("seed", "split", "num_frames", "sample_rate", "redraw_below", "min_change_db")  # what a replacement has from the pair


def unreplaced(rejected: Sequence[Rejected]) -> list[Rejected]:
    """The refused rows in whose place nothing was made: what is missing in the end."""
    return [row for row in rejected if row.replaced_by is None]


def is_to_be_redrawn(row: Rejected) -> bool:
    """Whether a pair was refused for what its draw gave: its wet and dry sound alike, or an effect of it does nothing."""
    return row.reason.startswith((ALIKE, INAUDIBLE))


def is_final(row: Rejected) -> bool:
    """Whether a refused pair has been replaced or given up, so that to render it again would change nothing."""
    return row.replaced_by is not None or (is_to_be_redrawn(row) and row.reason.endswith(GIVEN_UP))


class Redraws:
    """The pairs of a corpus that are drawn while rendering, round after round. ``rows`` are all of them so far."""

    def __init__(self, corpus: Corpus, config: Config) -> None:
        self.corpus, self.config = corpus, config
        self.rows: list[Pair] = []
        self.rejected: list[Rejected] = []
        self._attempt = 0
        self._materials: dict[str, TrackMaterial] | None = None

    def next_round(self, pairs: Sequence[Pair], rejected: Sequence[Rejected]) -> list[Pair]:
        """Draws and writes down what takes the place of the pairs of the last round that sounded alike; empty when none is left to draw.

        ``rejected`` are the rows of the last round; what becomes of them is added to ``self.rejected``.
        """
        refused = {row.row_id: row for row in rejected}
        self._attempt += 1
        drawn: list[Pair] = []
        for pair in pairs if refused else ():  # in their order: the rows come in the order in which workers were done
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
        """The row of a refused pair with the result of drawing it again; a replacement is added to ``drawn``."""
        if self._attempt > ATTEMPTS:
            return _reworded(row, GIVEN_UP)
        try:
            again = redraw_pair(pair, self._attempt, self._material(pair.track_id), self.config)
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
        table.replace(self.corpus.table("redraws"), self.rows, Pair)

    def _material(self, track_id: str) -> TrackMaterial:
        """What is known of a track; the tables are read when the first pair is drawn again."""
        if self._materials is None:
            self._materials = materials_by_track(self.corpus, self.config)
        if track_id not in self._materials:
            raise Refused(
                f"pairs of the track {track_id} can no longer be planned: it, its stems or its estimates are missing; run plan again"
            )
        return self._materials[track_id]


def _reworded(row: Rejected, what: str, replaced_by: str | None = None) -> Rejected:
    columns = row.model_dump(exclude={"id", "reason", "replaced_by"})
    return seal(Rejected, **columns, reason=f"{row.reason}; {what}", replaced_by=replaced_by)
