# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import zlib

import cv2
import numpy as np

from mmfrac.datasets.radiographs.read import VALUES_VERSION, read_radiograph
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

# Checksums of planes that need no rounding library: raise VALUES_VERSION when they have to change, or
# film caches that were written before go on being used.
VALUES = {
    7: dict(
        png8=3023629315,
        png16=3297910732,
        window=3736395082,
        stretch=1245631787,
        inverted=2960666134,
    ),
}


def test_values_change_only_with_their_version(tmp_path):
    grey = ramp((16, 16), 0, 255, np.uint8)
    cv2.imwrite(str(tmp_path / 'png8.png'), grey)
    cv2.imwrite(str(tmp_path / 'png16.png'), grey.astype(np.uint16) * 250)
    window = dict(WindowCenter=2000, WindowWidth=3000)
    films = dict(
        png8=tmp_path / 'png8.png',
        png16=tmp_path / 'png16.png',
        window=make_dicom(tmp_path / 'a', ramp(), **window),
        stretch=make_dicom(tmp_path / 'b', ramp(low=500, high=3000)),
        inverted=make_dicom(tmp_path / 'c', ramp(), PhotometricInterpretation='MONOCHROME1'),
    )
    found = {name: zlib.crc32(read_radiograph(path).data) for name, path in films.items()}
    assert found == VALUES[VALUES_VERSION]
