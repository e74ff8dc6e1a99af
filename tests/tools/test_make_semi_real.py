# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import sys

from tests.preparation.semi_real.chest_films import write_negatives


def test_patients_that_may_be_one_are_noted(repository, tmp_path, monkeypatch, capsys):
    films = write_negatives(tmp_path / 'films', patients=3, films=1)
    rows = [f'{film.name},{patient}\n' for film, patient in zip(films, ('001', '1', '2'))]
    (tmp_path / 'patients.csv').write_text('file_name,patient_id\n' + ''.join(rows))
    tool = repository / 'tools' / 'make_semi_real.py'
    arguments = [
        tool,
        tmp_path / 'films',
        tmp_path / 'set',
        '--patients',
        tmp_path / 'patients.csv',
    ]
    shares = ['--splits', 1, 0, 0, '--positive', 0, 0, '--workers', 0]
    monkeypatch.setattr(sys, 'argv', [*map(str, [*arguments, *shares])])
    runpy.run_path(str(tool), run_name='__main__')
    said = capsys.readouterr().out
    assert '3 films without fracture of 3 patients' in said and 'wrote ' in said
    assert 'note: 1 groups of patient ids differ only in' in said and "'001' and '1'" in said
