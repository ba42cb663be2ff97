"""The span pipeline: nothing blocks the caller, nothing is lost silently, and the watermark tells the truth."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from saga.telemetry.exporter import Sent
from saga.telemetry.otlp import AnySpan
from saga.telemetry.pipeline import SpanPipeline
from saga.telemetry.spans import SpanContext, SpanRecord


class Collector:
    """A collector in memory that can be told to be away, to refuse, or to take its time."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.attempts = 0
        self.mood: Literal["stored", "retry", "refused"] = "stored"
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def encode(self, spans: Sequence[AnySpan]) -> bytes:
        return "".join(f"{span.name}\n" for span in spans).encode()

    def send(self, body: bytes, *, timeout_s: float | None = None) -> Sent:
        self.attempts += 1
        self.gate.wait(timeout_s)
        if self.mood == "stored":
            self.stored += body.decode().split()
        return Sent(self.mood, "as told", retry_after_s=0.02)

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def started() -> Iterator[list[SpanPipeline]]:
    pipelines: list[SpanPipeline] = []
    yield pipelines
    for pipeline in pipelines:
        pipeline.shutdown(0.1)


@pytest.fixture
def make(collector: Collector, started: list[SpanPipeline]) -> Callable[..., SpanPipeline]:
    def build(*, capacity: int = 1_000, batch: int = 10, delay_s: float = 60.0) -> SpanPipeline:
        pipeline = SpanPipeline(collector, capacity=capacity, batch=batch, delay_s=delay_s)
        started.append(pipeline)
        return pipeline

    return build


def span(name: object, *, flags: int = 1) -> SpanRecord:
    return SpanRecord(str(name), "internal", SpanContext(1, 2, flags), None, 1, 2)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 5 s"
        time.sleep(0.005)


def test_a_full_batch_goes_at_once_and_the_rest_on_flush(
    collector: Collector, make: Callable[..., SpanPipeline]
) -> None:
    pipeline = make(batch=10, delay_s=60)
    for number in range(25):
        pipeline.record(span(number))
    until(lambda: len(collector.stored) == 20)
    assert pipeline.mark() == 25
    until(lambda: pipeline.exported_mark == 20)
    assert pipeline.force_flush(5_000)
    assert collector.stored == [str(number) for number in range(25)]
    assert pipeline.exported_mark == 25
    assert (pipeline.exported, pipeline.dropped, pipeline.queued) == (25, 0, 0)


def test_a_single_span_goes_after_the_delay(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    make(delay_s=0.05).record(span("alone"))
    until(lambda: collector.stored == ["alone"])


def test_the_mark_is_not_reached_while_the_batch_is_in_flight(
    collector: Collector, make: Callable[..., SpanPipeline]
) -> None:
    pipeline = make()
    collector.gate.clear()
    pipeline.record(span("a"))
    mark = pipeline.mark()
    assert pipeline.force_flush(100) is False
    assert pipeline.queued == 0
    assert pipeline.exported_mark < mark
    collector.gate.set()
    assert pipeline.wait_exported(mark, 5)
    assert collector.stored == ["a"]


def test_spans_wait_for_a_collector_that_is_away_and_then_all_arrive(
    collector: Collector, make: Callable[..., SpanPipeline], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = make(delay_s=0.01)
    collector.mood = "retry"
    for number in range(30):
        pipeline.record(span(number))
    until(lambda: collector.attempts > 5)
    assert pipeline.exported_mark == 0
    assert pipeline.dropped == 0
    collector.mood = "stored"
    assert pipeline.force_flush(5_000)
    assert collector.stored == [str(number) for number in range(30)]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, "a collector that is away is mentioned once, not once an attempt"
    assert "as told" in warnings[0].getMessage()


def test_a_full_queue_drops_the_oldest_and_counts_them(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    pipeline = make(capacity=20, batch=10)
    collector.mood = "retry"
    for number in range(10):
        pipeline.record(span(number))
    until(lambda: pipeline.queued == 0)  # the first ten are in hand
    for number in range(10, 100):
        pipeline.record(span(number))
    assert pipeline.dropped == 70
    assert pipeline.mark() == 100
    assert pipeline.exported_mark == 0
    collector.mood = "stored"
    assert pipeline.force_flush(5_000)
    assert collector.stored == [str(number) for number in (*range(10), *range(80, 100))]
    assert pipeline.exported_mark == 100


def test_what_the_collector_refuses_is_dropped_counted_and_passed_by(
    collector: Collector, make: Callable[..., SpanPipeline]
) -> None:
    pipeline = make()
    collector.mood = "refused"
    pipeline.record(span("bad"))
    assert pipeline.force_flush(5_000)
    assert pipeline.dropped == 1
    collector.mood = "stored"
    pipeline.record(span("good"))
    assert pipeline.force_flush(5_000)
    assert collector.stored == ["good"]


def test_unsampled_spans_are_not_kept(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    pipeline = make()
    pipeline.record(span("no", flags=2))
    pipeline.record(span("yes", flags=3))
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(pipeline)
    provider.get_tracer("t").start_span("no").end()
    assert pipeline.mark() == 1
    assert pipeline.force_flush(5_000)
    assert collector.stored == ["yes"]


def test_spans_of_the_sdk_and_ours_share_the_queue_in_order(
    collector: Collector, make: Callable[..., SpanPipeline]
) -> None:
    pipeline = make()
    provider = TracerProvider()
    provider.add_span_processor(pipeline)
    pipeline.record(span("ours-1"))
    provider.get_tracer("t").start_span("theirs").end()
    pipeline.record(span("ours-2"))
    assert provider.force_flush(5_000)
    assert collector.stored == ["ours-1", "theirs", "ours-2"]


def test_shutdown_sends_what_is_left(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    pipeline = make()
    for number in range(25):
        pipeline.record(span(number))
    pipeline.shutdown(5)
    assert len(collector.stored) == 25
    assert collector.closed
    pipeline.record(span("late"))
    assert pipeline.dropped == 1
    assert pipeline.exported_mark == pipeline.mark() == 26


def test_shutdown_gives_up_in_time_when_nobody_answers(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    pipeline = make(delay_s=0.01)
    collector.mood = "retry"
    for number in range(25):
        pipeline.record(span(number))
    until(lambda: collector.attempts > 1)
    began = time.monotonic()
    pipeline.shutdown(0.3)
    assert time.monotonic() - began < 1.5
    assert pipeline.dropped == 25


def test_an_encoder_that_fails_costs_its_batch_only(
    collector: Collector, make: Callable[..., SpanPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make()

    def broken(spans: Sequence[AnySpan]) -> bytes:
        raise RuntimeError(spans)

    with monkeypatch.context() as patch:
        patch.setattr(collector, "encode", broken)
        pipeline.record(span("lost"))
        assert pipeline.force_flush(5_000)
    assert pipeline.dropped == 1
    pipeline.record(span("kept"))
    assert pipeline.force_flush(5_000)
    assert collector.stored == ["kept"]


def test_without_a_collector_every_mark_is_reached_at_once() -> None:
    pipeline = SpanPipeline(None)
    pipeline.record(span("a"))
    assert pipeline.exported_mark == pipeline.mark() == 1
    assert pipeline.force_flush(0)
    assert (pipeline.queued, pipeline.dropped) == (0, 0)


def test_many_threads_lose_nothing(collector: Collector, make: Callable[..., SpanPipeline]) -> None:
    pipeline = make(capacity=100_000, batch=64, delay_s=0.001)

    def work(thread: int) -> None:
        for number in range(2_000):
            pipeline.record(span(f"{thread}-{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pipeline.force_flush(10_000)
    assert pipeline.exported_mark == 8_000
    assert len(set(collector.stored)) == len(collector.stored) == 8_000


def test_settings_come_from_the_environment_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "250")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "77")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "nonsense")
    pipeline = SpanPipeline(None)
    assert (pipeline._delay_s, pipeline._batch, pipeline._capacity) == (0.25, 77, 65_536)
