"""A fleet's grid that can be asked for one answer at a time, so that answers may come after the round that asked."""

from collections.abc import Iterable

from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from simulations.churn.availability import Fleet
from simulations.churn.grid import ChurnGrid, VirtualTime


class PatientGrid(ChurnGrid):
    """``ChurnGrid`` with messages that are pushed now and pulled whenever their answers are there.

    What is lost is lost without a word, as in ``ChurnGrid``. A node works on a message when its answer is pulled, with
    what the message carried; an answer that is never pulled costs nothing.
    """

    def __init__(self, client_app: ClientApp, configs: list[UserConfig], fleet: Fleet, time: VirtualTime) -> None:
        super().__init__(client_app, configs, fleet, time)
        self._there_at: dict[str, float] = {}
        """When an answer is there, by its message's id."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their ids."""
        sent = []
        for message in messages:
            when = self._arrival(message)
            name = self._accept(message)
            if when is None:
                del self._waiting[name]
            else:
                self._there_at[name] = when
            sent.append(name)
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return those of the answers that are there by now."""
        now = self._time.now
        there = [name for name in message_ids if self._there_at.get(name, now + 1) <= now]
        return [self._answered(name) for name in there]

    def _answered(self, name: str) -> Message:
        del self._there_at[name]
        return self._answer(name)
