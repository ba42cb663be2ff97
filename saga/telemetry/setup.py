"""Set up traces and metrics for one process: resource, sampler, pipeline, exporters, instrumentations."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import uuid4

from opentelemetry import metrics, propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from saga.telemetry import names
from saga.telemetry.afterwards import Afterwards
from saga.telemetry.exporter import FastOTLPExporter
from saga.telemetry.instrumentation import instrument
from saga.telemetry.meters import Meters
from saga.telemetry.pipeline import SpanPipeline
from saga.telemetry.propagation import IdempotentPropagator
from saga.telemetry.scope import ScopedIdGenerator
from saga.telemetry.tracer import LeanTracerProvider

if TYPE_CHECKING:
    from saga.settings import Settings

_METRICS_INTERVAL_MS = 5_000
_MAX_VALUE = 512


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a role needs to be seen. ``instance`` identifies this process, on its spans and on the rows it writes."""

    instance: str
    spans: SpanPipeline
    meters: Meters
    _tracers: TracerProvider
    _metrics: MeterProvider
    afterwards: Afterwards = field(default_factory=Afterwards)
    """Where this process puts off what nobody waits for."""

    async def flush(self, timeout_s: float = 10.0) -> bool:
        """Send every span handed over so far; False when the collector did not take them in time."""
        self.afterwards.catch_up()
        return await asyncio.to_thread(self.spans.force_flush, int(timeout_s * 1000))

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Send what is left and stop. Blocks up to ``timeout_s`` for each of spans and metrics."""
        self.spans.shutdown(timeout_s)
        self._metrics.shutdown(timeout_millis=timeout_s * 1000)
        self._tracers.shutdown()


def start(role: str, settings: Settings) -> Telemetry:
    """Switch on telemetry for this process as ``service.name=role``. Without an OTLP endpoint nothing is exported."""
    instance = f"{role}-{uuid4().hex[:12]}"
    resource = Resource.create(
        {
            "service.name": role,
            "service.namespace": names.NAMESPACE,
            "service.version": version("booking-saga"),
            "service.instance.id": instance,
            "service.domain": names.DOMAIN,
            "deployment.environment.name": settings.environment,
        }
    )
    scope = InstrumentationScope(names.SCOPE, version("booking-saga"))
    exporter = None
    if settings.otlp_endpoint:
        exporter = FastOTLPExporter(
            resource, scope, endpoint=settings.otlp_endpoint, insecure=settings.otlp_insecure or None
        )
    spans = SpanPipeline(exporter, capacity=settings.trace_capacity)
    ids = ScopedIdGenerator()
    tracers = TracerProvider(
        resource=resource,
        id_generator=ids,
        span_limits=SpanLimits(max_span_attribute_length=_MAX_VALUE),
        shutdown_on_exit=False,
    )
    tracers.add_span_processor(spans)
    trace.set_tracer_provider(tracers)
    propagate.set_global_textmap(IdempotentPropagator())
    meter_provider = MeterProvider(resource=resource, metric_readers=_readers(settings), shutdown_on_exit=False)
    metrics.set_meter_provider(meter_provider)
    instrument(tracers, LeanTracerProvider(resource, ids, spans))
    meters = Meters(meter_provider.get_meter(names.SCOPE))
    meters.observe(
        names.SPANS_DROPPED, "{span}", "spans lost in this process", lambda: [(spans.dropped, {})], counter=True
    )
    return Telemetry(instance, spans, meters, tracers, meter_provider)


def _readers(settings: Settings) -> list[MetricReader]:
    if not settings.otlp_endpoint:
        return []
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    # A collector that is away is the pipeline's to report, once a minute; the SDK would print a traceback each time.
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
    exporter = OTLPMetricExporter(endpoint=settings.otlp_endpoint, insecure=settings.otlp_insecure or None)
    return [PeriodicExportingMetricReader(exporter, export_interval_millis=_METRICS_INTERVAL_MS)]
