"""What the local service answers: the calls of ``device.proto``, on the device's store, recommender and ledger."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import grpc

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings
from clients.inference.recommender import Recommendation, Recommender
from clients.local_store import Consent, Event, LocalStore, StoreUnwritableError
from clients.local_store.records import INTERACTION
from clients.local_store.store import TRAINING
from clients.service import device_pb2 as pb
from clients.service.budget import BudgetTeller
from clients.service.device_pb2_grpc import DeviceServicer
from clients.service.gate import refuse
from clients.service.notices import notices, standing_orders
from fedrec import __version__
from fedrec.errors import DataError

DEFAULT_ITEMS, MOST_ITEMS, MOST_EXPLAINED, MOST_EXCLUDED, MOST_RELEASES = 10, 1000, 100, 1000, 1000
CHUNK = 256 * 1024
AHEAD_SECONDS = 24 * 3600.0
"""How far in the future an event may lie: clocks differ, and a far one would stay newest for ever."""
RELOAD_SECONDS = 1.0
"""Between two looks whether a new catalogue or model has been installed."""

RETAIN_SECONDS = 6 * 3600.0
"""Between two looks whether events have grown too old or too many."""

SOURCES = {
    "model": pb.SOURCE_MODEL,
    "popularity": pb.SOURCE_POPULARITY,
    "catalogue": pb.SOURCE_CATALOGUE,
}

logger = logging.getLogger(__name__)


class Answers(DeviceServicer):
    """The servicer. Errors leave as exceptions; ``Gate`` makes a status of them."""

    def __init__(
        self,
        home: DeviceHome,
        settings: DeviceSettings,
        store: LocalStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home = home
        self._settings = settings
        self._store = store
        self._recommender = self._fresh_recommender()
        self._budget = BudgetTeller(home, store)
        self._clock = clock
        self._started = time.monotonic()
        self._can_record = True

    @classmethod
    @contextmanager
    def of(cls, home: DeviceHome, settings: DeviceSettings) -> Iterator[Self]:
        """Open a device's store and models, and look after them while the block runs."""
        with LocalStore.open(home.store) as store:
            answers = cls(home, settings, store)
            with _repeating(answers.reload, RELOAD_SECONDS), _repeating(answers.retain, RETAIN_SECONDS):
                yield answers

    def _fresh_recommender(self) -> Recommender:
        return Recommender(self._home, self._store, personal_steps=self._settings.api.personal_steps)

    def reload(self) -> None:
        """Take up a catalogue or model that was installed meanwhile."""
        if self._recommender.reload():
            serving = self._recommender.serving()
            logger.info("serves model %d of catalogue %d", serving.model_version, serving.catalogue_version)

    def retain(self) -> None:
        """Delete events that the settings say not to keep any longer."""
        limits = self._settings.store
        with suppress(StoreUnwritableError):  # the owner hears of it where an event cannot be kept
            self._store.retain(limits.retention_days, limits.retention_rows, self._clock())

    def Recommend(self, request: pb.RecommendRequest, context: Any) -> pb.RecommendReply:  # noqa: N802  # gRPC's name
        """Answer the best items for a user."""
        user, k = self._user(request.user), request.k or DEFAULT_ITEMS
        most = MOST_EXPLAINED if request.explain else MOST_ITEMS
        if k > most:
            why = " with reasons" if request.explain else ""
            refuse(grpc.StatusCode.INVALID_ARGUMENT, f"k must be from 1 to {most}{why}, got {k}")
        if len(request.exclude) > MOST_EXCLUDED:
            refuse(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"exclude may name {MOST_EXCLUDED} items, got {len(request.exclude)}",
            )
        if not self._recommender.serving().num_items:
            refuse(
                grpc.StatusCode.FAILED_PRECONDITION,
                "there is no catalogue yet: the device fetches it when it is online; 'fedrec device doctor' says more",
            )
        picks = self._recommender.recommend(user, k, request.exclude, explain=request.explain)
        serving = self._recommender.serving()
        return pb.RecommendReply(
            recommendations=map(_recommendation, picks),
            source=self._source(),
            model_version=serving.model_version,
            catalogue_version=serving.catalogue_version,
        )

    def RecordFeedback(  # noqa: N802  # gRPC's name
        self, request: pb.RecordFeedbackRequest, context: Any
    ) -> pb.RecordFeedbackReply:
        """Keep one event."""
        user, now = self._user(request.user), self._clock()
        when = request.time if request.HasField("time") else now
        if when > now + AHEAD_SECONDS:
            refuse(grpc.StatusCode.INVALID_ARGUMENT, "time lies more than a day ahead of the device's clock")
        event = self._event(request, user, when)
        if not request.keep_unknown and self._recommender.knows(event.item) is False:
            refuse(
                grpc.StatusCode.NOT_FOUND,
                "the device's catalogue does not know the item: keep_unknown keeps the event for a later catalogue",
            )
        try:
            number = self._store.record(event)
        except StoreUnwritableError:
            self._can_record = False
            raise
        self._can_record = True
        return pb.RecordFeedbackReply(event=number)

    def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusReply:  # noqa: N802  # gRPC's name
        """Say how the device is doing."""
        serving, orders = self._recommender.serving(), standing_orders(self._home)
        return pb.StatusReply(
            version=__version__,
            source=self._source(),
            model_version=serving.model_version,
            catalogue_version=serving.catalogue_version,
            num_items=serving.num_items,
            num_users=len(self._settings.users),
            num_events=self._store.num_events(),
            can_record=self._can_record and self._store.writable,
            consent=_consent(self._store.consent()),
            phases=(
                pb.PhaseCount(phase=phase, reason=reason, count=count)
                for (phase, reason), count in self._store.counts().items()
            ),
            notices=notices(self._store, serving, can_record=self._can_record),
            training_stopped=orders.stop,
            stop_reason=orders.reason,
            uptime=time.monotonic() - self._started,
        )

    def Consent(self, request: pb.ConsentRequest, context: Any) -> pb.ConsentReply:  # noqa: N802  # gRPC's name
        """Read the owner's consent, or change it."""
        if not request.HasField("grant"):
            return pb.ConsentReply(consent=_consent(self._store.consent()))
        with _as_invalid():
            changed = self._store.set_consent(request.grant, scope=request.scope or TRAINING)
        return pb.ConsentReply(consent=_consent(changed))

    def Export(self, request: pb.ExportRequest, context: Any) -> Iterator[pb.ExportChunk]:  # noqa: N802  # gRPC's name
        """Yield everything that the device holds of its users, as JSON in pieces."""
        content = json.dumps(self._store.export(), ensure_ascii=False, allow_nan=False).encode()
        for start in range(0, len(content), CHUNK):
            yield pb.ExportChunk(content=content[start : start + CHUNK])

    def Forget(self, request: pb.ForgetRequest, context: Any) -> pb.ForgetReply:  # noqa: N802  # gRPC's name
        """Delete what the device holds of its users."""
        if not request.confirm:
            refuse(grpc.StatusCode.INVALID_ARGUMENT, "set confirm: what is deleted cannot be brought back")
        gone = self._store.forget()
        self._recommender = self._fresh_recommender()  # whatever the old one remembered of anybody goes with it
        return pb.ForgetReply(num_events=gone)

    def Privacy(self, request: pb.PrivacyRequest, context: Any) -> pb.PrivacyReply:  # noqa: N802  # gRPC's name
        """Say what training has spent."""
        if request.releases > MOST_RELEASES:
            refuse(grpc.StatusCode.INVALID_ARGUMENT, f"releases must be at most {MOST_RELEASES}")
        return self._budget.tell(request.releases)

    def _source(self) -> pb.Source:
        serving = self._recommender.serving()
        return SOURCES[serving.source] if serving.num_items else pb.SOURCE_NONE

    def _user(self, asked: str) -> str:
        """Return the user that a call is about; a device does not tell who else there is."""
        users = self._settings.users
        if not asked and len(users) == 1:
            return users[0]
        if not asked:
            refuse(grpc.StatusCode.INVALID_ARGUMENT, "this device has several users: name one")
        if asked not in users:
            refuse(grpc.StatusCode.NOT_FOUND, "this device has no such user: see users in device.toml")
        return asked

    def _event(self, request: pb.RecordFeedbackRequest, user: str, when: float) -> Event:
        value = request.value if request.HasField("value") else None
        with _as_invalid():
            return Event(user=user, item=request.item, time=when, kind=request.kind or INTERACTION, value=value)


def _recommendation(pick: Recommendation) -> pb.Recommendation:
    reasons = (pb.Reason(kind=why.kind, name=why.name, weight=why.weight, text=why.text) for why in pick.reasons)
    return pb.Recommendation(item=pick.item, title=pick.title, score=pick.score, reasons=reasons)


def _consent(consent: Consent) -> pb.ConsentState:
    return pb.ConsentState(version=consent.version, granted=consent.granted, scope=consent.scope, time=consent.time)


@contextmanager
def _as_invalid() -> Iterator[None]:
    """Call what a value refuses at its birth the caller's mistake; what the disk refuses is none."""
    try:
        yield
    except StoreUnwritableError:
        raise
    except DataError as error:
        refuse(grpc.StatusCode.INVALID_ARGUMENT, str(error))


@contextmanager
def _repeating(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do ``work`` again and again beside the block, at once first; a failure is logged by its kind and tried again."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            try:
                work()
            except Exception as error:  # a service that answers must not end because its housekeeping failed
                logger.error("%s failed with %s", work.__name__, type(error).__name__)
            ended.wait(seconds)

    thread = threading.Thread(target=loop, name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
