from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_MODEL: _ClassVar[Source]
    SOURCE_POPULARITY: _ClassVar[Source]
    SOURCE_CATALOGUE: _ClassVar[Source]
    SOURCE_NONE: _ClassVar[Source]

class BudgetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_STATE_UNSPECIFIED: _ClassVar[BudgetState]
    BUDGET_STATE_UNUSED: _ClassVar[BudgetState]
    BUDGET_STATE_LEFT: _ClassVar[BudgetState]
    BUDGET_STATE_SPENT: _ClassVar[BudgetState]
    BUDGET_STATE_LEDGER_BROKEN: _ClassVar[BudgetState]
SOURCE_UNSPECIFIED: Source
SOURCE_MODEL: Source
SOURCE_POPULARITY: Source
SOURCE_CATALOGUE: Source
SOURCE_NONE: Source
BUDGET_STATE_UNSPECIFIED: BudgetState
BUDGET_STATE_UNUSED: BudgetState
BUDGET_STATE_LEFT: BudgetState
BUDGET_STATE_SPENT: BudgetState
BUDGET_STATE_LEDGER_BROKEN: BudgetState

class RecommendRequest(_message.Message):
    __slots__ = ("user", "k", "exclude", "explain")
    USER_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    user: str
    k: int
    exclude: _containers.RepeatedScalarFieldContainer[str]
    explain: bool
    def __init__(self, user: _Optional[str] = ..., k: _Optional[int] = ..., exclude: _Optional[_Iterable[str]] = ..., explain: _Optional[bool] = ...) -> None: ...

class RecommendReply(_message.Message):
    __slots__ = ("recommendations", "source", "model_version", "catalogue_version")
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_VERSION_FIELD_NUMBER: _ClassVar[int]
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    source: Source
    model_version: int
    catalogue_version: int
    def __init__(self, recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., source: _Optional[_Union[Source, str]] = ..., model_version: _Optional[int] = ..., catalogue_version: _Optional[int] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("item", "title", "score", "reasons")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    item: str
    title: str
    score: float
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    def __init__(self, item: _Optional[str] = ..., title: _Optional[str] = ..., score: _Optional[float] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("kind", "name", "weight", "text")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    weight: float
    text: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., weight: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("user", "item", "kind", "value", "time", "keep_unknown")
    USER_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KEEP_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    user: str
    item: str
    kind: str
    value: float
    time: float
    keep_unknown: bool
    def __init__(self, user: _Optional[str] = ..., item: _Optional[str] = ..., kind: _Optional[str] = ..., value: _Optional[float] = ..., time: _Optional[float] = ..., keep_unknown: _Optional[bool] = ...) -> None: ...

class RecordFeedbackReply(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: int
    def __init__(self, event: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("version", "source", "model_version", "catalogue_version", "num_items", "num_users", "num_events", "can_record", "consent", "phases", "notices", "training_stopped", "stop_reason", "uptime")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NUM_USERS_FIELD_NUMBER: _ClassVar[int]
    NUM_EVENTS_FIELD_NUMBER: _ClassVar[int]
    CAN_RECORD_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    TRAINING_STOPPED_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    version: str
    source: Source
    model_version: int
    catalogue_version: int
    num_items: int
    num_users: int
    num_events: int
    can_record: bool
    consent: ConsentState
    phases: _containers.RepeatedCompositeFieldContainer[PhaseCount]
    notices: _containers.RepeatedScalarFieldContainer[str]
    training_stopped: bool
    stop_reason: str
    uptime: float
    def __init__(self, version: _Optional[str] = ..., source: _Optional[_Union[Source, str]] = ..., model_version: _Optional[int] = ..., catalogue_version: _Optional[int] = ..., num_items: _Optional[int] = ..., num_users: _Optional[int] = ..., num_events: _Optional[int] = ..., can_record: _Optional[bool] = ..., consent: _Optional[_Union[ConsentState, _Mapping]] = ..., phases: _Optional[_Iterable[_Union[PhaseCount, _Mapping]]] = ..., notices: _Optional[_Iterable[str]] = ..., training_stopped: _Optional[bool] = ..., stop_reason: _Optional[str] = ..., uptime: _Optional[float] = ...) -> None: ...

class PhaseCount(_message.Message):
    __slots__ = ("phase", "reason", "count")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    phase: str
    reason: str
    count: int
    def __init__(self, phase: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ConsentRequest(_message.Message):
    __slots__ = ("grant", "scope")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    grant: bool
    scope: str
    def __init__(self, grant: _Optional[bool] = ..., scope: _Optional[str] = ...) -> None: ...

class ConsentReply(_message.Message):
    __slots__ = ("consent",)
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    consent: ConsentState
    def __init__(self, consent: _Optional[_Union[ConsentState, _Mapping]] = ...) -> None: ...

class ConsentState(_message.Message):
    __slots__ = ("version", "granted", "scope", "time")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    version: int
    granted: bool
    scope: str
    time: float
    def __init__(self, version: _Optional[int] = ..., granted: _Optional[bool] = ..., scope: _Optional[str] = ..., time: _Optional[float] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportChunk(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    def __init__(self, content: _Optional[bytes] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("confirm",)
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    confirm: bool
    def __init__(self, confirm: _Optional[bool] = ...) -> None: ...

class ForgetReply(_message.Message):
    __slots__ = ("num_events",)
    NUM_EVENTS_FIELD_NUMBER: _ClassVar[int]
    num_events: int
    def __init__(self, num_events: _Optional[int] = ...) -> None: ...

class PrivacyRequest(_message.Message):
    __slots__ = ("releases",)
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    releases: int
    def __init__(self, releases: _Optional[int] = ...) -> None: ...

class PrivacyReply(_message.Message):
    __slots__ = ("state", "spent", "charges", "committed", "aborted", "reserved_lost", "releases", "summary")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    RESERVED_LOST_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    state: BudgetState
    spent: _containers.RepeatedCompositeFieldContainer[Spending]
    charges: int
    committed: int
    aborted: int
    reserved_lost: int
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    summary: str
    def __init__(self, state: _Optional[_Union[BudgetState, str]] = ..., spent: _Optional[_Iterable[_Union[Spending, _Mapping]]] = ..., charges: _Optional[int] = ..., committed: _Optional[int] = ..., aborted: _Optional[int] = ..., reserved_lost: _Optional[int] = ..., releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ..., summary: _Optional[str] = ...) -> None: ...

class Spending(_message.Message):
    __slots__ = ("unit", "adjacency", "adversary", "epsilon", "budget", "delta")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    ADJACENCY_FIELD_NUMBER: _ClassVar[int]
    ADVERSARY_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    unit: str
    adjacency: str
    adversary: str
    epsilon: float
    budget: float
    delta: float
    def __init__(self, unit: _Optional[str] = ..., adjacency: _Optional[str] = ..., adversary: _Optional[str] = ..., epsilon: _Optional[float] = ..., budget: _Optional[float] = ..., delta: _Optional[float] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("time", "run", "round", "name", "unit", "epsilon", "outcome")
    TIME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    time: str
    run: str
    round: int
    name: str
    unit: str
    epsilon: float
    outcome: str
    def __init__(self, time: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., name: _Optional[str] = ..., unit: _Optional[str] = ..., epsilon: _Optional[float] = ..., outcome: _Optional[str] = ...) -> None: ...
