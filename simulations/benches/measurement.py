"""A stored measurement: what a bench found, and all that a reader needs to judge it or to repeat it. One JSON file."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedrec.errors import DataError
from fedrec.runs.atomic import write_atomically
from simulations.benches.code import Code
from simulations.benches.machine import Machine, load_now, now

SUFFIX = ".json"


class Measurement(BaseModel):
    """One invocation of a bench. Of ``found`` and ``failed`` exactly one is there.

    ``command``: as it can be typed again. ``machine.load`` and ``load_after``: of the minute before the bench began
    and of the one before it ended. ``ended``: ISO 8601, UTC. ``found``: what ``--json`` prints but for the machine,
    every lap included. ``failed``: one line on why there is nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    command: Annotated[str, Field(pattern="^fedrec bench ")]
    code: Code
    machine: Machine
    ended: str
    load_after: Annotated[float, Field(ge=0)]
    found: dict[str, Any] | None = None
    failed: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.found is None) == (self.failed is None):
            raise ValueError("a measurement has either found something or failed")
        return self

    @classmethod
    def ending_now(
        cls, command: str, machine: Machine, *, found: dict[str, Any] | None = None, failed: str | None = None
    ) -> Self:
        """Return what a bench of this code came to that began when ``machine`` was looked at."""
        return cls(
            command=command,
            code=Code.here(),
            machine=machine,
            ended=now(),
            load_after=load_now(),
            found=found,
            failed=failed,
        )

    @property
    def origin(self) -> str:
        """Who made it, when and beside what else: ``1a8085f3ab, 2026-11-23, load 0.4 to 1.1``."""
        return f"{self.code}, {self.machine.date[:10]}, load {self.machine.load:g} to {self.load_after:g}"

    def write(self, path: Path) -> None:
        """Replace the file; its folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (self.model_dump_json(indent=1, exclude_none=True) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote. Raises ``DataError`` that names the file."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise DataError(
                f"{path} is no stored measurement ({place}: {first['msg']}): restore it or measure again"
            ) from error


def read_measurements(folder: Path) -> dict[str, Measurement]:
    """Return the folder's measurements by file name without its ending; none where there is no folder."""
    return {path.stem: Measurement.read(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
