# A single-user server that starts in no time. It answers every request; GET …/eat?bytes=N holds that much
# memory in this very process, GET …/exit?code=N ends it. GET …/api/status says, as JupyterLab's does, since
# when it runs and when it was last used: the hub's own look at …/api, and that question, do not count.
# GET …/api/kernels shows one kernel, which was never used until GET …/kernel?state=busy: it last ran
# something then, or when &ran=TIME says.
import json
import os
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def now():
    return datetime.now(UTC).isoformat()


held = []
status = {"started": now()}
status["last_activity"] = status["started"]
kernel = {"id": "1", "execution_state": "idle", "last_activity": "2000-01-01T00:00:00Z"}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path.endswith("/exit"):
            threading.Timer(0.1, os._exit, [int(query["code"][0])]).start()
        if parts.path.endswith("/eat"):
            size = int(query["bytes"][0])
            threading.Timer(0.1, lambda: held.append(bytearray(os.urandom(1) * size))).start()
        body = {"version": "0"}
        if parts.path.endswith("/kernel"):
            ran = query.get("ran", [now()])[0]
            kernel.update(execution_state=query["state"][0], last_activity=ran)
        if parts.path.endswith("/api/status"):
            body = status
        elif parts.path.endswith("/api/kernels"):
            body = [kernel]
        elif parts.path.endswith("/api/terminals"):
            body = []
        elif not parts.path.endswith("/api"):
            status["last_activity"] = now()
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("", 8888), Answer).serve_forever()
