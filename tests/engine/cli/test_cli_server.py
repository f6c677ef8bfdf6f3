"""`tasker --server URL`: the same commands on a remote installation; the machine they are typed on has no database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from signed_in import token_for
from terminal import Ended, Terminal

from engine.settings import Settings
from webapp import create_app
from webapp.server import Server, bind

PATIENCE = 10.0


class Remote:
    """The shop's installation, and a terminal on another machine."""

    def __init__(self, shop: Terminal, url: str) -> None:
        self.shop, self.url = shop, url

    def run(self, *arguments: object) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(self.shop.environment, "TASKER_DATABASE_URL")
            patch.delitem(self.shop.environment, "TASKER_HANDLERS")
            return self.shop.run("--server", self.url, *arguments)

    def launch(self) -> str:
        return self.run("launch", "shop/process_order", "--context", '{"order_id": 1}').out.strip()


@pytest.fixture
def remote(shop: Terminal, tmp_path: Path, database_url: str) -> Iterator[Remote]:
    assert shop.run("launch", "shop/process_order", "--context", '{"order_id": 1}').status == 0  # the workflow is known there
    app = create_app(Settings(secret_key="a key for tests", data_dir=tmp_path), database_url=database_url)
    running = Server(app, "127.0.0.1", bind("127.0.0.1", 0))
    thread = threading.Thread(target=running.run)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shop.environment, "TASKER_TOKEN", token_for(database_url))
        yield Remote(shop, running.url)
    running.stop()
    thread.join(PATIENCE)


def test_a_remote_task_is_listed_and_shown_like_one_of_our_own(remote: Remote) -> None:
    task = remote.launch()
    for arguments in (["tasks", "--json"], ["show", task, "--json"], ["show", task], ["why", task, "ship"], ["why", task, "--json"], ["show", task, "--log", "--json"], ["tasks", "--limit", 1, "--json"]):
        there, here = remote.run(*arguments), remote.shop.run(*arguments)
        assert (there.status, there.err) == (0, here.err)
        if "--limit" in arguments:  # a cursor is its giver's own
            assert there.json()["tasks"] == here.json()["tasks"]
        else:
            assert there.out == here.out


def test_an_operator_acts_from_far_away(remote: Remote) -> None:
    task = remote.launch()
    assert "Nothing was done." in remote.run("skip", task, "charge", "--dry-run").out
    assert remote.run("skip", task, "charge", "--reason", "free of charge").out == "skipped\n"
    assert remote.run("retry", task, "charge").status == 2
    assert remote.run("resolve", task, "ship", "--result", '{"sent": true}').out == "resolved\n"
    assert remote.run("show", task, "--json").json()["steps"]["ship"]["result"] == {"sent": True}
    other = remote.launch()
    assert remote.run("pause", other).out == "pending, paused\n"
    assert remote.run("resume", other).out == "pending\n"
    seen = remote.run("cancel", other, "--dry-run", "--json").json()["seen"]
    assert remote.run("cancel", other, "--seen", seen).out == "cancelled\n"


def test_a_launch_can_be_waited_for(remote: Remote) -> None:
    remote.shop.start("engine", "--runner", "threads")
    ended = remote.run("launch", "shop/process_order", "--context", '{"order_id": 3}', "--wait", "--json")
    assert (ended.status, ended.json()["steps"]["ship"]["result"]) == (0, 4)


def test_what_a_server_refuses_is_one_clear_error(remote: Remote) -> None:
    refused = remote.run("launch", "shop/process_order", "--context", '{"order_id": "x"}')
    assert (refused.status, refused.out) == (2, "")
    assert "order_id" in refused.err
    assert remote.run("show", "00000000-0000-0000-0000-000000000000").status == 2
    away = remote.shop.run("--server", "http://127.0.0.1:9", "tasks")
    assert (away.status, "cannot reach http://127.0.0.1:9" in away.err, "Traceback" in away.err) == (2, True, False)


def test_commands_of_this_machine_take_no_server(shop: Terminal) -> None:
    refused = shop.run("--server", "http://127.0.0.1:9", "engine")
    assert (refused.status, "--server goes with launch" in refused.err) == (2, True)
