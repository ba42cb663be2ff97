"""What the pages say is what there is: settings and defaults, verbs and options, names, causes, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings

from saga.audit.invariants import INVARIANTS
from saga.cli.main import VERBS, cli
from saga.engine.state import Status
from saga.faults import POINTS
from saga.generate import Kind
from saga.messaging import deadletter
from saga.settings import Settings
from saga.stacks.choose import NAMES as STACKS
from saga.telemetry import names
from schemas.headers import DEAD_LETTER
from workers.payment.http_provider import GatewayPolicy
from workers.provider.faults import Faults
from workers.provider.tokens import behaviour_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
EVERY_PAGE = [*PAGES, *DECISIONS, DOCS / "decisions" / "README.md"]

# Read by one part each, outside the settings that all share.
ALONE = {"SAGA_HOME", "SAGA_STACK", "SAGA_REQUIRE", "SAGA_READY_FILE", "SAGA_SECRETS_DIR"}
GROUPS: dict[str, type[BaseModel]] = {"SAGA_GATEWAY_": GatewayPolicy, "SAGA_PROVIDER_FAULT_": Faults}

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `(?P<name>SAGA_\w+)` \| (?:`(?P<default>[^`]*)`)? ?\|", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_VARIABLE = re.compile(r"\bSAGA_[A-Z][A-Z_]*[A-Z]\b")
_COMMAND = re.compile(r"(?:^|[`$|]\s?)(?:\S+=\S+ )*(?:\.venv/bin/)?saga(?P<words>(?: [^\s|>#`]+)+)", re.MULTILINE)
_MAKE = re.compile(r"(?<!install )\bmake (?P<target>[a-z]+)")


def text(path: Path) -> str:
    return path.read_text("utf-8")


def without_code(page: str) -> str:
    return _FENCE.sub("", page)


def blocks(page: str, language: str) -> list[str]:
    return [match["code"] for match in _FENCE.finditer(page) if match["language"] == language]


def expected_settings() -> Iterator[tuple[str, str]]:
    """Every setting that all share, with its default as one would type it."""
    for name, field in Settings.model_fields.items():
        default = field.default
        plain = default.get_secret_value() if isinstance(default, SecretStr) else default
        typed = "" if plain is None else str(plain).lower() if isinstance(plain, bool) else str(plain)
        yield f"SAGA_{name.upper()}", typed


def test_every_setting_is_in_the_tables_with_its_default() -> None:
    table = {row["name"]: row["default"] or "" for row in _ROW.finditer(text(DOCS / "configuration.md"))}
    expected = dict(expected_settings())
    assert {name: default for name, default in table.items() if name in expected} == expected


@pytest.mark.parametrize("prefix", GROUPS)
def test_the_settings_of_one_part_are_in_the_tables_with_their_defaults(prefix: str) -> None:
    table = {row["name"]: row["default"] for row in _ROW.finditer(text(DOCS / "configuration.md"))}
    fields = GROUPS[prefix].model_fields
    expected = {f"{prefix}{name.upper()}": str(field.default) for name, field in fields.items()}
    expected = {name: "false" if default == "False" else default for name, default in expected.items()}
    assert {name: default for name, default in table.items() if name.startswith(prefix)} == expected


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_no_page_names_a_variable_that_nobody_reads(page: Path) -> None:
    known = ALONE | dict(expected_settings()).keys()
    for prefix, model in GROUPS.items():
        known |= {f"{prefix}{name.upper()}" for name in model.model_fields}
    unknown = {name for name in _VARIABLE.findall(text(page)) if name not in known}
    assert not {name for name in unknown if f"{name}_" not in GROUPS}


def test_every_verb_is_told_of() -> None:
    told = " ".join(text(page) for page in PAGES)
    assert [verb for verb in VERBS if f"saga {verb}" not in told] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_has_a_verb_and_options_that_exist(page: Path) -> None:
    wrong = []
    for match in _COMMAND.finditer(text(page)):
        words = match["words"].split()
        if words[0].startswith("-"):
            continue
        command, rest = resolve(words)
        if command is None:
            wrong.append(match[0])
            continue
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options |= {"--help", "-h"}
        wrong += [
            f"{match[0].strip()}: {word}"
            for word in rest
            if word.startswith("--") and word.split("=")[0] not in options
        ]
    assert wrong == []


def test_command_lines_are_found() -> None:
    found = {match["words"].split()[0] for page in PAGES for match in _COMMAND.finditer(text(page))}
    assert set(VERBS) <= found


def resolve(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that these words name, and what is left of them."""
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command, rest = command.get_command(context, rest[0]), rest[1:]
    return command, rest


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    code = [match["code"] for page in PAGES for match in _FENCE.finditer(text(page))]
    inline = [span for page in PAGES for span in re.findall(r"`([^`\n]+)`", without_code(text(page)))]
    named = {target for part in (*code, *inline) for target in _MAKE.findall(part)}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for match in _LINK.finditer(without_code(text(page))):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(match[0])
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a rendered page has: its headings, in lower case, without punctuation."""
    headings = re.findall(r"^#+ (.+)$", without_code(text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_a_page_is_python(page: Path) -> None:
    # Parts of a class, a tuple, a call or a dictionary are shown as they stand there.
    around = ("", ""), ("if x:\n", ""), ("(\n", ")"), ("x(\n", ")"), ("{\n", "}")
    wrong = [code for code in blocks(text(page), "python") if not any(is_python(a + code + z) for a, z in around)]
    assert wrong == []


def is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def test_every_metric_is_in_the_table_of_metrics() -> None:
    metrics = {names.attempts("booking"), names.duration("booking")}
    metrics |= {value for value in vars(names).values() if isinstance(value, str) and _is_metric(value)}
    section = text(DOCS / "operating.md").partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert sorted(metrics) == sorted(re.findall(r"^\| `([a-z_.]+)`", section, re.MULTILINE))


def _is_metric(value: str) -> bool:
    """Whether ``names`` gives this as the name of a metric: everything below its heading of that name."""
    source = text(ROOT / "saga" / "telemetry" / "names.py").partition("# --- metrics")[2]
    return f'= "{value}"' in source


def test_every_cause_of_a_dead_letter_is_in_the_table() -> None:
    documented = re.findall(r"``([a-z_]+)``", (deadletter.__doc__ or "").partition("A dead letter keeps")[0])
    page = text(DOCS / "publishing.md")
    section = page.partition("\n## What is refused\n")[2].partition("\n## ")[0]
    table = re.findall(r"^\| `((?!dlq_)[a-z_]+)` \|", section, re.MULTILINE)
    assert sorted(documented) == sorted(table)
    assert [header for header in DEAD_LETTER if f"`{header}`" not in page] == []


def test_every_invariant_is_in_the_table_in_its_own_words() -> None:
    page = text(DOCS / "operating.md")
    assert [one.name for one in INVARIANTS if f"| {one.number} | {one.description} |" not in page] == []


def test_every_status_stack_fault_point_and_kind_is_explained() -> None:
    operating, configuration = text(DOCS / "operating.md"), text(DOCS / "configuration.md")
    assert [status for status in Status if f"| `{status}` |" not in operating] == []
    assert [point for point in POINTS if f"`{point}`" not in configuration] == []
    shown = [stack for stack in STACKS if stack not in {"auto", "compose"}]
    assert [stack for stack in shown if f"| `{stack}` |" not in text(ROOT / "README.md")] == []
    assert Kind.CONTENDED in text(DOCS / "publishing.md")


def test_every_token_that_is_shown_is_one_of_the_providers() -> None:
    shown = {token for page in PAGES for token in re.findall(r"\btok_[a-z0-9_]+\b(?!<)", text(page))}
    shown -= {token for token in shown if token.endswith("_")}  # tok_slow_<ms>
    assert {"tok_visa", "tok_declined_expired_card"} <= shown
    assert [token for token in sorted(shown) if behaviour_of(token) is None] == []


def test_the_index_lists_every_decision_by_its_title() -> None:
    index = text(DOCS / "decisions" / "README.md")
    titles = {page.name: text(page).partition("\n")[0].removeprefix("# ") for page in DECISIONS}
    assert [name for name, title in titles.items() if f"[{title}]({name})" not in index] == []


def test_settings_are_read_from_where_the_pages_say() -> None:
    assert Settings.model_config["env_prefix"] == "SAGA_"
    assert issubclass(GatewayPolicy, BaseSettings)
    assert GatewayPolicy.model_config["env_prefix"] == "SAGA_GATEWAY_"
