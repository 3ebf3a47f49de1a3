"""The process's identity: set for as long as it is needed, and put back."""

import pytest
from flwr.supercore.task_identity import TaskIdentity

from fedrec.flower.identity import task_identity


def fail_as(run_id: int) -> None:
    with task_identity(run_id):
        raise RuntimeError(f"as run {TaskIdentity.run_id}")


def test_the_identity_before_comes_back_even_after_an_error() -> None:
    with task_identity(run_id=11, node_id=2, task_id=3):
        with pytest.raises(RuntimeError, match="as run 12"):
            fail_as(12)
        assert (TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id) == (11, 2, 3)


def test_a_process_without_identity_has_none_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    with task_identity(run_id=1):
        pass
    with pytest.raises(RuntimeError, match="not set"):
        _ = TaskIdentity.run_id
