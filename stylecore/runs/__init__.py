"""A run of `stylecore.transfer`: what is kept of it, shown of it, and taken up again."""
