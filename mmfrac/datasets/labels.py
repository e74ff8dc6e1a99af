# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The one rule for label, regions, source, patient and subset of a film, and for which boxes are
lesions."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

SUBSETS = ('P_hos', 'N', 'P_pub', 'U')


def subset_of(label: int, regions: bool) -> str:
    """Which set a film belongs to.

    Args:
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether its boxes are complete.

    Returns:
        str: 'P_hos' (label 1, regions), 'P_pub' (label 1, no regions), 'N' (label 0), 'U' (label
            -1).
    """
    if label == 1:
        return 'P_hos' if regions else 'P_pub'
    return 'N' if label == 0 else 'U'


def names_of(names: str | Sequence[str] | None) -> list[str] | None:
    """One name or several as a list; None stays None."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def subsets_of(subset: str | Sequence[str] | None) -> list[str] | None:
    """As ``names_of``; a ValueError for a name that is no subset."""
    wanted = names_of(subset)
    unknown = sorted(set(wanted or ()) - set(SUBSETS))
    if unknown:
        raise ValueError(f'unknown subset {unknown}, valid are {list(SUBSETS)}')
    return wanted


def select_films(
    infos: Sequence[dict],
    subset: Sequence[str] | None,
    sources: Sequence[str] | None,
    file: str,
) -> list[int]:
    """Indices of the films wanted.

    Args:
        infos (Sequence[dict]): Films with ``label``, ``regions`` and ``source``.
        subset (Sequence[str], optional): Subsets to keep; None: all.
        sources (Sequence[str], optional): Sources to keep; None: all.
        file (str): Annotation file, for the message.

    Returns:
        list[int]: Ascending.

    Raises:
        ValueError: If no film has one of the sources, or none is left.
    """
    present = Counter(info['source'] for info in infos)
    unknown = sorted(set(sources or ()) - set(present))
    if unknown:
        raise ValueError(f'no film of source {unknown} in {file}, its sources are {dict(present)}')
    groups = [(info['source'], subset_of(info['label'], info['regions'])) for info in infos]
    kept = [
        index
        for index, (source, group) in enumerate(groups)
        if (sources is None or source in sources) and (subset is None or group in subset)
    ]
    if not kept:
        counts = sorted(Counter(groups).items())
        found = ', '.join(f'{n} {group} of {source}' for (source, group), n in counts)
        raise ValueError(
            f'nothing left of {file} for subset={subset}, sources={sources}; it has '
            f'{found or "no film"}; P_hos are films with label 1 whose boxes are complete '
            '(regions), P_pub with label 1 and incomplete or no boxes, N with label 0, U with label -1'
        )
    return kept


class FilmLabels(NamedTuple):
    """Fields of a COCO image that plain COCO lacks.

    Attributes:
        label (int): 1 fracture, 0 none, -1 unknown. Without it 1 for an image with a lesion, -1 for one
            that has only boxes that are ignored, or boxes of fractures that are not among the classes,
            or whose ``regions`` are false, else 0.
        regions (bool): Whether its boxes are complete; without it so for label 0 and with a lesion.
        source (str): Where the film comes from; without it 'unknown'.
        patient (str): Without one the file name.
    """

    label: int
    regions: bool
    source: str
    patient: str

    @property
    def subset(self) -> str:
        """See ``subset_of``."""
        return subset_of(self.label, self.regions)


def film_labels(image: Mapping[str, Any], boxes: int, undecided: int = 0) -> FilmLabels:
    """Labels of one film.

    Args:
        image (Mapping): COCO image.
        boxes (int): How many lesions it has.
        undecided (int): How many of its boxes are neither lesions nor known to be none: those that are
            ignored, and those of fractures that are not among the classes. An image that has only
            such boxes is no negative unless its ``label`` says so, nor is one without boxes whose
            ``regions`` say that they are not complete. Defaults to 0.

    Returns:
        FilmLabels: With nothing absent.
    """
    is_open = undecided or image.get('regions') is False
    label = image.get('label', 1 if boxes else -1 if is_open else 0)
    return FilmLabels(
        label=label,
        regions=image.get('regions', label == 0 or boxes > 0),
        source=image.get('source', 'unknown'),
        patient=str(image.get('patient_id', image['file_name'])),
    )


def labels_of_films(images: Iterable[dict], annotations: Iterable[dict]) -> list[FilmLabels]:
    """Labels of each film, in their order.

    Args:
        images (Iterable[dict]): COCO images.
        annotations (Iterable[dict]): COCO annotations.

    Returns:
        list[FilmLabels]: Of ``film_labels``.
    """
    boxes: Counter[int] = Counter()
    undecided: Counter[int] = Counter()
    for annotation in annotations:
        (undecided if is_ignored(annotation) else boxes)[annotation['image_id']] += 1
    return [film_labels(image, boxes[image['id']], undecided[image['id']]) for image in images]


# Categories whose boxes are lesions where nobody names others, as ``CXRDataset`` has them.
CLASSES = ('fracture',)


def counted_classes(
    categories: Iterable[str], wanted: str | Sequence[str] | None = None
) -> list[str] | None:
    """Categories whose boxes are lesions.

    Args:
        categories (Iterable[str]): Names of those that there are.
        wanted (str or Sequence[str], optional): Names of those that count. Defaults to ``CLASSES``.

    Returns:
        list[str] or None: ``wanted``; without it ``CLASSES`` where one of them is among the categories,
            else None, all of them: a config names such categories by ``metainfo``.
    """
    if wanted is not None:
        return names_of(wanted)
    return list(CLASSES) if set(CLASSES) & set(categories) else None


def counted_annotations(
    annotations: Iterable[dict], names: Mapping[int, str], classes: Collection[str] | None
) -> list[dict]:
    """Annotations as ``CXRDataset`` takes them for an image's labels.

    Args:
        annotations (Iterable[dict]): COCO annotations.
        names (Mapping[int, str]): Name of each category by its id.
        classes (Collection[str], optional): Of ``counted_classes``; None: all.

    Returns:
        list[dict]: Those of the classes; those of other fractures as ignored, and no others.
    """
    if classes is None:
        return list(annotations)
    counted = []
    for annotation in annotations:
        name = names.get(annotation['category_id'], '')
        if name in classes:
            counted.append(annotation)
        elif names_fracture(name):
            counted.append({**annotation, 'ignore': 1})
    return counted


def labels_of_info(info: Mapping[str, Any]) -> FilmLabels:
    """Labels of a data set's info, of a pipeline's results or of a sample's meta information.

    ``CXRDataset`` states them; those of a plain ``CocoDataset`` follow from the boxes.

    Args:
        info (Mapping): With ``instances`` where there are any, and ``file_name`` or ``img_path``.

    Returns:
        FilmLabels: With nothing absent.
    """
    named = info if 'file_name' in info else dict(info, file_name=info.get('img_path', ''))
    instances = info.get('instances') or ()
    return film_labels(named, len(lesions(instances)), len(ignored(instances)))


def is_ignored(annotation: Mapping[str, Any]) -> bool:
    """Whether a COCO annotation is no lesion but ignored: ``iscrowd`` or ``ignore`` is set."""
    return bool(annotation.get('iscrowd') or annotation.get('ignore'))


_FRACTURE = re.compile(r'fractur|(?<![a-z])(?:fx|frx|callus)(?![a-z])')

# Words beside 'fracture', or before it without a blank, that take it back, leave it open, or make it
# another thing.
_DOUBT = re.compile(
    r'(?<![a-z])(?:no|not|non|un|anti|without|possible|probable|suspected|uncertain|false)[\s_-]*fractur'
    r'|(?<![a-z])non[\s_-]+(?:rib|clavic|bon[ey]|skelet)|[?!~]|^\W*-|(?<!\d)0(?!\d)|r/o|pseudo|lookalike'
    r'|(?<![a-z])(?:no|not|none|nor|without|w/?o|absent|absence|isn\W?t|zero|nil|minus|lack(?:s|ing)?'
    r'|negative|neg|never|free|exclu?|exclud(?:e|ed|es|ing)|rul(?:e|ed|es|ing)|den(?:y|ies|ied)|false|fp'
    r'|normal|background|intact|mimics?|mimick\w*|imitat\w*|simulat\w*|resembl\w*|like|alike|versus|vs'
    r'|artefacts?|artifacts?|hardware|fixations?|fixators?|osteosynthes[ei]s|screws?|implants?'
    r'|possibl[ey]|poss|potential\w*|candidates?|suspect(?:ed)?|susp|suspicion|suspicious|differential'
    r'|uncertain|unsure|unknown|unconfirmed|unlikely|likely|indeterminate|ambiguous|borderline|presum\w*'
    r'|questionable|query|probabl[ey]|prob|maybe|dubious|doubtful|unclear|equivocal|cannot|history|risk'
    r'|kein\w*|ohne|nicht|sin|sans|aucune?|senza|sem|geen|pas)(?![a-z])'
)
_NEW_WORD = re.compile(r'(?<=[a-z])(?=[A-Z])')


@lru_cache(maxsize=4096)
def names_fracture(category: str) -> bool:
    """Whether a category or finding has to do with a fracture by its name, see ``doubts_fracture``."""
    return bool(_FRACTURE.search(_in_words(category)))


def doubts_fracture(category: str) -> bool:
    """Whether a name that ``names_fracture`` may say that there is none, or that it is not known.

    Args:
        category (str): Of a category or finding, e.g. 'no fracture', 'NoFracture', 'r/o fracture',
            'fracture mimic', 'rib fx'.
    """
    text = _in_words(category)
    return 'fractur' not in text or bool(_DOUBT.search(text))


def is_fracture(category: str) -> bool:
    """Whether a category is one of fractures by its name, without a doubt."""
    return names_fracture(category) and not doubts_fracture(category)


def _in_words(category: str) -> str:
    """In small letters; NoFracture is two words."""
    return _NEW_WORD.sub(' ', category).lower()


def outline_of(segmentation: Any) -> Any:
    """What a ``segmentation`` draws, without its empty parts.

    Args:
        segmentation (Any): Polygons ``[[x1, y1, x2, y2, ...], ...]`` (px), a run-length dict, or None.

    Returns:
        list or dict or None: Polygons or the dict; None where nothing is drawn (``[]``, ``[[]]``).
    """
    if isinstance(segmentation, list):
        segmentation = [polygon for polygon in segmentation if polygon]
    return segmentation or None


# What tables and data-frame libraries write where they say nothing.
NO_VALUE = frozenset({'', 'nan', 'none', 'null', 'na', 'n/a', '<na>'})

# What stands for a patient where nobody is named; in small letters.
NO_PATIENT = NO_VALUE | {
    *('unknown', 'anonymous', 'anonymized', 'anonymised', 'anon', 'missing', 'undefined', 'n.a.'),
    *('noid', 'no id', 'no_id', 'no-id', 'no patient', 'not available', 'not applicable', 'nil'),
    *('unk', 'not known', 'tbd', 'unnamed', 'no name', 'unidentified', 'xxx', 'unbekannt'),
}
_PATIENT = re.compile(r'[\s:,_-]*(?<![^\W_])patient(?![^\W_])[\s:,_-]*')
# What spreadsheets write in the place of a value.
_SHEET_ERROR = re.compile(r'#(?:ref!|value!|name\?|null!|num!|div/0!|n/a|spill!|calc!)')


def names_nobody(patient: str) -> bool:
    """Whether a patient id stands for no patient: blanks, signs alone, several zeros, a word for it.

    Args:
        patient (str): The id.
    """
    plain = patient.strip().lower()
    # unknown patient, Patient: Anonymous
    bare = _PATIENT.sub('', plain) if 'patient' in plain else plain
    if bare in NO_PATIENT:
        return True
    # most ids begin so, and there are many
    if plain[0].isalnum():
        return plain[0] == '0' and len(plain) > 1 and not plain.strip('0')
    return bool(_SHEET_ERROR.fullmatch(plain)) or not any(map(str.isalnum, plain))


def patient_notes(patients: Iterable[str | None]) -> list[str]:
    """What there is to ask about the patients before images are split by them.

    Args:
        patients (Iterable[str or None]): ``patient_id`` of each image, None where there is none.

    Returns:
        list[str]: A sentence for images without a patient, and one for patients that may be one.
    """
    counts = Counter(patients)
    total, without = counts.total(), counts.pop(None, 0)
    return [*absent_patients_note(without, total), *similar_patients_note(map(str, counts))]


def absent_patients_note(without: int, total: int) -> list[str]:
    """A sentence on ``without`` of ``total`` images that have no patient; none if all have one."""
    if not without:
        return []
    return [
        f'{without} of {total} images have no patient_id: each counts as a patient of its own, so '
        'images of one person may come into different parts'
    ]


def similar_patients_note(patients: Iterable[str], named: bool = True) -> list[str]:
    """A sentence on patient ids that may be one person's; none if there are none.

    Args:
        patients (Iterable[str]): Ids.
        named (bool): Whether the sentence may hold some of them. Defaults to True.
    """
    similar = similar_patients(patients)
    if not similar:
        return []
    some = '; '.join(' and '.join(map(repr, names)) for names in similar[:5])
    more = f'; and {len(similar) - 5} more' if len(similar) > 5 else ''
    return [
        f'{len(similar)} groups of patient ids differ only in blanks, case, signs or leading zeros'
        f'{f": {some}{more}" if named else ""}. Is each group one person? If so, write one id for it'
    ]


def similar_patients(patients: Iterable[str]) -> list[list[str]]:
    """Patient ids that differ only in blanks, case, signs, a final ``.0`` or leading zeros.

    Args:
        patients (Iterable[str]): Ids.

    Returns:
        list[list[str]]: Groups of two or more, each sorted, in the order of their first ids.
    """
    groups: dict[str, set[str]] = {}
    for patient in patients:
        groups.setdefault(_patient_key(patient), set()).add(patient)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _patient_key(patient: str) -> str:
    plain = unicodedata.normalize('NFKC', patient).strip().casefold()
    if not plain.isascii():
        # zero-width blanks and marks of direction
        plain = ''.join(one for one in plain if unicodedata.category(one) != 'Cf')
    plain = re.sub(r'^(\d+)\.0+$', r'\1', plain)
    plain = re.sub(r'[\W_]+', '-', plain).strip('-') or '-'
    plain = re.sub(r'(?<=[^\W\d_])-(?=\d)', '', plain)
    return re.sub(r'(?<!\d)0+(?=\d)', '', plain) or patient


def lesions(instances: Iterable[dict]) -> list[dict]:
    """Instances that are lesions: all but the ignored ones."""
    return [instance for instance in instances if not instance.get('ignore_flag')]


def ignored(instances: Iterable[dict]) -> list[dict]:
    """Instances that are ignored: no lesion, and their cells count in no loss."""
    return [instance for instance in instances if instance.get('ignore_flag')]


def lesion_instance(annotation: dict, bbox_label: int) -> dict:
    """A COCO annotation as an instance of mmdet.

    Args:
        annotation (dict): With ``bbox`` ``[x, y, w, h]`` in px of the film.
        bbox_label (int): Index of its class.

    Returns:
        dict: ``bbox`` (xyxy), ``bbox_label``, ``ignore_flag``, ``site``; ``mask`` and ``polygon`` where
        there is one.
    """
    x, y, w, h = annotation['bbox']
    instance = dict(
        bbox=[x, y, x + w, y + h],
        bbox_label=bbox_label,
        ignore_flag=int(is_ignored(annotation)),
        site=annotation.get('site'),
    )
    segmentation = outline_of(annotation.get('segmentation'))
    if segmentation is not None:
        instance['mask'] = segmentation
        if isinstance(segmentation, list):
            instance['polygon'] = segmentation
    return instance
