# A jupyterhub_config.d file of the tests: the hub kills itself with SIGKILL at the point that the file
# ``kill-at`` beside the settings names, once. Points are ``before X`` and ``after X`` of the names below.
import functools
import inspect
import os
import signal
from pathlib import Path

from gpuspawner.allocator import Allocator
from gpuspawner.spawner import GPUSpawner
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.user import User

KILL_AT = Path(os.environ["GPUSPAWNER_CONFIG"]).with_name("kill-at")

POINTS = {
    "reserve": (Allocator, "reserve"),
    "home": (GPUSpawner, "_find_home"),
    "create": (GPUSpawner, "create_object"),
    "docker start": (GPUSpawner, "start_object"),
    "activate": (Allocator, "activate"),
    "start": (GPUSpawner, "start"),
    "wait for response": (User, "_wait_up"),
    "route": (ConfigurableHTTPProxy, "add_user"),
    "unroute": (ConfigurableHTTPProxy, "delete_user"),
    "let go": (Allocator, "request_release"),
    "docker stop": (GPUSpawner, "stop_object"),
    "remove": (GPUSpawner, "remove_object"),
    "hook": (GPUSpawner, "run_post_stop_hook"),
}


def die_at(point):
    if KILL_AT.exists() and KILL_AT.read_text() == point:
        KILL_AT.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def wrap(name, owner, method):
    original = getattr(owner, method)

    @functools.wraps(original)
    async def awaited(*arguments, **named):
        die_at(f"before {name}")
        result = await original(*arguments, **named)
        die_at(f"after {name}")
        return result

    @functools.wraps(original)
    def called(*arguments, **named):
        die_at(f"before {name}")
        result = original(*arguments, **named)
        die_at(f"after {name}")
        return result

    setattr(owner, method, awaited if inspect.iscoroutinefunction(original) else called)


for name, (owner, method) in POINTS.items():
    wrap(name, owner, method)
