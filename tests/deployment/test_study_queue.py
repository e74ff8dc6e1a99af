# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.deployment import study_queue
from mmfrac.deployment.dicom_objects import MadeObject
from mmfrac.deployment.study_queue import FullError, StudyQueue


def opened(folder, most_bytes=10**6, **options):
    return StudyQueue(folder, most_bytes, 0, **options)


def files(folder):
    return sorted(path.name for path in folder.rglob('*.dcm'))


def test_a_study_is_complete_when_it_is_quiet(tmp_path):
    with opened(tmp_path / 'q') as queue:
        assert (
            queue.add('1.1', '1', b'a')
            and queue.add('1.2', '1', b'b')
            and queue.add('2.1', '2', b'c')
        )
        assert queue.complete_study(1000) == []
        first = queue.complete_study(0)
        assert [image.path.read_bytes() for image in first] == [b'a', b'b']
        for image in first:
            queue.finish(image, 'scored')
        (last,) = queue.complete_study(0)
        assert last.path.read_bytes() == b'c' and files(queue.incoming) == [last.path.name]


def test_an_image_is_taken_once(tmp_path):
    with opened(tmp_path / 'q') as queue:
        assert queue.add('1.1', '1', b'a') and not queue.add('1.1', '1', b'other')
        (image,) = queue.complete_study(0)
        assert image.path.read_bytes() == b'a'
        queue.finish(image, 'scored')
        assert not queue.add('1.1', '1', b'a') and files(tmp_path) == []
    # also after a new start
    with opened(tmp_path / 'q') as queue:
        assert not queue.add('1.1', '1', b'a')
    # until it is forgotten
    with opened(tmp_path / 'q', keep_days=-1) as queue:
        queue.forget()
        assert queue.add('1.1', '1', b'a')


def test_one_that_failed_is_taken_again(tmp_path):
    with opened(tmp_path / 'q') as queue:
        queue.add('1.1', '1', b'a')
        queue.begin(queue.complete_study(0))
        queue.finish(queue.complete_study(0)[0], 'failed', 'its file is gone')
        assert queue.complete_study(0) == [] and queue.add('1.1', '1', b'b')
        (image,) = queue.complete_study(0)
        assert image.path.read_bytes() == b'b' and image.attempts == 0 and queue.reasons() == {}


def test_there_is_an_end_to_what_it_holds(tmp_path, monkeypatch):
    with opened(tmp_path / 'q', 10) as queue:
        queue.add('1.1', '1', b'123456')
        with pytest.raises(FullError, match='queue'):
            queue.add('1.2', '1', b'12345')
        (image,) = queue.complete_study(0)
        # objects count, too
        queue.finish(image, 'scored', objects=[MadeObject('sr', '2.25.1', b'1234567')])
        with pytest.raises(FullError):
            queue.add('1.2', '1', b'1234')
        (one,) = queue.due_objects()
        queue.sent(one)
        assert queue.add('1.2', '1', b'1234') and queue.bytes == 4
        queue.least_free = 10**18
        with pytest.raises(FullError, match='disk'):
            queue.add('1.3', '1', b'1')
        assert len(files(tmp_path)) == 1


def test_objects_wait_until_they_are_sent(tmp_path, monkeypatch):
    with opened(tmp_path / 'q') as queue:
        queue.add('1.1', '1', b'a')
        (image,) = queue.complete_study(0)
        made = [MadeObject('sr', '2.25.1', b'x'), MadeObject('sc', '2.25.2', b'y')]
        queue.finish(image, 'scored', objects=made)
        one, two = queue.due_objects()
        assert (one.uid, one.path.read_bytes()) == ('2.25.1', b'x')
        queue.sent(one)
        queue.not_sent(two, 'no')
        # not at once again
        assert queue.due_objects() == [] and queue.counts()['objects'] == dict(sent=1, waiting=1)
    with opened(tmp_path / 'q') as queue:
        (two,) = queue.due_objects()
        assert two.uid == '2.25.2'
        monkeypatch.setattr(study_queue, 'MOST_SENDINGS', 1)
        queue.not_sent(two, 'no')
        assert queue.counts()['objects'] == dict(sent=1, failed=1)
    # a new start tries what failed
    with opened(tmp_path / 'q') as queue:
        assert [one.uid for one in queue.due_objects()] == ['2.25.2']


def test_what_a_kill_leaves_is_put_in_order(tmp_path):
    with opened(tmp_path / 'q') as queue:
        for number in range(3):
            queue.add(f'1.{number}', '1', b'a')
        first, second, _ = queue.complete_study(0)
        queue.finish(first, 'scored', objects=[MadeObject('sr', '2.25.1', b'x')])
        # killed before its row was written, after it was done, before its objects were committed
        (queue.incoming / 'f.dcm').write_bytes(b'?')
        first.path.write_bytes(b'a')
        (queue.outgoing / 'sr_2.25.9.dcm').write_bytes(b'?')
        second.path.unlink()
    with opened(tmp_path / 'q') as queue:
        assert queue.counts()['images'] == dict(scored=1, failed=1, waiting=1)
        assert queue.reasons() == {'its file is gone': 1}
        assert len(files(queue.incoming)) == 1 and files(queue.outgoing) == ['sr_2.25.1.dcm']
        # made again after a kill: not doubled
        (image,) = queue.complete_study(0)
        queue.finish(image, 'scored', objects=[MadeObject('sr', '2.25.1', b'x')])
        assert len(queue.due_objects()) == 1


def test_what_was_begun_before_comes_last(tmp_path):
    with opened(tmp_path / 'q') as queue:
        queue.add('1.1', '1', b'a')
        queue.begin(queue.complete_study(0))
        queue.add('2.1', '2', b'b')
        (image,) = queue.complete_study(0)
        assert image.path.read_bytes() == b'b' and image.attempts == 0
        queue.finish(image, 'scored')
        assert queue.complete_study(0)[0].attempts == 1


def test_what_is_done_is_not_looked_through_all_the_time(tmp_path, monkeypatch):
    with opened(tmp_path / 'q', keep_days=-1) as queue:
        queue.forget()
        queue.add('1.1', '1', b'a')
        queue.finish(queue.complete_study(0)[0], 'scored')
        queue.forget()
        assert queue.counts()['images'] == dict(scored=1)
        monkeypatch.setattr(queue, '_next_forget', 0.0)
        queue.forget()
        assert queue.counts()['images'] == {}


def test_one_process_at_a_time(tmp_path):
    with opened(tmp_path / 'q'), pytest.raises(ValueError, match='another process'):
        opened(tmp_path / 'q').__enter__()


def test_a_queue_is_of_one_model(tmp_path):
    # of a release that did not note it
    with opened(tmp_path / 'q') as queue:
        queue._db.execute('DROP TABLE begun_with')
    first = dict(model='a1', operating_point='low')
    # as long as nothing was scored
    for model in ('b2', 'a1', 'a1'):
        with opened(tmp_path / 'q', scored_by=dict(first, model=model)) as queue:
            queue.add('1.0', '1', b'a')
            queue.add('1.2', '1', b'a')
    made = [MadeObject('sr', '2.25.1', b'x')]
    with opened(tmp_path / 'q', scored_by=first) as queue:
        queue.finish(queue.complete_study(0)[0], 'scored', objects=made)
    for other in (dict(first, model='b2'), dict(first, operating_point='high')):
        with (
            pytest.raises(
                ValueError,
                match=r"was begun with (model 'a1'|operating_point 'low'), not .* \(1 images wait for "
                r'the model, 1 objects to be sent\): name another --folder for the new model; started '
                'as before',
            ),
            opened(tmp_path / 'q', scored_by=other),
        ):
            pass
    # neither what is there nor its lock suffers
    with opened(tmp_path / 'q', scored_by=first) as queue:
        assert queue.add('1.1', '1', b'a')


def test_what_is_not_taken_for_long_is_counted(tmp_path):
    with opened(tmp_path / 'q') as queue:
        queue.add('1.1', '1', b'a')
        made = [MadeObject('sr', '2.25.1', b'x'), MadeObject('sc', '2.25.2', b'y')]
        queue.finish(queue.complete_study(0)[0], 'scored', objects=made)
        for number in range(study_queue.FEW_SENDINGS):
            assert queue.not_taken() == 0
            queue.not_sent(queue.due_objects()[0]._replace(attempts=number), 'no')
            queue._db.execute('UPDATE objects SET next_try = 0')
        assert queue.not_taken() == 1
    # a new start does not know yet
    with opened(tmp_path / 'q') as queue:
        assert queue.not_taken() == 0
        assert [one.attempts for one in queue.due_objects()] == [0, 0]


def test_names_and_database_hold_no_uid(tmp_path):
    with opened(tmp_path / 'q') as queue:
        queue.add('1.2.840.4711', '1.2.840.4712', b'a')
    everything = b''.join(p.read_bytes() for p in (tmp_path / 'q').rglob('*') if p.is_file())
    names = ''.join(str(path) for path in tmp_path.rglob('*'))
    assert b'471' not in everything and '471' not in names
