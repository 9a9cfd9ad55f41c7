"""Who may reach which server by SSH."""

from __future__ import annotations

from dataclasses import replace

from gpuspawner.core.policy import Limit, Policy, Rule, resolve_allowance
from gpuspawner.core.ssh import (
    MOST_OPEN,
    Cause,
    Door,
    Grant,
    Refusal,
    SshKey,
    SshSession,
    choose_doors,
    judge_key,
    name_host,
    why_end,
    why_not_person,
    why_not_server,
    without_doors,
)
from support.build import NOW

KEY = SshKey(1, "ada", "laptop", "ssh-ed25519 AAAA", "SHA256:x", NOW)
DOORS = (Door(0, "ada", ""), Door(1, "ada", "big"), Door(2, "grace", ""))
SESSION = SshSession("s", "ada", "", "l1", "SHA256:x", "laptop", "::1", "run", NOW, NOW)


def test_a_key_opens_the_doors_of_its_person_and_nothing_else() -> None:
    granted = judge_key(KEY, DOORS, {"big"}, None)
    assert isinstance(granted, Grant)
    assert granted.line(KEY) == (
        'restrict,port-forwarding,permitopen="127.64.0.0:2200",permitopen="127.64.0.1:2200" ssh-ed25519 AAAA'
    )


def test_a_line_without_a_door_opens_the_others_and_without_any_nothing() -> None:
    granted = judge_key(KEY, DOORS, {"big"}, None)
    assert isinstance(granted, Grant)
    line = granted.line(KEY)
    assert without_doors(line, ()) == line
    assert without_doors(line, {"127.64.0.0"}) == (
        'restrict,port-forwarding,permitopen="127.64.0.1:2200" ssh-ed25519 AAAA'
    )
    assert without_doors(line, ["127.64.0.0", "127.64.0.1"]) == ""
    assert without_doors("", ()) == ""


def test_servers_that_came_and_went_do_not_pile_up() -> None:
    doors = [Door(n, "ada", f"s{n}" if n else "") for n in range(100)]
    found = choose_doors(doors, {"s3"})
    assert [one.number for one in found] == [0, 3, *range(90, 100)]
    assert choose_doors((), ()) == ()


def test_without_a_server_or_against_the_policy_a_key_opens_nothing() -> None:
    assert "No server of yours runs" in str(judge_key(KEY, DOORS, (), None))
    assert judge_key(KEY, DOORS[2:], {""}, None) != Grant(())
    assert judge_key(KEY, DOORS, {""}, "not allowed") == Refusal(Cause.NOT_ALLOWED, "not allowed")


def test_the_policy_decides_by_the_best_of_the_groups_and_a_person_s_own_entry() -> None:
    groups = {"default": Rule("default", {"ssh": False}), "lab": Rule("group `lab`", {"ssh": True})}
    policy = Policy(groups=groups)
    for mine, allowed in (((), False), (("lab",), True)):
        limit = resolve_allowance(policy, "ada", mine).ssh
        assert (why_not_person(limit, mine) is None) == allowed
    text = why_not_person(resolve_allowance(policy, "ada", ()).ssh, ())
    assert text == "SSH is not allowed for you (default). Ask the administrator."
    assert "knows nobody" in str(why_not_person(Limit(True, ("settings",)), None))


def test_a_connection_goes_on_only_into_a_server_of_theirs_that_runs() -> None:
    running = {"": "l1"}
    assert why_not_server(DOORS[0], KEY, running, None, 0) is None
    assert "removed" in str(why_not_server(DOORS[0], None, running, None, 0))
    assert "no such server" in str(why_not_server(DOORS[2], KEY, running, None, 0))
    assert "no such server" in str(why_not_server(None, KEY, running, None, 0))
    not_running = Refusal(Cause.NO_SERVER, "The server big does not run.")
    assert why_not_server(DOORS[1], KEY, running, None, 0) == not_running
    assert "may have no more" in str(why_not_server(DOORS[0], KEY, running, None, MOST_OPEN))


def test_a_connection_ends_with_its_key_its_right_and_its_very_session() -> None:
    assert why_end(SESSION, {"SHA256:x"}, {"": "l1"}) is None
    assert "removed" in str(why_end(SESSION, (), {"": "l1"}))
    assert "stopped" in str(why_end(SESSION, {"SHA256:x"}, {}))
    later = {"": "l2"}  # another session of a server of the same name
    assert "stopped" in str(why_end(SESSION, {"SHA256:x"}, later))
    assert why_end(replace(SESSION, lease_id="l2"), {"SHA256:x"}, later) is None


def test_hosts_have_plain_names_that_differ() -> None:
    assert name_host("") == "gpu"
    assert name_host("Big Model/../x") == "gpu-big-model-x"
    assert name_host("数据") == "gpu-server"
    assert name_host("a", {"gpu-a", "gpu-a-2"}) == "gpu-a-3"
    assert DOORS[0].address == "127.64.0.0"
    assert Door((1 << 22) - 1, "ada", "").address == "127.127.255.255"
