"""A server asked many things at once: how often, how long, at what cost. Left out: a single request (server.py).

- each reply is kept as soon as it comes back, content or not: a kill loses what is under way, and nothing else
- a lost connection, HTTP 429 and 5xx are tried again after twice the time; Retry-After holds up all
- no request is begun that could pass a cap, with all that is under way at its largest
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import replace

from fleming.http import LONGEST_WAIT, Busy, start
from fleming.settings.teacher import caps
from fleming.teachers.remembered import BUSY, FINAL, Answer, Messages, Spent
from fleming.teachers.server import ChatServer
from fleming.terminal import tell
from model.errors import InputError

FIRST_WAIT = 1.0  # seconds before the second try
HOPELESS = 16  # conversations that came to nothing before any that did not: more of them would not help
NOT_ITS_FAULT = (408, 429, 503)  # HTTP's for a server that is not ready, whatever it is asked


class ServerTeacher:
    """Asks in threads, each of which asks for one answer until it has it or gives it up."""

    def __init__(self, server: ChatServer):
        self.server, self.name, self.cfg = server, server.name, server.cfg
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.pause = self.replied = 0.0  # until when the server wants no request; when it last gave a reply
        self.given_up = 0

    def ask_all(
        self, calls: Iterable[tuple[str, Messages, int]], spent: Spent, keep: Callable[[Answer], None]
    ) -> None:
        """Ask for each call (key, messages, replies without content so far); `keep` adds each answer to `spent`.

        Raises InputError where a cap is reached, the server is lost, or nothing that it says is of use; what is under
        way then is waited for and kept.
        """
        self.waiting, self.spent, self.keep = deque(calls), spent, keep
        self.under_way: list[tuple[int, int]] = []  # of each request: the tokens that it takes at most
        self.stop.clear()
        workers = [start(self._work) for _ in range(min(self.cfg.concurrency, len(self.waiting)))]
        try:
            futures.wait(workers, return_when=futures.FIRST_EXCEPTION)
        except KeyboardInterrupt:
            tell("\nwaiting for the replies that are under way, to keep them; once more leaves at once\n")
            raise
        finally:
            self.stop.set()
            futures.wait(workers)
        for worker in workers:
            worker.result()

    def _work(self) -> None:
        while not self.stop.is_set():
            with self.lock:
                call = self.waiting.popleft() if self.waiting else None
            if call is None:
                return
            self._ask(*call)

    def _ask(self, key: str, messages: Messages, asked: int) -> None:
        most = self.server.most_tokens(messages)
        began, tries = time.monotonic(), 0
        while self._may_begin(most):
            answer, busy = self._request(key, messages, asked, most)
            tries += 1
            lost = busy and tries > self.cfg.retries
            if lost and busy.sent and busy.status not in NOT_ITS_FAULT:
                answer = replace(answer, code="server_error")
            with self.lock:
                self.under_way.remove(most)
                self.keep(answer)
            if lost and (answer.code == BUSY or self.replied < began):
                raise InputError(
                    f"{self.server.url}: gave up after {tries} tries; the last: {busy}. The same command goes on"
                )
            if answer.code == BUSY:
                self.pause = max(self.pause, time.monotonic() + busy.wait)
                self.stop.wait(min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0))
                continue
            asked += 1
            if not answer.code or answer.code in FINAL or asked >= self.cfg.asks:
                return self._count(answer)
            began, tries = time.monotonic(), 0

    def _request(
        self, key: str, messages: Messages, asked: int, most: tuple[int, int]
    ) -> tuple[Answer, Busy | None]:
        """Return what one request brings. One without a reply may be billed all the same, where it was sent."""
        try:
            answer = self.server.ask(key, messages, asked)
        except Busy as busy:
            billed = most if busy.sent and not busy.status else (0, 0)
            return Answer(key, code=BUSY, detail=str(busy), tokens=billed), busy
        self.replied = time.monotonic()
        return answer, None

    def _may_begin(self, most: tuple[int, int]) -> bool:
        """Wait until one more request keeps the caps, and count it; False where all is to stop."""
        while not self.stop.wait(max(0.0, self.pause - time.monotonic())):
            with self.lock:
                cap = self._cap_reached(most)
                if not cap:
                    self.under_way.append(most)
                    return True
                if not self.under_way:  # those might come out smaller
                    raise InputError(cap)
            self.stop.wait(0.05)
        return False

    def _cap_reached(self, most: tuple[int, int]) -> str:
        more = Spent()
        for tokens in (most, *self.under_way):
            more.add(Answer("", tokens=tokens))
        for name, cap in caps(self.cfg).items():
            spent, next_ = self.spent.of(name, self.cfg), more.of(name, self.cfg)
            if spent + next_ > cap:
                return (
                    f"teacher.{name} = {cap:,} ends the run: {spent:,.7g} spent in this folder, at most {next_:,.7g} "
                    f"more for the next request; raise it, and the same command goes on"
                )
        return ""

    def _count(self, answer: Answer) -> None:
        with self.lock:
            self.given_up += bool(answer.code)
        if self.given_up >= HOPELESS and not self.spent.usable:
            raise InputError(
                f"{self.server.url}: none of {self.given_up} conversations brought an answer; the last: {answer.code}, "
                f"{answer.detail}"
            )
