"""Counts what a suite did: calls of the SDK and assertions that were evaluated."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

_counts = {"calls": 0, "assertions": 0}


class Counted:
    """An SDK's client as it is, but for a count of the calls of its methods. The clients of indexes that it
    makes are counted too, and closed with it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._made: list[Counted] = []

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not inspect.isroutine(member):
            return member

        @functools.wraps(member)
        def counted(*args: Any, **kwargs: Any) -> Any:
            _counts["calls"] += 1
            result = member(*args, **kwargs)
            if name not in ("index", "Index"):
                return result
            self._made.append(Counted(result))
            return self._made[-1]

        return counted

    def close(self) -> None:
        for made in self._made:
            made.close()
        if hasattr(self._inner, "close"):
            self._inner.close()

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()


# Needs enable_assertion_pass_hook in pytest.ini.
def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    _counts["assertions"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"conformance: {_counts['calls']} calls of the SDK, {_counts['assertions']} assertions"
    )
