"""Whether the object store answers this engine: asked now and then by a duty of its own, and told with the engine's figures."""

from __future__ import annotations

import threading
from typing import Final

from engine.errors import TaskerError
from engine.monitoring.own_figures import Figures
from engine.objects import Keeper, StoreFailed

ANSWER_SECONDS: Final = 5.0


class StoreWatch:
    """What the figures say of the store is true as of the last `look`, of which there is one at a time."""

    def __init__(self, keeper: Keeper, figures: Figures) -> None:
        self._keeper, self._figures = keeper, figures
        self._asking: threading.Thread | None = None
        self._was_away = False

    def look(self) -> None:
        """Returns within ANSWER_SECONDS. A store that hangs is not asked again before it has answered: each question to it costs a thread."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._ask, name="tasker-store", daemon=True)
            self._asking.start()
        self._asking.join(ANSWER_SECONDS)
        if self._asking.is_alive():
            self._is_away("the object store does not answer")

    def _ask(self) -> None:
        try:
            self._keeper.check()
        except TaskerError as error:
            self._is_away(str(error))
            return
        if self._was_away:  # else a handler's machine has met what ours does not see
            self._was_away = False
            self._figures.unhindered(StoreFailed.__name__)

    def _is_away(self, said: str) -> None:
        self._was_away = True
        self._figures.hindered(StoreFailed.__name__, said)
