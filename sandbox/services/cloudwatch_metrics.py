"""CloudWatch's metrics: values by virtual minute, published by the services and by PutMetricData."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from moto.cloudwatch.models import MetricDatum

from sandbox.frontdoor import FrontDoor
from sandbox.services.cloudwatch_math import STATISTICS
from sandbox.wire import Refusal

MINUTE = 60
_KEPT_SECONDS = 26 * 3600  # an alarm looks back at most a day

type Put = Callable[..., None]  # Metrics.put: namespace, metric, dimensions, value and unit
type _Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Metrics:
    """The metrics of one account."""

    def __init__(self, account: FrontDoor) -> None:
        self._account = account
        self._values: dict[_Key, dict[int, list[float]]] = defaultdict(dict)  # by the end of their minute
        self._lock = threading.Lock()  # of the values
        now = int(account.clock.time())
        self._minute_ends = now - now % MINUTE + MINUTE
        # Called with put() at the end of each virtual minute; what they put still belongs to it.
        self.publishers: list[Callable[[Put], object]] = []
        # Called afterwards with the end of that minute, in seconds since the epoch.
        self.after_minute: Callable[[int], object] = lambda _end: None
        account.clock.every(MINUTE, self._minute)
        account.override("cloudwatch", "PutMetricData", self._put_data)

    def put(
        self, namespace: str, metric: str, dimensions: dict[str, str], value: float, unit: str | None = None
    ) -> None:
        """Record a value in the present virtual minute; unit: one of CloudWatch's, such as Count."""
        with self._lock:
            minutes = self._values[namespace, metric, tuple(sorted(dimensions.items()))]
            minutes.setdefault(self._minute_ends, []).append(float(value))
            while (oldest := next(iter(minutes))) < self._minute_ends - _KEPT_SECONDS:
                del minutes[oldest]
        listed = [{"Name": name, "Value": text} for name, text in dimensions.items()]
        now = self._account.clock.now().replace(tzinfo=None)
        self._account.backend("cloudwatch").metric_data.append(
            MetricDatum(namespace, metric, float(value), listed, now, unit)
        )

    def statistic(self, metric: dict[str, Any], statistic: str, window: range) -> float | None:
        """Return a metric's statistic over the minutes that end at these seconds since the epoch, None without values.

        metric: {Namespace, MetricName, Dimensions}. statistic: a name in STATISTICS.
        """
        dimensions = tuple(sorted((pair["Name"], pair["Value"]) for pair in metric.get("Dimensions", [])))
        with self._lock:
            minutes = self._values.get((metric["Namespace"], metric["MetricName"], dimensions), {})
            values = [value for minute in window for value in minutes.get(minute, [])]
        return STATISTICS[statistic](values) if values else None

    def _minute(self) -> None:
        with self._account.lock:
            for publish in self.publishers:
                publish(self.put)
            end = self._minute_ends
            with self._lock:
                self._minute_ends = end + MINUTE
            self.after_minute(end)

    def _put_data(self, params: dict[str, Any], _principal: str) -> dict[str, Any]:
        for datum in params.get("MetricData", []):
            dimensions = {pair["Name"]: pair["Value"] for pair in datum.get("Dimensions", [])}
            if "StatisticValues" in datum:
                raise Refusal("NotImplemented", "The sandbox lacks StatisticValues", 501)
            values = datum.get("Values") or [datum["Value"]]
            for value, count in zip(values, datum.get("Counts") or [1] * len(values), strict=True):
                for _ in range(int(count)):
                    self.put(params["Namespace"], datum["MetricName"], dimensions, value, datum.get("Unit"))
        return {}
