"""Who a pod is, and how it proves that: SPIFFE IDs, certificates, trust bundles, their sources."""
