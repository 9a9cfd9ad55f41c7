"""What all images for training share."""

from __future__ import annotations

import time

import pytest
import requests
from support.sessions import Session

pytestmark = pytest.mark.docker
MODULES = (
    "scipy sklearn tqdm tensorboard ipywidgets nvitop pynvml jupyter_server_proxy jupyter_resource_usage "
    "jupyterlab_nvdashboard"
)
PROGRAMS = "git vim tmux htop ssh gcc g++ make curl tensorboard nvitop"
EVENTS = """
from tensorboard.summary import Writer
writer = Writer("runs/one"); writer.add_scalar("loss", 0.5, 1); writer.flush(); writer.close()
"""
FIT = """
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from tqdm import tqdm
found = LinearRegression().fit([[x] for x in tqdm(range(9))], list(range(9))).coef_.round(6)[0]
print()
print(found, norm.cdf(0))
"""


def test_its_python_packages_can_be_imported(session: Session) -> None:
    session.exec(
        "python", "-W", "error::FutureWarning", "-c", "".join(f"import {one}\n" for one in MODULES.split())
    )


def test_its_programs_run(session: Session) -> None:
    for program in PROGRAMS.split():
        session.exec("sh", "-c", f"{program} --version 2>&1 || {program} -V 2>&1")
    session.exec(
        "sh", "-c", "test -x /usr/sbin/sshd && cd $HOME && echo 'int main(){}' >a.c && gcc a.c && ./a.out"
    )


def test_a_model_is_fitted(session: Session) -> None:
    assert session.run_cell(FIT).split()[-2:] == ["1.0", "0.5"]


def test_tensorboard_answers_through_the_server(session: Session) -> None:
    session.run_cell(EVENTS)
    assert "TensorBoard" in session.get("tensorboard/").text
    deadline = time.monotonic() + 30
    while "one" not in (runs := session.get("tensorboard/data/runs").json()):
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
    stranger = requests.get(session.url("tensorboard/data/runs"), timeout=10, allow_redirects=False)
    assert stranger.status_code in (302, 403), "only for whoever may use the server"


def test_jupyterlab_shows_resources_and_gpus(session: Session) -> None:
    assert session.get("api/metrics/v1").json()["rss"] > 0
    listed = session.exec("jupyter", "labextension", "list")
    for extension in (
        "jupyterlab-nvdashboard",
        "@jupyter-server/resource-usage",
        "@jupyterhub/jupyter-server-proxy",
    ):
        assert f"{extension} v" in listed, listed
