# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Runs one delivery on a loop: when to read, when an object is due, when to try again, when to end.

One task a delivery. It sleeps until its source publishes something or its buffer is due, so an idle delivery
costs nothing. What blocks runs in the keeper's threads. While one object is under way the next buffer is
read; when that is full too, reading waits: nothing piles up in memory, since records stay in the log.

Failed puts are repeated without end, after 0.25 s, 0.5 s, … up to 30 s, each somewhere between half and all
of it (so that many deliveries do not come back in step).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from headrace import limits
from headrace.errors import Closed, DeliveryError, Error, InvalidArgument, NotFound
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.firehose.document import (
    ACTIVE,
    CREATING,
    CREATING_FAILED,
    DELETING,
    DELETING_FAILED,
    DIRECT_PUT,
    Delivery,
    Plan,
)
from headrace.firehose.pipeline import Pipeline, Read, retries_total
from headrace.firehose.settings import namer

if TYPE_CHECKING:
    from headrace.firehose.deliveries import Deliveries

logger = logging.getLogger("headrace.firehose")

_PACE_S = 0.05  # between two reads of a busy source: what came meanwhile is read together
_PACE_LEAST_S = 0.001  # the same where the interval is 0
_LOOK_S = 30.0  # an idle delivery looks for what nobody tells it, as that its source was deleted


class Runner:
    """One delivery stream at work. `start` on the keeper's loop; `stop` when the site ends."""

    def __init__(self, deliveries: Deliveries, name: str, readers: Executor, uploads: Executor) -> None:
        self.name = name
        self.pipeline: Pipeline | None = None
        self._deliveries = deliveries
        self._readers = readers
        self._uploads = uploads
        self._clock = deliveries.clock
        self._random = random.Random(deliveries.randomness(8))
        self._news = asyncio.Event()
        self._waking = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._unsubscribe: list[Callable[[], None]] = []
        self._putting: asyncio.Future[Any] | None = None  # of the thread that puts an object

    def start(self, ended: Callable[[str], None]) -> None:
        """Begin; `ended` is called with the name when there is nothing more to do."""
        self._task = asyncio.create_task(self._run(), name=f"firehose {self.name}")
        self._task.add_done_callback(lambda _task: ended(self.name))

    def wake(self) -> None:
        """Something happened: from any thread, often; only the first call after a look costs a call."""
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:
                pass  # the loop has ended

    async def stop(self) -> None:
        """End now; what is open is taken up again by the next run. A put that hangs is not waited for."""
        self._stopping = True
        if self.pipeline is not None:
            await self._call(self._readers, self.pipeline.abandon)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- the life of a delivery ---

    @property
    def _delivery(self) -> Delivery:
        return self._deliveries.get(self.name)

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._live()
                return
            except NotFound as error:
                if await self._source_is_gone(error):
                    return
            except Closed:
                return
            except Exception as error:
                attempt += 1
                self._note(error)
                if not isinstance(error, Error):
                    logger.exception("delivery %s failed; it starts again", self.name)
                if await self._deletion_is_over():
                    return
            finally:
                for stop in self._unsubscribe:
                    stop()
                self._unsubscribe.clear()
            await asyncio.sleep(self._backoff_s(attempt))

    async def _live(self) -> None:
        delivery = self._delivery
        try:
            target = await self._call(
                self._readers, lambda: self._deliveries.buckets.find(delivery.destination.bucket)
            )
        except InvalidArgument:  # it was mapped when the delivery was made
            if not (delivery.status == DELETING and delivery.force):
                raise
            target = self._aside(delivery)
            if delivery.type != DIRECT_PUT:  # its records are in their stream still
                await self._call(self._readers, lambda: self._deliveries.remove(self.name))
                return
        if delivery.status == CREATING and not await self._create(delivery, target):
            return
        delivery = self._delivery
        if delivery.status not in (ACTIVE, DELETING):
            return
        self.pipeline = pipeline = Pipeline(self._deliveries, self.name, delivery, target)
        try:
            plan = await self._call(self._readers, pipeline.open_plan)
            self._subscribe(pipeline)
            await self._deliver(pipeline, plan)
        finally:
            await self._quiet(pipeline)
            target.close()
        if self._delivery.status == DELETING:
            await self._call(self._readers, lambda: self._deliveries.remove(self.name))

    def _aside(self, delivery: Delivery) -> DirectoryDestination:
        """Where the records of a delivery go that was deleted by force."""
        return DirectoryDestination(
            self._deliveries.streams.log.directory / "orphans" / f"{self.name}-{delivery.id}"
        )

    async def _deletion_is_over(self) -> bool:
        """After a failure: whether the delivery was being deleted, and has been for so long that it stays.

        Also by force: what cannot be read now (a damaged log, say) may be mended, and is not thrown away.
        """
        try:
            delivery = self._delivery
            if delivery.status == DELETING and self._is_late(delivery):
                await self._fail_deleting(self._deliveries.failures.get(self.name, ""))
            return False
        except (NotFound, Closed):
            return True

    def _is_late(self, delivery: Delivery) -> bool:
        return self._clock.now_ms() - delivery.updated_ms > limits.firehose_delete_ms_max

    async def _quiet(self, pipeline: Pipeline) -> None:
        """Wait until no thread works on a pipeline that has ended. Its next run makes the same object under the
        same name: two at once would write into one file, and the slower one would settle what the other began
        since."""
        await self._call(self._readers, pipeline.abandon)
        if self._putting is not None and not self._stopping:
            await asyncio.wait((self._putting,))

    async def _source_is_gone(self, error: NotFound) -> bool:
        """The source was deleted: nothing can be delivered any more. True where the delivery is gone too."""
        self._note(error)
        if self.pipeline is not None:
            self.pipeline.note_source_gone()
        try:
            while self._delivery.status != DELETING:
                self._rest()
                await self._wait(_LOOK_S)
            await self._call(self._readers, lambda: self._deliveries.remove(self.name))
        except NotFound:
            self._deliveries.failures.pop(self.name, None)
        return True

    async def _create(self, delivery: Delivery, target: Any) -> bool:
        """Check the destination; ACTIVE or CREATING_FAILED comes of it."""
        sample = namer(delivery.destination, self.name, delivery.version).make(
            self._clock.now_ms(), self._deliveries.randomness
        )
        failure = ""
        for attempt in range(limits.firehose_check_attempts_max):
            if attempt:
                await asyncio.sleep(self._backoff_s(attempt))
            try:
                await self._call(self._uploads, lambda: target.check(sample))
            except DeliveryError as error:
                failure = error.message
            else:
                await self._call(self._readers, lambda: self._deliveries.update(self.name, status=ACTIVE))
                return True
        logger.error("delivery %s cannot be created: %s", self.name, failure)
        members = {"status": CREATING_FAILED, "failure": failure}
        await self._call(self._readers, lambda: self._deliveries.update(self.name, **members))
        return False

    # --- delivering ---

    def _subscribe(self, pipeline: Pipeline) -> None:
        for lane in pipeline.stream.lanes:
            self._unsubscribe.append(lane.on_visible(self.wake))

    async def _deliver(self, pipeline: Pipeline, plan: Plan | None) -> None:
        """Until the delivery is deleted: all that was there when that began has then been delivered."""
        upload = None if plan is None else asyncio.create_task(self._upload(pipeline, plan, again=True))
        ends: dict[int, int] | None = None
        try:
            while True:
                self._rest()
                if ends is None and self._delivery.status == DELETING:
                    ends = await self._call(self._readers, pipeline.ends)
                read = Read.NOTHING
                if not pipeline.buffer.full:
                    read = await self._call(self._readers, pipeline.poll)
                if upload is not None and upload.done():
                    upload.result()
                    upload = None
                last = ends is not None and pipeline.reached(ends)
                due = pipeline.buffer.is_due(self._clock.monotonic_ns()) or (last and pipeline.buffer.count)
                if read is Read.MORE and not pipeline.buffer.full:
                    due = False  # what is there already goes into the same object
                if upload is None and due:
                    plan = await self._call(self._readers, pipeline.begin)
                    upload = asyncio.create_task(self._upload(pipeline, plan, again=False))
                elif last and upload is None:
                    return
                else:
                    await self._until_something(pipeline, upload, read, draining=ends is not None)
        finally:
            if upload is not None:
                upload.cancel()
                await asyncio.gather(upload, return_exceptions=True)

    def _rest(self) -> None:
        """Look again only for what happens from now on."""
        self._news.clear()
        self._waking = False

    async def _until_something(
        self, pipeline: Pipeline, upload: asyncio.Task[None] | None, read: Read, *, draining: bool
    ) -> None:
        """Sleep until there may be something to do."""
        buffer = pipeline.buffer
        if read is Read.ALL and not draining:
            # What comes meanwhile is read together.
            least = pipeline.delivery.destination.interval_s == 0
            await asyncio.sleep(_PACE_LEAST_S if least else _PACE_S)
        if read is not Read.NOTHING:
            return
        timeout = _LOOK_S
        if upload is None and buffer.due_ns is not None:
            timeout = min(timeout, max(buffer.due_ns - self._clock.monotonic_ns(), 0) / 1e9)
        waiting: set[asyncio.Task[Any]] = set()
        if upload is not None:
            waiting.add(upload)
        # A full buffer only waits for its turn: news would change nothing.
        news = None
        if not (buffer.full and upload is not None):
            news = asyncio.create_task(self._news.wait())
            waiting.add(news)
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if news is not None:
                news.cancel()

    async def _upload(self, pipeline: Pipeline, plan: Plan, *, again: bool) -> None:
        """Put one object, however long it takes; or what is left of a deleted delivery aside."""
        attempt = 0
        while True:
            try:
                sent = again or attempt > 0
                await self._put(functools.partial(pipeline.deliver, plan, again=sent))
                self._deliveries.failures.pop(self.name, None)
                return
            except (DeliveryError, OSError) as error:
                attempt += 1
                self._note(error)
                retries_total.add(1, self.name)
            delivery = self._delivery
            if delivery.status == DELETING:
                if delivery.force:
                    await self._set_aside(pipeline, plan)
                    return
                if self._is_late(delivery):
                    await self._fail_deleting(pipeline.failure)
            await self._wait(self._backoff_s(attempt))

    async def _set_aside(self, pipeline: Pipeline, plan: Plan) -> None:
        """Deleted by force while the store does not take it: DirectPut data go to a directory of the store,
        those of another stream are in that stream still."""
        if pipeline.delivery.type == DIRECT_PUT:
            aside = self._aside(pipeline.delivery)
            await self._put(functools.partial(pipeline.deliver, plan, again=True, destination=aside))
            logger.error("delivery %s was deleted by force: %s is in %s", self.name, plan.key, aside.root)
        else:
            await self._put(functools.partial(pipeline.settle, plan))

    async def _fail_deleting(self, failure: str) -> None:
        members = {"status": DELETING_FAILED, "failure": failure}
        await self._call(self._readers, lambda: self._deliveries.update(self.name, **members))
        raise Closed(f"delivery {self.name} could not be deleted")

    # --- waiting ---

    def _note(self, error: BaseException) -> None:
        if self.pipeline is not None:
            self.pipeline.note_failure(error)
        text = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        self._deliveries.failures[self.name] = text

    def _backoff_s(self, attempt: int) -> float:
        most = min(
            limits.firehose_backoff_ms_first << min(max(attempt - 1, 0), 20), limits.firehose_backoff_ms_max
        )
        return most * self._random.uniform(0.5, 1.0) / 1000

    async def _wait(self, seconds: float) -> None:
        """Sleep, but not beyond the next piece of news about the delivery stream itself."""
        status = self._delivery.status
        end = self._loop.time() + seconds
        while self._delivery.status == status and (left := end - self._loop.time()) > 0:
            await asyncio.sleep(min(left, 0.25))

    async def _put(self, function: Callable[[], Any]) -> None:
        """Run a put in a thread, which goes on if this is cancelled; `_quiet` waits for it."""
        self._putting = putting = self._loop.run_in_executor(self._uploads, function)
        putting.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, whoever waits
        await asyncio.wait((putting,))
        putting.result()

    async def _call(self, pool: Executor, function: Callable[[], Any]) -> Any:
        """Run what blocks in one of the keeper's threads."""
        return await self._loop.run_in_executor(pool, function)
