"""What a wiki's server may make of a request: it cannot hold it for ever, nor send it elsewhere."""

import re
import socket
import threading
import time

import pytest
from support.wikipedia_server import WikiServer

from fleming.http import Busy, Post, within
from fleming.sources.wikipedia.mediawiki import MediaWikiPages
from model.errors import InputError

DRIBBLES = {
    "a status line": b"",
    "a header": b"HTTP/1.1 200 OK\r\nX: ",
    "a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    "a chunked body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
}


@pytest.mark.parametrize("what", DRIBBLES)
def test_an_answer_of_a_byte_now_and_then_ends_at_the_deadline(what):
    listener = socket.create_server(("127.0.0.1", 0))
    alive = True

    def dribble(connection):
        with connection:
            connection.recv(65536)
            connection.sendall(DRIBBLES[what])
            while alive:
                try:
                    connection.sendall(b"a")
                except OSError:
                    return
                time.sleep(0.05)

    def serve():
        while alive:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=dribble, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/api.php"
    pages = MediaWikiPages(url, interval=0.0, sleep=lambda _: None, timeout=5.0, deadline=0.2)
    began = time.monotonic()
    with pytest.raises(InputError, match="gave up after 6 tries; the last: TimeoutError"):
        pages.fetch(["Malaria"])
    assert 0.2 * 6 <= time.monotonic() - began < 8
    alive = False
    listener.close()


def test_a_request_that_is_late_is_left_and_its_error_never_shown(capfd):
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(0.2) or 1 / 0)
    time.sleep(0.3)
    assert capfd.readouterr() == ("", "")
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_contact_stays_here(status):
    with WikiServer({}) as other, WikiServer({}) as asked:
        for target in (other.url, asked.url, "ftp://127.0.0.1/x", "file:///etc/passwd", "\x1b]0;x\x07"):
            asked.faults.append((status, {"Location": target}, b""))
            pages = MediaWikiPages(asked.url, contact="me@example.org", interval=0.0, sleep=lambda _: None)
            with pytest.raises(
                InputError, match=f"HTTP {status} .*: not followed; give the address"
            ) as error:
                pages.fetch(["Malaria"])
            assert str(error.value).isprintable()
        assert other.requests == []
        assert len(asked.requests) == 5


@pytest.mark.parametrize("path", ["/ü/v1", "/a b/v1", "/v1?名=1"])
def test_a_path_that_no_request_can_hold_is_refused_at_once(path):
    with pytest.raises(InputError, match=f"^http://127.0.0.1:9{re.escape(path)}: percent-encode"):
        Post(f"http://127.0.0.1:9{path}", {}, 1, 2.0, 1.0).send(b"")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EOFError(), "EOFError"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (TimeoutError(), "TimeoutError: no whole answer within 2 s"),
    ],
)
def test_only_what_is_late_is_said_to_be_late(error, said, monkeypatch):
    def fails(self, request):
        raise error

    monkeypatch.setattr(Post, "_answer", fails)
    with pytest.raises(Busy) as busy:
        Post("http://host/x", {}, 1, 2.0, 1.0).send(b"")
    assert str(busy.value) == said


@pytest.mark.parametrize(
    "url", ["https://", "http:///x", "http://[::1/x", "http://host:port/x", "http://host:99999/x"]
)
def test_an_address_without_a_host_is_refused_at_once(url):
    pages = MediaWikiPages(url, sleep=lambda seconds: None)
    with pytest.raises(InputError, match="no name of a host, or no port"):
        pages.fetch(["Malaria"])
