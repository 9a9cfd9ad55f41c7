# A single-user server that starts in no time. It answers every request; GET …/eat?bytes=N holds that much
# memory in this very process, GET …/exit?code=N ends it.
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

held = []


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path.endswith("/exit"):
            threading.Timer(0.1, os._exit, [int(query["code"][0])]).start()
        if parts.path.endswith("/eat"):
            size = int(query["bytes"][0])
            threading.Timer(0.1, lambda: held.append(bytearray(os.urandom(1) * size))).start()
        body = b'{"version": "0"}'
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("", 8888), Answer).serve_forever()
