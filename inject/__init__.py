"""Manifests in, manifests out: the sidecar put into pods and taken out again."""
