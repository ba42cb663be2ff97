"""W3C propagation that can be asked twice: injecting into a list of headers that has a context already changes nothing.

The aiokafka instrumentation only ever appends to the headers. Ours are injected by hand before it sees them, and a
record must carry exactly one ``traceparent``.
"""

from __future__ import annotations

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Setter, TextMapPropagator, default_setter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_FIELDS = frozenset({"traceparent", "tracestate", "baggage"})


class IdempotentPropagator(CompositePropagator):
    """Trace Context and Baggage; a carrier that already has a ``traceparent`` is left as it is."""

    def __init__(self) -> None:
        propagators: list[TextMapPropagator] = [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
        super().__init__(propagators)

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Inject unless somebody has: for lists of pairs, as Kafka headers are."""
        if isinstance(carrier, list):
            if any(name == "traceparent" for name, _ in carrier):
                return
            carrier[:] = [(name, value) for name, value in carrier if name not in _FIELDS]
        super().inject(carrier, context, setter)
