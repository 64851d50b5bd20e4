"""`gfsctl admin`: the operators' nouns."""

from __future__ import annotations

from gfs_ha.cli.verb import Family, Row

_HERE = "gfs_ha.cli.admin"

admin = Family(
    "admin",
    help="For operators: how the cluster is, and where things lie.",
    examples="""
    gfsctl admin status -w                      # the cluster on one screen, kept up to date
    gfsctl admin top                            # live; keys sort, filter, open
    gfsctl admin health                         # what is not as it should be; exit 8 if anything
    gfsctl admin masters ls -o json             # for programs
    gfsctl admin placement show /docs/report.pdf  # where its bytes lie
    """,
    rows={
        "status": Row(f"{_HERE}.status", "status", "The cluster on one screen"),
        "top": Row(f"{_HERE}.top", "top", "The cluster live: servers, chunks, jobs, leases"),
        "health": Row(f"{_HERE}.health", "health", "What is not as it should be (exit 8)"),
        "events": Row(f"{_HERE}.events", "events", "What happened, in words; -f follows"),
        "logs": Row(f"{_HERE}.logs", "logs", "What masters and chunkservers log; -f follows"),
        "metrics": Row(f"{_HERE}.metrics", "metrics", "What a master measures, for Prometheus"),
        "trace": Row(f"{_HERE}.trace", "trace", "One command's way through all of them"),
        "bundle": Row(f"{_HERE}.bundle", "bundle", "One archive for support, without secrets"),
        "masters": Row(f"{_HERE}.masters", "masters", "The masters and every term that led"),
        "chunkservers": Row(f"{_HERE}.chunkservers", "chunkservers", "The chunkservers"),
        "disks": Row(f"{_HERE}.disks", "disks", "The disks of the chunkservers, one by one"),
        "chunks": Row(f"{_HERE}.chunks", "chunks", "Chunks and their copies"),
        "fsck": Row(f"{_HERE}.fsck", "fsck", "Compare names, chunks and disks (exit 8, 9)"),
        "leases": Row(f"{_HERE}.leases", "leases", "Who orders the appends to which file"),
        "repair": Row(f"{_HERE}.repair", "repair", "Lost copies that are made anew"),
        "gc": Row(f"{_HERE}.gc", "gc", "What waits to be collected, what was reclaimed"),
        "scrub": Row(f"{_HERE}.scrub", "scrub", "Disks that are read for damage, round by round"),
        "jobs": Row(
            f"{_HERE}.jobs", "jobs", "Long work: rebalance, drains; how far, what blocks it"
        ),
        "rebalance": Row(f"{_HERE}.rebalance", "rebalance", "Even out how full the servers are"),
        "placement": Row(f"{_HERE}.placement", "placement", "Where the bytes of a file lie"),
        "tls": Row(f"{_HERE}.tls", "tls", "Certificates: who belongs to the cluster, how long"),
        "sim": Row(f"{_HERE}.sim", "sim", "Simulate masters and clients from seeds (exit 8)"),
    },
)
