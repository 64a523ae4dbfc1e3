"""What makes the separator of a corpus: in this process, or once in each worker of a cluster.

Conventions
    An order can be pickled and loads no network. A worker has one separator for all tracks, so that its networks are loaded once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.stages.separation_keys import RemoteSeparator
from stemwright.datagen.run.tasks import Needs, Workers
from stemwright.separation.choosing import other_separator
from stemwright.separation.demucs.engines import Precision
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.separator import Separator, is_other

AT_ONCE = 2  # tracks in a worker of a cluster: one in the networks, one that is decoded or encoded
_OF_WORKER: dict[str, tuple[Separator, int]] = {}  # of a worker: key of an order -> separator, threads of the worker
_MAKING = threading.Lock()


def separator_of(
    config: Config, *, offline: bool = False, trust_pickle: bool = False, auto_precision: Precision | None = None
) -> Separator:
    """The separator that a configuration names; no network is loaded yet."""
    section = config.separation
    if is_other(section.separator):
        return other_separator(section.separator, section.device)
    return DemucsSeparator(
        section.model,
        section.model_folder,
        section.device,
        section.precision,
        section.engine,
        input_lufs=section.input_lufs,
        offline=offline,
        trust_pickle=trust_pickle,
        auto_precision=auto_precision,
    )


@dataclass(frozen=True)
class SeparationOrder:
    """All that a process needs to make the separator of a corpus."""

    config: Config
    offline: bool = False
    trust_pickle: bool = False
    auto_precision: Precision | None = None

    def separator(self) -> Separator:
        """The separator; no network is loaded yet."""
        offline, trust_pickle, auto_precision = self.offline, self.trust_pickle, self.auto_precision
        return separator_of(self.config, offline=offline, trust_pickle=trust_pickle, auto_precision=auto_precision)

    @property
    def key(self) -> str:
        """The same for orders of the same separator."""
        return repr((self.config.separation, self.offline, self.trust_pickle, self.auto_precision))


def separator_for(order: SeparationOrder, workers: Workers) -> Any:
    """The separator of this process, or what the workers of a cluster say of theirs."""
    if not workers.dask or order.config.separation.separator == "reference":
        return order.separator()
    from stemwright.datagen.run.cluster import asked_of_workers

    answer = asked_of_workers(replace(workers, needs=Needs(probe=partial(described, order), at_once=AT_ONCE, fraction=1 / AT_ONCE)))
    return RemoteSeparator(answer["model"], answer["separator"])


def of_worker(order: SeparationOrder, threads: int | None = None) -> Separator:
    """The separator of this worker of a cluster: one for all tracks, so that its networks are loaded once."""
    with _MAKING:
        if order.key not in _OF_WORKER:
            _OF_WORKER[order.key] = (order.separator(), threads or 1)
        separator, threads = _OF_WORKER[order.key]
        if isinstance(separator, DemucsSeparator):
            separator.use_threads(threads)  # dask's nanny allows one
        return separator


def described(order: SeparationOrder, threads: int) -> dict[str, Any]:
    """What is asked of a worker about its separator. Raises an error if it has none that works."""
    separator = of_worker(order, threads)
    separator.check()
    return {"model": separator.origin, "separator": separator.identity, **separator.used._asdict()}
