"""Consensus among the masters: PySyncObj, hardened, with log and state in one transaction."""
