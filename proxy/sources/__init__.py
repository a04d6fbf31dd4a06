"""Kubernetes objects as users write them: read from where they lie, strictly, one file per kind."""
