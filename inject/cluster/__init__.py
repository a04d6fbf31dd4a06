"""`remora check` in a cluster: before an installation, the installation itself, and the pods."""
