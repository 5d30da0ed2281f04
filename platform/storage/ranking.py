"""The one rule by which trials are compared: which are feasible, and which of two is better."""

from __future__ import annotations


def is_feasible(violation: float | None) -> bool:
    """Reports whether a trial kept its retain images, measured on the validation split.

    Args:
        violation: `val/violation`, the log of the retain FD over the highest allowed; None of a
            trial that was not measured, which is not feasible.
    """
    return violation is not None and violation <= 0.0


def rank(objective: float, violation: float) -> tuple[bool, float]:
    """Returns the key that orders measured trials, the best one highest.

    A feasible trial is above every infeasible one; among feasible trials the higher objective is
    better, among infeasible ones the lower violation (Deb, CMAME 2000, section 3).

    Args:
        objective: `val/objective`, the log of the forget FD over the original's.
        violation: `val/violation`, the log of the retain FD over the highest allowed.
    """
    feasible = is_feasible(violation)
    return feasible, objective if feasible else -violation
