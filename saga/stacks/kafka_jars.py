"""Apache Kafka's jars: resolved once by Maven from the committed ``pom.xml`` into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from saga.errors import StackUnavailable
from saga.stacks.base import Progress

_POM = Path(__file__).parents[2] / "pom.xml"
_NAMESPACE = "{http://maven.apache.org/POM/4.0.0}"
_RESOLVE_S = 600
_OLDEST_JAVA = 17


def version() -> str:
    """The Kafka version that ``pom.xml`` names. Raises :class:`StackUnavailable` when there is no ``pom.xml``."""
    if not _POM.exists():
        raise StackUnavailable(
            "the kafka stack needs the pom.xml of a source checkout; run it from one, or use --stack embedded"
        )
    project = ElementTree.parse(_POM).getroot()  # noqa: S314 - our own file
    found = project.findtext(f"{_NAMESPACE}properties/{_NAMESPACE}kafka.version")
    assert found is not None, "pom.xml holds the property kafka.version"
    return found


def unavailable() -> str | None:
    """What is missing to run Kafka here, and what to do; ``None`` when nothing is."""
    if not _POM.exists():
        return "there is no pom.xml here (it needs a source checkout)"
    java = _java_version()
    if java is None:
        return f"there is no Java: install a JRE {_OLDEST_JAVA} or newer (apt-get install openjdk-17-jre-headless)"
    if java < _OLDEST_JAVA:
        return f"Java {java} is too old: install a JRE {_OLDEST_JAVA} or newer"
    if not _complete(_directory()) and shutil.which("mvn") is None:
        return "there is no Maven to fetch Kafka's jars with: install it (Debian: apt-get install maven)"
    return None


def resolve(progress: Progress) -> Path:
    """The directory of the jars, fetched with Maven unless they are there. Raises :class:`StackUnavailable`."""
    directory = _directory()
    if _complete(directory):
        return directory
    progress(f"fetching Apache Kafka {version()} with Maven (once; about 45 MB)")
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _copy_dependencies(fresh)
        (fresh / "pom.sha256").write_text(_fingerprint(), "utf-8")
        _publish(fresh, directory)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return directory


def _copy_dependencies(target: Path) -> None:
    command = ["mvn", "--batch-mode", "--no-transfer-progress", "--file", str(_POM), "dependency:copy-dependencies"]
    options = [f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and our own paths
            [*command, *options], capture_output=True, text=True, timeout=_RESOLVE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackUnavailable(f"Maven could not fetch Kafka's jars ({error}); see why it hangs") from error
    if done.returncode != 0 or not any(target.glob("kafka_2.13-*.jar")):
        words = "\n".join([line for line in done.stdout.splitlines() if "ERROR" in line][:8])
        raise StackUnavailable(f"Maven could not fetch Kafka's jars; see that it can reach its repository:\n{words}")


def _publish(fresh: Path, directory: Path) -> None:
    """Put the whole directory in place at once: another process sees all of it or nothing."""
    fresh.chmod(0o755)
    if directory.exists() and not _complete(directory):
        shutil.rmtree(directory, ignore_errors=True)
    try:
        fresh.rename(directory)
    except OSError:
        if not _complete(directory):  # else somebody else was quicker, and theirs is as good
            raise


def _directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "booking-saga" / f"kafka-{version()}"


def _fingerprint() -> str:
    return hashlib.sha256(_POM.read_bytes()).hexdigest()


def _complete(directory: Path) -> bool:
    marker = directory / "pom.sha256"
    return marker.exists() and marker.read_text("utf-8") == _fingerprint()


def _java_version() -> int | None:
    program = java()
    if program is None:
        return None
    done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - found on PATH
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else None


def java() -> str | None:
    """The ``java`` of ``JAVA_HOME``, else of ``PATH``."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")
