"""Pictures of balances: every stem named, no text cut or over another, the same scales for all songs, no warning, the same bytes."""

import re
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from stemwright.datagen.report.balance_panels import SongPanels, thinned
from stemwright.datagen.report.balance_plot import MOST_ON_PAGE, balance_figures, plot_balance
from stemwright.datagen.report.balance_scales import Scales, within
from stemwright.datagen.report.palette import COLOURS, DARK, LIGHT, colours
from stemwright.datagen.report.sheet import drawing
from stemwright.separation.balance.measure import Trajectory
from stemwright.separation.balance.mixture_line import MixtureCourse
from stemwright.separation.balance.music import Music
from stemwright.separation.balance.track_balance import measure_track

RATE = 8_000
FOUR = ("drums", "bass", "other", "vocals")
ODD = (
    "voix élevée",
    "東京の鼓",
    "$x_2$ and $\\frac{a",
    "שלום עולם",
    "\N{MULTIPLE MUSICAL NOTES}",
    "a" * 60 + "1" + "b" * 40,
    "a" * 60 + "2" + "b" * 40,
    "tab\there",
)


def track(names=FOUR, *, title="a song", seed=0, silent=(), seconds=6.0, channels=2):
    """A recording of noise at random levels that come and go."""
    return replace(measured(tuple(names), seed, tuple(silent), seconds, channels), title=title)


@cache
def measured(names, seed, silent, seconds, channels):
    """It is the same for each title, and frozen: measured once."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    stems = {}
    for name in names:
        gain = 0.0 if name in silent else 0.1 * 10 ** (-rng.uniform(0, 22) / 20)
        shape = np.sin(2 * np.pi * time_s / rng.uniform(4, 9) + rng.uniform(0, 6)) > rng.uniform(-1, -0.2)
        stems[name] = (gain * shape * rng.standard_normal((channels, len(time_s)))).astype(np.float32)
    return measure_track("a song", sum(stems.values()), stems, RATE)


def drawn(tracks, look=LIGHT):
    """The figure of some recordings; any warning is an error."""
    texts = [text for each in tracks for text in (each.title, *each.stems)]
    with warnings.catch_warnings(), drawing(look, texts):
        warnings.simplefilter("error")
        (figure,) = balance_figures(tracks, look)
        FigureCanvasAgg(figure).draw()
        return figure


def texts_of(figure):
    """Every text that is seen, with its rectangle on the page in pixels."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            shown = axis._update_ticks() if axes.axison else []
            unseen |= {label for tick in axis.get_major_ticks() if tick not in shown for label in (tick.label1, tick.label2)}
            unseen |= set() if axes.axison else {axis.label}
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in unseen]
    return {text: text.get_window_extent() for text in found}


def apart(one, other):
    return min(one.x1, other.x1) - max(one.x0, other.x0) <= 1.0 or min(one.y1, other.y1) - max(one.y0, other.y0) <= 1.0


def absent(one):
    gone = {"present": False, "level_lu": -np.inf, "note": "not present: silent", "bands": ()}
    return replace(one, stems={name: replace(stem, **gone) for name, stem in one.stems.items()})


MUSIC = Music(((0.0, 2.5), (2.5, 6.0)), 120.0, "A minor", 0.1)
MANY = {  # -> what measures the recordings, in the test that draws them
    "1 stem": lambda: [track(("vocals",))],
    "4 stems": lambda: [track(silent=("bass",))],
    "8 stems": lambda: [replace(track([*FOUR, *(f"MadeUp_Band_RAW_0{n}_01" for n in range(4))], seed=1), music=MUSIC)],
    "24 stems": lambda: [replace(track([f"ch{n:02d}" for n in range(1, 25)], seed=2), music=Music(((0.0, 6.0),), None, None))],
    "odd names": lambda: [track(ODD, title="$Song$ 東京 <b>\x07 " + "long " * 40, seed=3)],
    "mono": lambda: [track(channels=1, seed=4)],
    "shorter than a window": lambda: [track(seconds=0.5, seed=5)],
    "no stem is present": lambda: [absent(track(seed=6))],
    "2 songs": lambda: [track(title=f"song {n}", seed=n) for n in range(2)],
    "5 songs": lambda: [track(title=f"song {n}", seed=n, names=FOUR if n else (*FOUR, "guitar")) for n in range(5)],
    "50 songs": lambda: [replace(track(), title=f"A song whose title is long, take {n} of it as it was mixed") for n in range(50)],
    "70 songs": lambda: [replace(track(), title=f"song {n}") for n in range(70)],
}  # fmt: skip


@pytest.mark.parametrize(("case", "look"), [*((case, LIGHT) for case in MANY), ("8 stems", DARK)])
def test_no_text_is_cut_or_over_another_and_every_stem_is_named(case, look):
    tracks = MANY[case]()
    figure = drawn(tracks, look)
    texts = texts_of(figure)
    page = figure.bbox
    for text, place in texts.items():
        assert min(place.x0, place.y0, page.x1 - place.x1, page.y1 - place.y1) >= 0, f"{text.get_text()!r} is cut"
    listed = list(texts.items())
    for number, (text, place) in enumerate(listed):
        for other, its in listed[number + 1 :]:
            assert apart(place, its), f"{text.get_text()!r} is over {other.get_text()!r}"
    said = [text.get_text() for text in texts]
    for name in Scales.of(tracks, look).names.values():
        assert name in said


def test_a_stem_has_its_colour_in_every_panel_and_an_absent_one_only_its_reason(tmp_path):
    plot_balance(track(("drums", "bass", "vocals"), silent=("bass",)), tmp_path / "balance.png")
    picture = image.imread(tmp_path / "balance.png")[..., :3]
    left, right = np.array_split(picture, [picture.shape[1] * 30 // 100], axis=1)

    def share(colour, part):
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        return float(np.mean(np.all(np.abs(part - wanted) < 0.02, axis=-1)))

    for name in ("drums", "vocals"):
        assert share(COLOURS[name], left) > 1e-4
        assert share(COLOURS[name], right) > 1e-3
    assert share(COLOURS["bass"], picture) == 0
    figure = drawn([track(("drums", "bass"), silent=("bass",))])
    assert "not present: silent" in [text.get_text() for text in texts_of(figure)]


def test_all_songs_have_the_same_scales_of_level():
    tracks = [track(title="loud", seed=0), track(title="soft", seed=7), track(title="other", seed=8, seconds=9.0)]
    figure = drawn(tracks)
    for label, axis in (("level against the mixture (LU); bar", "x"), ("level against the mixture (LU)", "y"), ("mixture\n(LUFS)", "y")):
        limits = {
            getattr(axes, f"get_{axis}lim")() for axes in figure.axes if getattr(axes, f"get_{axis}label")().startswith(label)
        }  # fmt: skip
        found = sum(getattr(axes, f"get_{axis}label")().startswith(label) for axes in figure.axes)
        assert (found, len(limits)) == (3, 1), label


def test_panels_of_songs_are_left_out_where_they_are_many_but_paged_in_a_pdf(tmp_path):
    def songs(figure):
        return sum(axes.get_title(loc="left") == "level" for axes in figure.axes)

    many = [track(title=f"song {n}", seed=n) for n in range(MOST_ON_PAGE + 1)]
    assert songs(drawn(many[:-1])) == MOST_ON_PAGE
    assert songs(drawn(many)) == 0
    plot_balance(many, tmp_path / "many.pdf")
    pages = re.findall(rb"/Type /Page\b(?!s)", (tmp_path / "many.pdf").read_bytes())
    assert len(pages) == len(many) + 1


def test_every_song_is_a_dot_and_the_median_a_line():
    tracks = MANY["5 songs"]()
    axes = next(axes for axes in drawn(tracks).axes if "median" in axes.get_title(loc="left"))
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(len(line.get_xdata()) for line in dots) == [1, 5, 5, 5, 5]
    levels = sorted(each.stems["bass"].level_lu for each in tracks)
    (of_bass,) = (line for line in dots if sorted(line.get_xdata()) == pytest.approx(levels))
    (median,) = (line for line in axes.lines if line.get_marker() != "o" and line.get_color() == of_bass.get_color())
    assert list(median.get_xdata()) == pytest.approx([float(np.median(levels))] * 2)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_results_give_the_same_bytes(tmp_path, kind):
    tracks = MANY["2 songs"]()
    plot_balance(tracks, tmp_path / f"one.{kind}")
    plot_balance(tracks, tmp_path / f"two.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_matplotlibs_settings_are_left_as_they_were(tmp_path):
    import matplotlib

    before = matplotlib.rcParams.copy()
    plot_balance(track(), tmp_path / "balance.png", dark=True)
    assert matplotlib.rcParams == before


def long_track(minutes):
    """An hour that was not rendered: its courses are random walks of 0.1 s."""
    count = round(minutes * 600)
    one = track()
    end_s = 3.0 + 0.1 * np.arange(count)
    rng = np.random.default_rng(0)
    stems = {}
    for name, stem in one.stems.items():
        level = -8.0 + 4.0 * rng.standard_normal(count)
        spans = tuple((float(at), float(at) + 1.4) for at in np.arange(0, minutes * 60, 1.5))
        stems[name] = replace(stem, trajectory=Trajectory(end_s, level, level - 1, level + 1), active_spans_s=spans)
    course = MixtureCourse(end_s, -14 + rng.standard_normal(count), np.full(count, 8.0))
    return replace(one, stems=stems, duration_s=60.0 * minutes, course=course)


def test_an_hour_is_smoothed_and_a_song_is_not():
    for minutes, smoothed in ((4, False), (60, True)):
        song = SongPanels(one := long_track(minutes), Scales.of([one], LIGHT))
        course = one.stems["bass"].trajectory
        _, values = thinned(course.end_s, course.level_lu, song)
        assert len(values) < 1900
        assert (np.nanstd(values) < 0.5 * np.std(course.level_lu)) == smoothed
        assert np.nanmean(values) == pytest.approx(np.mean(course.level_lu), abs=0.3)
        title = next(axes.get_title(loc="left") for axes in drawn([one]).axes if "over time" in axes.get_title(loc="left"))
        assert ("means of 22 s" in title) == smoothed


def test_levels_are_drawn_only_while_a_stem_plays():
    time_s = np.array([0.5, 1.0, 2.0, 3.0, 4.5])
    assert within(time_s, ((0.0, 1.0), (2.5, 4.0))).tolist() == [True, True, False, True, False]
    assert not within(time_s, ()).any()


def test_no_track_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one measured track"):
        plot_balance([], tmp_path / "balance.png")


def test_a_known_stem_has_one_colour_in_all_pictures():
    assert colours(["vocals", "flute"])["vocals"] == colours(["ch01", "vocals"], DARK)["vocals"] == COLOURS["vocals"]
