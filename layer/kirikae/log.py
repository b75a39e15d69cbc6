"""One logger and one set of metrics for a process, both of Powertools; the dimension `service` is the stack's name."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit, single_metric

logger = Logger()
metrics = Metrics(namespace="kirikae")


def count(metric: str) -> None:
    """Count one of a metric, which `flush` writes."""
    metrics.add_metric(metric, "Count", 1)


def count_refusal(capability: str) -> None:
    """Count a refusal, for the capability too: that of one hides none of another, which has an alarm of its own."""
    count("Refused")
    dimensions = {"service": metrics.service or "", "capability": capability}
    with single_metric("Refused", MetricUnit.Count, 1, namespace=metrics.namespace, default_dimensions=dimensions):
        pass


def count_withheld(outcome: str, capability: str, *lasting: str) -> None:
    """Count that a run was held or refused, and the conditions that last; one of these may be Refused."""
    if outcome == "refused" or "Refused" in lasting:
        count_refusal(capability)
    for condition in ["Held"] * (outcome == "held") + [each for each in lasting if each != "Refused"]:
        count(condition)


def flush(*conditions: str) -> None:
    """Count the conditions that last, and write the metrics that were added, if any."""
    for condition in conditions:
        count(condition)
    if metrics.metric_set:
        metrics.flush_metrics()
