# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Parameters, operations, time and memory of the models of configs.

May import the rest of ``engine``, ``models`` and ``utils``.
"""
