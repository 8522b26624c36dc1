"""Comparisons of several transfers: presets, the experiments of the paper, the networks and the demonstration."""
