"""The contract of an evaluation protocol, for a package that brings one: part of ``stemwright.testing``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any


def check_protocol(protocol: Any) -> None:
    """Holds an evaluation protocol to its contract: an ``EvaluationProtocol``, or its name.

    It says what it measures, on which data, after which source; published figures have sources; a folder without its data is refused with
    a ``UsageError`` that is a sentence; keys of cases survive JSON and tell the cases apart; without rows there is no error.

    >>> from stemwright import testing
    >>> from stemwright.datagen.evaluate.protocol import EvaluationProtocol
    >>> testing.check_protocol(EvaluationProtocol("none", "a", "b", "c", "", "", (), lambda request: [], lambda rows: []))
    Traceback (most recent call last):
    ...
    AssertionError: the protocol 'none': expected a UsageError for a folder without its data, got []
    """
    from stemwright.datagen.evaluate import protocol as contract
    from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
    from stemwright.manifests.usage import UsageError

    found = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    name = getattr(found, "name", str(protocol))
    try:
        contract.check_protocol(name, found)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the protocol {name!r}: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            got = list(found.cases(EvaluationRequest(data=Path(folder))))
        except UsageError as error:
            if len(str(error).split()) < 4:
                raise AssertionError(f"the protocol {name!r} refuses a folder without its data as {error!s}; expected words") from error
        else:
            raise AssertionError(f"the protocol {name!r}: expected a UsageError for a folder without its data, got {got}")
    if found.free:
        keys = [json.dumps(case.key, sort_keys=True) for case in found.cases(EvaluationRequest())]
        if not keys or len(set(keys)) < len(keys):
            raise AssertionError(f"the protocol {name!r} has {len(keys)} cases and {len(set(keys))} keys; expected one for each")
    contract.table(found, [])
