"""A traceback with only the author's own frames."""

from webapp.tracebacks import own_frames

OWN = '  File "/srv/flows/orders.py", line 7, in charge\n    client.post(url)\n'
FOREIGN = '  File "/srv/.venv/lib/python3.11/site-packages/requests/api.py", line 115, in post\n    return request("post")\n'
ERROR = "requests.ConnectionError: refused"


def test_library_frames_are_left_out_with_their_lines() -> None:
    assert own_frames(f"Traceback (most recent call last):\n{OWN}{FOREIGN}{ERROR}") == (
        f"Traceback (most recent call last):\n{OWN}{ERROR}"
    )


def test_nothing_is_said_twice_and_never_an_empty_one() -> None:
    assert own_frames(OWN + ERROR) == ""
    assert own_frames(FOREIGN + ERROR) == ""
    assert own_frames(None) == ""
