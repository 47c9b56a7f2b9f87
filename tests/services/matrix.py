"""The capability matrix of brokers, made of what their contract suites said: `pytest -m integration --matrix FILE`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from aats_core.testing.brokers_harness import BrokerHarness

PROMISES = {
    1: "A confirmed publish is written",
    2: "At least once, attempts counted before handling",
    3: "Dead letters after `max_attempts`",
    4: "Groups and wildcards",
    5: "Order per key",
    6: "Priority",
    7: "Delay (`not_before`)",
    8: "Bounded prefetch",
    9: "Reconnects by itself",
}
BEGIN, END = (
    "<!-- matrix: written by `nox -s integration -- --matrix docs/brokers.md` -->",
    "<!-- end of the matrix -->",
)


class Matrix:
    """A pytest plugin that counts each broker's outcomes by promise, and writes them into a page."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._suites: dict[str, type[BrokerHarness]] = {}
        self._outcomes: Counter[tuple[str, int, str]] = Counter()
        self._promises: dict[str, tuple[str, int]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Find the contract tests of the plugins."""
        for item in items:
            suite, parts = getattr(item, "cls", None), item.path.parts
            number = getattr(getattr(item, "function", None), "promise", None)
            if suite and number and issubclass(suite, BrokerHarness) and "plugins" in parts:
                name = parts[parts.index("brokers") + 1]
                self._suites.setdefault(name, suite)
                self._promises[item.nodeid] = (name, number)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count how a contract test ended."""
        if report.nodeid in self._promises and (report.when == "call" or report.outcome == "skipped"):
            self._outcomes[*self._promises[report.nodeid], report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        """Write the matrix between its marks."""
        before, _, rest = self._page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        self._page.write_text(f"{before}{BEGIN}\n\n{self._table()}\n{END}{after}")

    def _table(self) -> str:
        names = sorted({name for name, _, outcome in self._outcomes if outcome != "skipped"})
        lines = [f"| promise | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
        for number, title in PROMISES.items():
            lines.append(f"| {number}. {title} | {' | '.join(self._cell(name, number) for name in names)} |")
        lines.append("")
        for name in names:
            lines += self._notes(name, self._suites[name].adds, "added")
            lines += self._notes(name, self._suites[name].lacks, "not possible")
        return "\n".join(lines) + "\n"

    def _cell(self, name: str, number: int) -> str:
        suite = self._suites[name]
        if number in suite.lacks:
            return "no"
        passed = self._outcomes[name, number, "passed"]
        total = sum(self._outcomes[name, number, outcome] for outcome in ("passed", "failed", "skipped"))
        return f"{'added' if number in suite.adds else 'native'}, {passed}/{total}"

    def _notes(self, name: str, notes: Mapping[int, str], word: str) -> list[str]:
        return [f"- **{name}**, {number}, {word}: {how}." for number, how in sorted(notes.items())]
