# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A page that shows what a packaged model finds on images that are dropped on it.

``uploads`` takes files apart, ``scoring`` asks the model, ``guard`` refuses what is no request of the
page, ``app`` ties them together. Nothing that was sent stays: what arrives lies in memory, or above
1 MiB in a temporary file without a name, until it is scored.
"""
