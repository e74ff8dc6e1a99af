# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Starting a run, and reading what it writes: checkpoints, logs.

May import ``models`` and ``utils``.
"""
