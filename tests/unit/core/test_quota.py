from __future__ import annotations

import pytest
from gpuspawner.core.errors import RefusalKind, Refused
from gpuspawner.core.model import LeaseState as S
from gpuspawner.core.model import SpawnRequest
from gpuspawner.core.quota import Limits, judge_quota
from support.build import lease

LIMITS = Limits(gpus_per_server=2, gpus_per_person=3)


def judge(gpus: int, *leases, limits: Limits = LIMITS) -> str | None:
    try:
        judge_quota(SpawnRequest(gpus), "ada", leases, limits)
    except Refused as error:
        return str(error) if error.kind is RefusalKind.NOT_ALLOWED else repr(error.kind)
    return None


def test_up_to_the_limits() -> None:
    assert judge(2) is None
    assert judge(2, lease(S.ACTIVE, "GPU-0")) is None


def test_one_server() -> None:
    assert judge(3) == "You asked for 3 GPUs; a server may have at most 2."


def test_one_person() -> None:
    held = lease(S.ACTIVE, "GPU-0", "GPU-1")
    assert judge(2, held) == (
        "You hold 2 GPUs already and asked for 2 more; one person may hold at most 3. "
        "Stop another server of yours first."
    )
    assert "You hold 1 GPU already" in (judge(1, lease(S.RESERVED, "GPU-0"), limits=Limits(1, 1)) or "")
    assert "You hold 3 GPUs" in (judge(1, held, lease(S.RESERVED, "GPU-2", id="b")) or "")


def test_without_a_gpu_there_is_no_limit() -> None:
    assert judge(0, lease(S.ACTIVE, "GPU-0", "GPU-1", "GPU-2", "GPU-3")) is None


@pytest.mark.parametrize("state", [S.RELEASING, S.QUARANTINED])
def test_what_is_being_released_does_not_count(state: S) -> None:
    assert judge(2, lease(state, "GPU-0", "GPU-1")) is None


def test_others_do_not_count() -> None:
    assert judge(2, lease(S.ACTIVE, "GPU-0", "GPU-1", owner="bob")) is None
