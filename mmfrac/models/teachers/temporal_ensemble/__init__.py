# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The teacher that averages a film's maps over the epochs.

``teacher`` is what configs name, ``film_ensemble`` and ``film_memory`` keep the maps on disk. May import
what a teacher may.
"""
