"""A run of `stylecore.transfer`: its history, its checkpoint, and the callbacks that show its progress."""
