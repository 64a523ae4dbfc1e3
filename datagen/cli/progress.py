"""How far a stage is and how long it still takes: measured, and shown as a bar at a terminal or as plain lines in a log.

    separate: started
    separate: 2 of 12, 21 %, 4.1 x real time, 8 min 20 s left; song.flac
    separate: 12 of 12 in 10 min 31 s, 4.2 x real time

Conventions
    Lines are for the logs of batch jobs: one line each, no control characters. The first comes after ``FIRST_S``, the next ones at least
    ``EVERY_S`` apart, and the last when the stage ends; nothing is timed by a thread of its own, so a line comes when something was done.
    The rate is that of the work since the first of it was done: what was prepared before (a model that is loaded) is not extrapolated.
    It is in seconds of audio where their number is known, else in items. Stages of several passes are measured pass by pass.
"""

from __future__ import annotations

from collections.abc import Callable

from stemwright.manifests.progress import AudioDone
from stemwright.manifests.visible import visible
from stemwright.manifests.wording import duration

FIRST_S = 10.0
EVERY_S = 30.0


class Pace:
    """How much of a pass is done, at which rate, and how long the rest will take."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.done, self.total, self.subject = 0.0, 0, ""
        self.audio: AudioDone | None = None
        self._began = self._measured_from = self._at = clock()
        self._measured_amount = 0.0

    @property
    def share(self) -> float:
        """How much of the pass is done, 0 to 1."""
        done, total = self.audio or (self.done, self.total)
        return min(1.0, done / total) if total else 0.0

    @property
    def elapsed_s(self) -> float:
        """From the beginning of the pass to the last report."""
        return self._at - self._began

    def update(self, done: float, total: int, subject: str, audio: AudioDone | None) -> None:
        """Takes a report; one with another total, or with less done than before, begins another pass."""
        amount, self._at = audio.done_s if audio else done, self._clock()
        if self.total and (total != self.total or amount < self._amount):
            self._began = self._measured_from = self._at
            self._measured_amount = amount
        elif self._amount == 0.0 < amount < (audio.total_s if audio else total) and not self._measured_amount:
            self._measured_from, self._measured_amount = self._at, amount
        self.done, self.total, self.subject, self.audio = done, total, subject, audio

    @property
    def _amount(self) -> float:
        return self.audio.done_s if self.audio else self.done

    @property
    def rate(self) -> float | None:
        """Seconds of audio, or items, per second of time; None until something is measured."""
        spent, made = self._at - self._measured_from, self._amount - self._measured_amount
        if made <= 0.0:  # only the first of it is done: from the beginning, with what was prepared
            spent, made = self.elapsed_s, self._amount
        return made / spent if spent > 0.0 < made else None

    @property
    def left_s(self) -> float | None:
        """Time left in seconds at the rate so far; None until something is measured."""
        total = self.audio.total_s if self.audio else self.total
        return None if self.rate is None else max(0.0, total - self._amount) / self.rate

    @property
    def times_real(self) -> str:
        """The rate as text, a multiple of real time; empty where the length of the audio is unknown."""
        return f"{self.rate:.3g} x real time" if self.audio and self.audio.total_s and self.rate else ""

    @property
    def count(self) -> str:
        """What is finished, of how many; empty until that is known."""
        return f"{int(self.done)} of {self.total}" if self.total else ""


class Lines:
    """Progress as plain lines, given to ``write`` one by one."""

    def __init__(self, stage: str, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._stage, self._write, self._clock = stage, write, clock
        self._pace = Pace(clock)
        self._next = clock() + FIRST_S

    def begin(self) -> None:
        """The first line."""
        self._say("started")

    def update(self, done: float, total: int, subject: str, audio: AudioDone | None = None) -> None:
        """Takes a report, and writes a line if it is time for one."""
        if self._pace.total and total != self._pace.total:
            self._end_pass()
        self._pace.update(done, total, subject, audio)
        if total and self._clock() >= self._next:
            self._next = self._clock() + EVERY_S
            pace = self._pace
            left = "" if pace.left_s is None else f"{duration(pace.left_s)} left"
            phrase = ", ".join(filter(None, (pace.count, f"{pace.share:.0%}".replace("%", " %"), pace.times_real, left)))
            self._say(f"{phrase}; {subject}" if subject else phrase)

    def end(self) -> None:
        """The last line, if anything was to do."""
        if self._pace.total:
            self._end_pass()

    def _end_pass(self) -> None:
        pace = self._pace
        self._say(", ".join(filter(None, (f"{pace.count} in {duration(pace.elapsed_s)}", pace.times_real))))

    def _say(self, text: str) -> None:
        self._write(visible(f"{self._stage}: {text}"))
