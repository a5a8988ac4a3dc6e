"""A provider for the drill: it reports the tokens, and fails with the errors, that a message asks for.

    PROMPT=300000 CACHED=250000 ANSWER=200    tokens of the answer's usage
    ERROR=handover:12                         the 13th error of tests/wire/errors/handover.json
"""

import http.server
import json
import re
import threading
import time

# What chat completions and Anthropic's messages are called by.
CHAT, MESSAGES = "/chat/completions", "/messages"


def directive(text, name, default):
    found = re.findall(rf"{name}=(\S+)", text)
    return found[-1] if found else default


def last_message(request):
    content = request["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        text = last_message(request)
        error = directive(text, "ERROR", None)
        if error:
            return self.send(*self.server.errors[error])
        usage = [int(directive(text, name, default)) for name, default in (("PROMPT", 40), ("CACHED", 0), ("ANSWER", 5))]
        answer = f"I am {request['model']}"
        if self.path.endswith(MESSAGES):
            return self.send(200, messages(request["model"], answer, *usage))
        if not request.get("stream"):
            return self.send(200, completion(request["model"], answer, *usage))
        self.stream(completion(request["model"], answer, *usage))

    def send(self, status, body, content_type="application/json"):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, whole):
        """The same in two chunks: text, and usage."""
        choice = whole["choices"][0]
        first = {"index": 0, "delta": choice["message"], "finish_reason": choice["finish_reason"]}
        common = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}
        chunks = [{**common, "choices": [first]}, {**common, "choices": [], "usage": whole["usage"]}]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self.send(200, "".join(lines) + "data: [DONE]\n\n", "text/event-stream")

    def log_message(self, *_):
        pass


def completion(model, answer, prompt, cached, output):
    return {
        "id": f"chatcmpl-{time.time_ns()}", "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
                  "prompt_tokens_details": {"cached_tokens": cached}},
    }


def messages(model, answer, prompt, cached, output):
    """Anthropic counts what it read from its cache apart."""
    return {
        "id": f"msg_{time.time_ns()}", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": answer}],
        "usage": {"input_tokens": prompt - cached, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0,
                  "output_tokens": output},
    }


def start(errors):
    """A running server; `errors` has status and body by name."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.errors = True, errors
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
