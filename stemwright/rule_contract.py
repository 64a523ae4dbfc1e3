"""The contract of a rule of mixing, for a package that brings one: part of ``stemwright.testing``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

RATE, LENGTH_S = 44_100, 1.0


def check_rule(rule: Any) -> None:
    """Holds a published rule of mixing to its contract: a ``Rule``, or its name.

    It has a statement, a range in order, a source, and a certainty that is one of the known ones; its quantity is known, and gives of a
    made song, stereo, mono or of one stem, a value within its own interval, or a reason why there is none; the mixture is left as it was.

    >>> from stemwright import testing
    >>> testing.check_rule("slope_5_db")
    """
    from stemwright.separation.balance.measure import measure_balance
    from stemwright.separation.loudness.meter import measure_loudness
    from stemwright.separation.rules import rule as contract
    from stemwright.separation.rules.published import RULES
    from stemwright.separation.rules.quantities import QUANTITIES, Heard

    found = RULES[rule] if isinstance(rule, str) else rule
    try:
        contract.check_rule(getattr(found, "name", str(rule)), found)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the rule {rule!r}: {error}") from error
    names = [name for name in (found.quantity, found.against) if name not in ("", contract.YEAR)]
    left, right = np.random.default_rng(0).normal(0.0, 0.1, (2, 2, round(LENGTH_S * RATE))).astype(np.float32)
    for channels, stems in ((2, {"vocals": left, "bass": right}), (1, {"vocals": left[:1], "bass": right[:1]}), (2, {"guitar": left})):
        mixture = np.sum(list(stems.values()), axis=0)
        balances = measure_balance(mixture, stems, RATE, calibration="reference")
        heard = Heard(mixture.copy(), RATE, measure_loudness(mixture, RATE), balances)
        for name in names:
            _check_measured(QUANTITIES[name].measure(heard), f"the quantity {name} of {', '.join(stems)} in {channels} channels")
            if not np.array_equal(heard.mixture, mixture):
                raise AssertionError(f"the quantity {name} changes the mixture that it is given")


def _check_measured(measured: Any, what: str) -> None:
    if measured.value is None:
        if not measured.why.strip():
            raise AssertionError(f"{what} has no value and gives no reason")
        return
    ends = [math.nan if end is None else end for end in (measured.low, measured.value, measured.high)]
    if not all(map(math.isfinite, ends)) or ends != sorted(ends):
        raise AssertionError(f"{what} is {ends[1]} within {ends[0]} to {ends[2]}; expected three finite numbers in this order")
