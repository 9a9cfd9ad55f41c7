"""The page "SSH & editors": keys, the configuration, servers, and why an attempt was refused."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gpuspawner.adapters.ssh_files import SshFiles
from gpuspawner.allocator.ssh import SshDesk
from gpuspawner.allocator.ssh_keys import SshKeys
from gpuspawner.controller.services import SshPlace
from gpuspawner.controller.sshdoor import WhyNot
from gpuspawner.controller.views.ssh import name_servers
from gpuspawner.core.errors import HubError
from gpuspawner.core.model import LeaseState
from gpuspawner.core.ssh import MOST_RESTING
from support.build import HOST
from support.client import text_of
from support.ssh import INSTALL, KEYS, give_gateway

if TYPE_CHECKING:
    from support.controller import Office

ADA = "keys-ada"


@pytest.fixture(autouse=True)
def gateway(office: Office, tmp_path: Path) -> None:
    give_gateway(office, tmp_path)


def page(office: Office, who: str = ADA) -> str:
    answer = office.raw("GET", "/ssh", who)
    assert answer.status_code == 200, answer.text
    return answer.text


def add(office: Office, key: str, name: str = "", who: str = ADA) -> str:
    """What the next page says first."""
    return press(office, "add", {"key": key, "name": name}, who)


def press(office: Office, what: str, fields: dict[str, str], who: str = ADA) -> str:
    done = office.raw("POST", f"/ssh/{what}", who, data=fields)
    assert done.status_code == 303, done.text
    said = office.raw("GET", "/ssh", who, cookies=done.cookies).text
    found = re.search(r'role="status">(.*?)</p>', said)
    return unescape(found[1]) if found else ""


def test_keys_are_added_named_and_removed(office: Office) -> None:
    assert "You have added no key yet." in text_of(page(office))
    assert add(office, f"{KEYS[0]} ada@laptop") == "The key ada@laptop lets you in from now on."
    assert add(office, KEYS[1], "<b>desk</b>") == "The key <b>desk</b> lets you in from now on."
    html = page(office)
    assert "<b>desk</b>" not in html
    keys = SshKeys(office.services.ledger).list("ada")
    assert all(key.fingerprint in html for key in keys)
    said = press(office, "remove", {"key": str(keys[0].id)})
    assert said == "The key ada@laptop was removed. What is open by it ends within a minute."
    assert press(office, "remove", {"key": str(keys[0].id)}) == "There is no such key."
    assert keys[0].fingerprint not in page(office)


def test_what_is_no_key_is_told_on_the_page(office: Office) -> None:
    assert "This is a private key" in add(office, "-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "in front of the key" in add(office, f'permitopen="x" {KEYS[0]}')
    assert office.get("/keys")["keys"] == []


def test_nobody_sees_or_removes_another_s_key(office: Office) -> None:
    add(office, KEYS[0], "ada's")
    (key,) = SshKeys(office.services.ledger).list("ada")
    assert press(office, "remove", {"key": str(key.id)}, "keys-bob") == "There is no such key."
    assert key.fingerprint not in page(office, "keys-bob")
    assert office.raw("POST", "/ssh/add", "ada", data={"key": KEYS[1]}).status_code == 403, (
        "without the scope"
    )
    assert len(SshKeys(office.services.ledger).list()) == 1


def test_what_clients_say_is_explained(office: Office) -> None:
    """Their own words, which are all that a person sees who is refused."""
    shown = unescape(page(office))
    for said in (
        "Permission denied (publickey)",
        "Too many authentication failures",
        "administratively prohibited",
        "Connection closed",
    ):
        assert f"“{said}”" in shown


def test_who_came_in_by_another_s_key_is_told_to_offer_their_own_alone(office: Office) -> None:
    (told,) = re.findall(r"(?s)<li>(“administratively prohibited”.*?)</li>", unescape(page(office)))
    assert "a key that somebody else has added here" in told
    assert "IdentityFile" in told
    assert "IdentitiesOnly yes" in told


def fields(html: str) -> dict[str, str]:
    """What can be copied, by its id."""
    found = re.findall(r'(?s)<textarea[^>]* id="([\w-]+)"[^>]*>(.*?)</textarea>', html)
    return {name: unescape(text) for name, text in found}


def test_the_configuration_is_one_that_openssh_reads(office: Office, tmp_path: Path) -> None:
    office.add_lease("ada", "l1", devices=(), server="My big one", container_id="c1")
    office.add_lease("ada", "l2", devices=("GPU-0",))
    text = fields(page(office))["config"]
    (tmp_path / "config").write_text(text)

    def ask(host: str) -> dict[str, str]:
        shown = subprocess.run(
            ["ssh", "-G", "-F", tmp_path / "config", host], capture_output=True, text=True, check=True
        )
        return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)

    gateway, default, named = ask("gpu-gateway"), ask("gpu"), ask("gpu-my-big-one")
    assert (gateway["hostname"], gateway["port"], gateway["user"]) == ("hub.example.org", "2222", "gpu-ssh")
    assert (default["proxyjump"], named["proxyjump"]) == ("gpu-gateway", "gpu-gateway"), default
    assert {default["hostname"], named["hostname"]} == {"127.64.0.0", "127.64.0.1"}
    assert default["hostkeyalias"] == named["hostkeyalias"] == "gpu.ada.hub.example.org"
    for way in (gateway, default, named):
        assert way["ciphers"].startswith("aes128-gcm@openssh.com,"), "the cheapest, for it is there twice"
    assert (default["forwardagent"], default["forwardx11"]) == ("no", "no")


def ask_openssh(folder: Path, config: str, host: str) -> dict[str, str]:
    (folder / "config").write_text(config)
    shown = subprocess.run(
        ["ssh", "-G", "-F", folder / "config", host], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)


def test_where_its_port_is_blocked_two_lines_more_lead_through_port_443(
    office: Office, tmp_path: Path
) -> None:
    html = page(office)
    assert "Where port 2222 is blocked" in html
    assert 'href="/hub/token#ssh"' in html
    found, way = fields(html), f"gpuspawner-session ssh-proxy {office.url}/services/gpu/ssh/way"
    for config in (found["config"] + found["through"], found["through"] + found["config"]):
        gateway = ask_openssh(tmp_path, config, "gpu-gateway")
        assert (gateway["proxycommand"], gateway["user"]) == (way, "gpu-ssh")
        assert ask_openssh(tmp_path, config, "gpu")["proxyjump"] == "gpu-gateway"


def test_who_has_the_program_for_port_443_is_said(office: Office, tmp_path: Path) -> None:
    assert INSTALL in page(office)
    give_gateway(office, tmp_path, client="")
    html = page(office)
    assert "Ask your administrators for gpuspawner-session" in html
    assert "pip install" not in html, "a name that nobody holds can be taken by anybody"


def test_where_its_port_is_closed_for_good_only_port_443_is_shown(office: Office, tmp_path: Path) -> None:
    give_gateway(office, tmp_path, "web")
    html = page(office)
    found = fields(html)
    assert "Through port 443" in html
    assert "2222" not in html
    assert "through" not in found
    gateway = ask_openssh(tmp_path, found["config"], "gpu-gateway")
    assert gateway["proxycommand"].endswith("/services/gpu/ssh/way")
    assert gateway["hostkeyalias"] == "gpu-gateway.hub.example.org"


def test_where_people_come_by_its_port_alone_nothing_is_said_of_443(office: Office, tmp_path: Path) -> None:
    give_gateway(office, tmp_path, "port")
    html = page(office)
    assert "443" not in html
    assert "ssh-proxy" not in html


def test_known_hosts_has_both_keys(office: Office, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(fields(page(office))["known-hosts"])
    for name in ("gpu-gateway.hub.example.org", "gpu.ada.hub.example.org"):
        done = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", tmp_path / "known"], capture_output=True, text=True, check=True
        )
        assert "ED25519" not in done.stderr
        assert name in done.stdout


def test_a_server_that_runs_is_opened_and_one_that_does_not_is_started(office: Office) -> None:
    html = page(office)
    assert "vscode://" not in html
    assert 'href="/hub/spawn/ada"' in html
    office.add_lease("ada", "l1", container_id="c1")
    assert 'href="vscode://vscode-remote/ssh-remote+gpu/home/jovyan?windowId=_blank"' in page(office)
    office.add_lease("bob", "l2", devices=("GPU-1",), server="bobs")
    assert "bobs" not in page(office)
    office.add_lease("bob", "l3", devices=("GPU-2",), container_id="c3")
    assert "vscode://" in page(office, "keys-bob"), "who looks for the first time while a server runs"


def test_servers_that_were_deleted_at_the_hub_are_shown_no_more_and_keep_their_address(
    office: Office,
) -> None:
    keys = SshKeys(office.services.ledger)
    keys.doors("ada", ["", "a b", "a.b", "gone", "big"])
    office.add_lease("ada", "l1", server="big", container_id="c1")
    office.hub.people["ada"] = frozenset()
    office.hub.stopped = {("ada", "a.b"), ("bob", "gone")}

    def shown() -> list[str]:
        html = page(office)
        hosts = re.findall(r"<code>ssh (\S+)</code>", html)
        config = fields(html)["config"]
        assert re.findall(r"(?m)^Host (gpu\S*)$", config) == ["gpu-gateway", *hosts]
        return hosts

    assert shown() == ["gpu", "gpu-a-b-2", "gpu-big"], "and they are called as before"
    office.hub.stopped.add(("ada", "gone"))
    assert shown() == ["gpu", "gpu-a-b-2", "gpu-gone", "gpu-big"]
    everything = ["gpu", "gpu-a-b", "gpu-a-b-2", "gpu-gone", "gpu-big"]
    office.hub.fail("servers_of")
    assert shown() == everything, "while the Hub does not answer"
    office.hub.failures.clear()
    del office.hub.people["ada"]
    assert shown() == everything
    assert len(keys.doors("ada", [""])) == len(everything)


def test_servers_that_were_deleted_take_no_place_of_others(office: Office) -> None:
    SshKeys(office.services.ledger).doors("ada", ["", "old", *(f"gone{n}" for n in range(MOST_RESTING))])
    assert "ssh gpu-old<" not in page(office)
    office.hub.people["ada"], office.hub.stopped = frozenset(), {("ada", "old")}
    assert "ssh gpu-old<" in page(office)


def test_why_the_last_attempt_was_refused(office: Office) -> None:
    add(office, KEYS[0], "laptop")
    (key,) = SshKeys(office.services.ledger).list("ada")
    desk = SshDesk(office.services.ledger, HOST, lambda _: None, office.services.clock)
    assert desk.ask(key.fingerprint) is None
    told = text_of(page(office))
    assert "The last attempt with the key laptop was refused" in told
    assert "No server of yours runs. Start one in the browser, then connect again." in told
    office.add_lease("ada", "l1", LeaseState.ACTIVE, container_id="c1")
    office.now[0] = office.now[0].replace(minute=5)
    desk.enter(key.fingerprint, "127.64.0.0", "192.0.2.1", "g")
    told = text_of(page(office))
    assert "The last attempt" not in told
    assert "from 192.0.2.1" in told


def test_that_the_hub_did_not_answer_is_told_as_well(office: Office) -> None:
    add(office, KEYS[0], "laptop")
    (key,) = SshKeys(office.services.ledger).list("ada")
    office.hub.fail("groups_of")
    why_not = WhyNot(office.hub, office.services.policies)
    with pytest.raises(HubError):
        SshDesk(office.services.ledger, HOST, why_not, office.services.clock).ask(key.fingerprint)
    told = text_of(page(office))
    assert "The last attempt with the key laptop was refused" in told
    assert "the hub did not answer. Try again in a minute." in told
    assert "If it is the right one, the hub may not have answered" in told


def test_where_there_is_no_gateway_there_is_no_page(office: Office) -> None:
    assert 'href="/services/gpu/ssh"' in office.raw("GET", "/queue").text
    object.__setattr__(office.services, "ssh", None)
    assert office.raw("GET", "/ssh").status_code == 404
    assert 'href="/services/gpu/ssh"' not in office.raw("GET", "/queue").text


def test_who_may_not_is_told_which_rule_says_so(office: Office, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text("groups:\n  default: {ssh: false}\n  students: {ssh: true}\n")
    assert "SSH is not allowed for you" not in text_of(page(office))
    assert "SSH is not allowed for you (default). Ask the administrator." in text_of(page(office, "keys-bob"))


def test_names_are_plain_whoever_it_is() -> None:
    assert name_servers("Ada Lovelace\n* evil", "hub") == "gpu.ada-lovelace---evil.hub"
    assert SshPlace("h", 1, "a", SshFiles(Path("x"))).host == "h"
