"""A small shop behind sidecars, asked by locust: what remora's policies do for those who buy."""
