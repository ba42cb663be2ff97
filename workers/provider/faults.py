"""Latency and faults for the whole provider: from the environment at the start, by ``PUT /v1/faults`` later.

Every decision depends only on the seed, the idempotency key and the attempt, so a run with the same seed and the same
bookings meets the same faults, in whatever order the requests arrive.
"""

from __future__ import annotations

from hashlib import blake2b

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Faults(BaseModel):
    """What goes wrong, and how often. Rates are probabilities from 0 to 1, latencies milliseconds.

    ``down`` answers 503 to everything but ``/healthz`` and ``/v1/faults``; ``error_rate`` answers 500 to charges,
    refunds and voids before anything happens; the timeouts leave a charge unanswered, after or before it was captured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    latency_ms: int = Field(0, ge=0, le=60_000)
    latency_jitter_ms: int = Field(0, ge=0, le=60_000)
    decline_rate: float = Field(0.0, ge=0, le=1)
    error_rate: float = Field(0.0, ge=0, le=1)
    timeout_after_charge_rate: float = Field(0.0, ge=0, le=1)
    timeout_before_charge_rate: float = Field(0.0, ge=0, le=1)
    down: bool = False

    def delay_s(self, key: str, attempt: int) -> float:
        """How long this request is held, in seconds."""
        if not self.latency_ms and not self.latency_jitter_ms:
            return 0.0
        return (self.latency_ms + self.latency_jitter_ms * self._dice("latency", key, attempt)) / 1000

    def declines(self, key: str) -> bool:
        """Whether this charge is declined; the same for every attempt."""
        return self._happens(self.decline_rate, "decline", key, 0)

    def errors(self, key: str, attempt: int) -> bool:
        """Whether this attempt is answered 500 before anything happens."""
        return self._happens(self.error_rate, "error", key, attempt)

    def silent_before(self, key: str, attempt: int) -> bool:
        """Whether this attempt is neither carried out nor answered."""
        return self._happens(self.timeout_before_charge_rate, "before", key, attempt)

    def silent_after(self, key: str, attempt: int) -> bool:
        """Whether this attempt is carried out but not answered."""
        return self._happens(self.timeout_after_charge_rate, "after", key, attempt)

    def _happens(self, rate: float, kind: str, key: str, attempt: int) -> bool:
        return rate > 0 and self._dice(kind, key, attempt) < rate

    def _dice(self, kind: str, key: str, attempt: int) -> float:
        """Uniform in [0, 1)."""
        digest = blake2b(f"{self.seed}\x1f{kind}\x1f{key}\x1f{attempt}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class _Environment(BaseSettings, Faults):
    model_config = SettingsConfigDict(env_prefix="SAGA_PROVIDER_FAULT_", frozen=True, extra="ignore")


def faults_from_environment() -> Faults:
    """The faults that ``SAGA_PROVIDER_FAULT_<FIELD>`` ask for; none by default. Raises ``pydantic.ValidationError``."""
    return Faults.model_validate(_Environment().model_dump())
