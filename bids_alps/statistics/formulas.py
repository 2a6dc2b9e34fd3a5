"""Models of the user: all formulas of a plan."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bids_alps.errors import AlpsError
from bids_alps.statistics.findings import Findings
from bids_alps.statistics.models import fit_model
from bids_alps.statistics.plan import Plan
from bids_alps.statistics.repeats import PARTICIPANT_KEY


def fit_models(runs: pd.DataFrame, plan: Plan, findings: Findings) -> dict[str, pd.DataFrame]:
    """Fit all formulas; those that fail are reported in the notes."""
    coefficients, tests, checks = list[pd.DataFrame](), list[pd.DataFrame](), list[pd.DataFrame]()
    table = runs if "participant" in runs else runs.assign(participant=runs[PARTICIPANT_KEY])
    for formula in plan.formulas:
        try:
            fitted = fit_model(table, formula, participant=PARTICIPANT_KEY)
        except AlpsError as error:
            findings.notes.append(str(error))
            continue
        except Exception as error:  # noqa: BLE001 - a failing formula must not stop the others
            findings.notes.append(f"{formula}: could not be fitted ({type(error).__name__}: {error}).")
            continue
        findings.flow.note(fitted.excluded, "lacks a variable of the model", of=f"model {formula}")
        labels: dict[str, Any] = {"model": formula, "kind": fitted.kind, "n": fitted.n, "participants": fitted.people}
        labels["n_excluded"] = len(fitted.excluded)
        coefficients.append(fitted.coefficients.assign(**labels))
        tests.append(fitted.tests.assign(**labels))
        checks.append(fitted.checks.assign(model=formula))
    if not coefficients:
        return {}
    named = {"models": coefficients, "model_tests": tests, "checks": checks}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in named.items()}
