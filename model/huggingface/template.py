"""A chat template that is none of ours: rendered by jinja2, in a process of its own.

A template is a program out of a downloaded file, and one of a thousand characters can run for hours or fill the
memory from within a single operation. So it runs where the kernel can end it (sandbox.py), and is refused where it
does not come back. Left out: tools, documents.
"""

import importlib.util
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.huggingface.chat_format import Messages

WORKER = Path(__file__).with_name("sandbox.py")
PATIENCE = 60  # seconds for an answer: CPU time is bounded there, this is for a machine that stands still
GIVEN = ("messages", "add_generation_prompt", "tools", "documents")  # to every template


class Template:
    """A template and the process that renders it, started at the first rendering.

    where: the file that it stands in, for messages.
    """

    def __init__(self, source: str, where: Path):
        if importlib.util.find_spec("jinja2") is None:
            raise InputError(
                f"{where}: its chat template needs jinja2, which is not installed; pip install jinja2, or name one of "
                "our formats that is right for it as chat_format"
            )
        self.source, self.where = source, where
        self.process: subprocess.Popen | None = None

    def write(self, messages: Messages, add_generation_prompt: bool, variables: Mapping[str, Any]) -> str:
        """Return the conversation. Raises InputError as `render`, and where not all that is said to it is in it."""
        given = zip(GIVEN, (messages, add_generation_prompt, None, None), strict=True)
        text = self.render({**variables, **dict(given)})
        for message in messages:
            if message["role"] != "assistant" and message["content"].strip() not in text:
                problem = f"its chat template alters or leaves out what the {message['role']} says"
                raise InputError(f"{self.where}: {problem}: {message['content'][:60]!r}")
        return text

    def render(self, variables: dict[str, Any]) -> str:
        """Return the text. Raises InputError for a template that raises, takes too long or makes too much."""
        if self.process is None:
            # In a session of its own, so that Ctrl-C reaches this process alone.
            command = [sys.executable, "-P", str(WORKER)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(command, **pipes, start_new_session=True)
            weakref.finalize(self, self.process.kill)
            self._ask(self.source)
        return self._ask(variables)

    def _ask(self, request: Any) -> str:
        process, reply = self.process, b""
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            reply = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        found = json.loads(reply) if reply.endswith(b"\n") else {"error": "it takes too much time or memory"}
        if "error" in found:
            process.kill()
            process.wait()
            self.process = None
            detail = " ".join(found["error"].split())[:200]
            raise InputError(f"{self.where}: its chat template cannot be rendered: {detail}")
        return found["text"]
