"""A stand-in for an endpoint that speaks the OpenAI protocol, and misbehaves on request."""

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StandIn:
    """`say(messages, number)` gives the text of an answer, or (status, headers, body), or raises to cut the line."""

    def __init__(self, say: Callable) -> None:
        self.say, self.asked, self.headers = say, [], []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand_in.asked.append(body)
                stand_in.headers.append({name.lower(): value for name, value in self.headers.items()})
                try:
                    said = stand_in.say(body["messages"], len(stand_in.asked))
                except ConnectionError:
                    self.connection.close()
                    return
                status, headers, text = said if isinstance(said, tuple) else (200, {}, completion(said))
                raw = text.encode("latin-1" if "Content-Encoding" in headers else "utf-8")
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    pass  # the client has given up

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def completion(text: str | None) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": "1", "object": "chat.completion", "created": 0, "model": "stand-in",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220},
        }
    )  # fmt: skip


@contextmanager
def stand_in(say: Callable):
    made = StandIn(say)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
