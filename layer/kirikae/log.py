"""One logger and one set of metrics for a process, both of Powertools; the dimension `service` is the stack's name."""

from aws_lambda_powertools import Logger, Metrics

logger = Logger()
metrics = Metrics(namespace="kirikae")


def count(metric: str) -> None:
    """Count one of a metric, which `flush` writes."""
    metrics.add_metric(metric, "Count", 1)


def flush(*conditions: str) -> None:
    """Count the conditions that last, and write the metrics that were added, if any."""
    for condition in conditions:
        count(condition)
    if metrics.metric_set:
        metrics.flush_metrics()
