"""Which stems of a separator are compared with which of a multitrack."""

import numpy as np
import pytest

from stemwright.datagen.evaluate.matched_stems import compared, matched
from stemwright.manifests.usage import UsageError

FOUR = ("drums", "bass", "other", "vocals")


@pytest.mark.parametrize(
    ("references", "estimates", "expected"),
    [
        (FOUR, FOUR, {name: ((name,), (name,)) for name in FOUR}),
        (FOUR, (*FOUR, "residual"), {name: ((name,), (name,)) for name in FOUR}),
        (FOUR, (*FOUR, "guitar", "piano"), {name: ((name,), (name, "guitar", "piano") if name == "other" else (name,)) for name in FOUR}),
        (FOUR, ("vocals", "accompaniment"), {"vocals": (("vocals",), ("vocals",)), "accompaniment": (FOUR[:3], ("accompaniment",))}),
        (("guitar", "backing"), FOUR, {"guitar": (("guitar",), ("other",)), "backing": (("backing",), ("drums", "bass", "vocals"))}),
        (("bass", "drums", "other"), FOUR, {name: ((name,), (name,)) for name in FOUR[:3]}),
        (("drums", "rest", "unsorted"), FOUR, {"drums": (("drums",),) * 2, "rest": (("rest", "unsorted"), ("bass", "other", "vocals"))}),
        (("guitar", "bass", "other"), FOUR, {"other": (("guitar", "other"), ("other",)), "bass": (("bass",), ("bass",))}),
        (
            ("kick", "snare", "lead_vocals"),
            FOUR,
            {"drums": (("kick", "snare"), ("drums",)), "lead_vocals": (("lead_vocals",), ("vocals",))},
        ),
    ],
)
def test_stems_are_paired_by_name_by_instrument_and_as_the_rest(references, estimates, expected):
    assert {pair.name: (pair.references, pair.estimates) for pair in matched(references, estimates, "m")} == expected


@pytest.mark.parametrize("estimates", [("vocals",), ("vocals", "other"), ()])
def test_a_separator_that_lacks_a_stem_is_named_with_it(estimates):
    with pytest.raises(UsageError, match=rf"the model m has the stems {', '.join(estimates) or 'none'}; .* Expected drums, bass"):
        matched(FOUR, estimates, "m")


def test_summed_stems_are_sums_of_the_samples():
    stems = {name: np.full((1, 4), number + 1.0, np.float32) for number, name in enumerate(FOUR)}
    references, estimates = compared(stems, {"vocals": stems["vocals"], "accompaniment": stems["bass"]}, "m")
    assert references["accompaniment"].tolist() == [[6.0] * 4]
    assert estimates["accompaniment"] is stems["bass"]
