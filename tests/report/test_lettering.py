"""Names in pictures: short, distinguished, in letters that can be drawn."""

import numpy as np
import pytest

from stemwright.datagen.report.lettering import BOX, drawable, families, short_names, shortened, signed
from stemwright.datagen.report.sheet import apart

ALIKE = [
    ["MadeUp_Band_RAW_Guitar_Left_01", "MadeUp_Band_RAW_Guitar_Left_02"],
    ["01_Guitar_of_a_long_name_that_ends_alike", "02_Guitar_of_a_long_name_that_ends_alike"],
    ["a" * 60 + "1" + "b" * 40, "a" * 60 + "2" + "b" * 40],
    ["song " + "x" * n for n in range(20, 60)],
    ["one\x07name", "onename", "one name", ""],
]


@pytest.mark.parametrize("names", ALIKE)
@pytest.mark.parametrize("limit", [12, 24])
def test_shortened_names_stay_apart_and_are_short(names, limit):
    found = short_names(names, limit)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert max(map(len, found.values())) <= limit
    assert min(map(len, found.values())) > 0


def test_a_long_text_loses_its_middle_and_a_short_one_nothing():
    assert shortened("abcdefghij", 5) == "ab\u2026ij"
    assert shortened("abcde", 5) == "abcde"
    assert short_names(["vocals", "bass"], 24) == {"vocals": "vocals", "bass": "bass"}


def test_what_no_font_has_is_a_box_and_what_is_unseen_is_nothing():
    assert drawable("a\U0010fffdb") == f"a{BOX}b"  # private use: no font has it
    assert drawable("e\u0301t\u00e9\u200d\ufe0f\x00 \n\t x") == "e\u0301t\u00e9 x"
    assert drawable("$x^2$ \\alpha _1 {") == "$x^2$ \\alpha _1 {"
    assert families(["plain"]) == ["DejaVu Sans"]


def test_numbers_have_a_minus_and_no_zero_has_one():
    assert [signed(value) for value in (-0.04, 0.0, -12.25, 3.0)] == ["0.0", "0.0", "\u221212.2", "3.0"]


def test_places_are_moved_as_little_as_needed():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 24):
        wanted = rng.uniform(-1, 11, count)
        found = apart(wanted, 0.3, 0.0, 10.0)
        order = np.argsort(wanted)
        assert (np.diff(found[order]) >= 0.3 - 1e-9).all()
        assert min(found.min(), 10 - found.max()) >= -1e-9
    assert apart([1.0, 4.0, 9.0], 0.5, 0.0, 10.0).tolist() == [1.0, 4.0, 9.0]
    assert np.diff(np.sort(apart(np.zeros(50), 1.0, 0.0, 10.0))) == pytest.approx(np.full(49, 10 / 49))
