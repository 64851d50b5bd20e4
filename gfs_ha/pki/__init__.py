"""Who is who: names in certificates, the authority of a cluster, and what it trusts."""
