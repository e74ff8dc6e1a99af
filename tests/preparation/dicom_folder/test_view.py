# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.preparation.dicom_folder.view import stored_otherwise, view_in, view_of


@pytest.mark.parametrize(
    ('text', 'view'),
    [
        *(
            ('PA', 'PA'),
            ('pa', 'PA'),
            ('Chest PA', 'PA'),
            ('view: PA', 'PA'),
            ('Thorax p.a.', 'PA'),
        ),
        *(('W033 Thorax PA', 'PA'), ('POSTERO-ANTERIOR', 'PA'), ('postero_anterior', 'PA')),
        *(('posteroanterior', 'PA'), ('AP', 'AP'), ('CHEST_AP_PORT', 'AP'), ('A.P. supine', 'AP')),
        *(('antero-posterior', 'AP'), ('AP AXIAL', 'AP'), ('Chest 1V Frontal', 'frontal')),
        *(('Thorax face', 'frontal'), ('PA/AP', 'frontal'), ('frontal PA', 'PA')),
        *(('LATERAL', 'lateral'), ('LL', 'lateral'), ('RL', 'lateral'), ('Chest Lat.', 'lateral')),
        *(('XTABLE LATERAL', 'lateral'), ('Thorax seitlich', 'lateral'), ('profil', 'lateral')),
        *(('latero-laterale', 'lateral'), ('SWIMMERS', 'lateral'), ('left lateral', 'lateral')),
        *(('LAO', 'oblique'), ('RIBS OBLIQUE', 'oblique'), ('RLO', 'oblique')),
        *(('LLD', 'frontal'), ('AP LLD', 'AP'), ('left lateral decubitus', 'frontal')),
        *(('胸部正位', 'frontal'), ('胸部侧位', 'lateral'), ('后前位', 'PA'), ('前后位', 'AP')),
        *(('', ''), ('CHEST', ''), ('CHEST PA AND LAT', ''), ('CHEST 2 VIEWS', ''), ('PALM', '')),
        *(('BILATERAL RIBS', ''), ('LAPAROSCOPY', ''), ('MAP', ''), ('papa', ''), ('P', '')),
    ],
)
def test_view_in(text, view):
    assert view_in(text) == view


def test_the_first_text_that_tells_counts():
    assert view_of(['', 'CHEST', 'LAT', 'PA']) == 'lateral'
    assert view_of(['PA', 'LATERAL']) == 'PA'
    assert view_of(['PA LAT', 'AP'], ('A', 'F')) == 'AP'


@pytest.mark.parametrize(
    ('orientation', 'view'),
    [
        *((('L', 'F'), 'frontal'), (('R', 'F'), 'frontal'), (('H', 'L'), 'frontal')),
        *((('A', 'F'), 'lateral'), (('P', 'F'), 'lateral'), (('F', 'P'), 'lateral')),
        *(
            (('L', 'P'), ''),
            (('LA', 'F'), ''),
            (('L',), ''),
            ((), ''),
            (('', 'F'), ''),
            (('L', 'L'), ''),
        ),
        (('x', 'y'), ''),
    ],
)
def test_orientation(orientation, view):
    assert view_of(['', 'CHEST'], orientation) == view


@pytest.mark.parametrize(
    ('orientation', 'stored'),
    [
        *(
            (('L', 'F'), ''),
            (('l', 'f'), ''),
            (('L', 'FP'), ''),
            (('LA', 'F'), ''),
            (('A', 'F'), ''),
        ),
        *((('R', 'F'), 'mirrored'), (('RP', 'FL'), 'mirrored')),
        *((('L', 'H'), 'stored upside down'), (('R', 'HP'), 'stored upside down')),
        *((('A', 'H'), 'stored upside down'), (('PL', 'H'), 'stored upside down')),
        *((('F', 'R'), 'stored on its side'), (('H', 'L'), 'stored on its side')),
        *(((), ''), (('',), ''), (('L',), ''), (('', 'H'), ''), (('L', 'P'), ''), (('F', 'H'), '')),
        *((('left', 'head'), ''), (('x', 'y'), ''), (('L', 'H', 'F'), '')),
    ],
)
def test_how_a_film_is_stored(orientation, stored):
    assert stored_otherwise(orientation) == stored
    is_mirrored = stored == 'mirrored'
    assert stored_otherwise(orientation, 'lateral') == ('' if is_mirrored else stored)
