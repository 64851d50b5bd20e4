"""Power cuts and failing disks below a master's store."""
