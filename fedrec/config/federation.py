"""Nodes, messages and rounds on the wire."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedrec.config.section import Count, NoneIsAName, Positive, Rate, Section

Place = Literal["in-process", "ray"]
CodecName = Literal["none", "fp16", "int8", "low-rank", "row-subset"]


class CodecConfig(Section):
    """How updates are encoded for the way up (``fedrec.codecs``)."""

    name: Annotated[CodecName, NoneIsAName] = "none"
    """``none`` sends float32."""
    rank: Count = 16
    """Columns that ``low-rank`` keeps of each matrix's."""
    row_share: Rate = 0.25
    """Share of each matrix's rows that ``row-subset`` sends."""


class BufferConfig(Section):
    """Buffered asynchronous rounds (``fedrec.flower.buffered``), where ``federation.mode = buffered``."""

    buffer: Count = 10
    """Nodes whose usable replies make a round, which is one step of the model."""
    concurrency: Count = 30
    """Nodes that hold a task at once. A reply is about ``concurrency / buffer - 1`` steps old when it comes."""
    maximum_staleness: Annotated[int, Field(ge=0)] = 5
    """Steps that the model may have taken since a task was sent; its reply weighs ``1 / sqrt(1 + steps)``, and nothing
    after more of them."""


class FederationConfig(Section):
    """Nodes and rounds on the wire."""

    mode: Literal["synchronous", "buffered"] = "synchronous"
    """``synchronous``: a round ends with its own replies, and late ones are refused. ``buffered``: a round of training
    ends with ``buffered.buffer`` replies, whichever round had asked for them. Then nodes are asked, each with all its
    users, and ``training.sample_rate`` is of the other rounds alone."""
    buffered: BufferConfig = BufferConfig()
    place: Place = "in-process"
    """Where simulated nodes run: in this process, or as actors of a Ray cluster."""
    nodes: Count = 1
    """Simulated nodes among which the users are divided; at most one a user."""
    minimum_replies: Rate = 0.5
    """Share of the asked nodes that must reply usably, else the round is void."""
    minimum_cohort: Count = 1
    """Users whose contributions must be in a round's sum, those lost on the way not counted; else it is abandoned."""
    enough_replies: Rate = 1.0
    """Share of the asked nodes whose usable replies close a round; the others' come late. To ask 1.3 times as many
    users as are needed, raise ``training.sample_rate`` by 1.3 and set this to 0.77: what is accounted is who was asked,
    and under privacy the update is divided by their number, so that it is as much shorter."""
    maximum_participations: Annotated[int, Field(ge=0)] = 0
    """Most rounds of a run that ask the same user for a contribution to training; 0 for no bound. Who was asked has
    taken part, also in a round that was abandoned. The run ends when fewer than ``minimum_cohort`` users are left."""
    minimum_separation: Annotated[int, Field(ge=0)] = 0
    """Least distance in rounds, abandoned ones counted, between two that ask the same user; 0 or 1 for none. Under
    ``privacy.correlation`` that is ``privacy.separation``."""
    abandoned_in_a_row: Count = 3
    """Rounds that may be abandoned one after the other, for want of replies, before the run ends."""
    round_timeout: Positive = 600.0
    """Seconds to wait for a round's replies."""
    checkpoint_every: Count = 10
    """Rounds between two checkpoints."""
    codec: CodecConfig = CodecConfig()
    users_per_device: Count = 8
    """Most users that one enrolled device may speak for: a device says itself how many it has. Simulated nodes, which
    are not enrolled, may have any number."""
    ray_address: str = ""
    """Address of a running Ray cluster, for ``place = ray``; empty starts one on this machine. The run folder must be
    on a disk that all its machines see."""

    @model_validator(mode="after")
    def _buffer_can_fill(self) -> Self:
        if self.mode == "synchronous":
            return self
        asked = self.buffered
        if self.enough_replies < 1:
            raise ValueError(
                f"enough_replies={self.enough_replies:g} closes synchronous rounds, and mode=buffered closes one with "
                f"buffered.buffer={asked.buffer} replies: leave it out"
            )
        if asked.concurrency < asked.buffer:
            raise ValueError(
                f"buffered.concurrency={asked.concurrency} nodes at work never fill buffered.buffer={asked.buffer}: "
                "raise concurrency, or lower buffer"
            )
        if asked.concurrency > asked.buffer * (asked.maximum_staleness + 1):
            raise ValueError(
                f"of buffered.concurrency={asked.concurrency} nodes at work and buffered.buffer={asked.buffer}, "
                f"replies are {asked.concurrency / asked.buffer - 1:.1f} steps old on average, and "
                f"buffered.maximum_staleness={asked.maximum_staleness} refuses most of them: lower concurrency to "
                f"{asked.buffer * (asked.maximum_staleness + 1)} or less, or raise one of the others"
            )
        return self
