# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.

FILM_SUFFIXES = ('.dcm', '.dicom', '.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
"""Suffixes of film files, tried in this order where a set names its films without; DICOM files often
have none, or what looks like one in a UID."""
