"""What the objects mean for this pod: who it is, what may come in, who is meshed."""
