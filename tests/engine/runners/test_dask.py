"""The Dask runner on a real cluster, of a scheduler and two worker processes: every call gets exactly one outcome, whatever is lost."""

from __future__ import annotations

import datetime
import importlib.metadata
import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.bench.cluster import Cluster
from engine.runners import CANCELLED, COMPLETED, FAILED, RELEASED
from engine.runners.dask import DaskRunner
from engine.runners.dask_cluster import Certificates, ClusterRefused

HANDLERS = Path(__file__).parent / "handlers"
CONTACT_SECONDS = 9.0

Start = Callable[..., DaskRunner]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that runs."""
    found = Cluster(tmp_path)
    try:
        found.start_scheduler()
        yield found
    finally:
        found.end()


@pytest.fixture
def start(inbox: Any, eventually: Any) -> Iterator[Start]:
    """Starts a runner that is stopped when the test is over."""
    runners: list[DaskRunner] = []

    def begin(address: str, *, workers: int = 2, lookup: Any = lambda call, names: {}, **options: Any) -> DaskRunner:
        runner = DaskRunner(address, sources=[str(HANDLERS / "misbehaving.py")], grace=0.3, contact=CONTACT_SECONDS, **options)
        runners.append(runner)
        runner.start(inbox.deliver, lookup, inbox.hear)
        assert eventually(lambda: runner.standing()["workers"] == workers, 60), runner.standing()
        return runner

    yield begin
    for runner in runners:
        runner.stop(0)


@pytest.mark.long
def test_a_cluster_runs_steps_and_what_is_lost_is_decided_when_it_can_run_no_more(
    cluster: Cluster, start: Start, calls: Any, inbox: Any, eventually: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start_worker()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda package: "0.0.1")
        with pytest.raises(ClusterRefused, match=r"the scheduler .*tasker-engine \S+ instead of 0\.0\.1"):
            DaskRunner(cluster.address, sources=[]).start(inbox.deliver, lambda call, names: {})
    runner = start(cluster.address, workers=1, lookup=lambda call, names: dict.fromkeys(names, '"found"'))
    assert runner.standing()["state"] == "connected"

    batch = [calls("echo", value=number) for number in range(20)]
    runner.submit(batch)
    assert inbox.wait(*batch) == [(COMPLETED, number) for number in range(20)]

    crash, late, fine, asking, talking = calls("kills_itself"), calls("leaves_no_trace_but_time", seconds=60), calls("raises"), calls("asks"), calls("talks")
    runner.submit([crash, late, fine, asking, talking])
    assert [error["type"] for _, error in inbox.wait(crash, late, fine)] == ["worker_crashed", "timeout", "ValueError"]
    assert inbox.wait(asking, talking) == [(COMPLETED, "found"), (COMPLETED, None)]
    assert inbox.lines(talking) == ["begins", "page 1", "page 2", "page 3", "ends"]
    assert inbox.progress(talking)[-1].done == 3

    asked, stubborn = calls("stops_when_asked", file=str(tmp_path / "asked")), calls("never_stops", file=str(tmp_path / "stubborn"))
    runner.submit([asked, stubborn])
    assert eventually(lambda: (tmp_path / "asked").exists() and (tmp_path / "stubborn").exists())
    for call in (asked, stubborn):
        runner.cancel(call)
    assert [kind for kind, _ in inbox.wait(asked, stubborn)] == [CANCELLED, CANCELLED]

    of = calls.definition
    newer = type(calls)(replace(of, version="2.0.0", steps=(of.steps[of.numbers["echo"]],)))
    unserved, unknown = calls("needs_a_gpu"), newer("echo", value=2)
    runner.submit([unserved, unknown])
    assert "a worker with GPU" in runner.standing()["said"]
    assert inbox.wait(unserved, unknown) == [(RELEASED, None)] * 2
    assert "it has no handlers of tests/misbehaving@2.0.0" in runner.standing()["said"]
    doomed = cluster.start_worker("--resources", "GPU=1", HAS_A_GPU="yes")
    assert eventually(lambda: runner.standing()["workers"] == 2, 60)
    served, known = calls("needs_a_gpu"), newer("echo", value=2)
    runner.submit([served, known])
    assert inbox.wait(served, known) == [(COMPLETED, True), (COMPLETED, 2)]

    files = [tmp_path / f"runs-{number}" for number in range(4)]
    running = [calls("never_stops", file=str(file)) for file in files]
    runner.submit(running)
    assert eventually(lambda: all(file.exists() and file.read_text() for file in files))
    pids = {call: int(file.read_text()) for call, file in zip(running, files, strict=True)}
    doomed.kill()
    assert eventually(lambda: len([call for call in running if call in inbox.outcomes]) == 2)
    lost = [call for call in running if call in inbox.outcomes]
    for call in lost:
        kind, error = inbox.outcomes[call]
        assert (kind, error["type"], error["retryable"]) == (FAILED, "worker_crashed", True)
        assert "was lost" in error["message"]
        assert not is_alive(pids[call])

    cluster.processes[0].kill()  # the scheduler: nobody's fault
    left = [call for call in running if call not in lost]
    assert inbox.wait(*left) == [(RELEASED, None)] * 2
    assert not any(map(is_alive, pids.values()))
    assert runner.standing()["state"] == "away"
    assert "cannot be reached" in runner.standing()["said"] or "is gone" in runner.standing()["said"]
    assert runner.room() == 0


@pytest.mark.nightly
def test_a_scheduler_that_would_run_steps_again_is_refused(tmp_path: Path, start: Start, inbox: Any, eventually: Any) -> None:
    cluster, port = Cluster(tmp_path), free_port()
    waiting = start(f"tcp://127.0.0.1:{port}", workers=0)
    assert "cannot be reached" in waiting.standing()["said"]
    try:
        cluster.start_scheduler(port=port, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="3")
        runner = DaskRunner(cluster.address, sources=[])
        with pytest.raises(ClusterRefused, match="ALLOWED_FAILURES=0"):
            runner.start(inbox.deliver, lambda call, names: {})
        assert eventually(lambda: "ALLOWED_FAILURES=0" in waiting.standing()["said"])
        assert (waiting.standing()["state"], waiting.room()) == ("away", 0)
    finally:
        cluster.end()


def test_a_plain_connection_beyond_this_machine_is_refused(inbox: Any) -> None:
    with pytest.raises(ClusterRefused, match="tls://"):
        DaskRunner("tcp://192.0.2.1:8786", sources=[]).start(inbox.deliver, lambda call, names: {})


@pytest.mark.nightly
def test_an_encrypted_cluster_is_used_with_its_certificates_and_with_no_others(tmp_path: Path, start: Start, calls: Any, inbox: Any, eventually: Any) -> None:
    pytest.importorskip("cryptography")
    ours, others = certificates(tmp_path / "ours"), certificates(tmp_path / "others")
    cluster = Cluster(tmp_path)
    try:
        scheduler = cluster.start_scheduler(*flags(ours), "--protocol", "tls")
        cluster.start_worker(*flags(ours))
        assert cluster.address.startswith("tls://")
        runner = start(cluster.address, workers=1, certificates=ours)
        call = calls("echo", value=1)
        runner.submit([call])
        assert inbox.wait(call) == (COMPLETED, 1)
        with pytest.raises(ClusterRefused, match="certificate"):
            DaskRunner(cluster.address, sources=[], certificates=others).start(inbox.deliver, lambda call, names: {})
        scheduler.kill()
        scheduler.wait()
        cluster.start_scheduler(*flags(others), "--protocol", "tls", port=int(cluster.address.rpartition(":")[2]))
        assert eventually(lambda: "certificate" in runner.standing()["said"])
        assert (runner.standing()["state"], runner.room()) == ("away", 0)
    finally:
        cluster.end()


def flags(of: Certificates) -> list[str]:
    return ["--tls-ca-file", of.ca, "--tls-cert", of.cert, "--tls-key", of.key]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificates(folder: Path) -> Certificates:
    """A new authority, and a certificate for this machine that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir()
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def signed(name: str, of: Any, *extensions: Any) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")]))
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {
        "ca.pem": signed("authority", authority, x509.BasicConstraints(ca=True, path_length=None)),
        "cert.pem": signed("127.0.0.1", key, here),
        "key.pem": private,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Certificates(*(str(folder / name) for name in files))


def is_alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
