"""Named places where a test may let a fault happen; without one armed they do nothing.

SIMSEARCH_FAILPOINT=NAME[@N]:FAULT lets the fault happen when NAME is passed for the N-th time (the
first by default). FAULT is `kill` (SIGKILL to this process), `raise` (an exception that nothing
translates), `eio`, or `enospc`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from dataclasses import dataclass, field

VARIABLE = "SIMSEARCH_FAILPOINT"
FAULTS = ("kill", "raise", "eio", "enospc")
_FORM = re.compile(r"(?P<name>[a-z.-]+)(?:@(?P<number>[1-9]\d*))?:(?P<fault>[a-z]+)")
_ERRNO = {"eio": errno.EIO, "enospc": errno.ENOSPC}


class InjectedFault(RuntimeError):
    """What the fault `raise` raises."""


@dataclass(slots=True)
class Plan:
    """A fault that is to happen, and every name that was passed since it was armed."""

    name: str
    number: int
    fault: str
    passed: list[str] = field(default_factory=list)

    def meet(self, name: str) -> None:
        """Pass the place `name`, and let the fault happen if it is here and now."""
        self.passed.append(name)
        if name != self.name or self.passed.count(name) != self.number:
            return
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "raise":
            raise InjectedFault(f"injected at {name}")
        code = _ERRNO[self.fault]
        raise OSError(code, os.strerror(code), name)


def parse_plan(text: str) -> Plan:
    """Return the plan that a text in the form above stands for.

    Raises:
        ValueError: it has another form.
    """
    found = _FORM.fullmatch(text)
    if found is None or found["fault"] not in FAULTS:
        raise ValueError(f"{VARIABLE} must be NAME[@N]:{'|'.join(FAULTS)}, got {text!r}")
    return Plan(found["name"], int(found["number"] or 1), found["fault"])


_plan: Plan | None = None
if VARIABLE in os.environ:
    _plan = parse_plan(os.environ[VARIABLE])


def arm(plan: Plan | None) -> None:
    """Let `plan` be in force in this process; None disarms."""
    global _plan
    _plan = plan


def failpoint(name: str) -> None:
    """Pass a place where a fault may be injected."""
    if _plan is not None:
        _plan.meet(name)
