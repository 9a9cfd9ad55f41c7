"""The controller's web application, and how it is served."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.web import Application, RedirectHandler, StaticFileHandler

from gpuspawner.core.words import mark

from .api.handler import ApiHandler
from .api.table import MOST_UPLOAD
from .base import CallbackHandler, HealthHandler, House, MetricsHandler
from .inside import make_inside_door
from .pages.base import (
    DownloadHandler,
    LanguageHandler,
    NothingHandler,
    PressHandler,
    ShowHandler,
    StreamHandler,
)
from .pages.calendars import AddressHandler, FeedHandler
from .pages.reserve import CheckHandler, FormHandler
from .pages.roster import RosterHandler
from .pages.table import COURSE, DOWNLOADS, PAGES, PRESSES, RESERVATION, START
from .pages.timetable import TimetableHandler
from .sshdoor import SshDoor
from .sshway import WAY, WayHandler

ADDRESS = "127.0.0.1"
"""The proxy, which runs on the same host, is the only way in for people."""
FAREWELL_SECONDS = 15.0
"""How long a step that is under way may still take when the controller is told to stop."""
THREADS = 16
"""Ledger and Hub calls for requests at once."""

STATIC = Path(__file__).parent / "static"

GOING_AWAY = mark("The hub restarts this service. Connect again in a moment.")
log = logging.getLogger("gpuspawner.controller")


def make_app(house: House, token: str) -> Application:
    """Put the handlers together.

    Args:
        house: What they need.
        token: The controller's secret. What signs cookies is derived from it: logins outlive a restart.
    """
    prefix = house.auth.base_url.rstrip("/")
    arguments: dict[str, object] = {"house": house}
    return Application(
        [
            (rf"{prefix}/?", RedirectHandler, {"url": f"{prefix}/{START}", "permanent": False}),
            *((rf"{prefix}/{page.path}", ShowHandler, {**arguments, "page": page}) for page in PAGES),
            *(
                (rf"{prefix}/live/{page.path}", StreamHandler, {**arguments, "page": page})
                for page in PAGES
                if page.live
            ),
            *(
                (rf"{prefix}/{download.path}", DownloadHandler, {**arguments, "download": download})
                for download in DOWNLOADS
            ),
            *((rf"{prefix}/{press.path}", PressHandler, {**arguments, "press": press}) for press in PRESSES),
            (rf"{prefix}/reservations/check", CheckHandler, arguments),
            (rf"{prefix}/reservations/make", FormHandler, arguments),
            (rf"{prefix}/{RESERVATION}/put", FormHandler, arguments),
            (rf"{prefix}/reservations/address", AddressHandler, arguments),
            (rf"{prefix}/courses/{COURSE}/roster/(?P<step>check|take)", RosterHandler, arguments),
            (rf"{prefix}/courses/{COURSE}/timetable/(?P<step>check|take)", TimetableHandler, arguments),
            (rf"{prefix}/feed/(.*)", FeedHandler, arguments),
            (rf"{prefix}/{WAY}", WayHandler, arguments),
            (rf"{prefix}/language", LanguageHandler, arguments),
            (rf"{prefix}/static/(.*)", StaticFileHandler, {"path": str(STATIC)}),
            (rf"{prefix}/health", HealthHandler, arguments),
            (rf"{prefix}/metrics", MetricsHandler, arguments),
            (rf"{prefix}/oauth_callback", CallbackHandler, arguments),
            (rf"{prefix}/api/(.*)", ApiHandler, arguments),
            (rf"{prefix}/.*", NothingHandler, arguments),
        ],
        cookie_secret=hmac.new(token.encode(), b"cookies of the controller", hashlib.sha256).hexdigest(),
        xsrf_cookies=False,  # JupyterHub's own check, in find_caller(), is for GETs too and not for tokens
        log_function=_log_request,
    )


async def serve(
    house: House, token: str, port: int, inside: str = ADDRESS, ssh: SshDoor | None = None
) -> bool:
    """Serve and tick until SIGTERM or SIGINT.

    Args:
        house: What the handlers need.
        token: The controller's secret.
        port: Where the proxy finds it, and where the servers do.
        inside: The host's address in the network of the servers.
        ssh: Answers the gateway of SSH; None where there is none.

    Returns:
        Whether everything ended in time.

    Raises:
        OSError: The port is not free.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="gpuspawner-request"))
    server = HTTPServer(make_app(house, token), xheaders=True, max_body_size=MOST_UPLOAD)
    server.listen(port, ADDRESS)
    doors: list[HTTPServer] = [server]
    if inside != ADDRESS:
        doors.append(make_inside_door(house))
        doors[-1].listen(port, inside)
    place = house.services.ssh
    gateway = await ssh.listen(place.files) if ssh and place else None
    watch = loop.create_task(house.ways.watch()) if house.ways else None
    settle_memory()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    house.ticking.start()
    log.info("The controller serves %s on %s:%s", house.auth.base_url, ADDRESS, port)
    await stop.wait()
    log.info("The controller ends")
    for door in doors:
        door.stop()
    if house.ways is not None and watch is not None:
        watch.cancel()
        house.ways.end_all(GOING_AWAY)
    if gateway is not None:
        gateway.close()
    ended = await asyncio.to_thread(house.ticking.stop, FAREWELL_SECONDS)
    for door in doors:
        await door.close_all_connections()
    return ended


def settle_memory() -> None:
    """Let the collector pass over what was imported: it lives as long as the process.

    Looking through it takes some 50 ms each time, in the midst of whatever request is under way.
    """
    gc.collect()
    gc.freeze()


def _log_request(handler: object) -> None:
    """Tornado's log of every request is left out, but for those that failed here."""
    status = handler.get_status()  # type: ignore[attr-defined]
    if status >= 500:
        request = handler.request  # type: ignore[attr-defined]
        # Without the query, which may hold what is secret; the path of a person's calendar is.
        path = getattr(handler, "shown_path", request.path)
        log.warning("%s %s: %s", request.method, path, status)
