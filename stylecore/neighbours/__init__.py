"""Neural neighbour style transfer: each part of the photograph is painted like the part of the painting nearest to it.

Where Gram matrices compare averages over the whole picture, here every position of the picture has a target of its own:
the features of one position of the painting. See `stylecore.neighbours.painting` for the order of the steps.

- `hypercolumns`: features of all layers, joined at a quarter of the picture's size, and the way back.
- `search`: the nearest feature of the painting for each feature of the picture.
- `objective`: agreement with the features found, and its gradient.
- `pyramid`: the picture as a Laplacian pyramid, which Adam optimises.
- `painting`: the scales, from coarse to fine.

References
----------
Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich (2022), "Neural Neighbor Style Transfer", arXiv 2203.13215.
"""
