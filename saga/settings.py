"""Where everything is, and how much of it is allowed: read once from the environment (``SAGA_*``) and passed along.

Secrets are read from the environment or from files and are never printed: they are ``SecretStr`` throughout.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One environment of the saga. Every field is ``SAGA_<FIELD>`` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SAGA_",
        env_ignore_empty=True,
        frozen=True,
        # A folder of files named like the variables (saga_database_url), as orchestrators mount secrets.
        secrets_dir=os.environ.get("SAGA_SECRETS_DIR") or None,
        extra="ignore",
    )

    # Addresses
    brokers: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, comma separated")
    database_url: SecretStr = Field(
        SecretStr("postgresql://postgres@127.0.0.1:5432/postgres"), description="PostgreSQL URL; may hold a password"
    )
    otlp_endpoint: str = Field("", description="OTLP/gRPC endpoint, host:port; empty: spans and metrics go nowhere")
    otlp_insecure: bool = Field(default=True, description="speak OTLP without TLS (loopback and sidecars only)")
    pricing_url: str = Field("http://127.0.0.1:8601", description="the pricing engine")
    provider_url: str = Field("http://127.0.0.1:8602", description="the payment provider")
    provider_api_key: SecretStr = Field(SecretStr("sk_test_booking_saga"), description="the provider's API key")
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 8625
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_starttls: bool = False
    listen_host: str = Field("127.0.0.1", description="address the pricing engine, provider and mailbox bind to")

    # Isolation: one topic prefix and one schema prefix separate a whole environment from another
    topic_prefix: str = Field("", pattern=r"^[a-z0-9._-]{0,60}$")
    schema_prefix: str = Field("", pattern=r"^[a-z0-9_]{0,30}$")

    # Kafka security
    kafka_security_protocol: str = Field("PLAINTEXT", pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$")
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None

    # Broker behaviour
    broker_kind: str = Field("kafka", pattern="^(kafka|tansu)$", description="tansu: no idempotent producer")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of a topic when it is created")
    replication: int = Field(1, ge=1, le=9)
    fetch_max_wait_ms: int = Field(500, ge=1, le=10_000, description="how long a fetch may wait for data")

    # Pace
    batch_records: int = Field(500, ge=1, le=5_000, description="records per poll, hence per transaction")
    window: int = Field(64, ge=1, le=2_000, description="outside calls a worker keeps in flight")
    live_sagas: int = Field(500, ge=1, description="sagas an orchestrator keeps under way; further requests wait")
    sweep_interval_s: float = Field(0.5, gt=0, le=60)
    pace: float = Field(1.0, gt=0, le=100, description="scales every deadline and retry delay of new sagas; for drills")
    trace_capacity: int = Field(65_536, ge=512, description="spans the exporter queues before it drops")

    instance: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="a name this process keeps over restarts; unique per role"
    )

    # Robustness drills
    fault: str = Field("", description="named fault point at which this process kills itself; see saga.faults")

    log_level: str = "INFO"
    log_format: str = Field("auto", pattern="^(auto|console|json)$")
    environment: str = Field("development", description="resource attribute deployment.environment.name")
