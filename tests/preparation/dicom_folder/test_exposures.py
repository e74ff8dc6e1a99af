# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Several images of one exposure: one is taken, the others are left out with the reason."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mmfrac.deployment.selection import Selection
from mmfrac.preparation.dicom_folder import FolderOptions
from mmfrac.preparation.dicom_folder.body_part import is_chest, part_name
from mmfrac.preparation.dicom_folder.exposures import REASONS
from mmfrac.preparation.dicom_folder.header import read_header
from mmfrac.utils.errors import AnnotationError
from tests.datasets.radiographs.test_dicom import make_dicom
from tests.preparation.dicom_folder.test_convert import convert, folder

__all__ = ['folder']

PRESENTATION = dict(
    SOPClassUID='1.2.840.10008.5.1.4.1.1.1.1', PresentationIntentType='FOR PRESENTATION'
)
RAW = dict(SOPClassUID='1.2.840.10008.5.1.4.1.1.1.1.1', PresentationIntentType='FOR PROCESSING')
CAPTURE = dict(SOPClassUID='1.2.840.10008.5.1.4.1.1.7', ImageType=['DERIVED', 'SECONDARY'])


def image(folder, name, pixels=None, **header):
    """An image of one patient, study and view, with pixels of its own unless told."""
    number = len(list(folder.iterdir())) + 1
    stored = np.random.default_rng(number if pixels is None else pixels).integers(
        0, 4096, (24, 32), dtype=np.uint16
    )
    fields = dict(
        SOPInstanceUID=f'1.2.3.{number}',
        StudyInstanceUID='1.2.8',
        PatientID='p1',
        Modality='DX',
        ViewPosition='PA',
    )
    make_dicom(folder / name, stored, **fields | PRESENTATION | header)


def kept(folder, table=None, **options):
    summary, _, films, _ = convert(folder, table, **options)
    return sorted(films), summary


AFTER = dict(ImageType=['DERIVED', 'PRIMARY'], AcquisitionDate='20200101', AcquisitionTime='121500')

# what lies beside a sound image 'm' of the same exposure, what is said of it, and how it is kept
BESIDE = [
    (RAW, 'for_processing'),
    (dict(SOPClassUID=RAW['SOPClassUID'], PresentationIntentType=''), 'for_processing'),
    (RAW | dict(ViewPosition='', SeriesInstanceUID='1.7'), 'for_processing'),
    (CAPTURE, 'secondary_capture'),
    (CAPTURE | dict(ViewPosition=''), 'secondary_capture'),
    (dict(ImageType=['DERIVED', 'SECONDARY', 'POST']), 'secondary_capture'),
    (dict(ImageType=['DERIVED', 'PRIMARY', '', 'BONE']), 'dual_energy'),
    (dict(ImageType=['DERIVED', 'PRIMARY', '', 'SOFT_TISSUE']), 'dual_energy'),
    (dict(SeriesDescription='Chest soft tissue'), 'dual_energy'),
    (dict(SeriesDescription='Bone subtraction'), 'dual_energy'),
    (dict(SeriesDescription='ClearRead bone suppression'), 'dual_energy'),
    *(
        (dict(SeriesDescription=text), 'dual_energy')
        for text in (
            'Chest Soft-tissue',
            'Dual-Energy',
            'dual.energy',
            'Soft Tissues',
            'Bone-Image',
        )
    ),
    (dict(ImageType=['DERIVED', 'PRIMARY', '', 'SOFT-TISSUE']), 'dual_energy'),
    *(
        (dict(AFTER, SeriesDescription=text), 'derived')
        for text in ('lung nodule CAD', 'AI result', 'Heatmap', 'INVERTED', '')
    ),
    (dict(AFTER, ViewPosition=''), 'derived'),
    (dict(AFTER, ImageType=['DERIVED', 'SECONDARY']), 'derived'),
    (CAPTURE | dict(BurnedInAnnotation='YES', ViewPosition=''), 'burned_in'),
    (dict(BurnedInAnnotation='YES'), 'burned_in'),
    (CAPTURE | dict(SeriesDescription='Dose Report', ViewPosition=''), 'report'),
    (CAPTURE | dict(ImageType=['DERIVED', 'SECONDARY', 'DOSE_INFO']), 'report'),
    (dict(pixels=77), 'same_pixels'),
    (dict(pixels=77, StudyInstanceUID='1.2.9'), 'same_pixels'),
    (dict(AcquisitionDate='20200101', AcquisitionTime='120001.5'), 'same_exposure'),
    (dict(AcquisitionDateTime='20200101120000.9'), 'same_exposure'),
    (dict(IrradiationEventUID='1.5.5'), 'same_exposure'),
]


@pytest.mark.parametrize(('header', 'kind'), BESIDE, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize('name', ['a.dcm', 'z.dcm'])
def test_one_of_an_exposure_is_taken(folder, header, kind, name):
    taken = dict(AcquisitionDate='20200101', AcquisitionTime='120000', IrradiationEventUID='1.5.5')
    if name == 'a.dcm' and kind.startswith('same'):
        pytest.skip('of two alike the first name is taken')
    image(folder, name, **header)
    image(folder, 'm.dcm', 77, **taken)
    films, summary = kept(folder)
    assert films == ['m.dcm'] and summary.left_out == {REASONS[kind]: 1}
    films, summary = kept(folder, keep=(kind,))
    assert films == sorted(['m.dcm', name]) and summary.left_out == {}


DEVICE = 'AcquisitionDeviceProcessingDescription'
SERIES, PROTOCOL = 'SeriesDescription', 'ProtocolName'
# a description by its element, and what it says of an image
DESCRIBED = [
    *(
        (DEVICE, text, '')
        for text in (
            *('GRID SUPPRESSION', 'scatter suppression: on', 'Noise Suppression 3', 'Suppression'),
            *('Grid-line suppression', 'scatter_subtraction', 'noise suppression, ribs'),
        )
    ),
    *(
        (key, text, 'dual_energy')
        for key in (DEVICE, SERIES)
        for text in (
            *('BONE SUPPRESSED', 'Bone-Suppression', 'suppressed bone', 'Rib suppression'),
            *('Knochen-Suppression', 'Knochensuppression', 'Suppression of the ribs'),
            *('Suppression osseuse', 'noise suppression, bone suppression', 'Subtraction'),
            *(
                'Suppression des côtes',
                'Rib cage suppression',
                'Clavicle suppression',
                'bony suppression',
            ),
            *('Bone structure suppression', 'Thorax skeleton suppressed'),
        )
    ),
    *((PROTOCOL, text, '') for text in ('CHEST AP LOW DOSE', 'Low dose protocol', 'Dosis 2,1')),
    *(
        (SERIES, text, '')
        for text in (
            *('Thorax pa low-dose', 'CHEST PA with DOSE 2.1 dGycm2', 'Thorax dosisreduziert'),
            *('Chest low dose screening',),
        )
    ),
    *(
        (SERIES, text, 'report')
        for text in (
            *('DOSE SUMMARY', 'Dose-Sheet', 'dose info', 'Dose Information', 'DOSE RECORD', 'DOSE'),
            *('Dose', 'Radiation dose', 'Low dose chest, dose report', 'Dosisbericht', 'Dosis'),
            *('Compte rendu de dose', 'Dose Table', 'DOSE DATA', 'DOSE (mGy)', 'Dosisanzeige'),
            *('Patient Dose 1', 'Dose exposure record'),
            *('Dosis-Protokoll', 'Informe de dosis', 'Rapport de dose', 'X-Ray Dose Report'),
        )
    ),
]


@pytest.mark.parametrize(('key', 'text', 'kind'), DESCRIBED)
def test_what_a_description_says_of_an_image(tmp_path, key, text, kind):
    # beside others, as devices write them
    image(tmp_path, 'a.dcm', **{SERIES: 'CHEST PA', PROTOCOL: 'Chest', key: text})
    assert read_header('a.dcm', str(tmp_path)).kind == kind


@pytest.mark.parametrize(
    ('value', 'kind'),
    [
        *(('SUPPRESSED', 'dual_energy'), ('BONE_SUPPRESSED', 'dual_energy')),
        *(('GRID_SUPPRESSED', ''), ('LOW_DOSE', ''), ('DOSE', 'report')),
    ],
)
def test_what_a_word_of_the_image_type_says(tmp_path, value, kind):
    image(tmp_path, 'a.dcm', ImageType=['DERIVED', 'PRIMARY', value])
    assert read_header('a.dcm', str(tmp_path)).kind == kind


def test_a_whole_exposure(folder):
    image(folder, 'bone.dcm', ImageType=['DERIVED', 'PRIMARY', '', 'BONE'])
    image(folder, 'capture.dcm', **CAPTURE | dict(ViewPosition='', BurnedInAnnotation='YES'))
    image(folder, 'presentation.dcm', 5)
    image(folder, 'raw.dcm', **RAW)
    image(folder, 'zagain.dcm', 5)
    films, summary = kept(folder, 'StudyInstanceUID,label,x1,y1,x2,y2\n1.2.8,1,2,3,12,13\n')
    assert films == ['presentation.dcm'] and summary.boxes == 1
    assert summary.left_out == {
        REASONS[kind]: 1 for kind in ('burned_in', 'dual_energy', 'for_processing', 'same_pixels')
    }


TWO = [
    dict(ViewPosition='AP', AcquisitionTime='120000'),
    dict(AcquisitionTime='120300'),
    dict(AcquisitionDate='20200102', AcquisitionTime='120000'),
    dict(StudyInstanceUID='1.2.9'),
    dict(PatientID='p2', StudyInstanceUID='1.2.9'),
    dict(IrradiationEventUID='1.5.6', AcquisitionTime='120000'),
    dict(AcquisitionTime=''),
]


@pytest.mark.parametrize('header', TWO, ids=str)
def test_two_exposures_stay_two(folder, header):
    image(
        folder,
        'a.dcm',
        AcquisitionTime='120000',
        AcquisitionDate='20200101',
        IrradiationEventUID='1.5.5',
    )
    image(folder, 'b.dcm', **dict(AcquisitionDate='20200101') | header)
    films, summary = kept(folder)
    assert films == ['a.dcm', 'b.dcm'] and summary.left_out == {}


DERIVED = [
    dict(AFTER, ViewPosition='AP'),
    dict(AFTER, StudyInstanceUID='1.2.9'),
    dict(AFTER, IrradiationEventUID='1.5.6'),
]


@pytest.mark.parametrize('header', DERIVED, ids=str)
def test_derived_images_that_are_films_of_their_own(folder, header):
    first = dict(AcquisitionDate='20200101', AcquisitionTime='120000', IrradiationEventUID='1.5.5')
    image(folder, 'm.dcm', **first)
    image(folder, 'b.dcm', **header)
    films, summary = kept(folder)
    assert films == ['b.dcm', 'm.dcm'] and summary.left_out == {}


def test_derived_images_without_an_original_stay_two(folder):
    """As of devices that mark what they show as derived from what they stored for processing."""
    for name, time in (('1', '120000'), ('2', '120500')):
        image(folder, f'p{name}.dcm', **AFTER | dict(AcquisitionTime=time))
        image(
            folder,
            f'r{name}.dcm',
            ImageType=['ORIGINAL', 'PRIMARY'],
            AcquisitionDate='20200101',
            AcquisitionTime=time,
            **RAW,
        )
    films, summary = kept(folder)
    assert films == ['p1.dcm', 'p2.dcm'] and summary.left_out == {REASONS['for_processing']: 2}


def test_a_derived_image_that_the_table_names_is_taken(folder):
    image(folder, 'm.dcm', AcquisitionDate='20200101', AcquisitionTime='120000')
    image(folder, 'b.dcm', **AFTER)
    assert kept(folder, 'path,label\nb.dcm,1\n')[0] == ['b.dcm', 'm.dcm']
    assert kept(folder, 'path,label\nm.dcm,1\n')[0] == ['m.dcm']


def test_pa_and_lateral(folder):
    image(folder, 'a.dcm')
    image(folder, 'b.dcm', ViewPosition='LL')
    assert kept(folder, views='all')[0] == ['a.dcm', 'b.dcm']


def test_raw_images_of_two_exposures(folder):
    for name, time in (('1', '120000'), ('2', '120500')):
        image(folder, f'p{name}.dcm', AcquisitionTime=time)
        image(folder, f'r{name}.dcm', AcquisitionTime=time, **RAW)
    image(folder, 'unknown.dcm', **RAW)
    assert kept(folder)[0] == ['p1.dcm', 'p2.dcm']


def test_what_is_there_alone_is_taken_in_order(folder):
    image(folder, 'raw.dcm', **RAW)
    films, summary = kept(folder)
    assert films == ['raw.dcm'] and summary.noted == {
        'films taken although they are for processing': 1
    }
    image(folder, 'capture.dcm', **CAPTURE)
    films, summary = kept(folder)
    assert films == ['capture.dcm']
    assert summary.left_out == {REASONS['for_processing']: 1}
    image(folder, 'burned.dcm', BurnedInAnnotation='YES', StudyInstanceUID='1.2.9')
    assert kept(folder)[0] == ['capture.dcm']


def test_a_source_and_what_was_derived_from_it(folder):
    image(folder, 'b.dcm', SOPInstanceUID='1.2.3.99')
    one = Dataset()
    one.ReferencedSOPInstanceUID = '1.2.3.99'
    image(folder, 'a.dcm', ImageType=['DERIVED', 'PRIMARY'], SourceImageSequence=Sequence([one]))
    assert kept(folder)[0] == ['b.dcm']


def test_the_image_that_the_table_names_is_taken(folder):
    image(folder, 'a.dcm', 5)
    image(folder, 'raw.dcm', **RAW)
    image(folder, 'z.dcm', 5)
    films, summary = kept(folder, 'path,label\nraw.dcm,1\n')
    assert films == ['raw.dcm'] and summary.subsets['P_pub'] == 1
    assert kept(folder, 'SOPInstanceUID,label\n1.2.3.3,1\n')[0] == ['z.dcm']


def test_wrong_kinds_are_refused():
    with pytest.raises(ValueError, match=r"keep \['x'\] is none of"):
        FolderOptions(keep=('x',))


# the spine behind the chest, and words that hold a word of the chest
NOT_CHEST = (
    *('THORACIC SPINE', 'SPINE_THORACIC', 'THORACOLUMBAR', 'THORACO-LUMBAR', 'BRUSTWIRBELSAEULE'),
    *('BRUSTWIRBELSÄULE', 'BWS', 'THORACALE WERVELKOLOM', 'RACHIS THORACIQUE', 'COLUMNA TORACICA'),
    *('COLONNA TORACICA', 'ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА', '胸椎', 'WESTERN', 'COSTAR', 'CARIBBEAN'),
    *('HEARTLAND KNEE', 'MANCHESTER KNEE', 'LUNGHEZZA ARTI', 'ACROMIOCLAVICULAR'),
)
CHEST = (
    *('CHEST_ABDOMEN', 'ABDOMENCHEST', 'CHEST, THORACIC SPINE', 'LT RIBS', 'LTRIBS', 'HEMITHORAX'),
    *('TORÁCICO', 'LUNGE', 'KLATKA PIERSIOWA', 'ESTERNÓN', 'COSTILLAS', 'COSTELAS', 'BRUSTKORB'),
)


@pytest.mark.parametrize(
    ('part', 'chest'),
    [
        *(
            ('CHEST', True),
            ('THORAX', True),
            ('CHESTABDOMEN', True),
            ('RIBS', True),
            ('TORAX', True),
        ),
        *(('LUNG', True), ('CLAVICLE', True), ('胸部', True), ('PORTABLE CHEST', True)),
        *(('STERNUM', True), ('ГРУДНАЯ КЛЕТКА', True), ('', True)),
        *(
            ('HAND', False),
            ('KNEE', False),
            ('ABDOMEN', False),
            ('SKULL', False),
            ('DOE JANE', False),
        ),
        *(('TSPINE', False), ('RIBBON', False)),
        *((part, False) for part in NOT_CHEST),
        *((part, True) for part in CHEST),
    ],
)
def test_parts_of_the_body(folder, part, chest):
    assert is_chest(part) is chest or part == ''
    image(folder, 'a.dcm', BodyPartExamined='CHEST', StudyInstanceUID='1.2.9')
    # a code string has no character set
    image(folder, 'b.dcm', BodyPartExamined=part.encode().decode('latin-1'))
    films, summary = kept(folder)
    assert films == (['a.dcm', 'b.dcm'] if chest else ['a.dcm'])
    assert 'DOE' not in str(summary.left_out)
    if not chest:
        assert summary.left_out == {f'body part {part_name(part)}': 1}
    assert kept(folder, body_parts=('all',))[0] == ['a.dcm', 'b.dcm']


def region(code, meaning, scheme='SCT'):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, meaning
    return Sequence([item])


KNEE, THORAX = region('72696002', 'Knee region'), region('51185008', 'x')


@pytest.mark.parametrize(
    ('header', 'part'),
    [
        (dict(AnatomicRegionSequence=KNEE), 'KNEE'),
        (dict(AnatomicRegionSequence=region('T-D9200', '', 'SRT')), 'KNEE'),
        (dict(AnatomicRegionSequence=region('1', 'Knie')), 'KNEE'),
        (dict(AnatomicRegionSequence=region('122495006', 'Thoracic spine')), 'SPINE'),
        (dict(AnatomicRegionSequence=KNEE, StudyDescription='Chest and knee'), 'KNEE'),
        (dict(AnatomicRegionSequence=KNEE, SeriesDescription='Chest'), ''),
        (dict(AnatomicRegionSequence=KNEE, BodyPartExamined='CHEST'), ''),
        (dict(AnatomicRegionSequence=THORAX, SeriesDescription='HAND PA'), ''),
        (dict(AnatomicRegionSequence=region('1', 'Trunk')), ''),
        (dict(AnatomicRegionSequence=Sequence([])), ''),
        (dict(StudyDescription='XR KNEE LEFT 2 VIEWS'), 'KNEE'),
        (dict(StudyDescription='X-ray ankle series'), 'ANKLE'),
        (dict(StudyDescription='XR ABDOMEN'), 'ABDOMEN'),
        # why, not what
        *(
            (dict(StudyDescription=text, ViewPosition='PA'), '')
            for text in (
                'PREOP KNEE REPLACEMENT',
                'HIP FRACTURE PREOP',
                'BREAST CANCER STAGING',
                'RO SINUS TACHYCARDIA',
                'PA 6 FEET',
                'ABDOMEN ERECT AND PA',
                'SHOULDER TRAUMA',
            )
        ),
        (dict(StudyDescription='Acute abdomen series'), ''),
        (dict(StudyDescription='ABDOMEN 3 VIEWS'), ''),
        (dict(StudyDescription='XR Abdomen 2 view'), ''),
        (dict(StudyDescription='Abdomen 1 view'), 'ABDOMEN'),
        (dict(StudyDescription='Pelvis 2 views'), 'PELVIS'),
        (dict(AnatomicRegionSequence=region('818981001', '')), 'ABDOMEN'),
        (dict(AnatomicRegionSequence=region('818981008', '')), ''),
        (dict(StudyDescription='CHEST AND KNEE'), ''),
        (dict(StudyDescription='Thorax + Abdomen'), ''),
        (dict(StudyDescription='CXR / C-SPINE'), ''),
        (dict(StudyDescription='Chest and knee', SeriesDescription='KNEE AP'), 'KNEE'),
        (dict(StudyDescription='XR KNEE', ProtocolName='Chest'), ''),
        (dict(StudyDescription='XR KNEE', BodyPartExamined='CHEST'), ''),
        (dict(SeriesDescription='HAND PA'), 'HAND'),
        (dict(ProtocolName='KNEE AP'), 'KNEE'),
        (dict(SeriesDescription='PA', ProtocolName='Knie_links'), 'KNEE'),
        (dict(SeriesDescription='T-Spine AP'), 'SPINE'),
        (dict(SeriesDescription='HAND PA', ProtocolName='Chest'), ''),
        (dict(SeriesDescription='AP head up, arms raised'), ''),
        (dict(SeriesDescription='de pie'), ''),
        (dict(SeriesDescription='HAND PA', BodyPartExamined='CHEST'), ''),
    ],
)
def test_parts_that_bodypartexamined_does_not_name(folder, header, part):
    image(folder, 'a.dcm', StudyInstanceUID='1.2.9')
    image(folder, 'b.dcm', **header)
    films, summary = kept(folder)
    assert films == (['a.dcm'] if part else ['a.dcm', 'b.dcm'])
    assert summary.left_out == ({f'body part {part}': 1} if part else {})
    assert kept(folder, body_parts=('all',))[0] == ['a.dcm', 'b.dcm']
    assert bool(Selection().facts(folder / 'b.dcm').reason) is bool(part)


@pytest.mark.parametrize('modality', ['MG', 'CT', 'XA', 'DOE^JANE', 'PX'])
def test_modalities(folder, modality):
    image(folder, 'b.dcm', Modality=modality)
    with pytest.raises(AnnotationError) as caught:
        kept(folder)
    assert 'DOE' not in str(caught.value) and 'modality' in str(caught.value)
