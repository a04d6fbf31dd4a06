"""The admission webhook: pods get the sidecar while the API server makes them."""
