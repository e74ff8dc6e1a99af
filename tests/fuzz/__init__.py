# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
