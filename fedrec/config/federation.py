"""Nodes, messages and rounds on the wire."""

from typing import Annotated, Literal

from pydantic import Field

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


class FederationConfig(Section):
    """Nodes and rounds on the wire."""

    place: Place = "in-process"
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
    codec: CodecConfig = CodecConfig()
    users_per_device: Count = 8
    """Most users that one enrolled device may speak for: a device says itself how many it has. Simulated nodes, which
    are not enrolled, may have any number."""
    ray_address: str = ""
    """Address of a running Ray cluster, for ``place = ray``; empty starts one on this machine. The run folder must be
    on a disk that all its machines see."""
