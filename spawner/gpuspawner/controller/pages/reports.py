"""Reports of what was held and used, of waits and of refusals: the page, and its tables as CSV."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gpuspawner.controller.api.access import courses_with, whose_usage
from gpuspawner.controller.api.routes import Call, Forbidden
from gpuspawner.controller.views.periods import Period, read_period
from gpuspawner.controller.views.reportfiles import write_refusals, write_usage, write_waits
from gpuspawner.controller.views.reports import (
    CHOICES,
    Contents,
    ReportsPage,
    UsageLine,
    WaitTables,
    WeekCard,
    view_contents,
    view_courses,
    view_form,
    view_usage,
    view_waits,
    view_week,
)
from gpuspawner.core.errors import InvalidRequest, SettingsError
from gpuspawner.core.reports import By
from gpuspawner.core.roster import Right

from .page import File, Visit


def load_reports(visit: Visit) -> ReportsPage:
    """The page's model. Raises: Forbidden, LedgerError."""
    usage, everybody = visit.services.usage, visit.caller.manages
    today = usage.today()
    try:
        period, by = read_period(visit.query, today), _read_kind(visit)
    except InvalidRequest as error:
        fallback = read_period({}, today), _usual_kind(visit)
        return ReportsPage(view_form(visit.links, *fallback, today, everybody=everybody, problem=str(error)))
    form = view_form(visit.links, period, by, today, everybody=everybody)
    return ReportsPage(form, _load_contents(visit, period, by))


def _load_contents(visit: Visit, period: Period, by: By) -> Contents:
    owner = whose_usage(_call(visit))
    report, by_day = visit.services.usage.reports((by, By.DAY), period.since, period.until, owner)
    contents = view_contents(
        report, by_day, visit.links, everybody=owner is None, show_all=visit.query.get("all") == "yes"
    )
    return replace(
        contents,
        week=_load_week(visit),
        courses=_load_courses(visit, period),
        waits=_load_waits(visit, period) if visit.caller.manages else None,
    )


def make_file(visit: Visit) -> File:
    """A table as CSV.

    Raises:
        InvalidRequest: There is no such table, or the days are none.
        Forbidden: It is about others.
        LedgerError: The ledger cannot be used.
    """
    period, by = read_period(visit.query, visit.services.usage.today()), _read_kind(visit)
    table = visit.query.get("table", "usage")
    if table not in _TABLES:
        raise InvalidRequest(f"There is no such table; there are: {', '.join(_TABLES)}.")
    name = f"{table}{f'-by-{by}' if table == 'usage' else ''}-{period.since}-{period.until}.csv"
    return File(name, "text/csv", _TABLES[table](visit, period, by))


def _write_usage(visit: Visit, period: Period, by: By) -> str:
    owner = whose_usage(_call(visit))
    report = visit.services.usage.report(by, period.since, period.until, owner)
    return write_usage(by, view_usage(report).lines)


def _write_courses(visit: Visit, period: Period, by: By) -> str:
    return write_usage(By.COURSE, _load_courses(visit, period))


def _write_waits(visit: Visit, period: Period, by: By) -> str:
    return write_waits(_load_waits(visit, period))


def _write_refusals(visit: Visit, period: Period, by: By) -> str:
    return write_refusals(_load_waits(visit, period).refusals)


_TABLES: dict[str, Callable[[Visit, Period, By], str]] = {
    "usage": _write_usage,
    "courses": _write_courses,
    "waits": _write_waits,
    "refusals": _write_refusals,
}


def _load_waits(visit: Visit, period: Period) -> WaitTables:
    if not visit.caller.manages:
        raise Forbidden("Waits and refusals are those of everybody; only an administrator sees them.")
    return view_waits(*visit.services.usage.waits(period.since, period.until))


def _load_week(visit: Visit) -> WeekCard | None:
    person = visit.caller.person
    if person is None:
        return None
    with suppress(SettingsError):
        allowance = visit.services.policies.allowance(person, visit.caller.groups)
        return view_week(visit.services.usage.budget_of(person, allowance))
    return None


def _load_courses(visit: Visit, period: Period) -> tuple[UsageLine, ...]:
    """What the courses held that the caller teaches: of nobody in them in particular."""
    taught = courses_with(_call(visit), Right.USAGE)
    if visit.caller.manages or not taught:
        return ()
    report = visit.services.usage.report(By.COURSE, period.since, period.until)
    return view_courses(row for row in report.rows if row.key in taught)


def _read_kind(visit: Visit) -> By:
    wanted = visit.query.get("by", "")
    if not wanted:
        return _usual_kind(visit)
    kind = next((kind for kind, _ in CHOICES if kind.value == wanted), None)
    if kind is None:
        raise InvalidRequest(f"There is no such report; there are: {', '.join(k for k, _ in CHOICES)}.")
    return kind


def _usual_kind(visit: Visit) -> By:
    return By.USER if visit.caller.manages else By.DAY


def _call(visit: Visit) -> Call:
    return Call(visit.services, visit.caller, {})
