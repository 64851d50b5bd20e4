"""What three masters promise their clients: names, exactly once, going on without the leader."""

from __future__ import annotations

from trio import Client, Trio

from gfs_ha.protocol.metadata import ListDirectory, Listing, Mkdir, Stat


def names(client: Client, path: str) -> list[str]:
    listing = client.ask(ListDirectory(path))
    assert isinstance(listing, Listing), listing
    return [entry.name for entry in listing.entries]


def test_a_directory_that_was_made_is_listed(client: Client) -> None:
    assert client.ask(Mkdir("/a")).kind == "directory"
    assert names(client, "/") == ["a"]
    assert client.ask(Stat("/a")).kind == "directory"


def test_the_cluster_goes_on_when_its_leader_stops(trio: Trio, client: Client) -> None:
    client.ask(Mkdir("/before"))
    trio.stop(trio.leader())
    client.ask(Mkdir("/after"))
    assert names(client, "/") == ["after", "before"]
