"""A page to paint on, served to the browsers of this machine: ``stylecore serve``.

    browser  <- HTTP ->  app (security, routes)  ->  studio (queue, events)  ->  store (files)
                                                       |
                                          two spawned processes, one pipe each
                                          reading: decodes uploads, predicts time and memory
                                          painting: runs `stylecore.transfer`, one job at a time

The server decodes no picture and computes nothing; a picture that crashes its decoder, or a run that exhausts the
memory, ends one of the two processes, which is started again. Every job has a folder with its settings and a
checkpoint, from which it continues after any of the three processes was killed.
"""
