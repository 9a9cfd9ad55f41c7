"""A process that looks at a simulation through pynvml; the library it loads is fixed when it starts."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gpuspawner.sim.native import NativeFiles

_PROBE = """
import json, os, sys
import pynvml as n
space = {"n": n, "json": json}
for line in sys.stdin:
    request = json.loads(line)
    os.environ["GPUSPAWNER_SIM_ROOT"] = request["root"]
    try:
        space["r"] = None
        exec(request["code"], space)
        answer = {"result": space["r"]}
    except n.NVMLError as error:
        answer = {"nvml": error.value}
    except BaseException as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
"""


class NvmlCode(Exception):
    """The NVML error that pynvml raised in the probe."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class Probe:
    """Runs code with pynvml as `n` in a process whose library is the simulated one; `r` is the result."""

    def __init__(self, files: NativeFiles) -> None:
        environment = {**os.environ, "LD_LIBRARY_PATH": str(files.directory)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROBE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.root = Path("/nowhere")

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, code: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"root": str(self.root), "code": code}) + "\n")
        self._process.stdin.flush()

    def answers_within(self, seconds: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def receive(self, seconds: float = 5) -> Any:
        assert self._process.stdout is not None
        assert self.answers_within(seconds), f"no answer from NVML within {seconds} s"
        answer = json.loads(self._process.stdout.readline())
        if "nvml" in answer:
            raise NvmlCode(answer["nvml"])
        assert "result" in answer, answer
        return answer["result"]

    def __call__(self, code: str) -> Any:
        self.send(code)
        return self.receive()

    def device(self, index: int, expression: str) -> Any:
        """Value of an expression about the handle h of the card with this index."""
        return self(f"h = n.nvmlDeviceGetHandleByIndex({index})\nr = {expression}")

    def error(self, code: str) -> int:
        with pytest.raises(NvmlCode) as caught:
            self(code)
        return caught.value.value

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
