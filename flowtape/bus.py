"""The one way to connect to NATS: a role's login and inbox, a frozen server noticed within seconds."""

from __future__ import annotations

import nats
import structlog
from nats.aio.client import Client

from schemas.settings import ConfigError, Settings, is_loopback

ROLES = ("producer", "consumer", "signal", "app", "admin")
PING_S, PINGS_OUTSTANDING_MAX = 2, 2
PENDING_BYTES_MAX = 64_000_000
_log = structlog.get_logger()


async def connect(settings: Settings, role: str, *, reconnect: bool = True) -> Client:
    """A connection that reconnects for ever, as ``role``.

    With ``reconnect`` false one failed attempt raises (nats' own errors or OSError): for commands that should
    answer at once. Raises ConfigError when the server is off loopback and no password is set.
    """
    url = settings.nats.url
    host = url.split("//")[-1].rsplit("@")[-1].rsplit(":", 1)[0].strip("[]")
    if not settings.nats.password and not is_loopback(host):
        raise ConfigError("configuration", "nats.password", f"missing: {host} is not this machine")

    async def on_error(error: Exception) -> None:
        # A denied verb shows as a time-out to the caller: the reason is only told here.
        _log.warning("nats_error", role=role, error=str(error) or type(error).__name__)

    return await nats.connect(
        url,
        name=f"flowtape-{role}",
        user=role,
        password=settings.nats.password,
        inbox_prefix=b"_INBOX" if role == "app" else f"_INBOX_{role}".encode(),
        ping_interval=PING_S,
        max_outstanding_pings=PINGS_OUTSTANDING_MAX,
        connect_timeout=2,
        allow_reconnect=reconnect,
        max_reconnect_attempts=-1 if reconnect else 1,  # 0 would mean without end
        reconnect_time_wait=0.25,
        pending_size=PENDING_BYTES_MAX,
        error_cb=on_error,
    )
