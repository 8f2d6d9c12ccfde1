"""Values of rows as JSON has them: in cards, and for `amnesia show --format json`.

An infinity is a score like any other: rows hold it as a float, tables print `inf` and `-inf`, and
JSON, which has no word for it, gets the text "Infinity" or "-Infinity" (as Protocol Buffers write
it; `float` in Python and `Number` in JavaScript read both). NaN and null both mean "no value".
"""

import math
from typing import Any

import numpy as np
import pandas as pd

INFINITIES = {math.inf: "Infinity", -math.inf: "-Infinity"}


def plain(value: Any) -> Any:
    """Return a value of pandas as JSON has it; None where there is none. Times stay as they are."""
    if isinstance(value, list | np.ndarray):
        return [plain(inner) for inner in value]
    if isinstance(value, pd.Timestamp):
        return value
    if value is None or pd.isna(value):
        return None
    number = value.item() if isinstance(value, np.generic) else value
    return INFINITIES.get(number, number) if isinstance(number, float) else number
