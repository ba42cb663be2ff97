"""The running environment that ``saga up`` left for every other verb: where everything is, in one private file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saga.errors import InvalidSettings
from saga.settings import Settings
from saga.stacks.processes import is_alive

_FILE = "environment.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the environment. ``started`` (seconds since the epoch) tells it from a later one of its pid."""

    name: str
    pid: int
    started: float
    log: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Environment:
    """What runs: the stack, the ``SAGA_*`` variables that lead to it, the supervisor that holds it all, its processes.

    ``variables`` holds the database URL, which may hold a password.
    """

    stack: str
    description: str
    supervisor: Process
    variables: Mapping[str, str]
    processes: tuple[Process, ...] = field(default=())

    @property
    def running(self) -> bool:
        """Whether its supervisor still runs; without it nothing of the environment does."""
        return is_alive(self.supervisor.pid, started=self.supervisor.started)


def home() -> Path:
    """``SAGA_HOME``, or ``.saga`` in the working directory: state, logs and whatever else belongs to one checkout."""
    return Path(os.environ.get("SAGA_HOME") or ".saga").absolute()


def write(environment: Environment) -> Path:
    """Store the environment, readable by nobody else, all of it or nothing; returns where."""
    directory = home()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _FILE
    fresh = path.with_suffix(f".{os.getpid()}")
    text = json.dumps({"version": _VERSION, **asdict(environment)}, indent=2)
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output:
        output.write(text)
    fresh.replace(path)
    return path


def read() -> Environment | None:
    """The stored environment, whether it still runs or not; ``None`` when there is none.

    Raises :class:`InvalidSettings` for a file that is not ours to understand.
    """
    path = home() / _FILE
    try:
        stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if stored.pop("version", None) != _VERSION:
            raise InvalidSettings(f"{path} was written by another version; run `saga down`, then `saga up` again")
        return Environment(
            stack=str(stored["stack"]),
            description=str(stored["description"]),
            supervisor=Process(**stored["supervisor"]),
            variables={str(name): str(value) for name, value in stored["variables"].items()},
            processes=tuple(Process(**process) for process in stored["processes"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSettings(f"{path} cannot be read ({error}); remove it, and what it started with it") from error


def remove() -> None:
    """Forget the environment; harmless when there is none."""
    with contextlib.suppress(FileNotFoundError):
        (home() / _FILE).unlink()


def resolve_settings() -> Settings:
    """The settings of a command: the ``SAGA_*`` variables of the real environment first, then what ``saga up`` left.

    Raises :class:`InvalidSettings` naming the variable that is malformed.
    """
    environment = read()
    known: dict[str, str] = {}
    if environment is not None and environment.running:
        for variable, value in environment.variables.items():
            name = variable.removeprefix("SAGA_").lower()
            if name in Settings.model_fields and not os.environ.get(variable):
                known[name] = value
    return checked_settings(known)


def variables_of(settings: Settings, *, everything: bool = False) -> dict[str, str]:
    """``settings`` as ``SAGA_*`` variables for a child process: what was set, or ``everything``. Holds the secrets."""
    from pydantic import SecretStr

    names = Settings.model_fields.keys() if everything else settings.model_fields_set
    variables: dict[str, str] = {}
    for name in names:
        value = getattr(settings, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        if plain is not None:
            variables[f"SAGA_{name.upper()}"] = str(plain)
    return variables


def checked_settings(known: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment, ``known`` winning, with a readable error for what is malformed."""
    from pydantic import ValidationError

    try:
        return Settings(**(known or {}))  # type: ignore[arg-type]  # pydantic converts the strings
    except ValidationError as error:
        # Never the input itself: the malformed value may be a URL with a password in it.
        found = error.errors(include_input=False, include_url=False)
        said = "; ".join(f"SAGA_{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in found)
        raise InvalidSettings(f"the settings are malformed ({said}); correct those variables") from error
