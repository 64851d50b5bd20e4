"""Faults on real master processes, in network namespaces of their own."""
