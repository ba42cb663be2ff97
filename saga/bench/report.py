"""A measurement told: as JSON for programs, whose keys are a contract, and as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from saga.audit import AuditReport
    from saga.bench.limit import Limit
    from saga.bench.measure import Growth, Measured
    from saga.bench.observer import Ended

_MIB = 1024 * 1024
_BUSY = 0.1  # share of the cores that others may have without a word
_SHOWN = 5  # violations


def as_json(measured: Measured) -> dict[str, Any]:
    """The whole measurement. ``docs/decisions/0006-measuring-speed.md`` says what each key means."""
    saturation, spent = measured.saturation, measured.saturation.spent
    sagas = saturation.ended.asked
    light = _latencies(measured.light)
    return {
        "stack": measured.stack,
        "stack_reason": measured.why,
        "description": measured.description,
        "cores": measured.cores,
        "cores_busy_elsewhere": _rounded(spent.elsewhere),
        "versions": dict(measured.versions),
        "durability": dict(measured.durability),
        "sagas": sagas,
        "warm": measured.plan.warm,
        "outcomes": saturation.ended.outcomes,
        "unfinished": measured.unfinished,
        "sagas_per_s": _rounded(saturation.ended.per_second),
        "p50_ms": light["p50_ms"],
        "p99_ms": light["p99_ms"],
        "saturation": {"seconds": _rounded(saturation.ended.seconds), **_latencies(saturation.ended)},
        "light": {"rate": measured.plan.light_rate, "sagas": measured.light.asked, **light},
        "cpu_ms_per_saga": _rounded_all(saturation.cpu_ms_per_saga()),
        "server_cpu_ms_per_saga": _rounded_all(saturation.servers_ms_per_saga()),
        "rss_mb": {name: round(size / _MIB, 1) for name, size in sorted(saturation.rss_bytes.items())},
        "spans_per_saga": _rounded(saturation.arrived.spans / sagas),
        "spans_by_name": _rounded_all({name: n / sagas for name, n in saturation.arrived.by_name.items()}),
        "messages_per_saga": _rounded(sum(spent.records.values()) / sagas),
        "messages_by_topic": _rounded_all({topic: n / sagas for topic, n in spent.records.items()}),
        "commits_per_saga": _rounded(spent.writes / sagas),
        "rows_per_saga": _rounded(sum(measured.rows.per_saga.values())),
        "rows_by_table": _rounded_all(measured.rows.per_saga),
        "row_bytes": measured.rows.mean_bytes,
        "wal_bytes_per_saga": round(spent.wal_bytes / sagas),
        "ratio_to_limit": _ratio(saturation.ended.per_second, measured.limit),
        "limit": _limit(measured.limit),
        "growth": _growth(measured, measured.growth),
        "audit": _audit(measured.verdict),
    }


def _latencies(ended: Ended) -> dict[str, float | None]:
    return {
        "p50_ms": ended.percentile_ms(50),
        "p99_ms": ended.percentile_ms(99),
        "max_ms": ended.percentile_ms(100),
    }


def _ratio(per_second: float, limit: Limit | None) -> float | None:
    if limit is None or not limit.best.ended.per_second:
        return None
    return round(per_second / limit.best.ended.per_second, 3)


def _limit(limit: Limit | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    best, sagas = limit.best, limit.best.ended.asked
    cpu = {name: 1000 * used / sagas for name, used in sorted(best.spent.cpu_s.items())}
    servers = {name: 1000 * used / sagas for name, used in sorted(best.spent.servers_s.items())}
    return {
        "sagas_per_s": _rounded(best.ended.per_second),
        "processes": best.processes,
        "sagas_per_s_by_processes": {str(split): _rounded(rate) for split, rate in limit.tried.items()},
        "cpu_ms_per_saga": _rounded_all({"total": sum(cpu.values()), **cpu}),
        "server_cpu_ms_per_saga": _rounded_all(servers),
        "spans_per_saga": _rounded(best.arrived.spans / sagas),
        "messages_per_saga": _rounded(sum(best.spent.records.values()) / sagas),
        "commits_per_saga": _rounded(best.spent.writes / sagas),
        "row_bytes": round(best.row_bytes),
        "wal_bytes_per_saga": round(best.spent.wal_bytes / sagas),
    }


def _growth(measured: Measured, growth: Growth | None) -> dict[str, Any] | None:
    if growth is None:
        return None
    few, many = measured.saturation, growth.after
    cpu_few, cpu_many = few.cpu_ms_per_saga()["total"], many.cpu_ms_per_saga()["total"]
    servers_few, servers_many = few.servers_ms_per_saga(), many.servers_ms_per_saga()
    database = (servers_few.get("postgres"), servers_many.get("postgres"))
    return {
        "stored": list(growth.stored),
        "rows_added": growth.rows,
        "cpu": round(cpu_many / cpu_few, 3) if cpu_few else None,
        "database_cpu": round(database[1] / database[0], 3) if database[0] and database[1] else None,
        "cpu_ms_per_saga": [_rounded(cpu_few), _rounded(cpu_many)],
        "database_cpu_ms_per_saga": [None if value is None else _rounded(value) for value in database],
        "sagas_per_s": [_rounded(few.ended.per_second), _rounded(many.ended.per_second)],
        "cores_busy_elsewhere": [_rounded(few.spent.elsewhere), _rounded(many.spent.elsewhere)],
    }


def _audit(verdict: AuditReport) -> dict[str, Any]:
    return {
        "checked": {name: one.examined for name, one in verdict.checked.items()},
        "violations": len(verdict.violations),
        "first": [violation.model_dump() for violation in verdict.violations[:_SHOWN]],
        "traces": {"complete": verdict.traces_complete, "incomplete": verdict.traces_incomplete},
    }


def _rounded(value: float) -> float:
    """Three significant digits are more than two runs agree in; small numbers keep three decimals."""
    return round(value, 1) if value >= 100 else round(value, 2) if value >= 1 else round(value, 3)


def _rounded_all(values: dict[str, float] | Any) -> dict[str, float]:
    return {name: _rounded(value) for name, value in values.items()}


def print_tables(told: dict[str, Any], console: Console) -> None:
    """``told`` is what :func:`as_json` made."""
    from rich.table import Table

    console.print(f"{told['description']} on {told['cores']} cores ({told['stack_reason']})")
    console.print(
        ", ".join(f"{name} {value}" for name, value in told["durability"].items()), soft_wrap=True, style="dim"
    )
    figures = Table(title=f"{told['sagas']} sagas", title_justify="left", show_header=False)
    for label, value in _figures(told):
        figures.add_row(label, value)
    console.print(figures)
    costs = Table(title="what one saga costs, and what each process holds", title_justify="left")
    for heading in ("process", "CPU ms a saga", "memory MB"):
        costs.add_column(heading, justify="left" if heading == "process" else "right")
    cpu = told["cpu_ms_per_saga"]
    for name, used in sorted(cpu.items(), key=lambda item: (item[0] == "total", -item[1])):
        costs.add_row(name, f"{used:.2f}", str(told["rss_mb"].get(name, "")))
    for name, used in told["server_cpu_ms_per_saga"].items():
        costs.add_row(f"({name})", f"{used:.2f}", "")
    console.print(costs)
    if told["cores_busy_elsewhere"] > _BUSY * told["cores"]:
        busy = f"{told['cores_busy_elsewhere']:g} of {told['cores']} cores were busy with something else meanwhile"
        console.print(f"{busy}: rates and latencies say little about the saga", style="yellow")
    verdict = told["audit"]
    for violation in verdict["first"]:
        console.print(f"{violation['invariant']}: {violation['saga_id']}: {violation['detail']}", markup=False)
    whole = f"{len(verdict['checked'])} invariants, {verdict['violations']} violations"
    console.print(f"audit: {whole}; {verdict['traces']['complete']} traces whole")


def _figures(told: dict[str, Any]) -> list[tuple[str, str]]:
    saturation, light = told["saturation"], told["light"]
    figures = [
        ("sagas a second, all at once", f"{told['sagas_per_s']:g}"),
        ("  latency ms, half / 99 %", f"{saturation['p50_ms']} / {saturation['p99_ms']}"),
        (f"latency ms at {light['rate']:g} a second", f"{light['p50_ms']} / {light['p99_ms']}"),
        ("CPU ms a saga, all Python processes", f"{told['cpu_ms_per_saga']['total']:g}"),
        ("spans, messages a saga", f"{told['spans_per_saga']:g}, {told['messages_per_saga']:g}"),
        ("commits, rows a saga", f"{told['commits_per_saga']:g}, {told['rows_per_saga']:g}"),
        ("outcomes", ", ".join(f"{count} {name}" for name, count in told["outcomes"].items())),
    ]
    if told["unfinished"]:
        figures.append(("never ended", str(told["unfinished"])))
    if (limit := told["limit"]) is not None:
        figures.append(("a bare pump, chains a second", f"{limit['sagas_per_s']:g} ({limit['processes']} processes)"))
        figures.append(("ratio to that limit", f"{told['ratio_to_limit']:.2f}"))
    if (growth := told["growth"]) is not None:
        few, many = growth["stored"]
        figures.append((f"CPU a saga at {many} stored, by that at {few}", f"{growth['cpu']:.2f}"))
        if growth["database_cpu"] is not None:
            figures.append(("  the database's CPU likewise", f"{growth['database_cpu']:.2f}"))
    return figures
