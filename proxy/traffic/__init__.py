"""Traffic policy: Kubernetes objects and annotations → rows that the data plane reads."""
