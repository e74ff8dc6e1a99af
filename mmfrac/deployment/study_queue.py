# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Images that wait for the model, and objects that wait to be sent, in a folder that survives a kill.

A file is whole before the database names it, and is removed after the database has let go of it; what a
killed process left in between is put in order at the next start. Images and studies go by hashes of
their UIDs, which say nothing of a patient.

    queue.sqlite    what waits, what is done, and by which model
    incoming/       images, KEY.dcm
    outgoing/       objects of findings, KIND_UID.dcm
"""

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mmfrac.deployment.dicom_objects import MadeObject
from mmfrac.utils.io import remove_temporary_files, write_bytes
from mmfrac.utils.lock import locked

# Of an image: it ends the process each time.
MOST_ATTEMPTS = 10

# Seconds after a failed sending: doubled each time, up to the last.
_FIRST_PAUSE, _LAST_PAUSE = 5.0, 600.0

# Seconds between looks for what has been done for long: each looks at all rows.
_FORGET_EVERY = 600.0

# Of an object, some 8 hours; a new start tries again.
MOST_SENDINGS = 50

# Of an object, some 5 minutes: whoever should have it is away, or does not want it.
FEW_SENDINGS = 7

_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (
    key TEXT PRIMARY KEY, study TEXT NOT NULL, bytes INTEGER NOT NULL, received REAL NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS images_by_state ON images (state, study);
CREATE TABLE IF NOT EXISTS objects (
    uid TEXT PRIMARY KEY, image TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS objects_by_state ON objects (state, next_try);
CREATE TABLE IF NOT EXISTS begun_with (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class FullError(RuntimeError):
    """There is no room for another image."""


class WaitingImage(NamedTuple):
    """An image that waits for the model.

    Attributes:
        key (str): Hash of its SOPInstanceUID.
        study (str): Hash of its StudyInstanceUID.
        path (Path): Its file.
        attempts (int): How often it was begun.
    """

    key: str
    study: str
    path: Path
    attempts: int


class WaitingObject(NamedTuple):
    """An object that waits to be sent.

    Attributes:
        uid (str): Its SOPInstanceUID.
        path (Path): Its file.
        attempts (int): How often it was tried.
    """

    uid: str
    path: Path
    attempts: int


def hash_of(uid: str) -> str:
    """What a UID goes by in names, logs and the database.

    Args:
        uid (str): UID of an image or a study.
    """
    return hashlib.sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:32]


class StudyQueue:
    """The queue of a folder, for one process; a context manager.

    Args:
        folder (Path): Made if need be.
        most_bytes (int): Of all files in it.
        least_free (int): Bytes that are left free on its disk.
        keep_days (float): After which what is done is forgotten; an image that is sent again then is
            taken for a new one. Defaults to 30.
        scored_by (Mapping[str, str], optional): What findings depend on. A queue with images that were
            scored by another one is refused: they would not be scored anew. Defaults to None, not asked.

    Raises:
        ValueError: On entry, if another process has it, or it has images that another model scored.
    """

    def __init__(
        self,
        folder: Path,
        most_bytes: int,
        least_free: int,
        keep_days: float = 30,
        scored_by: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.most_bytes, self.least_free, self.keep_days = most_bytes, least_free, keep_days
        self.scored_by = dict(scored_by or {})
        self._lock = threading.RLock()
        self._next_forget = 0.0

    def __enter__(self) -> 'StudyQueue':
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder, file=self.folder / '.lock'))
            self.incoming, self.outgoing = self.folder / 'incoming', self.folder / 'outgoing'
            for folder in (self.incoming, self.outgoing):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                self.folder / 'queue.sqlite', check_same_thread=False, isolation_level=None
            )
            stack.callback(self._db.close)
            self._db.execute('PRAGMA journal_mode = WAL')
            self._db.execute('PRAGMA synchronous = FULL')
            self._db.executescript(_SCHEMA)
            self._check_model()
            self._put_in_order()
            self._held = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._held.close()

    def add(self, instance: str, study: str, content: bytes) -> bool:
        """Take an image; it is safe when this returns.

        Args:
            instance (str): Its SOPInstanceUID.
            study (str): Its StudyInstanceUID.
            content (bytes): A DICOM file.

        Returns:
            bool: False if it is there already, or was; it is not taken twice then, unless it failed.

        Raises:
            FullError: If there is no room.
        """
        key = hash_of(instance)
        with self._lock:
            known = self._db.execute('SELECT state FROM images WHERE key = ?', (key,)).fetchone()
            if known is not None and known[0] != 'failed':
                return False
            if self.bytes + len(content) > self.most_bytes:
                raise FullError('the queue is full')
            if shutil.disk_usage(self.folder).free - len(content) < self.least_free:
                raise FullError('the disk is full')
            write_bytes(self._image_path(key), content)
            self._db.execute(
                'INSERT OR REPLACE INTO images (key, study, bytes, received, state) '
                'VALUES (?, ?, ?, ?, ?)',
                (key, hash_of(study), len(content), time.time(), 'waiting'),
            )
            self.bytes += len(content)
        return True

    def complete_study(self, quiet: float) -> list[WaitingImage]:
        """The waiting images of the study that has been complete for longest.

        Studies that were begun before come last: one of their images may end the process.

        Args:
            quiet (float): Seconds without a new image after which a study is complete.

        Returns:
            list[WaitingImage]: None if there is no such study.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT key, study, attempts FROM images WHERE state = 'waiting' AND study = (SELECT "
                "study FROM images WHERE state = 'waiting' GROUP BY study HAVING MAX(received) <= ? "
                'ORDER BY MIN(attempts), MAX(received) LIMIT 1) ORDER BY attempts, received, key',
                (time.time() - quiet,),
            ).fetchall()
        return [WaitingImage(key, study, self._image_path(key), n) for key, study, n in rows]

    def begin(self, images: Sequence[WaitingImage]) -> None:
        """Note that images are about to be looked at, which may end the process.

        Args:
            images (Sequence[WaitingImage]): The images.
        """
        with self._transaction() as db:
            db.executemany(
                'UPDATE images SET attempts = attempts + 1 WHERE key = ?',
                [(image.key,) for image in images],
            )

    def take_back(self, images: Sequence[WaitingImage]) -> None:
        """Undo ``begin`` for those that wait on: not they were at fault.

        Args:
            images (Sequence[WaitingImage]): The images.
        """
        with self._transaction() as db:
            db.executemany(
                "UPDATE images SET attempts = MAX(attempts - 1, 0) WHERE key = ? AND state = 'waiting'",
                [(image.key,) for image in images],
            )

    def finish(
        self, image: WaitingImage, state: str, reason: str = '', objects: Sequence[MadeObject] = ()
    ) -> None:
        """Let go of an image, and take its objects.

        Args:
            image (WaitingImage): The image.
            state (str): 'scored', 'left out' or 'failed'.
            reason (str): Why it is not scored, without text of its header. Defaults to ''.
            objects (Sequence[MadeObject]): To be sent. Defaults to none.
        """
        with self._lock:
            objects = [one for one in objects if not self.has_object(one.uid)]
            for one in objects:
                # one of an earlier life that was not committed is replaced by its like
                write_bytes(self.outgoing / one.file_name, one.content)
            with self._transaction() as db:
                db.executemany(
                    'INSERT INTO objects (uid, image, name, bytes, state) VALUES '
                    "(?, ?, ?, ?, 'waiting')",
                    [(one.uid, image.key, one.file_name, len(one.content)) for one in objects],
                )
                db.execute(
                    'UPDATE images SET state = ?, reason = ? WHERE key = ?',
                    (state, reason, image.key),
                )
            image.path.unlink(missing_ok=True)
            self._count_bytes()

    def due_objects(self, limit: int = 32) -> list[WaitingObject]:
        """Objects that are to be sent now, the first ones first.

        Args:
            limit (int): At most. Defaults to 32.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT uid, name, attempts FROM objects WHERE state = 'waiting' AND next_try <= ? "
                'ORDER BY rowid LIMIT ?',
                (time.time(), limit),
            ).fetchall()
        return [WaitingObject(uid, self.outgoing / name, n) for uid, name, n in rows]

    def sent(self, one: WaitingObject) -> None:
        """Let go of an object that the archive has.

        Args:
            one (WaitingObject): The object.
        """
        with self._lock:
            with self._transaction() as db:
                db.execute("UPDATE objects SET state = 'sent' WHERE uid = ?", (one.uid,))
            one.path.unlink(missing_ok=True)
            self._count_bytes()

    def not_sent(self, one: WaitingObject, reason: str) -> None:
        """Try an object again later.

        Args:
            one (WaitingObject): The object.
            reason (str): Why it could not be sent, without text of its header.
        """
        pause = min(_FIRST_PAUSE * 2 ** min(one.attempts, 20), _LAST_PAUSE)
        state = 'failed' if one.attempts + 1 >= MOST_SENDINGS else 'waiting'
        with self._transaction() as db:
            db.execute(
                'UPDATE objects SET state = ?, reason = ?, attempts = attempts + 1, next_try = ? '
                'WHERE uid = ?',
                (state, reason, time.time() + pause, one.uid),
            )

    def has_object(self, uid: str) -> bool:
        """Whether an object is one of this queue.

        Args:
            uid (str): A SOPInstanceUID.
        """
        with self._lock:
            found = self._db.execute('SELECT 1 FROM objects WHERE uid = ?', (uid,)).fetchone()
        return found is not None

    def not_taken(self) -> int:
        """Objects that wait on after ``FEW_SENDINGS`` errors."""
        with self._lock:
            (found,) = self._db.execute(
                "SELECT COUNT(*) FROM objects WHERE state = 'waiting' AND attempts >= ?",
                (FEW_SENDINGS,),
            ).fetchone()
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Images and objects by their state."""
        with self._lock:
            return {
                table: dict(
                    self._db.execute(
                        f'SELECT state, COUNT(*) FROM {table} GROUP BY state'
                    ).fetchall()
                )
                for table in ('images', 'objects')
            }

    def reasons(self) -> dict[str, int]:
        """Images that were not scored, by reason."""
        with self._lock:
            return dict(
                self._db.execute(
                    "SELECT reason, COUNT(*) FROM images WHERE reason != '' GROUP BY reason "
                    'ORDER BY COUNT(*) DESC LIMIT 100'
                ).fetchall()
            )

    def forget(self) -> None:
        """Forget what has been done for long; asked again within minutes, it does nothing."""
        if time.monotonic() < self._next_forget:
            return
        self._next_forget = time.monotonic() + _FORGET_EVERY
        before = time.time() - 86400 * self.keep_days
        with self._transaction() as db:
            db.execute(
                "DELETE FROM images WHERE state != 'waiting' AND received < ? AND key NOT IN "
                "(SELECT image FROM objects WHERE state != 'sent')",
                (before,),
            )
            db.execute(
                "DELETE FROM objects WHERE state = 'sent' AND image NOT IN (SELECT key FROM images)"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute('BEGIN IMMEDIATE')
            try:
                yield self._db
            except BaseException:
                self._db.execute('ROLLBACK')
                raise
            self._db.execute('COMMIT')

    def _check_model(self) -> None:
        """Raise a ValueError if another model scored images of the queue; old queues do not tell."""
        known = dict(self._db.execute('SELECT name, value FROM begun_with').fetchall())
        counts = self.counts()
        for name, value in self.scored_by.items():
            if known.get(name, value) != value and counts['images'].get('scored'):
                # what failed is tried again, too
                objects = sum(counts['objects'].get(state, 0) for state in ('waiting', 'failed'))
                raise ValueError(
                    f'{self.folder} was begun with {name} {known[name]!r}, not {value!r}, and does not '
                    f'score anew what it has ({counts["images"].get("waiting", 0)} images wait for the '
                    f'model, {objects} objects to be sent): name another --folder for the new model; '
                    'started as before, with the package as it was, this one is finished'
                )
        with self._transaction() as db:
            db.executemany(
                'INSERT OR REPLACE INTO begun_with (name, value) VALUES (?, ?)',
                list(self.scored_by.items()),
            )

    def _image_path(self, key: str) -> Path:
        return self.incoming / f'{key}.dcm'

    def _put_in_order(self) -> None:
        """Remove files that the database does not wait for, and rows whose file is gone."""
        for folder in (self.incoming, self.outgoing):
            remove_temporary_files(folder)
        with self._transaction() as db:
            # a new start tries again
            db.execute(
                "UPDATE objects SET state = 'waiting', attempts = 0, next_try = 0 "
                "WHERE state IN ('waiting', 'failed')"
            )
            gone = [
                (key,)
                for (key,) in db.execute("SELECT key FROM images WHERE state = 'waiting'")
                if not self._image_path(key).is_file()
            ]
            db.executemany(
                "UPDATE images SET state = 'failed', reason = 'its file is gone' WHERE key = ?",
                gone,
            )
            lost = [
                (uid,)
                for uid, name in db.execute("SELECT uid, name FROM objects WHERE state = 'waiting'")
                if not (self.outgoing / name).is_file()
            ]
            db.executemany(
                "UPDATE objects SET state = 'lost', reason = 'its file is gone' WHERE uid = ?", lost
            )
            images = db.execute("SELECT key FROM images WHERE state = 'waiting'").fetchall()
            objects = db.execute("SELECT name FROM objects WHERE state = 'waiting'").fetchall()
        for folder, names in (
            (self.incoming, {f'{key}.dcm' for (key,) in images}),
            (self.outgoing, {name for (name,) in objects}),
        ):
            for entry in list(os.scandir(folder)):
                if entry.name not in names and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
        self._count_bytes()

    def _count_bytes(self) -> None:
        """Bytes of all files; of what waits."""
        (images,) = self._db.execute(
            "SELECT COALESCE(SUM(bytes), 0) FROM images WHERE state = 'waiting'"
        ).fetchone()
        (objects,) = self._db.execute(
            "SELECT COALESCE(SUM(bytes), 0) FROM objects WHERE state IN ('waiting', 'failed')"
        ).fetchone()
        self.bytes = images + objects
