"""The Collector's configurations are valid for the very binary we build, and do to spans what they say."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode, Tracer

from saga.stacks.ports import free_ports
from tests.support.otlp import OtlpReceiver

_REPOSITORY = Path(__file__).parents[2]
_CONFIG = _REPOSITORY / "collector" / "config"
ALONE = ("common", "metrics", "sampling", "single")
ROUTER = ("common", "metrics", "router")
SAMPLER = ("common", "sampling", "sampler")


@pytest.fixture(scope="module")
def otelcol() -> str:
    """The binary; where it has not been built these tests are skipped, since building it takes minutes."""
    command = [str(_REPOSITORY / "collector" / "build"), "--if-built"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_500, check=False)
    if done.returncode == 3:
        pytest.skip("the Collector has not been built on this machine: collector/build does it")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _layers(names: tuple[str, ...]) -> list[str]:
    return [part for name in names for part in ("--config", str(_CONFIG / f"{name}.yaml"))]


@pytest.mark.parametrize("layers", [ALONE, ROUTER, SAMPLER], ids=["alone", "router", "sampler"])
def test_each_configuration_is_valid(otelcol: str, layers: tuple[str, ...]) -> None:
    done = subprocess.run([otelcol, "validate", *_layers(layers)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_valid_is_found(otelcol: str) -> None:
    command = [otelcol, "validate", *_layers(ALONE), "--config", "yaml:processors::tail_sampling::decision_weight: 1s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "decision_weight" in done.stderr


@pytest.fixture
def through(otelcol: str, tmp_path: Path) -> Iterator[tuple[Tracer, OtlpReceiver]]:
    """A tracer that sends to a Collector, which decides after a second, keeps no ordinary trace, and sends on to us."""
    grpc, health, own, metrics = free_ports(4)
    with OtlpReceiver() as receiver:
        environment = {
            **os.environ,
            "SAGA_COLLECTOR_GRPC_PORT": str(grpc),
            "SAGA_COLLECTOR_HEALTH_PORT": str(health),
            "SAGA_COLLECTOR_SELF_PORT": str(own),
            "SAGA_COLLECTOR_METRICS_PORT": str(metrics),
            "SAGA_COLLECTOR_STORAGE": str(tmp_path / "queues"),
            "SAGA_TRACES_ENDPOINT": receiver.endpoint.removeprefix("http://"),
            "SAGA_DECISION_WAIT": "1s",
            "SAGA_SAMPLE_PERCENT": "0",
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([otelcol, *_layers(ALONE)], env=environment, stdout=log, stderr=log)
        provider = TracerProvider(resource=Resource({"service.name": "rogue"}), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"127.0.0.1:{grpc}", insecure=True, timeout=20)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        try:
            yield provider.get_tracer("tests"), receiver
        finally:
            provider.shutdown()
            process.terminate()
            process.wait(30)


def test_errors_rollbacks_and_declines_are_kept_ordinary_traces_are_not_and_secrets_are_masked(
    through: tuple[Tracer, OtlpReceiver],
) -> None:
    tracer, receiver = through
    with tracer.start_as_current_span("ordinary"):
        pass
    with tracer.start_as_current_span("booking.rollback"):
        pass
    with tracer.start_as_current_span("declined") as span:
        span.add_event("payment_declined", {"note": "card 4111 1111 1111 1111"})
    with tracer.start_as_current_span("failed") as span:
        span.set_attributes({"note": "ana@example.com", "password": "hunter2", "token": "tok_visa_1881"})
        span.set_status(StatusCode.ERROR, "nobody at ana@example.com pays with tok_visa_1881")
    with tracer.start_as_current_span("last") as span:
        span.set_status(StatusCode.ERROR)
    deadline = time.monotonic() + 30
    while "last" not in {span.name for span in receiver.spans} and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)  # an ordinary one, older than the last, would have come by now
    assert {span.name for span in receiver.spans} == {"booking.rollback", "declined", "failed", "last"}
    said = repr(receiver.spans)
    for secret in ("4111 1111", "ana@example.com", "hunter2", "tok_visa_1881"):
        assert secret not in said
