"""The spans of one booking as the design has them (section 7), to be put together into the tree of a whole trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from saga.booking import reservation_of
from schemas import topics
from tests.tracing.tree import ANY_TEXT, OFFSET, PARTITION, POSITIVE, Event, Node, like
from tests.tracing.world import CHECK_IN, CHECK_OUT, NIGHTS, World

CODE = like("BK-[0-9A-Z]{8}")
CHARGE = like("ch_[0-9a-f]{24}")
REFUND = like("re_[0-9a-f]{24}")

_STEPS = {
    "check_availability": (topics.AVAILABILITY, "availability"),
    "acquire_lock": (topics.LOCKING, "locking"),
    "process_payment": (topics.PAYMENT, "payment"),
    "confirm": (topics.CONFIRMATION, "confirmation"),
}
UNDOS = {"acquire_lock": "release_lock", "process_payment": "refund_payment", "confirm": "restore_inventory"}

_WHERE = frozenset({"messaging.destination.partition.id", "messaging.kafka.offset"})


class Story:
    """Says what spans the booking ``key`` at ``hotel`` must have."""

    def __init__(
        self,
        world: World,
        key: str,
        hotel: str,
        *,
        offers: int = 1,
        source: str = "web",
        crashed: frozenset[str] = frozenset(),
    ) -> None:
        self._world = world
        self.key = key
        self._hotel = hotel
        self._offers = offers
        self._source = source
        # Where the record went is not known to whoever tells of a send for one who died before it could.
        self._crashed = crashed

    # --- records --------------------------------------------------------------------------------------------------

    def sent(
        self, topic: str, message_id: object, *received: Node, sender: str = "orchestrator", attempt: int = 1
    ) -> Node:
        """``send T`` with the handling of that record by each of its readers under it."""
        again = {"saga.attempt": attempt} if attempt > 1 else {}
        optional = _WHERE if sender in self._crashed else frozenset[str]()
        return Node(
            f"send {self._world.topic(topic)}",
            "producer",
            sender,
            self._message(topic, "send", message_id) | again,
            received,
            optional=optional,
        )

    def processed(
        self, topic: str, message_id: object, service: str, *children: Node, dropped: str = "", error: str = ""
    ) -> Node:
        """``process T`` by one reader."""
        attributes = self._message(topic, "process", message_id)
        attributes["messaging.consumer.group.name"] = self._world.topic(f"booking.{service}")
        if dropped:
            attributes["saga.dropped"] = dropped
        if error:
            attributes["error.type"] = error
        node = Node(f"process {self._world.topic(topic)}", "consumer", service, attributes, children)
        return replace(node, status="error", message=error) if error else node

    def requested(self, message_id: object = None, **changes: str) -> Node:
        """The request, as the orchestrator takes it up."""
        derived = like(rf"{self.key}\.[0-9a-f]{{16}}")
        return self.processed(topics.REQUESTS, message_id or derived, "orchestrator", **changes)

    def asked(self, step: str, number: int = 1, *, attempt: int = 1, undo: bool = False, **reply: str) -> Node:
        """A command and its reply: sent, processed, answered, and the answer taken in."""
        topic, worker = _STEPS[step]
        command = self.command_id(step, number) + (".undo" if undo else "")
        answer = f"{command}.reply"
        taken_in = self.processed(topics.REPLIES, answer, "orchestrator", **reply)
        answered = self.sent(topics.REPLIES, answer, taken_in, sender=worker, attempt=attempt)
        return self.sent(topic, command, self.processed(topic, command, worker, answered), attempt=attempt)

    def announced(self, status: str, *, times: int = 1) -> tuple[Node, ...]:
        """The event of the end, and what those who hear of it do; said so many ``times``, which changes nothing."""
        said = f"{self.key}.{status.lower()}"
        readers = [
            self.processed(topics.EVENTS, said, service, dropped="redelivery" if time else "")
            for time in range(times)
            for service in ("locking", "notification")
        ]
        promoted: dict[str, object] = {
            "booking.id": self.key,
            "booking.lock_promoted": True,
            "booking.reservation_id": self.reservation(self._locked),
        }
        return (
            self.sent(topics.EVENTS, said, *readers),
            *([Node("booking.promote_lock", "internal", "locking", promoted)] if status == "CONFIRMED" else []),
            Node(
                "booking.send_notification",
                "internal",
                "notification",
                {
                    "booking.id": self.key,
                    "notification.channel": "email",
                    "notification.outcome": "sent",
                    "notification.attempt": 1,
                },
            ),
        )

    _locked = 1
    """Which lock command got the room."""

    def _message(self, topic: str, operation: str, message_id: object) -> dict[str, object]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": self._world.topic(topic),
            "messaging.destination.partition.id": PARTITION,
            "messaging.kafka.offset": OFFSET,
            "messaging.kafka.message.key": self.key,
            "messaging.message.id": message_id,
            "messaging.message.conversation_id": self.key,
        }

    # --- the orchestrator's spans ---------------------------------------------------------------------------------

    def create(
        self,
        status: str,
        *children: Node,
        error: str = "",
        reason: object = "",
        compensated: bool = False,
        code: object = None,
    ) -> Node:
        """``booking.create``, with ``booking.accepted`` and ``children`` under it."""
        about: dict[str, object] = {"booking.id": self.key, "booking.source": self._source}
        accepted = Node("booking.accepted", "internal", "orchestrator", about)
        attributes = about | {
            "booking.user_id": "u-7",
            "booking.status": status,
            "saga.compensated": compensated,
        }
        if code is not None:
            attributes["booking.confirmation_code"] = code
        if error:
            attributes["error.type"] = error
        node = Node("booking.create", "internal", "orchestrator", attributes, (accepted, *children))
        return replace(node, status="error", message=reason) if error else node

    def rollback(self, reason: str, *children: Node, undone: tuple[str, ...]) -> Node:
        """``booking.rollback`` with the undos under it; ``undone`` names them in order."""
        attributes = {"booking.id": self.key, "saga.rollback_reason": reason, "saga.rollback_steps": undone}
        return Node("booking.rollback", "internal", "orchestrator", attributes, children)

    # --- steps ----------------------------------------------------------------------------------------------------

    def checked(self, *calls: Node) -> Node:
        """``booking.check_availability``, which asks the pricing engine once (or as in ``calls``)."""
        attributes: dict[str, object] = {
            "booking.id": self.key,
            "booking.check_in": CHECK_IN.isoformat(),
            "booking.check_out": CHECK_OUT.isoformat(),
            "booking.guests": 2,
            "booking.property_id": self._hotel,
            "booking.available_count": self._offers,
        }
        priced = calls or (self.http("availability", "pricing", "POST", "/v1/quotes", 200),)
        return Node("booking.check_availability", "internal", "availability", attributes, priced)

    def locked(self, number: int = 1, *, attempt: int = 1) -> Node:
        """``booking.acquire_lock`` that got the room."""
        self._locked = number
        return Node("booking.acquire_lock", "internal", "locking", self._lock(number, attempt, acquired=True))

    def contended(self, number: int, rival: object, reason: str = "held") -> Node:
        """``booking.acquire_lock`` that did not."""
        attributes = self._lock(number, 1, acquired=False) | {"error.type": "lock_contention"}
        told: Mapping[str, object] = {"booking.contention_reason": reason, "booking.competing_reservation": rival}
        return Node(
            "booking.acquire_lock",
            "internal",
            "locking",
            attributes,
            status="error",
            message="Lock contention",
            events=(Event("lock_contention", told),),
        )

    def paid(self, *calls: Node, status: str = "captured", last_four: str = "4242", attempts: int = 1) -> Node:
        """``booking.process_payment`` that went well for the payment worker, whatever the card's bank said."""
        attributes = {
            "booking.id": self.key,
            "booking.reservation_id": self.reservation(self._locked),
            "payment.method": "card",
            "payment.currency": "EUR",
            "payment.card_last_four": last_four,
            "payment.transaction_id": CHARGE,
            "payment.status": status,
            "payment.gateway_latency_ms": POSITIVE,
            "payment.attempt": attempts,
        }
        called = calls or (self.http("payment", "provider", "POST", "/v1/charges", 201),)
        return Node("booking.process_payment", "client", "payment", attributes, called)

    def declined(self, reason: str) -> Node:
        """``booking.process_payment`` of a card that was declined: an event, not an error."""
        paid = self.paid(status="declined", last_four="0002")
        return replace(paid, events=(Event("payment_declined", {"payment.decline_reason": reason}),))

    def confirmed(self) -> Node:
        """``booking.confirm`` that sold the nights."""
        told = {
            "booking.id": self.key,
            "booking.reservation_id": self.reservation(self._locked),
            "booking.confirmation_code": CODE,
        }
        return Node("booking.confirm", "internal", "confirmation", told)

    # --- undos ----------------------------------------------------------------------------------------------------

    def released(self, number: int = 1, *, link: str = "booking.acquire_lock", was_held: bool = True) -> Node:
        """``booking.release_lock``."""
        told = {"booking.reservation_id": self.reservation(number), "booking.lock_was_held": was_held}
        return self._undo("acquire_lock", "locking", told, link)

    def refunded(self, *, link: str = "booking.process_payment") -> Node:
        """``booking.refund_payment`` of money that had been taken."""
        told: dict[str, object] = {
            "booking.reservation_id": self.reservation(self._locked),
            "payment.currency": "EUR",
            "payment.status": "refunded",
            "payment.gateway_latency_ms": POSITIVE,
            "payment.attempt": 1,
            "payment.transaction_id": CHARGE,
            "payment.refund_id": REFUND,
        }
        undo = self._undo("process_payment", "payment", told, link)
        return replace(undo, kind="client").under(self.http("payment", "provider", "POST", "/v1/voids", 200))

    def restored(self, nights: int = NIGHTS) -> Node:
        """``booking.restore_inventory``."""
        told = {"booking.reservation_id": self.reservation(self._locked), "booking.nights_restored": nights}
        return self._undo("confirm", "confirmation", told, "booking.confirm")

    def _undo(self, step: str, worker: str, told: Mapping[str, object], link: str) -> Node:
        about = {"booking.id": self.key, "saga.compensation": True, "saga.compensates": step}
        return Node(f"booking.{UNDOS[step]}", "internal", worker, about | dict(told), links=(link,))

    # --- parts ----------------------------------------------------------------------------------------------------

    def step(self, name: str) -> tuple[str, str]:
        """The topic of a step's commands, and who reads it."""
        return _STEPS[name]

    def command_id(self, step: str, number: int = 1) -> str:
        """The id of a step's n-th command."""
        return f"{self.key}.{step}.{number}"

    def reservation(self, number: int = 1) -> str:
        """What the n-th lock command is about."""
        return reservation_of(self.command_id("acquire_lock", number))

    def http(self, client: str, server: str, method: str, route: str, status: int, *, query: str = "") -> Node:
        """One HTTP call as both ends saw it."""
        settings = self._world.services.settings
        base = {"pricing": settings.pricing_url, "provider": settings.provider_url}[server]
        where = urlsplit(base)
        common: dict[str, object] = {
            "http.request.method": method,
            "server.address": where.hostname,
            "server.port": where.port,
            "http.response.status_code": status,
        }
        served = common | {
            "url.scheme": "http",
            "url.path": route,
            "http.route": route,
            "network.protocol.version": "1.1",
            "user_agent.original": like(r"Python/\S+ aiohttp/\S+"),
        }
        if query:
            served["url.query"] = query
        failed = {"error.type": str(status)} if status >= 400 else {}
        server_failed = failed if status >= 500 else {}
        full = f"{base}{route}" + (f"?{query}" if query else "")
        return Node(
            method,
            "client",
            client,
            common | {"url.full": full} | failed,
            (
                Node(
                    f"{method} {route}",
                    "server",
                    server,
                    served | server_failed,
                    status="error" if server_failed else "unset",
                ),
            ),
            status="error" if failed else "unset",
        )

    def lost_charge(self) -> Node:
        """A charge whose answer never came."""
        call = self.http("payment", "provider", "POST", "/v1/charges", 504)
        told = {name: value for name, value in call.attributes.items() if name != "http.response.status_code"}
        raised = {"exception.type": like(".*TimeoutError"), "exception.message": ANY_TEXT}
        event = Event("exception", raised | {"exception.stacktrace": ANY_TEXT, "exception.escaped": "False"})
        told["error.type"] = "TimeoutError"
        return replace(call, attributes=told, status="error", message="TimeoutError", events=(event,))

    def found_charge(self) -> Node:
        """Asking what became of a charge."""
        query = f"idempotency_key={self.command_id('process_payment')}"
        return self.http("payment", "provider", "GET", "/v1/charges", 200, query=query)

    def _lock(self, number: int, attempt: int, *, acquired: bool) -> dict[str, object]:
        attributes: dict[str, object] = {
            "booking.id": self.key,
            "booking.reservation_id": self.reservation(number),
            "booking.lock_type": "pessimistic",
            "booking.lock_acquired": acquired,
            "booking.lock_ttl_ms": 600_000,
        }
        return attributes | ({"saga.attempt": attempt} if attempt > 1 else {})

    # --- whole bookings -------------------------------------------------------------------------------------------

    def cut_off(self, call: Node, again: Node) -> Node:
        """A call that was made ``again`` by a process whose predecessor was killed over it: one call of one step, which
        the other side has served twice. (What the caller saw is what it saw last.)"""
        return replace(again, children=(*call.children, *again.children))

    def until_locked(self) -> tuple[Node, ...]:
        """Everything up to the lock, which was had at once."""
        return (self.asked("check_availability"), self.checked(), self.asked("acquire_lock"), self.locked())

    def until_paid(self) -> tuple[Node, ...]:
        """Everything up to the payment, which went well."""
        return (*self.until_locked(), self.asked("process_payment"), self.paid())

    def whole(self, *, announced: int = 1) -> Node:
        """A booking that went well from end to end, announced so many times."""
        steps = (*self.until_paid(), self.asked("confirm"), self.confirmed())
        return self.create("CONFIRMED", *steps, *self.announced("CONFIRMED", times=announced), code=CODE)
