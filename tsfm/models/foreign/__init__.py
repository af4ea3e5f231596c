"""Foreign forecasters: any model, in an environment of its own, asked over a pipe.

A directory with ``foreign.yaml`` and ``worker.py`` is such a model; ``docs/foreign.md`` tells how
it is written. Its side of the pipe is the one file in ``standalone/``, which imports nothing of
tsfm.
"""
