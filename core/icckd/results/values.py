"""Values of DuckDB and of reports as JSON has them."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

FORMULA = (
    r"^([=@\t\r\n＝＠＋－]|[+-]([^0-9.]|$)"
    r"|[+-][0-9.,]*([eE][+-]?[0-9]+)?%?\s*[-+*/^&=<>|!:])"
)
"""Texts that a spreadsheet which opens a CSV file takes for formulas; Python and DuckDB read it.

A number with a sign is none; one with an operator behind it is, such as -1+cmd|' /C calc'!A0.
"""


def plain(value: Any) -> Any:
    """Return a value of DuckDB in the types of JSON.

    Decimals become numbers, bytes hexadecimal digits, times, intervals, UUIDs and the like text;
    keys of a map become text.

    >>> plain({1: (Decimal("1.5"), b"ab")})
    {'1': [1.5, '6162']}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    return str(value)


def strict(value: Any) -> Any:
    """Return a value of JSON with words for the numbers that JSON lacks, however deep they are.

    They are the words of the journals: "nan", "inf", "-inf".

    >>> strict([0.5, float("-inf")])
    [0.5, '-inf']
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: strict(inner) for key, inner in value.items()}
    return [strict(inner) for inner in value] if isinstance(value, (list, tuple)) else value
