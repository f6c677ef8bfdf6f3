"""`tasker archive`: a task is written before it is dropped, and is read back from the files."""

from __future__ import annotations

from pathlib import Path

from terminal import Terminal, refused
from test_cli_retention import TASK, end


def test_a_dropped_task_is_read_back_from_the_files(shop: Terminal, tmp_path: Path) -> None:
    task = shop.run(*TASK).out.strip()
    place = tmp_path / "archive"
    assert "nowhere" in shop.run("archive", "list").out
    assert "absolute path" in refused(shop.run("archive", "set", "shop", "archive"))
    assert 'there is no namespace "nowhere"' in refused(shop.run("archive", "set", "nowhere", place))
    assert "no archive is set" in refused(shop.run("archive", "show", task))
    for arguments in (("set", "shop"), ("set", "shop", place, "--off"), ("default",), ("default", place, "--off")):
        assert shop.run("archive", *arguments).status == 2
    assert "there is no folder" in shop.run("archive", "default", place).err
    assert shop.run("archive", "set", "shop", "--off").out == "shop: nowhere\n"
    assert shop.run("archive", "set", "shop", "--default", "--json").json()["place"] == str(place)
    shop.run("retention", "set", "shop", "30d")
    end(shop, days_ago=31)
    kept = shop.run("retention", "run", "shop")
    assert (kept.status, "its archive cannot be written" in kept.err) == (1, True)
    assert "cannot be written" in shop.run("retention", "list").out
    assert shop.run("retention", "list", "--json").json()["namespaces"][0]["archive"] == str(place)
    assert shop.run("show", task).status == 0
    place.mkdir()
    assert shop.run("retention", "run", "shop", "--json").json()["namespaces"]["shop"]["task_count"] == 1
    listed = shop.run("archive", "list", "--json").json()
    assert (listed["default"], listed["namespaces"][0]["task_count"], listed["namespaces"][0]["error"]) == (str(place), 1, None)
    [day] = shop.run("archive", "files", "shop", "--json").json()["days"]
    assert (day["namespace"], day["task_count"], day["file_count"]) == ("shop", 1, 1)
    found = shop.run("archive", "show", task, "--namespace", "shop").json()
    assert (found["task_id"], found["task"]["context"]["order_id"], len(found["steps"])) == (task, 7, 2)
    assert "no file of the archive has task" in refused(shop.run("archive", "show", "7f3b4c80-0000-4000-8000-000000000000"))
    [file] = place.rglob("*.gz")
    file.write_bytes(file.read_bytes()[:30])
    broken = shop.run("archive", "show", task, "--place", place)
    assert broken.status == 2
    assert str(file) in broken.err
    assert "it may be in one that is broken" in broken.err
