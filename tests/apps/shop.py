"""shop.py PORT: the same shop as shop.mjs, on Python's http.server with a thread per connection."""

import http.server
import signal
import sys
import time

PAGE = b"a thing to buy\n" * 136


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece

    def answer(self, body):
        self.send_response(200)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"well\n" if self.path == "/health" else PAGE)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = self.path.rpartition("/")[2]
        print(f"order {number}\n", end="", flush=True)  # one write: other threads print as well
        time.sleep(0.005)
        self.answer(b"ordered with %d bytes\n" % len(body))

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # a client that is gone


server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Shop)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("port", server.server_address[1], flush=True)
server.serve_forever()
