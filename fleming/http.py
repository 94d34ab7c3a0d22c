"""One POST to a server that nobody has to trust: it ends in time, its answer fits the memory, and it goes nowhere else.

- a deadline holds for the whole answer, name look-up and last byte included: a socket's own begins anew with each byte
- a redirect is an error: who a contact address or a key is sent to was decided by whoever wrote the URL
- what a server says is shown short, and without the secret that it was sent

Left out: asking again (whoever asks knows how often), connections kept open.
"""

import contextlib
import email.utils
import html
import http.client
import re
import threading
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

from model.errors import InputError
from model.files import parse_object

LONGEST_WAIT = 120.0  # seconds between two tries
MAX_PROBLEM = 4096  # bytes of what a server says of an error


class Busy(Exception):  # noqa: N818 no error yet
    """The server may answer later. wait: seconds that it asks for. status: HTTP's, 0 where none came."""

    def __init__(self, problem: str, wait: float = 0.0, status: int = 0, sent: bool = True):
        """sent: whether the request may have reached the server."""
        super().__init__(problem)
        self.wait, self.status, self.sent = wait, status, sent


class Refusal(InputError):  # noqa: N818 so is whatever is the user's to mend
    """The server will not answer this request; `status` is HTTP's."""

    status = 0


class TooLarge(InputError):  # noqa: N818
    """The answer is larger than whoever asked allows."""


class Reply(NamedTuple):
    """A whole answer with a status of success."""

    body: bytes
    """Unpacked."""
    wait: float
    """Seconds that the server asks to wait, by Retry-After."""


class Post(NamedTuple):
    """How requests are sent."""

    url: str
    headers: Mapping[str, str]
    most: int
    """Bytes of an answer, unpacked."""
    deadline: float
    """Seconds for the whole answer."""
    timeout: float
    """Seconds without a byte."""
    secret: str = ""
    """Never shown, though the server may send it back."""

    def send(self, data: bytes) -> Reply:
        """Return the answer. Raises Busy, Refusal, TooLarge, and InputError for a URL that is none."""
        if not _has_host(self.url):
            raise InputError(f"{self.url}: no name of a host, or no port")
        request = urllib.request.Request(self.url, data, dict(self.headers))
        if not re.fullmatch("[!-~]*", request.selector):
            raise InputError(f"{self.url}: percent-encode the blanks in its path and what is not ASCII there")
        try:
            return within(self.deadline, lambda: self._answer(request))
        except urllib.error.URLError as error:  # no route, no such name
            raise Busy(self._problem(f"URLError: {error.reason}"), sent=False) from None
        except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:  # time-out, cut off
            late = f"no whole answer within {self.deadline:g} s" if isinstance(error, TimeoutError) else ""
            said = filter(None, (type(error).__name__, str(error) or late))
            raise Busy(self._problem(": ".join(said))) from None

    def _answer(self, request: urllib.request.Request) -> Reply:
        try:
            with _OPENER.open(request, timeout=self.timeout) as reply:
                return Reply(self._unpacked(reply), _seconds(reply.headers))
        except urllib.error.HTTPError as error:
            said = b""
            with error, contextlib.suppress(OSError, http.client.HTTPException):
                said = error.read(MAX_PROBLEM)
            status = f"HTTP {error.code} {error.reason}"
            problem = f"{status} {_message(said)}"
            if error.code in (301, 302, 303, 307, 308):
                target = self._problem(error.headers.get("Location", ""))
                problem = f"{status}, to {target!r}: not followed; give the address itself"
            if is_busy(error.code):
                raise Busy(self._problem(problem), _seconds(error.headers), error.code) from None
            refusal = Refusal(f"{self.url}: {self._problem(problem)}")
            refusal.status = error.code
            raise refusal from None

    def _problem(self, text: str) -> str:
        return " ".join(redacted(text, self.secret).split())[:300]

    def _unpacked(self, reply: http.client.HTTPResponse) -> bytes:
        packed = reply.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
        unpack = zlib.decompressobj(31) if packed else None
        body, end = bytearray(), time.monotonic() + self.deadline
        while block := reply.read1(2**16):
            body += unpack.decompress(block, self.most + 1 - len(body)) if unpack else block
            if len(body) > self.most:
                raise TooLarge(f"{self.url}: an answer of over {self.most >> 20} MiB")
            if time.monotonic() > end:  # nobody waits for it any more
                raise TimeoutError
        if (unpack and not unpack.eof) or (unpack is None and reply.length):
            raise EOFError("the answer is cut off")  # which http.client says of chunks alone
        return bytes(body)


def is_busy(status: int) -> bool:
    """Whether a server with this status may answer the same request later."""
    return status in (408, 429) or status >= 500


def redacted(text: str, secret: str) -> str:
    """Return the text without the secret; none of it where it holds that escaped, in wide letters or in pieces."""
    if not secret:
        return text
    text = text.replace(secret, "[key]")
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text).replace("\\", "")
    plain = unicodedata.normalize("NFKC", urllib.parse.unquote(html.unescape(plain)))
    plain = "".join(filter(str.isprintable, plain)).replace(" ", "")
    return "[a text with the key in it]" if secret.casefold() in plain.casefold() else text


def _has_host(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
    except ValueError:  # "http://[::1", "http://host:port", a label of over 63 letters
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def start(work: Callable[[], Any]) -> Future:
    """Begin work() in a thread that holds up no exit; its result is the future's, its error too."""
    future: Future = Future()

    def answer() -> None:
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=answer, daemon=True).start()
    return future


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """Return what work() returns or raises; TimeoutError after so many seconds, whatever it is waiting for.

    A name server knows no time-out at all. What is late is left behind.
    """
    return start(work).result(seconds)


def _message(body: bytes) -> str:
    """Return what a JSON answer says of an error, "" for any other."""
    try:
        found = parse_object(body, "")
    except InputError:
        return ""
    found = found.get("error", found)
    return str(found.get("message") or found.get("detail") or "") if isinstance(found, dict) else str(found)


def _seconds(headers: http.client.HTTPMessage) -> float:
    """Return how long the server asks to wait: Retry-After, in seconds or as a date."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return min(float(text), LONGEST_WAIT)
    try:
        seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except Exception:  # of a date that is none the library raises what its parts happen to raise
        return 0.0
    return min(max(0.0, seconds), LONGEST_WAIT)
