"""Data that are identical in Python and R: closed forms instead of random numbers.

In R::

    noise <- function(i) { u <- sin(12.9898 * i) * 43758.5453; qnorm(u - floor(u)) }
    i <- 1:60
    cohort <- data.frame(i = i, group = c("control", "mild", "patient")[1 + i %% 3],
      age = 50 + 15 * sin(1.7 * i), sex = ifelse(sin(2.3 * i) > 0, "F", "M"),
      site = c("a", "b", "b", "c")[1 + (i %/% 3) %% 4])
    cohort$y <- with(cohort, 1.5 - 0.004 * (age - 50) - 0.05 * (group == "mild") - 0.12 * (group == "patient") +
      0.03 * (sex == "F") + 0.04 * (site == "b") + 0.1 * noise(i) * (1 + 0.5 * (group == "patient")))
    cohort$y_se <- 0.03 + 0.05 * abs(sin(3.1 * i))
    visits <- expand.grid(visit = 1:3, person = 1:24)
    visits <- visits[!(visits$person %% 5 == 0 & visits$visit == 3), ]
    visits$group <- ifelse(visits$person %% 2 == 0, "patient", "control")
    visits$age <- 50 + 15 * sin(1.7 * visits$person); visits$time <- visits$visit - 1
    visits$y <- with(visits, 1.5 - 0.004 * (age - 50) - 0.1 * (group == "patient") - 0.03 * time +
      0.08 * noise(person) + 0.04 * noise(1000 + person) * time + 0.06 * noise(2000 + 10 * person + visit))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats


def noise(i: Any) -> Any:
    """Return standard normal numbers that look random."""
    u = np.sin(12.9898 * np.asarray(i)) * 43758.5453
    return stats.norm.ppf(u - np.floor(u))


def cohort() -> pd.DataFrame:
    """Return 60 people of three groups at three sites, with the standard error of each value."""
    i = np.arange(1, 61)
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02}" for n in i],
            "group": np.array(["control", "mild", "patient"])[i % 3],
            "age": 50 + 15 * np.sin(1.7 * i),
            "sex": np.where(np.sin(2.3 * i) > 0, "F", "M"),
            "site": np.array(["a", "b", "b", "c"])[i // 3 % 4],
        }
    )
    effect = np.select([table["group"] == "mild", table["group"] == "patient"], [-0.05, -0.12], 0.0)
    table["y"] = (
        1.5 - 0.004 * (table["age"] - 50) + effect + 0.03 * (table["sex"] == "F") + 0.04 * (table["site"] == "b")
    )
    table["y"] += 0.1 * noise(i) * (1 + 0.5 * (table["group"] == "patient"))
    table["y_se"] = 0.03 + 0.05 * np.abs(np.sin(3.1 * i))
    return table


def visits() -> pd.DataFrame:
    """Return 24 people of two groups with three visits; every fifth person lacks the last."""
    person, visit = np.repeat(np.arange(1, 25), 3), np.tile([1, 2, 3], 24)
    table = pd.DataFrame({"person": person, "visit": visit})
    table = table[~((table["person"] % 5 == 0) & (table["visit"] == 3))].reset_index(drop=True)
    p, v = table["person"].to_numpy(), table["visit"].to_numpy()
    table["participant_id"] = [f"sub-{n:02}" for n in p]
    table["group"] = np.where(p % 2 == 0, "patient", "control")
    table["age"] = 50 + 15 * np.sin(1.7 * p)
    table["time"] = v - 1
    y = 1.5 - 0.004 * (table["age"] - 50) - 0.1 * (p % 2 == 0) - 0.03 * (v - 1)
    table["y"] = y + 0.08 * noise(p) + 0.04 * noise(1000 + p) * (v - 1) + 0.06 * noise(2000 + 10 * p + v)
    return table
