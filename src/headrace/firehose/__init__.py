# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The room of Firehose: deliveries of streams, and of records put directly, into stores of objects.

object_name.py   where an object's name is made (java_time.py: its times)
settings.py      what a request asks for, and what is refused
buffer.py        which records the next object will hold
payload.py       an object's bytes
pipeline.py      the steps, and why each record is in exactly one object
runner.py        when each step is made; keeper.py: all deliveries of a store
destinations/    where objects go
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from headrace.config import Config
from headrace.firehose.buckets import Buckets
from headrace.firehose.deliveries import Deliveries
from headrace.firehose.keeper import DeliveryKeeper, hanging
from headrace.firehose.operations import OPERATIONS
from headrace.firehose.service import FirehoseService
from headrace.log import Log
from headrace.streams import Streams

__all__ = ["OPERATIONS", "Buckets", "Deliveries", "DeliveryKeeper", "FirehoseService", "hanging", "join"]


class Site(Protocol):
    """What this room needs of the place where it is served."""

    config: Config
    log: Log
    streams: Streams

    @property
    def addresses(self) -> Iterable[tuple[str, int]]: ...

    def add_service(self, prefix: str, service: Any) -> None: ...

    def add_keeper(self, keeper: Any) -> None: ...


def join(site: Site) -> None:
    """Serve Firehose with a site, and have its deliveries kept."""
    buckets = Buckets(site.config, site.log.directory, lambda: site.addresses)
    deliveries = Deliveries(site.streams, buckets)
    site.add_service(FirehoseService.target, FirehoseService(deliveries))
    site.add_keeper(DeliveryKeeper(deliveries))
