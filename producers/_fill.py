"""Filling gaps from the exchange's REST history: read, publish, read again, and say what that proves.

A gap is worked on in segments, so that memory stays bounded however large it is. Nothing here hurries: what listens
live goes first in the host's budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from producers import _reading as reading
from producers._connection import Surroundings, backoff_s
from producers._exchange import UNREADABLE, Exchange, Page, Reach, Request, Row, Setup
from producers._outbox import Outbox
from producers._pages import Reading, agree, ranges, read, text
from producers._rest import RestClient, RestError
from schemas.events import Gap, GapStatus
from schemas.names import CAUSE_RETENTION, CAUSE_SPOOL

SHARE = 0.8
"""The part of the host's budget that filling may use up."""
TOGETHER_MAX = 4
JOBS_MAX = 10_000
SEGMENT_IDS = 4_990
"""A little less than five pages of a thousand, each of which begins with a trade that is known."""
ATTEMPTS_MAX = 6
RUNS_MAX = 40
"""Runs of ids that never existed, as far as one piece of evidence names them."""
LOOK_S = 0.2
STORED_S_MAX = 30.0
"""Waiting longer for the log's answer is said."""
_TEMPORARY = (0, 200, 403, 408, 418, 429)
log = structlog.get_logger()


class Job:
    """A gap being filled. ``todo``: what is not proven yet."""

    def __init__(self, gap: Gap, native: str, reach: Reach) -> None:
        self.gap, self.native, self.reach = gap, native, reach
        self.todo = [reach]
        self.out: list[tuple[int, int]] = []
        """Runs of ids that never existed."""
        self.ends = {gap.from_timestamp} if gap.cause == CAUSE_RETENTION else {gap.from_timestamp, gap.to_timestamp}
        """Where ids say nothing: times of the trades known on both sides, as long as history did not show them."""
        # What was dropped begins and ends with trades that are missing themselves.
        self.known = (0, 1 << 62) if gap.cause == CAUSE_SPOOL else (gap.from_timestamp, gap.to_timestamp)
        self.found = self.attempts = self.failures = 0
        self.due = 0.0
        self.reason = ""


class Filler:
    """Works off gaps until told to stop. ``told`` gets every change of a gap, as the gap to be from now on."""

    def __init__(
        self, exchange: Exchange, setup: Setup, rest: RestClient, outbox: Outbox, around: Surroundings,
        told: Callable[[Gap], None],
    ) -> None:  # fmt: skip
        self._history, self._recent = exchange.history, exchange.recent
        self._setup, self._rest, self._outbox = setup, rest, outbox
        self._around, self._told = around, told
        self._jobs: list[Job] = []
        self._running: dict[asyncio.Task[None], Job] = {}
        self.counts = dict.fromkeys(
            ("trades", "pages", "errors", "filled", "partial", "nonexistent", "unfillable", "left"), 0
        )

    @property
    def open(self) -> int:
        """Gaps that wait or are being filled."""
        return len(self._jobs) + len(self._running)

    def gaps(self) -> list[Gap]:
        """Gaps that wait or are being filled."""
        return [job.gap for job in [*self._jobs, *self._running.values()]]

    def symbols(self) -> dict[str, int]:
        """Open gaps by symbol, where there are any."""
        return dict(Counter(gap.symbol for gap in self.gaps()))

    def take(self, gap: Gap, native: str | None) -> None:
        """Fill a gap, or say at once that this cannot be done."""
        reach = self._reach(gap)
        if reach is None:
            self._end(gap, "unfillable", 0, "the exchange has no trade history")
        elif native is None or self.open >= JOBS_MAX:
            self.counts["left"] += 1  # open it stays: the next start takes it up
        else:
            self._jobs.append(Job(gap, native, reach))

    def _reach(self, gap: Gap) -> Reach | None:
        """What to ask for: by id where the gap names ids, else by time; None where the exchange has neither."""
        numbered = (gap.from_id or "").isdecimal() and (gap.to_id or "").isdecimal() and gap.cause != CAUSE_SPOOL
        if numbered and self._history is not None:
            return Reach(int(gap.from_id or 0), int(gap.to_id or 0), gap.from_timestamp, gap.to_timestamp)
        return reading.reach(gap.from_timestamp, gap.to_timestamp) if self._recent is not None else None

    async def run(self) -> None:
        """Fill until told to stop; what is not done stays open."""
        try:
            while not self._around.stop.is_set():
                self._collect()
                self._start()
                await self._around.pause(LOOK_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self) -> None:
        now = self._around.monotonic()
        due = [job for job in self._jobs if job.due <= now][: TOGETHER_MAX - len(self._running)]
        for job in due:
            self._jobs.remove(job)
            self._running[asyncio.create_task(self._attempt(job))] = job

    def _collect(self) -> None:
        """See to what has ended: a job that is not done gets another turn later."""
        for task in [task for task in self._running if task.done()]:
            job = self._running.pop(task)
            task.result()
            if not job.todo:
                self._closed(job)
            elif job.attempts >= ATTEMPTS_MAX:
                self._given_up(job)
            else:
                job.failures += 1
                job.due = self._around.monotonic() + backoff_s(job.failures, self._around.rng)
                self._jobs.append(job)

    # --- one attempt -------------------------------------------------------------------------------------------
    async def _attempt(self, job: Job) -> None:
        """Work through what is to do; what stays unknown is to do next time."""
        todo, job.todo = job.todo, []
        try:
            await (self._by_time if todo[0].first == reading.NO_IDS else self._by_id)(job, todo)
            job.attempts += bool(job.todo)
        except RestError as error:
            job.attempts += error.status not in _TEMPORARY and error.status < 500
            self._failed(job, str(error))
        except UNREADABLE as error:
            job.attempts += 1
            self._failed(job, f"an answer that cannot be read: {type(error).__name__}: {error}")
        job.todo += todo

    async def _by_id(self, job: Job, todo: list[Reach]) -> None:
        job.reason = "the exchange's history does not reach these ids"
        while todo:
            piece, rest = self._cut(todo[0])
            once = await self._segment(job, piece)
            job.todo += [piece._replace(first=first, last=last) for first, last in ranges(once.unknown)]
            edge = {"before": once.edge} if self._newest_first else {"after": once.edge}
            todo[:1] = [rest._replace(**edge)] if rest is not None else []
            if todo:
                self._told_so_far(job)

    async def _by_time(self, job: Job, todo: list[Reach]) -> None:
        """Read, publish, wait for the log, read again, until the exchange serves no more."""
        job.reason = "the exchange does not serve trades of these times"
        while todo:
            whole = todo[0]
            once = await self._span(job, whole.after, whole.before + 1)
            await self._publish(once.rows)
            again = await self._span(job, once.start, once.end) if once.rows else once
            if reading.same(once, again._replace(rows=[r for r in again.rows if once.start <= r.timestamp < once.end])):
                job.found += reading.between(once.rows, *job.known)
                job.ends -= {row.timestamp for row in once.rows}
                left = reading.beside(whole, once)
            else:
                job.reason, left = "the exchange's history still changes", [whole]
            if once.more and left != [whole]:
                todo[:1] = left
                self._told_so_far(job)
            else:
                job.todo += left
                del todo[0]
        if not job.todo and job.ends:
            job.reason = "the exchange's history lacks trades that are known to be its first and last"
            job.todo = [reading.reach(job.gap.from_timestamp, job.gap.to_timestamp)]
            job.found = 0

    async def _span(self, job: Job, start: int, end: int) -> reading.Span:
        recent = self._recent
        assert recent is not None
        oldest = self._around.clock() - int(recent.reach_s * 1e6) if recent.reach_s else 0

        async def ask(request: Request) -> Page:
            body = await self._rest.get(request, share=SHARE)
            self.counts["pages"] += 1
            return recent.parse(body, request, self._around.clock(), self._setup)

        if oldest >= end:
            return reading.Span([], end, end, more=False)
        return await reading.read(ask, recent.request(job.native, max(start, oldest), end))

    def _failed(self, job: Job, reason: str) -> None:
        job.reason = reason
        self.counts["errors"] += 1
        log.warning("fill_failed", exchange=self._setup.exchange, symbol=job.gap.symbol, error=reason[:300])

    @property
    def _newest_first(self) -> bool:
        return self._history is not None and self._history.newest_first

    def _cut(self, reach: Reach) -> tuple[Reach, Reach | None]:
        """The next segment, from the side where history is read, and what remains."""
        if reach.last - reach.first < SEGMENT_IDS:
            return reach, None
        if self._newest_first:
            first = reach.last - SEGMENT_IDS + 1
            return reach._replace(first=first), reach._replace(last=first - 1)
        last = reach.first + SEGMENT_IDS - 1
        return reach._replace(last=last), reach._replace(first=last + 1)

    async def _segment(self, job: Job, piece: Reach) -> Reading:
        """Read, publish, wait for the log, read again: proven is what both readings say."""
        once = await self._read(job, piece)
        await self._publish(once.rows.values())
        again = await self._read(job, piece)
        same = {number for number, row in once.rows.items() if agree(row, again.rows.get(number))}
        out = once.out & again.out
        job.found += len(same)
        job.out += ranges(out)
        return once._replace(unknown=set(range(piece.first, piece.last + 1)) - same - out)

    async def _read(self, job: Job, piece: Reach) -> Reading:
        history = self._history
        assert history is not None

        async def ask(reach: Reach) -> list[Row]:
            request = history.request(job.native, reach)
            body = await self._rest.get(request, share=SHARE)
            self.counts["pages"] += 1
            return list(history.parse(body, request, self._around.clock(), self._setup))

        return await read(ask, piece, newest_first=history.newest_first)

    async def _publish(self, rows: Any) -> None:
        for row in sorted(rows, key=lambda row: (row.number, row.timestamp)):
            for event in row.events:
                self._outbox.add(event)
                self.counts["trades"] += 1
        stored = self._outbox.fence()
        asked, told = self._around.monotonic(), False
        while not stored():  # for as long as the log is away; stopping cancels this
            await self._around.sleep(LOOK_S)
            if not told and self._around.monotonic() - asked > STORED_S_MAX:
                told = True
                log.warning("fill_waits_for_the_log", exchange=self._setup.exchange, outbox=self._outbox.health())

    # --- what is told ------------------------------------------------------------------------------------------
    def _told_so_far(self, job: Job) -> None:
        job.gap = self._change(job.gap, "open", job.found, f"read twice so far: {job.found} trades")

    def _closed(self, job: Job) -> None:
        if job.reach.first == reading.NO_IDS:
            said = f"read twice: {job.found} trades" + (" between the two that are known" if job.known[0] else "")
            self._end(job.gap, "filled", job.found, said)
            return
        runs = _joined(job.out)
        if not runs:
            self._end(job.gap, "filled", job.found, f"read twice: {job.found} ids")
        elif len(runs) > RUNS_MAX:
            said = f"read twice: {job.found} ids; more than {RUNS_MAX} runs of ids are not in the exchange's history"
            self._end(job.gap, "partial", job.found, said)
        else:
            status: GapStatus = "filled" if job.found else "nonexistent"
            self._end(job.gap, status, job.found, f"read twice: {job.found} ids; never existed: {text(runs)}")

    def _given_up(self, job: Job) -> None:
        runs = _joined(job.out)[:RUNS_MAX]
        if job.reach.first == reading.NO_IDS:
            missing = reading.text(job.todo[:RUNS_MAX])
        else:
            missing = f"{sum(reach.last - reach.first + 1 for reach in job.todo)} ids"
        said = f"{missing} unknown: {job.reason[:300]}" + (f"; never existed: {text(runs)}" if runs else "")
        self._end(job.gap, "partial" if job.found else "unfillable", job.found, said)

    def _end(self, gap: Gap, status: GapStatus, filled: int, evidence: str) -> None:
        self.counts[status] += 1
        self._change(gap, status, filled, evidence)
        log.info("gap_closed", exchange=gap.exchange, symbol=gap.symbol, status=status, filled=filled,
                 expected=gap.expected, evidence=evidence[:200])  # fmt: skip

    def _change(self, gap: Gap, status: GapStatus, filled: int, evidence: str) -> Gap:
        changed: Gap = msgspec.structs.replace(
            gap, status=status, filled=filled, evidence=evidence, updated=self._around.clock(),
            revision=gap.revision + 1,
        )  # fmt: skip
        self._told(changed)
        return changed


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if found and first == found[-1][1] + 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
