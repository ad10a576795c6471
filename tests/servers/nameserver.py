"""A DNS server on loopback: real packets, and whatever outcome a test wants."""

from __future__ import annotations

from threading import Thread
from types import TracebackType
from typing import Any, Self

from dnslib import QTYPE, RCODE, RR, TXT, DNSError
from dnslib.server import DNSLogger, DNSServer


class Nameserver:
    """Answers TXT questions from `records` (a name to its values), over UDP.

    `rcode` is answered instead if it is set ("SERVFAIL", "REFUSED"); while `silent`, nothing is answered at all.
    `asked` lists the names of all questions.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[str | list[str]]] = {}
        self.rcode: str | None = None
        self.silent = False
        self.asked: list[str] = []
        self._server = DNSServer(
            self, address="127.0.0.1", port=0, logger=DNSLogger(log="-request,-reply,-truncated,-error")
        )

        # socketserver looks for the wish to stop that often, in seconds.
        self._thread = Thread(target=self._server.server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        port: int = self._server.server.server_address[1]
        return port

    def resolve(self, request: Any, _handler: Any) -> Any:
        """What dnslib calls for each question."""
        name = str(request.q.qname).removesuffix(".")
        self.asked.append(name)
        if self.silent:
            raise DNSError("the test wants silence")
        reply = request.reply()
        if self.rcode is not None:
            reply.header.rcode = getattr(RCODE, self.rcode)
        elif name not in self.records:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.TXT:
            for value in self.records[name]:
                reply.add_answer(RR(name, QTYPE.TXT, rdata=TXT(value), ttl=0))
        return reply

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()
        self._thread.join(5)
        self._server.server.server_close()
