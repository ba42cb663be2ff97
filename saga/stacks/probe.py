"""Asking a broker, with a real metadata request, and a database, with a query, whether they serve."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading


def broker_answers(address: str, *, timeout_s: float = 3.0) -> bool:
    """Whether the broker at ``address`` (``host:port``) names itself in its metadata, as it does once it serves.

    Works with and without a running event loop: the request runs in a thread of its own.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except OSError:
        return False
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(_answers(address, timeout_s))), name="probe")
    thread.start()
    thread.join()
    return bool(answers and answers[0])


async def _answers(address: str, timeout_s: float) -> bool:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # that it does not answer yet is no error
    client = AIOKafkaClient(bootstrap_servers=address, request_timeout_ms=int(timeout_s * 1000))
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
        logger.setLevel(level)


def database_answers(url: str) -> bool:
    """Whether PostgreSQL at ``url`` answers a query."""
    import psycopg

    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=3) as connection:
        return connection.execute("SELECT 1").fetchone() is not None
    return False
