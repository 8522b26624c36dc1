"""Painters: feed-forward networks that paint a photograph in one of several styles in a single pass.

References
----------
Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style", ICLR.
Johnson, Alahi and Fei-Fei (2016), "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV.
"""
