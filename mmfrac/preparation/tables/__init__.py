# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One reader of CSV tables for all: columns, values, and what is wrong with them.

May import ``datasets.labels`` and ``utils``.
"""
