"""The init step: redirects a pod's TCP traffic to the proxy, and takes the redirection away again.

Read in this order: `spec` (what to redirect), `ports` (words that are refused), `rules` (the pure
builder), `xtables` and `nftables` (the two texts it is written in), `backends` (which tools),
`restore` (one transaction, read back, undone as a whole), `validate` (a real connection).
"""
