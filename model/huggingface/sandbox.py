"""The process in which a foreign chat template is rendered by jinja2: template.py runs this file and never imports it.

- a line of JSON in, first the template and then the variables of one rendering after another; a line of JSON out,
  {"text": ...} or {"error": ...}
- jinja2's immutable sandbox, and around it what no template gets past: the CPU time of a rendering, the memory of
  this process, the length of the text
- a template finds here what transformers has for it: loop controls, {% generation %}, tojson, raise_exception,
  strftime_now
"""

import datetime
import functools
import importlib.metadata
import json
import math
import re
import resource
import sys
import time

SECONDS = 2  # of CPU time, for a rendering; ordinary ones take a thousandth of one
MEMORY = 1 << 30  # bytes
ROOM = 1 << 20  # characters that a text may have beside four times those of its request


def compile_template(source: str):
    """Return the template, or raise what is wrong with it."""
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    version = importlib.metadata.version("jinja2")
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < (3, 1, 6):
        raise RuntimeError(f"jinja2 {version} has known ways out of its sandbox; needed is 3.1.6 or later")

    class Generation(jinja2.ext.Extension):
        """{% generation %} marks what the assistant says; it renders its inside."""

        tags = {"generation"}  # noqa: RUF012 jinja2's own form

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message):
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(source)


def render(template, variables: dict, most: int) -> str:
    """Return the text. Raises ValueError where it has more than `most` characters, or half a surrogate pair."""
    parts, length = [], 0
    for part in template.generate(variables):
        length += len(part)
        if length > most:
            raise ValueError(f"it renders more than {most} characters")
        parts.append(part)
    return "".join(parts).encode().decode()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    template = None
    for line in sys.stdin.buffer:
        # Beyond this the kernel ends the process: what runs in C hears no exception.
        seconds = math.ceil(time.process_time()) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        try:
            request = json.loads(line)
            if template is None:
                template, reply = compile_template(request), {"text": ""}
            else:
                reply = {"text": render(template, request, ROOM + 4 * len(line))}
        except Exception as error:
            reply = {"error": str(error) or type(error).__name__}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
