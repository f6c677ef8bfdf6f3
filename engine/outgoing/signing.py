"""What a delivery is signed with, and how its receiver checks it; the headers by which it knows the event."""

from __future__ import annotations

import hashlib
import hmac
import time

SIGNATURE = "Tasker-Signature"
EVENT_ID = "Tasker-Event-Id"
EVENT_TYPE = "Tasker-Event-Type"
TOLERANCE_SECONDS = 300


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The header's text, `t=<Unix time>,v1=<hex>`: HMAC-SHA256 with the secret over the time, a dot and the body."""
    digest = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def is_authentic(secret: str, body: bytes, header: str, *, tolerance_seconds: float = TOLERANCE_SECONDS) -> bool:
    """Whether a delivery was signed with the secret, and no longer ago than the tolerance: for the receiver."""
    stamp = header.partition(",")[0].removeprefix("t=")
    if not stamp.isdecimal() or len(stamp) > 12 or abs(time.time() - int(stamp)) > tolerance_seconds:
        return False
    return hmac.compare_digest(header.encode(), signature(secret, body, int(stamp)).encode())
