"""Apache Kafka itself as a local process: one KRaft node, with a log directory of its own."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from saga.errors import StackError
from saga.stacks import kafka_jars
from saga.stacks.base import Progress, silent
from saga.stacks.ports import free_ports
from saga.stacks.probe import broker_answers
from saga.stacks.processes import Child, wait_until

_TRIES = 3
_START_S = 90.0
_OTHERS_OPTIONS = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"})

# One node, so every internal topic has one copy; few threads and small buffers, for a machine of two cores; groups
# settle at once, and the only voter waits for no other, because whole tests take less than those usual waits.
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
controller.quorum.fetch.timeout.ms=300
controller.quorum.election.timeout.ms=300
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=1
group.coordinator.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

_LOGGING = """
status=error
shutdownHook=disable
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""

_HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256m", "-Djava.awt.headless=true")
# The formatter lives for a second: compiling its code well would take longer than it runs.
_BRIEF = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Kafka:
    """One Kafka node under ``directory``; ``address`` holds from the first start on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._child: Child | None = None
        self._jars: Path | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self, progress: Progress = silent) -> None:
        """Format and start it; returns when it answers a metadata request.

        Raises :class:`StackError`, as :class:`saga.errors.StackUnavailable` when the jars cannot be had.
        """
        self._jars = kafka_jars.resolve(progress)
        progress(f"starting Apache Kafka {kafka_jars.version()}")
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "log4j2.properties").write_text(_LOGGING, "utf-8")
        self._configure()
        self._format()
        for attempt in range(1, _TRIES + 1):
            try:
                self._launch()
                return
            except StackError as error:
                # Somebody may have taken a port since it was found free.
                if attempt == _TRIES or "already in use" not in str(error):
                    raise
                self._configure()

    def stop(self) -> None:
        """Shut it down cleanly; harmless when it does not run."""
        if self._child is not None:
            self._child.stop(grace_s=30)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Stop the node and start it again, at the same address and with its data."""
        self.stop()
        self._launch()

    def _configure(self) -> None:
        self._port, controller = free_ports(2)
        text = _PROPERTIES.format(broker=self._port, controller=controller, logs=self._directory / "log")
        self._properties.write_text(text, "utf-8")

    def _format(self) -> None:
        # A cluster id is a uuid in base64 without padding. Kafka refuses one that begins with a dash.
        cluster = "s" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii").rstrip("=")[1:]
        command = self._java(_BRIEF, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties))
        child = Child("Kafka's StorageTool", command, log=self._log, environment=_environment())
        if not child.wait(_START_S) or child.exit_code != 0:
            child.stop()
            raise StackError(
                f"Kafka's log directory could not be formatted; the tool's last words:\n{child.last_lines()}"
            )

    def _launch(self) -> None:
        command = self._java(_HEAP, "kafka.Kafka", str(self._properties))
        self._child = Child("Apache Kafka", command, log=self._log, environment=_environment())
        try:
            wait_until(self._child, lambda: broker_answers(self.address), deadline_s=_START_S)
        except BaseException:
            self.stop()
            raise

    @property
    def _log(self) -> Path:
        return self._directory / "kafka.log"

    @property
    def _properties(self) -> Path:
        return self._directory / "server.properties"

    def _java(self, options: tuple[str, ...], main: str, *arguments: str) -> list[str]:
        program = kafka_jars.java()
        assert program is not None, "availability() was asked first"
        assert self._jars is not None, "start it before restarting it"
        logging = f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}"
        return [program, *options, logging, "-cp", f"{self._jars}/*", main, *arguments]


def _environment() -> dict[str, str]:
    """Ours without options meant for somebody else's JVM."""
    return {name: value for name, value in os.environ.items() if name not in _OTHERS_OPTIONS}
