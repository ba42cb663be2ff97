"""The instruments of the saga, made once per process. Ids never go on metrics: attributes are low-cardinality only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from saga.telemetry import names
from saga.telemetry.spans import SpanRecord

Reading = Callable[[], Iterable[tuple[float, dict[str, str]]]]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MILLISECONDS = (5, 10, 20, 30, 50, 75, 100, 200, 350, 500, 750, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000)

_PROCESSED = (names.MESSAGING_SYSTEM, names.OPERATION_NAME, names.DESTINATION, names.GROUP, names.ERROR_TYPE)


class Meters:
    """Every synchronous instrument, and a way to add observable ones."""

    def __init__(self, meter: Meter, name: str = names.NAMESPACE) -> None:
        self._meter = meter
        counter, histogram = meter.create_counter, meter.create_histogram
        self.attempts = counter(names.attempts(name), "{booking}", "sagas that ended, by outcome and source")
        self.duration = histogram(
            names.duration(name),
            "ms",
            "time from request to outcome",
            explicit_bucket_boundaries_advisory=_MILLISECONDS,
        )
        self.step_duration = histogram(
            names.STEP_DURATION, "s", "from command to reply", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self.compensations = counter(names.COMPENSATIONS, "{compensation}", "undos carried out, by step")
        self.stale = counter(names.STALE_MESSAGES, "{message}", "late, duplicate or stale messages dropped, by reason")
        self.redeliveries = counter(names.REDELIVERIES, "{message}", "records that had been handled before")
        self.retries = counter(names.RETRIES, "{command}", "commands sent again because no reply came, by step")
        self.dead_letters = counter(names.DEAD_LETTERS, "{message}", "records sent to the dead-letter topic, by cause")
        self.epoch_conflicts = counter(
            names.EPOCH_CONFLICTS, "{write}", "writes rejected because the saga had moved on"
        )
        self.spans_recovered = counter(names.SPANS_RECOVERED, "{span}", "spans emitted again for a process that died")
        self.contentions = counter(names.LOCK_CONTENTIONS, "{lock}", "locks refused, by reason")
        self.gateway_duration = histogram(
            names.GATEWAY_DURATION, "s", "calls to the payment provider", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self.declines = counter(names.PAYMENT_DECLINES, "{payment}", "payments declined, by reason")
        self.notifications = counter(
            names.NOTIFICATIONS, "{notification}", "notifications sent, by channel and outcome"
        )
        self.sent = counter(names.SENT_MESSAGES, "{message}", "records sent")
        self.consumed = counter(names.CONSUMED_MESSAGES, "{message}", "records delivered to this process")
        self.operation_duration = histogram(
            names.OPERATION_DURATION, "s", "sending, until acknowledged", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self.process_duration = histogram(
            names.PROCESS_DURATION, "s", "handling one record", explicit_bucket_boundaries_advisory=_SECONDS
        )

    def processed(self, span: SpanRecord) -> None:
        """Measure the handling of one record, which ``span`` tells of."""
        attributes = {name: str(span.attributes[name]) for name in _PROCESSED if name in span.attributes}
        self.process_duration.record((span.end_ns - span.start_ns) / 1e9, attributes)

    def observe(self, name: str, unit: str, description: str, reading: Reading, *, counter: bool = False) -> None:
        """A gauge (or, with ``counter``, a sum that only grows) whose value is asked for at each collection."""

        def collect(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in reading()]

        if counter:
            self._meter.create_observable_counter(name, [collect], unit, description)
        else:
            self._meter.create_observable_gauge(name, [collect], unit, description)
