"""How the verb ``calibrate`` makes a calibration: it checks, measures all songs, fits, shows how good that is, and keeps it.

What could end a run is checked before a song is separated, which may take hours. Songs that were measured stay in the cache: a run that
was stopped, or whose calibration was not kept, goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stemwright.datagen.cli.calibration_tables import left_out_lines, left_out_table, pan_line
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.stopping import resumable
from stemwright.datagen.cli.terminal import Terminal
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.corpus_calibrations import carry, check_separates
from stemwright.datagen.run.runner import describe_error
from stemwright.manifests.catalog.candidates import Candidate, FoundSongs
from stemwright.manifests.disk.durable import is_full, make_folder
from stemwright.manifests.records import Refused
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted
from stemwright.separation.balance.kept_calibrations import (
    KeptCalibration,
    check_place,
    keep,
    kept_calibration,
    place_of_calibrations,
    read_calibration,
)
from stemwright.separation.calibrating.copied_songs import copied_songs
from stemwright.separation.calibrating.level_fit import TooFewSongsError, base_for, check_enough, check_songs, fit
from stemwright.separation.calibrating.measured_rows import StemRow
from stemwright.separation.calibrating.multitrack_songs import (
    kept_rows_folder,
    kept_song_rows,
    multitracks_in,
    song_facts,
    stems_of_files,
    title_of_song,
)
from stemwright.separation.calibrating.songs_left_out import SongsLeftOut, leave_one_out


def songs_in(multitracks: Path, kind: str | None) -> FoundSongs:
    """The multitracks of a folder. Raises UsageError where there are none, TooFewSongsError where there are too few."""
    try:
        found = multitracks_in(multitracks, kind)
    except ValueError as error:
        raise UsageError(str(error)) from error
    check_songs(len(found.candidates))
    return found


class CalibrationRun:
    """One run of the verb: ``check``, ``measure``, ``fit`` and ``finish``, in this order; each may end it.

    ``corpus`` also uses the calibration. ``keeps``: it is kept. ``replaces``: also in place of one that was made with more songs.
    """

    def __init__(self, terminal: Terminal, found: FoundSongs, separator: Any, corpus: Path | None, *, keeps: bool, replaces: bool) -> None:
        self.terminal, self.folder, self.separator, self.corpus = terminal, found.songs, separator, corpus
        self.keeps, self.replaces = keeps, replaces
        self.songs: list[Candidate] = list(found.candidates)
        self.rejected = [{"song": path, "reason": reason} for path, reason in found.refused]
        self.rows: list[StemRow] = []
        self.key = kept_rows_folder(separator).name

    # ---------------------------------------------------------------- before anything is separated

    def check(self) -> None:
        """Leaves out songs that cannot be used and copies. Raises UsageError where the calibration could not be kept."""
        if self.corpus is not None:
            check_separates(Corpus(self.corpus).config, self.separator.origin, "this calibration")
        if self.keeps:
            for place in (None, self.corpus) if self.corpus else (None,):
                check_place(self.key, place_of_calibrations(place))
        make_folder(kept_rows_folder(self.separator))  # raises, where it cannot be written
        self._leave_out({song.path: why for song in self.songs if (why := self._misnamed(song))})
        with self.terminal.progress("compare songs") as report:
            total = len(self.songs)
            copies = copied_songs(self.folder, self.songs, lambda number: report(number, total, title_of_song(self.songs[number])))
        self._leave_out(copies)
        self._end_where_few(lambda: check_songs(len(self.songs)))
        if self.keeps and (why := self._fewer_than_kept(len(self.songs))):
            raise UsageError(f"{why}. Nothing was separated")

    def _misnamed(self, song: Candidate) -> str:
        """Why the files of a song are named after no stems of the separator; or an empty string."""
        try:
            stems_of_files(song, self.separator.stem_names)
        except Refused as reason:
            return str(reason)
        return ""

    def _leave_out(self, reasons: Mapping[str, str]) -> None:
        """Rejects songs by their paths."""
        self.songs = [song for song in self.songs if song.path not in reasons]
        self.rejected += [{"song": path, "reason": reason} for path, reason in reasons.items()]

    def _kept(self) -> KeptCalibration | None:
        """The user's calibration to this separator, as it is now."""
        return read_calibration(place_of_calibrations() / f"{self.key}.json")

    def _fewer_than_kept(self, songs: int) -> str:
        """Why a calibration on so many songs does not replace the one that is kept; or an empty string."""
        kept = self._kept()
        if kept is None or self.replaces or songs >= len(kept.songs):
            return ""
        return (
            f"the calibration {kept.id} to {kept.origin} was made with {counted(len(kept.songs), 'song')}, and here are {songs}; "
            "to keep the new one in its place: --replace; to see how good it is: --dry-run"
        )

    def _end_where_few(self, check: Callable[[], None]) -> None:
        """Shows what was rejected so far, and ends the run where a check says that too little is left to fit to."""
        shown = len(self.terminal.collected.get("rejected", ()))
        for each in self.rejected[shown:]:
            self.terminal.warn("{song}: {reason}".format(**each))
        if self.rejected:
            self.terminal.collected["rejected"] = list(self.rejected)
        try:
            check()
        except TooFewSongsError as error:
            why = (
                f"{error}. {counted(len(self.rejected), 'song')} could not be used, for the reasons above" if self.rejected else str(error)
            )
            self._end(why)

    def _end(self, why: str) -> None:
        """Ends the run as failed."""
        self.terminal.collected["error"] = why
        self.terminal.warn(why)
        self.terminal.finish(1)

    # ---------------------------------------------------------------- separation

    def measure(self) -> None:
        """The rows of all songs; those that give none are rejected."""
        again, reasons = 0, {}
        with resumable(), self.terminal.progress("calibrate") as report:
            total = len(self.songs)
            for number, song in enumerate(self.songs):
                within = partial(_report, report, number, total, title_of_song(song))
                within(0.0)
                try:
                    rows, kept = kept_song_rows(self.folder, song, self.separator, song_facts(self.folder, song, self.separator), within)
                    self.rows += rows
                    again += kept
                except SystemExit as left:  # of a separator's code
                    reasons[song.path] = f"the code of the separator ended the program with {left.code!r}"
                except Exception as error:  # from any library, about this song: the others still count
                    if is_full(error):
                        raise
                    reasons[song.path] = str(error) if isinstance(error, ValueError) else describe_error(error)
                within(1.0)
        self._leave_out(reasons)
        if again:
            self.terminal.say(f"{counted(again, 'song')} separated by an earlier run")
        self._end_where_few(lambda: check_enough(self.rows))

    # ---------------------------------------------------------------- the calibration

    def fit(self) -> None:
        """Fits, shows how good it is for songs that are left out, and keeps it."""
        base = base_for(self.separator.origin, self.rows)
        songs = list(dict.fromkeys(row.song for row in self.rows))
        with self.terminal.progress("leave one out") as report:
            judged = leave_one_out(self.rows, base, lambda song: report(songs.index(song), len(songs), song))
        fitted = judged.kept(fit(self.rows, base), base)
        found = kept_calibration(self.separator.origin, self.separator.identity, songs, fitted, judged.rows())
        self.terminal.show("left_out", left_out_table(self.separator.origin, len(songs), judged), judged.rows())
        for line in (*left_out_lines(judged), pan_line(judged, fitted, base)):
            self.terminal.say(line)
        if missing := [name for name in dict.fromkeys(row.stem for row in self.rows) if name not in judged.before.names]:
            self.terminal.warn(f"no song has {', '.join(missing)}: corrected as all stems are on average")
        self.terminal.collected |= {
            "separator": self.separator.origin,
            "key": found.key,
            "id": found.id,
            "songs": songs,
            "pan": _pan(judged, kept=fitted.image != base.image),
            "calibration": found.model_dump(mode="json")["calibration"],
            "kept": [],
        }
        if self.keeps:
            self._keep(found)
        else:
            self.terminal.say("nothing is kept (--dry-run)")

    def _keep(self, found: KeptCalibration) -> None:
        """Writes the calibration to where balance and the corpus find it, and says what it replaces."""
        if why := self._fewer_than_kept(len(found.songs)):  # songs were rejected, or another run has kept one meanwhile
            self._end(f"{why}. The new one is not kept; what was separated is, for the next run")
        before = self._kept()
        kept = [str(keep(found, place_of_calibrations()))]
        if self.corpus is not None:
            kept.append(carry(Corpus(self.corpus), found))
        self.terminal.collected["kept"] = kept
        if before is not None and before.id != found.id:
            self.terminal.collected["replaced"] = before.id
            self.terminal.say(f"it replaces the calibration {before.id}, which was made with {counted(len(before.songs), 'song')}")
        self.terminal.say(f"calibration {found.id}: balance and rules now use it; for a corpus: --calibration with this id")
        for path in kept:
            self.terminal.say(f"its file, named by the separator: {path}")

    def finish(self) -> None:
        """Ends the run, with the number of songs that are in it, and of those that are not."""
        songs = len({row.song for row in self.rows})
        self.terminal.say(f"calibrate: {songs} done, {len(self.rejected)} rejected")
        self.terminal.finish(exit_code(songs, len(self.rejected)))


def _report(report: Any, number: int, total: int, title: str, share: float) -> None:
    report(number + share, total, title)


def _pan(judged: SongsLeftOut, *, kept: bool) -> dict[str, Any]:
    """Mean error, coverage and width of ranges of pans before and after, as plain values; and whether the latter are kept."""
    sides = {"before": judged.pan_before, "after": judged.pan_after}
    figures = {
        when: None if each is None else {name: round(value, 4) for name, value in each._asdict().items()} for when, each in sides.items()
    }
    return {**figures, "calibrated": kept}
