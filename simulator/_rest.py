"""REST of every exchange: route, weigh, refuse what is too much, and answer."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from simulator._faults import Active, Faults
from simulator._venue import Desk, Query, Reply, RequestRefused

BAN_S = 120
HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back.</body></html>"


class Rest:
    """One exchange's REST side, for one client address (all simulated clients are local)."""

    def __init__(self, desk: Desk, faults: Faults, monotonic: Callable[[], float]) -> None:
        self._desk, self._faults, self._monotonic = desk, faults, monotonic
        self._spent: deque[tuple[float, int]] = deque()
        self._limited_until = self._banned_until = float("-inf")
        self.counts: Counter[str] = Counter()
        """requests, weight, refused (by status), while_refused (sent although told to wait), by path."""

    def reset(self) -> None:
        """Forget weights, bans and counts."""
        self._spent.clear()
        self._limited_until = self._banned_until = float("-inf")
        self.counts.clear()

    async def answer(self, path: str, query: Query) -> Reply:
        """The reply to a request for ``path`` (below the exchange's prefix)."""
        self.counts["requests"] += 1
        self.counts[path] += 1
        broken = self._broken()
        if broken is not None:
            return broken
        route = self._desk.venue.routes.get(path)
        if route is None:
            return Reply(self._desk.venue.missing, 404)
        weight = route.weight if isinstance(route.weight, int) else route.weight(query)
        refused = self._weigh(weight)
        if refused is not None:
            return refused
        try:
            reply = Reply(await route.answer(self._desk, query))
        except RequestRefused as refusal:
            reply = refusal.reply
        limits = self._desk.venue.limits
        headers = {limits.weight_header: str(self.used)} if limits.weight_header else {}
        return reply._replace(headers=headers)

    @property
    def used(self) -> int:
        """Weight spent in the last minute."""
        horizon = self._monotonic() - 60.0
        while self._spent and self._spent[0][0] < horizon:
            self._spent.popleft()
        return sum(weight for _, weight in self._spent)

    def _weigh(self, weight: int) -> Reply | None:
        now = self._monotonic()
        if now < self._banned_until:
            return self._refuse(418, self._banned_until - now, again=True)
        if now < self._limited_until:  # going on in spite of 429 is what gets an address banned
            self._banned_until = now + BAN_S
            return self._refuse(418, BAN_S, again=True)
        self.counts["weight"] += weight
        if self.used + weight > self._desk.venue.limits.weight_a_minute:
            self._limited_until = self._spent[0][0] + 60.0 if self._spent else now + 60.0
            return self._refuse(429, self._limited_until - now)
        self._spent.append((now, weight))
        return None

    def _broken(self) -> Reply | None:
        exchange = self._desk.venue.id
        active = self._faults.take(exchange, "rest_429", "rest_418", "rest_500", "rest_html")
        if active is None:
            return None
        match active.fault.kind:
            case "rest_500":
                return Reply(b"Internal Server Error", 500, {"Content-Type": "text/plain"})
            case "rest_html":
                return Reply(HTML, 200, {"Content-Type": "text/html"})
        return self._refuse(429 if active.fault.kind == "rest_429" else 418, active.fault.retry_after, _again(active))

    def _refuse(self, status: int, wait_s: float, again: bool = False) -> Reply:
        wait = max(1, round(wait_s))
        self.counts[f"refused {status}"] += 1
        self.counts["while_refused"] += again
        too_many = self._desk.venue.limits.too_many
        return Reply(too_many(status, wait) if too_many else {}, status, {"Retry-After": str(wait)})


def _again(active: Active) -> bool:
    """A second request while such a fault lasts is one that did not wait."""
    return active.fired > 1
