"""What a master is asked for who has no way to its port for watchers."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word


class ReadMetrics(Word, frozen=True, tag="read_metrics"):
    """-> MetricsText, from every master for itself. Raises: NotReady while it cannot look."""


class MetricsText(Word, frozen=True, tag="metrics_text"):
    """What a master measures now, as Prometheus reads it."""

    node: str
    text: str


MetricsRequest = ReadMetrics
MetricsReply = MetricsText
