"""JupyterLab in every image: it starts for anybody, says nothing alarming, and gives nothing away."""

from __future__ import annotations

import json

import docker
import pytest
from gpuspawner.setup.images import ImageEntry
from support.sessions import ALARMING, HOME, SHM, Session, empty_home, engine, run

pytestmark = pytest.mark.docker
STRANGER = 54321
OWN = ("python", "pip", "jupyter", "jupyterhub-singleuser", "gpuspawner-session")
"""Programs that are the image's own wherever somebody types them."""


def test_its_parts_work_under_a_read_only_root_and_its_log_has_no_warning(session: Session) -> None:
    assert session.get("lab").status_code == 200
    assert session.run_cell("print(6 * 7)").strip() == "42"
    shown = session.type_in_terminal("echo $((6*7))-$(id -u)-$(command -v python) | tr a-z A-Z", "/PYTHON")
    assert "42-1000-/OPT/JUPYTER/BIN/PYTHON" in shown
    assert session.get("api/kernels").json(), "the kernel runs"
    assert not ALARMING.findall(session.log), session.log


def test_anybody_can_run_it(image: ImageEntry) -> None:
    with Session(image, uid=STRANGER, **empty_home(STRANGER)) as session:
        assert session.health() == "healthy", session.log
        assert session.exec("sh", "-c", "id -un; id -u; echo $HOME").split() == [
            "jovyan",
            str(STRANGER),
            HOME,
        ]
        assert session.exec("sh", "-c", "ls -l $NSS_WRAPPER_PASSWD").startswith("-r--r--r--")
        # Both refuse a user without a name.
        session.exec(
            "sh", "-c", "cd $HOME && git init -q . && git -c user.email=a@b commit -q --allow-empty -m x"
        )
        assert session.run_cell("import getpass; print(getpass.getuser())").strip() == "jovyan"
        assert not ALARMING.findall(session.log), session.log


def test_without_a_hub_it_is_jupyterlab_in_whatever_home_one_has(image: ImageEntry) -> None:
    # As on a laptop; and as Apptainer does it, with the home and the number of whoever runs it.
    home = {"tmpfs": {"/tmp": "exec", "/srv/ada": f"uid={STRANGER},mode=700"}}
    with Session(image, [], uid=STRANGER, environment={"HOME": "/srv/ada"}, **home) as session:
        assert session.health() == "healthy", session.log
        where = session.exec("python", "-m", "site", "--user-base").strip()
        assert where == f"/srv/ada/.local/share/gpuspawner/{image.name}"
        assert "Serving notebooks from local directory: /srv/ada" in session.log


@pytest.mark.parametrize("login", ["", "l"])
def test_shells_find_its_programs(session: Session, image: ImageEntry, login: str) -> None:
    found = session.exec(
        "bash",
        f"-{login}c",
        f"command -v {' '.join(OWN)} git; echo $PATH",
    )
    *programs, path = found.split()
    assert programs == [
        *(f"/opt/jupyter/bin/{n}" for n in OWN),
        "/usr/bin/git",
    ]
    assert f"{HOME}/.local/share/gpuspawner/{image.name}/bin" in path.split(":")


def test_it_is_not_root_and_cannot_become_it(session: Session, image: ImageEntry) -> None:
    assert session.exec("sh", "-c", "id -u; id -g; command -v sudo su doas pkexec || true").split()[:2] == [
        "1000",
        "1000",
    ]
    assert "sudo" not in session.exec("sh", "-c", "ls /usr/bin /usr/local/bin")
    assert session.exec("cat", "/proc/1/comm").strip() == "tini"
    with pytest.raises(docker.errors.ContainerError, match="does not run as root"):
        run(image, "true", user="0:0")


def test_a_home_of_somebody_else_is_told(image: ImageEntry) -> None:
    with pytest.raises(docker.errors.ContainerError, match=f"cannot be written by user id {STRANGER}"):
        run(image, "true", user=f"{STRANGER}:{STRANGER}", tmpfs={"/tmp": "", HOME: "uid=1,mode=700"})


def test_shared_memory_has_the_size_that_was_asked_for(session: Session) -> None:
    assert session.exec("df", "--block-size=1", "--output=size", "/dev/shm").split()[1] == str(SHM)


def test_what_it_says_of_itself_is_what_the_catalogue_says(session: Session, image: ImageEntry) -> None:
    config = engine().images.get(image.reference).attrs["Config"]
    inside = json.loads(session.exec("cat", "/opt/gpuspawner/image.json"))
    assert inside == {
        "name": image.name,
        "title": image.title,
        "chain": list(image.chain),
        "lock_hash": image.lock_hash,
    }
    labels = {"gpuspawner.image": image.name, "gpuspawner.lock_hash": image.lock_hash}
    assert labels.items() <= config["Labels"].items()
    assert config["User"] == "1000:1000"
    assert not [one for one in config["Env"] if "NVIDIA" in one or "PROXY" in one.upper().split("=")[0]]


def test_nothing_of_the_host_that_built_it_is_left(session: Session) -> None:
    places = "/run/secrets /etc/apt/sources.list /etc/apt/sources.list.d /etc/pip.conf /etc/ssh/ssh_host_*"
    found = session.exec("sh", "-c", f"ls -A {places} 2>/dev/null || true")
    assert not [line for line in found.splitlines() if line and not line.endswith(":")], found


def test_its_debian_packages_are_written_down(session: Session) -> None:
    listed = session.exec("sh", "-c", "dpkg-query -W -f '${Package}=${Version}\\n'")
    assert session.exec("cat", "/opt/gpuspawner/debian-packages.txt") == listed
