"""A server asked many things at once: how often, how long, at what cost. Left out: a single request (server.py).

- each reply is kept as soon as it comes back, content or not: a kill loses what is under way, and nothing else
- a lost connection, HTTP 429 and 5xx are tried again after twice the time; Retry-After holds up all
- no request is begun that could pass a cap, with all that is under way at its largest: that is kept before it is sent,
  so a kill hides nothing
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import replace

from fleming.http import LONGEST_WAIT, Busy, Refusal, start
from fleming.settings.teacher import caps
from fleming.teachers.remembered import BEGUN, BUSY, FINAL, HOPELESS, REFUSED, Answer, Messages, Spent
from fleming.teachers.server import ChatServer
from fleming.terminal import tell
from model.errors import InputError

FIRST_WAIT = 1.0  # seconds before the second try
NOT_ITS_FAULT = (408, 429, 503)  # HTTP's for a server that is not ready, whatever it is asked


class ServerTeacher:
    """Asks in threads, each of which asks for one answer until it has it or gives it up."""

    def __init__(self, server: ChatServer):
        self.server, self.name, self.cfg = server, server.name, server.cfg
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.pause = 0.0  # until when the server wants no request
        self.replied = False  # whether it ever did
        self.given_up = 0
        # Conversations that no try brought a reply to, since the last reply to any.
        self.lost: set[str] = set()

    def ask_all(
        self, calls: Iterable[tuple[str, Messages, int]], spent: Spent, keep: Callable[[Answer], None]
    ) -> None:
        """Ask for each call (key, messages, replies without content so far); `keep` adds each answer to `spent`.

        Raises InputError where a cap is reached, the server is lost, or nothing that it says is of use; what is under
        way then is waited for and kept.
        """
        self.waiting, self.spent, self.keep = deque(calls), spent, keep
        self.under_way = 0
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
        tries = 0
        while self._may_begin(key, most):
            answer, busy = self._request(key, messages, asked, most)
            tries += 1
            lost = busy and tries > self.cfg.retries
            if lost and busy.sent and busy.status not in NOT_ITS_FAULT:
                answer = replace(answer, code="server_error")
            with self.lock:
                self.lost = self.lost | {key} if lost else self.lost if busy else set()
                gone = lost and (answer.code == BUSY or not self.replied or len(self.lost) >= HOPELESS)
                self._settle(replace(answer, code=BUSY) if gone else answer)
            if gone:
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
            tries = 0

    def _request(
        self, key: str, messages: Messages, asked: int, most: tuple[int, int]
    ) -> tuple[Answer, Busy | None]:
        """Return what one request brings. One without a reply may be billed all the same, where it was sent."""
        try:
            answer = self.server.ask(key, messages, asked)
        except Busy as busy:
            billed = most if busy.sent and not busy.status else (0, 0)
            return Answer(key, code=BUSY, detail=str(busy), tokens=billed), busy
        except Refusal as refusal:
            with self.lock:
                self._settle(Answer(key, code=BUSY, detail=str(refusal)[:300]))
            raise
        self.replied = True
        return answer, None

    def _settle(self, answer: Answer) -> None:
        """Keep what a request came to. What is refused while the run ends is for the next one to ask again."""
        self.under_way -= 1
        late = answer.code == REFUSED and self.stop.is_set()
        try:
            self.keep(replace(answer, code=BUSY) if late else answer)
        except InputError:
            self.stop.set()
            raise

    def _may_begin(self, key: str, most: tuple[int, int]) -> bool:
        """Wait until one more request keeps the caps, and keep that it begins; False where all is to stop."""
        while not self.stop.wait(max(0.0, self.pause - time.monotonic())):
            with self.lock:
                cap = self._cap_reached(most)
                if not cap:
                    self.under_way += 1
                    self.keep(Answer(key, code=BEGUN, tokens=most))
                    return True
                if not self.under_way:  # those might come out smaller
                    raise InputError(cap)
            self.stop.wait(0.05)
        return False

    def _cap_reached(self, most: tuple[int, int]) -> str:
        more = Spent(1, *most)
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
        if self.given_up >= HOPELESS and not self.spent.usable and not self.stop.is_set():
            raise InputError(
                f"{self.server.url}: none of {self.given_up} conversations brought an answer; the last: {answer.code}, "
                f"{answer.detail}"
            )
