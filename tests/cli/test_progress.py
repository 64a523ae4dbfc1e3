"""Progress in the log of a batch job: plain lines, at most so many, with the time that is left by a measured rate."""

import json
import re
from types import SimpleNamespace

import pytest

from stemwright.datagen.cli.progress import EVERY_S, FIRST_S, Lines, Pace
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.progress import AudioDone


@pytest.fixture
def clock():
    """A clock that moves when the test says so."""
    return SimpleNamespace(now=100.0)


@pytest.fixture
def log(clock):
    """Lines of a stage, and what they wrote."""
    written = []
    return Lines("separate", written.append, lambda: clock.now), written


def test_a_stage_of_two_long_songs_reports_its_progress_and_the_time_left(clock, log):
    lines, written = log
    lines.begin()
    lines.update(0, 2, "", AudioDone(0.0, 600.0))
    clock.now += 5.0  # the model is loaded, which is not part of the rate
    for step in range(1, 61):
        clock.now += 1.0
        lines.update(step / 60, 2, "a.flac", AudioDone(step * 4.0, 600.0))
    lines.update(1, 2, "a.flac", AudioDone(240.0, 600.0))
    clock.now += 90.0
    lines.update(2, 2, "b.flac", AudioDone(600.0, 600.0))
    lines.end()
    assert written == [
        "separate: started",
        "separate: 0 of 2, 3 %, 4 x real time, 2 min 25 s left; a.flac",
        "separate: 0 of 2, 23 %, 4 x real time, 1 min 55 s left; a.flac",
        "separate: 2 of 2, 100 %, 4 x real time, 0.0 s left; b.flac",
        "separate: 2 of 2 in 2 min 35 s, 4 x real time",
    ]


def test_lines_are_no_closer_than_half_a_minute_however_fast_tasks_end(clock, log):
    lines, written = log
    lines.begin()
    for done in range(10_001):
        clock.now += 0.01
        lines.update(done, 10_000, "a pair")
    lines.end()
    assert len(written) == 2 + len(range(int(FIRST_S), 100, int(EVERY_S)))
    assert re.fullmatch(r"separate: \d+ of 10000, 10 %, 1 min 30 s left; a pair", written[1])


def test_a_quick_stage_prints_two_lines_and_one_with_nothing_to_do_prints_one(clock, log):
    lines, written = log
    lines.begin()
    lines.update(0, 0, "")
    lines.end()
    assert written == ["separate: started"]
    lines.update(0, 3, "")
    clock.now += 1.0
    lines.update(3, 3, "c.flac")
    lines.end()
    assert written[1:] == ["separate: 3 of 3 in 1.0 s"]


def test_a_stage_of_several_passes_ends_each_with_a_line(clock, log):
    lines, written = log
    for total in (3, 5):
        for done in range(total + 1):
            clock.now += 1.0
            lines.update(done, total, "x")
    lines.end()
    assert [line for line in written if " in " in line] == ["separate: 3 of 3 in 4.0 s", "separate: 5 of 5 in 5.0 s"]


def test_no_time_is_promised_before_anything_is_done(clock):
    pace = Pace(lambda: clock.now)
    pace.update(0, 4, "", AudioDone(0.0, 100.0))
    clock.now += 60.0
    assert pace.left_s is None
    assert pace.times_real == ""


def test_the_time_left_follows_the_audio_and_not_the_number_of_songs(clock):
    pace = Pace(lambda: clock.now)
    pace.update(0, 2, "", AudioDone(0.0, 1000.0))
    clock.now += 10.0
    pace.update(1, 2, "short.flac", AudioDone(100.0, 1000.0))
    assert pace.left_s == pytest.approx(90.0)
    assert pace.share == pytest.approx(0.1)
    clock.now += 10.0
    pace.update(1.5, 2, "long.flac", AudioDone(550.0, 1000.0))  # measured from the first report on: 45 s of audio a second
    assert pace.left_s == pytest.approx(10.0)


def test_a_name_that_would_steer_a_terminal_is_escaped_in_one_line(clock, log):
    lines, written = log
    clock.now += FIRST_S
    lines.update(1, 2, "a\x1b[2J\r\nb.flac")
    assert written == ["separate: 1 of 2, 50 %, 10.0 s left; a\\x1b[2J\\r\\nb.flac"]


def test_json_stays_clean_on_standard_output_while_lines_go_to_standard_error(clock, capsys):
    terminal = Terminal(as_json=True, clock=lambda: clock.now)
    with terminal.progress("separate") as report:
        report(0, 1, "")
        clock.now += FIRST_S
        report(0.5, 1, "song.flac")
        report(1, 1, "song.flac")
    with pytest.raises(BaseException, match="0"):
        terminal.finish(0)
    out, err = capsys.readouterr()
    assert json.loads(out) == {}
    assert err.splitlines() == [
        "separate: started",
        "separate: 0 of 1, 50 %, 10.0 s left; song.flac",
        "separate: 1 of 1 in 10.0 s",
    ]


def test_at_a_terminal_the_bar_shows_the_time_that_is_left(clock, capsys):
    from io import StringIO

    from rich.console import Console

    terminal = Terminal(as_json=False, clock=lambda: clock.now)
    terminal.err = Console(file=StringIO(), force_terminal=True, width=100, highlight=False)
    with terminal.progress("separate") as report:
        report(0, 4, "")
        clock.now += 20.0
        report(1, 4, "song.flac")
        clock.now += 20.0
        report(2, 4, "song.flac")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.err.file.getvalue())
    assert "2 of 4" in shown
    assert "40.0 s left" in shown
