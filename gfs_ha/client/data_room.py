"""What every push and fetch of one client shares: streams, buffers, the cluster's mark."""

from __future__ import annotations

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.net.buffers import BufferPool
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import StreamNetwork
from gfs_ha.protocol.data import cluster_hash
from gfs_ha.runtime import Runtime


class DataRoom:
    """The client's end of all data ports. Thread-safe."""

    def __init__(
        self,
        cluster_id: str,
        network: StreamNetwork,
        runtime: Runtime,
        label: str = "",
        trace_id: TraceId = NO_TRACE,
    ) -> None:
        """Args: `label` is how the client calls itself in each request; `trace_id` says which
        command of it asks.
        """
        self.label = label
        self.trace_id = trace_id
        self.cluster = cluster_hash(cluster_id)
        self.runtime = runtime
        self.streams = StreamPool(network, runtime)
        self.buffers = BufferPool(runtime)

    def close(self) -> None:
        """Hang up on all idle streams."""
        self.streams.close()
