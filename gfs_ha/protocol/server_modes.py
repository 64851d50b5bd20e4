"""How chunkservers and disks stand, on the wire: modes, labels, maintenance, removal, the plans."""

from __future__ import annotations

# Of a server; those that are no service take no new chunks, copies or tails.
IN_SERVICE = "in-service"
DRAINING = "draining"
DRAINED = "drained"
DECOMMISSIONING = "decommissioning"
DECOMMISSIONED = "decommissioned"
SERVER_MODES = (IN_SERVICE, DRAINING, DRAINED, DECOMMISSIONING, DECOMMISSIONED)
LEAVING = (DRAINING, DECOMMISSIONING)  # A job moves off what lies there.
EMPTY = (DRAINED, DECOMMISSIONED)  # It did.
# Of a disk: IN_SERVICE, DRAINING, DRAINED.
DISK_MODES = (IN_SERVICE, DRAINING, DRAINED)
