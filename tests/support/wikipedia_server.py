"""A local server that answers as the MediaWiki Action API does (formatversion 2), with faults on demand."""

import gzip
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class WikiServer:
    """Serves `pages` (title -> wikitext or "#REDIRECT [[...]]") with their `categories`.

    A fault of `faults` answers one request in place of the wiki: (status, headers, body), or "cut" for an answer that
    ends too early. `split`: a batch's categories come in a second answer. `requests` lists what was asked.
    """

    def __init__(self, pages, categories=None, split=False, compress=True):
        self.pages, self.categories, self.split, self.compress = pages, categories or {}, split, compress
        self.faults, self.requests, self.agents = deque(), [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                query = parse_qs(
                    self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True
                )
                query = {key: value[0] for key, value in query.items()}
                server.requests.append(query)
                server.agents.append(self.headers["User-Agent"])
                fault = server.faults.popleft() if server.faults else None
                status, headers, body = (200, {}, None) if fault in (None, "cut") else fault
                body = json.dumps(server.answer(query)).encode() if body is None else body
                if server.compress and fault is None:
                    headers, body = {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/w/api.php"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def answer(self, query):
        assert query["action"] == "query"
        assert query["formatversion"] == "2"
        titles = query["titles"].split("|")
        assert len(titles) <= 50
        normalized, redirects, found = [], [], {}
        for asked in titles:
            title = asked[:1].upper() + asked[1:].replace("_", " ")
            if title != asked:
                normalized.append({"fromencoded": False, "from": asked, "to": title})
            seen = set()
            while self.pages.get(title, "").startswith("#REDIRECT") and title not in seen:
                seen.add(title)
                target, _, section = self.pages[title].partition("[[")[2].partition("]]")[0].partition("#")
                if (
                    row := {"from": title, "to": target} | ({"tofragment": section} if section else {})
                ) not in redirects:
                    redirects.append(row)
                title = target
            found[title] = self.page(title, query)
        answer = {"batchcomplete": True, "query": {"pages": list(found.values())}}
        if normalized:
            answer["query"]["normalized"] = normalized
        if redirects:
            answer["query"]["redirects"] = redirects
        if self.split and "clcontinue" not in query:
            answer["continue"] = {"clcontinue": "1|Next", "continue": "||revisions"}
            del answer["batchcomplete"]
        return answer

    def page(self, title, query):
        if title not in self.pages or self.pages[title].startswith("#REDIRECT"):
            return {"ns": 0, "title": title, "missing": True}
        number = 1 + list(self.pages).index(title)
        page = {"pageid": number, "ns": 0, "title": title}
        if "clcontinue" not in query:
            slot = {"contentmodel": "wikitext", "contentformat": "text/x-wiki", "content": self.pages[title]}
            page["revisions"] = [{"revid": 1000 + number, "parentid": 0, "slots": {"main": slot}}]
        if (not self.split or "clcontinue" in query) and (names := self.categories.get(title)):
            page["categories"] = [{"ns": 14, "title": f"Category:{name}"} for name in names]
        return page


def error(code, info, **more):
    """Return the body of an API error."""
    return json.dumps({"error": {"code": code, "info": info, **more}, "servedby": "mw1"}).encode()
