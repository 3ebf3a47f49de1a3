"""``python -m clients.supervisor.worker DIR FD``: the process that trains, and so reads what is private.

It stays between tasks, because importing torch takes longer than most of them; its parent ends it when that is due.
Orders and outcomes go over one inherited socket as JSON, a frame each; the task's token is in no argument. The code
that runs is the installed ``clients.app``: a bundle that came with a task is not even here.
"""

import logging
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.local_store import LocalStore
from clients.supervisor.flower import Runtime, unpack
from clients.supervisor.isolation import confine_worker, end_with_parent
from clients.supervisor.owner import objection
from clients.supervisor.places import runtime_socket
from clients.supervisor.workplace import LONGEST, Order, Outcome
from fedrec.faults import reach

logger = logging.getLogger(__name__)


def work(home: DeviceHome, order: Order) -> Outcome:
    """Do one task and hand its reply to the SuperNode."""
    runtime = Runtime(runtime_socket(home), token=order.token)
    try:
        context, tree = unpack(order.task)
        message = runtime.inflate(tree, context)
        reach("worker.began")
        reply, outcome = _answer(order, message, context)
        reach("worker.answered")
        with LocalStore.open(home.store) as store:
            why = objection(home, store)
            if why:  # the owner's last word counts until the last moment
                return Outcome(kind="stopped", reason="owner")
            runtime.answer(reply, context)
            store.count(outcome.kind, outcome.reason)
        return outcome
    except Exception as error:  # nothing of a failure may cross the device's border but its class
        logger.exception("the task failed")
        return Outcome(kind="failed", reason=type(error).__name__)
    finally:
        runtime.close()


def _answer(order: Order, message: Any, context: Any) -> tuple[Any, Outcome]:
    """Return the reply to a task's message, and in one word what it is."""
    # Imported here: torch takes seconds, in which the parent should know that this process lives.
    from clients.app import app
    from fedrec.flower.wire import ARRAYS, REFUSAL, write_refusal
    from fedrec.rounds import Refusal, RefusalReason

    if order.refusal:
        refusal = Refusal(nonce="", reason=RefusalReason(order.refusal), detail=order.detail)
        return write_refusal(refusal, to=message), Outcome(kind="refused", reason=order.refusal)
    reply = app(message=message, context=context)
    if REFUSAL in reply.content:
        return reply, Outcome(kind="refused", reason=str(reply.content[REFUSAL]["reason"]))
    return reply, Outcome(kind="trained" if ARRAYS in reply.content else "answered")


def main(folder: Path, descriptor: int) -> None:
    """Work off orders until the parent hangs up."""
    end_with_parent()
    home = DeviceHome(folder)
    settings = DeviceSettings.load(home.settings).training
    confine_worker(nice=settings.nice, address_space_mib=settings.address_space_mib)
    with Connection(descriptor) as parent:
        while True:
            try:
                order = Order.of(parent.recv_bytes(LONGEST))
            except EOFError:
                return
            parent.send_bytes(work(home, order).to_bytes())


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    os.environ["FEDREC_NODE"] = sys.argv[1]
    main(Path(sys.argv[1]), int(sys.argv[2]))
