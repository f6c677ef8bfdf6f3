"""The engine's connection to a Dask cluster: opened with its settings checked, then beats, orders and messages to single workers.

Everything that `dask` decides is decided there; nothing here is kept beyond the connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import distributed

from engine.errors import TaskerError
from engine.journal import Line, Progress, Said
from engine.runners import dask_worker
from engine.runners.dask_worker import Answer, Terms
from engine.runners.orders import Order
from engine.runners.place import Timed

_untyped: Any = distributed
CONNECT_SECONDS: Final = 5.0
CALL_SECONDS: Final = 5.0
ALLOWED_FAILURES: Final = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0"


class ClusterAway(TaskerError):
    """The scheduler cannot be reached now."""


class ClusterRefused(TaskerError):
    """The cluster is set up in a way under which steps could be lost or run twice, or anyone could run code on it."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files for an encrypted connection: of the authority, ours, and our key."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as the scheduler knows it."""

    address: str
    nanny: str | None
    threads: int
    resources: Mapping[str, float]


Hear = Callable[[int, Said], None]
Asked = Callable[[int, str, int, list[str]], None]


class Cluster:
    """One connection, of one engine called `engine`. Raises `ClusterAway` or `ClusterRefused` from every call, in bounded time."""

    def __init__(self, scheduler: str, certificates: Certificates | None, engine: str) -> None:
        need_encryption(scheduler)
        self._engine = engine
        self._scheduler = scheduler
        security = None if certificates is None else _security(certificates)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about versions, which are checked here
                self._client = _untyped.Client(scheduler, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
        except Exception as error:
            raise away(scheduler, error) from error
        self._executor = self._client.get_executor(pure=False, retries=0)

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler is heard of."""
        return bool(self._client.status == "running" and self._client.scheduler_comm and not self._client.scheduler_comm.closed())

    def check(self) -> None:
        """Raises `ClusterRefused` when the scheduler would run steps again by itself, or its packages are not ours."""
        failures = self._ask(lambda: self._client.run_on_scheduler(_allowed_failures))
        if failures:
            raise ClusterRefused(
                f"the scheduler {self._scheduler} runs a step again after its worker died (allowed-failures is {failures}), beside what the database decides; "
                f"start it with {ALLOWED_FAILURES}"
            )
        theirs = self._ask(lambda: self._client.run_on_scheduler(dask_worker.versions))
        if problem := version_problem("the scheduler", theirs):
            raise ClusterRefused(problem)

    def members(self) -> list[Member]:
        """The workers there are."""
        workers = self._ask(lambda: self._client.scheduler.identity(n_workers=-1))["workers"]
        return [Member(address, each.get("nanny"), each["nthreads"], each["resources"]) for address, each in workers.items()]

    def beats(self, terms: Terms, times: Mapping[str, tuple[float | None, float]], seconds: float) -> dict[str, Answer | BaseException]:
        """Beats to all of these workers at once, with until when each may be run by and be begun on; what each answered within so many seconds."""

        async def one(address: str) -> Answer | BaseException:
            call = self._client.run(dask_worker.beat, self._engine, terms, *times[address], workers=[address], on_error="return")
            found = (await asyncio.wait_for(call, seconds)).get(address)
            return found if isinstance(found, (Answer, BaseException)) else OSError("it does not answer")

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*map(one, times), return_exceptions=True)

        answers = self._ask(all_of_them, seconds + 1)
        return dict(zip(times, answers, strict=True))

    def hear(self, heard: Hear, asked: Asked) -> None:
        """What handlers say and ask on any worker goes to these two, in the connection's own thread."""
        from time import monotonic

        def take(event: tuple[float, Any]) -> None:
            kind, number, *rest = event[1]
            if kind == "asks":
                asked(number, rest[0], rest[1], list(rest[2]))
            else:
                is_line, age, fields = rest
                at = monotonic() - age
                heard(number, Line(at, *fields) if is_line else Progress(at, *fields))

        self._client.subscribe_topic(self._engine, take)

    def submit(self, address: str, life: str, orders: Sequence[Order], resources: Mapping[str, float]) -> Future[list[Timed]]:
        """The orders go to that worker and no other, as one call."""
        future: Future[list[Timed]] = self._executor.submit(
            dask_worker.run_orders, self._engine, life, [tuple(order) for order in orders], workers=[address], allow_other_workers=False, resources=dict(resources) or None
        )
        return future

    def cancel(self, address: str, number: int) -> None:
        """Said to the worker, without waiting for it."""
        self._say(address, dask_worker.cancel_order, self._engine, number)

    def answer(self, address: str, question: int, found: dict[str, str] | None, error: str) -> None:
        """Said to the worker, without waiting for it."""
        self._say(address, dask_worker.answer_question, self._engine, question, found, error)

    def close_place(self, address: str) -> None:
        """What this engine runs on that worker ends. Said to the worker, without waiting for it."""
        self._say(address, dask_worker.close_place, self._engine)

    def close(self) -> None:
        """The connection is over."""
        try:
            self._client.close(timeout=CALL_SECONDS)
        except Exception:  # what cannot be closed is gone already
            pass

    def _say(self, address: str, what: Callable[..., None], *words: Any) -> None:
        async def say() -> None:
            try:
                await asyncio.wait_for(self._client.run(what, *words, workers=[address], on_error="ignore"), CALL_SECONDS)
            except Exception:  # who does not hear it is found out by its beats
                pass

        self._client.loop.add_callback(say)

    def _ask(self, question: Callable[[], Any], seconds: float = CALL_SECONDS) -> Any:
        async def asked() -> Any:
            return await question()

        try:
            return self._client.sync(asked, callback_timeout=seconds)
        except ModuleNotFoundError as error:
            raise ClusterRefused(f"the scheduler {self._scheduler} lacks a package of ours: {error}; install tasker-engine[dask] there too") from error
        except Exception as error:
            raise away(self._scheduler, error) from error


def need_encryption(address: str) -> None:
    """Raises `ClusterRefused` for a plain connection beyond this machine: a scheduler asks nobody who he is, and runs what it is sent."""
    if not address.startswith("tls://") and not _is_loopback(urlsplit(address).hostname or ""):
        raise ClusterRefused(f"{address} is not encrypted and leads beyond this machine; use tls://… with --tls-ca, --tls-cert and --tls-key")


def version_problem(who: str, theirs: Mapping[str, str]) -> str | None:
    """What is different there from here, with what to do; None when nothing is."""
    wrong = [f"{name} {theirs.get(name)} instead of {version}" for name, version in dask_worker.versions().items() if theirs.get(name) != version]
    return f"{who} has {', '.join(wrong)}; install the same versions there" if wrong else None


def away(scheduler: str, error: BaseException) -> TaskerError:
    """The error in words: a certificate that is refused is told apart from a scheduler that does not answer."""
    reasons = [str(each).strip() for each in _causes(error)]
    reason = next((text for text in reasons if "certificate" in text.lower() or "ssl" in text.lower()), None)
    if reason:
        return ClusterRefused(f"the scheduler {scheduler} and we do not accept each other's certificate: {reason.splitlines()[0]}")
    first = next((text.splitlines()[0] for text in reasons[::-1] if text), type(error).__name__)
    return ClusterAway(f"the scheduler {scheduler} cannot be reached: {first}")


def _security(certificates: Certificates) -> Any:
    return _untyped.Security(
        require_encryption=True,
        tls_ca_file=certificates.ca,
        tls_client_cert=certificates.cert,
        tls_client_key=certificates.key,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)
