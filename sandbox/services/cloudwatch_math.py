"""CloudWatch's numbers as pure functions: statistics, metric math, embedded metric format, the state of an alarm."""

import ast
import itertools
import json
import operator
from collections.abc import Callable, Sequence

STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Average": lambda values: sum(values) / len(values),
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": len,
}
COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


def evaluated(points: Sequence[bool | None], needed: int, periods: int, missing: str, current: str) -> str:
    """Return the state of an alarm: points of its evaluation range, oldest first, are breaching, not, or None.

    needed: DatapointsToAlarm. periods: EvaluationPeriods. missing: TreatMissingData. current: the state before.
    The rules and both tables of "How alarm state is evaluated when data is missing",
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    real = [point for point in points if point is not None]
    if len(real) >= periods:
        return "ALARM" if sum(real[-periods:]) >= needed else "OK"
    breaching = sum(real)
    if breaching >= needed:
        return "ALARM"
    if missing == "breaching":
        return "ALARM" if breaching + periods - len(real) >= needed else "OK"
    if missing == "notBreaching" or not all(real):
        return "OK"
    if missing == "ignore":
        return current
    if not real:
        return "INSUFFICIENT_DATA"
    # Only breaching points, but too few: an alarm once the oldest is as old as the number of points that it takes.
    return "ALARM" if len(points) - points.index(True) >= needed else current


def emf(line: str) -> list[tuple[str, str, dict[str, str], float, str | None]]:
    """Read the metrics of a log line in the embedded metric format: namespace, name, dimensions, value, unit.

    Like CloudWatch, take nothing from a line that breaks the format.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    found = []
    if '"_aws"' not in line:
        return []
    try:
        record = json.loads(line)
        for directive in record["_aws"]["CloudWatchMetrics"]:
            for names, metric in itertools.product(directive["Dimensions"], directive["Metrics"]):
                dimensions = {name: str(record[name]) for name in names}
                value = record[metric["Name"]]
                for number in value if isinstance(value, list) else [value]:
                    named = directive["Namespace"], metric["Name"], dimensions
                    found.append((*named, float(number), metric.get("Unit")))
    except (ValueError, KeyError, TypeError):
        return []
    return found


# Metric math: numbers, metrics, + - * /, comparisons, FILL, IF, and MAX, MIN, SUM, AVG of a list. None is missing.

_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_AGGREGATE = {"MAX": max, "MIN": min, "SUM": sum, "AVG": STATISTICS["Average"]}


def math(expression: str, values: dict[str, float | None]) -> float | None:
    """Return a metric math expression's value for one period, by the values of its ids; None is missing.

    ValueError for an expression that the sandbox lacks.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """
    return _compute(ast.parse(expression.strip(), mode="eval").body, values)


def _compute(node: ast.expr, values: dict[str, float | None]) -> float | None:
    match node:
        case ast.Constant(value=(int() | float()) as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            value = _compute(inner, values)
            return None if value is None else -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _both(_BINARY[type(op)], _compute(left, values), _compute(right, values))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _both(_COMPARE[type(op)], _compute(left, values), _compute(right, values))
        case ast.Call(func=ast.Name(id="FILL"), args=[inner, default]):
            value = _compute(inner, values)
            return _compute(default, values) if value is None else value
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            value = _compute(condition, values)
            return None if value is None else _compute(then if value else otherwise, values)
        case ast.Call(func=ast.Name(id=name), args=[ast.List(elts=items)]) if name in _AGGREGATE:
            found = [value for item in items if (value := _compute(item, values)) is not None]
            return float(_AGGREGATE[name](found)) if found else None
    raise ValueError(f"The sandbox lacks this metric math: {ast.unparse(node)}")


def _both(op: Callable[[float, float], float], left: float | None, right: float | None) -> float | None:
    if left is None or right is None or (op is operator.truediv and right == 0):
        return None
    return float(op(left, right))
