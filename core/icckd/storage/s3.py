"""Storage in a bucket: `s3://bucket/prefix`, on AWS or any server with conditional puts.

Credentials come from the environment or from a credentials file, as AWS's own tools read them, and
are never printed: of an answer only its code and message are told.
"""

import configparser
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from icckd.journal.redact import own_redactor
from icckd.storage.base import Entry, StorageError, settle_create

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

CONNECT_SECONDS, REQUEST_SECONDS, PART_SECONDS = 3, 6, 60
"""Limits of a request: to be connected, to be answered, and where it carries a part of a file."""
PART_BYTES = 8 << 20
"""A request carries so much of a large file, so that its time limit holds for any size."""
_REREAD = timedelta(minutes=5)
_CREATE_TRIES = 5
T = TypeVar("T")

_HINTS = (
    (r"NoSuchBucket", "make the bucket, or correct `url` in [storage]"),
    (r"ExpiredToken|TokenRefreshRequired|InvalidToken", "renew the credentials: it goes on then"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthFailure|CredentialsNot|no credentials",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    (
        r"AccessDenied|Forbidden|AllAccessDisabled|MethodNotAllowed|ReadOnly",
        "the credentials must be allowed to list, read, write and delete there",
    ),
    (
        r"Quota|StorageFull|InsufficientCapacity|EntityTooLarge|507",
        "free space there: it goes on by itself",
    ),
    (r"cannot be reached", "see `url` and `endpoint` in [storage] of config.toml, and the network"),
)


class S3Storage:
    """A bucket, or what lies below a prefix in it, as storage; see `icckd.storage.base.Storage`.

    Args:
        bucket: Its name.
        prefix: Where in it; "" is all of it.
        endpoint: Address of the server; "" is AWS.
        region: "" leaves it to the environment.
    """

    def __init__(self, bucket: str, prefix: str, *, endpoint: str = "", region: str = "") -> None:
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        environment = os.environ
        endpoint = endpoint or environment.get("AWS_ENDPOINT_URL_S3", "")
        endpoint = endpoint or environment.get("AWS_ENDPOINT_URL", "")
        region = region or environment.get("AWS_REGION", "")
        region = region or environment.get("AWS_DEFAULT_REGION", "") or "us-east-1"
        config: S3Config = {"region": region, "virtual_hosted_style_request": not endpoint}
        if endpoint:
            config["endpoint"] = endpoint

        def open_store(seconds: float) -> S3Store:
            return S3Store(
                bucket,
                prefix=prefix or None,
                config=config,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                    "timeout": timedelta(seconds=seconds),
                },
                retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=seconds)},
                credential_provider=_from_file if self._file_stamp != _NO_FILE else None,
            )

        self._open_store = open_store
        self._open()

    def _open(self) -> None:
        self._file_stamp = _file_stamp()
        self._store = self._open_store(REQUEST_SECONDS)
        self._files = self._open_store(PART_SECONDS)

    def create(self, key: str, data: bytes) -> None:
        """Make an object by a conditional put; see `Storage.create`."""

        def put() -> bool:
            for _ in range(_CREATE_TRIES):
                try:
                    obstore.put(self._store, key, data, mode="create", use_multipart=False)
                except AlreadyExistsError:
                    if self.get(key) is not None:
                        return False
                else:
                    return True
                # AWS answers two at once with 409, and perhaps neither was written.
            raise StorageError(f"storage {self.url} refuses {key} again and again")

        if not self._refusing(put):
            settle_create(self, key, data)

    def put(self, key: str, data: bytes) -> None:
        self._refusing(lambda: obstore.put(self._store, key, data, use_multipart=False))

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as file:
            self._refusing(lambda: obstore.put(self._files, key, file, chunk_size=PART_BYTES))

    def get(self, key: str) -> bytes | None:
        try:
            return self._refusing(
                lambda: bytes(obstore.get(self._store, key).bytes()), FileNotFoundError
            )
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self._refusing(lambda: obstore.head(self._store, key), FileNotFoundError)["size"]
        except FileNotFoundError:
            return None

    def get_file(self, key: str, path: Path) -> bool:
        """Fetch an object into a new file, part by part; return whether there is one."""
        if (size := self.size(key)) is None:
            return False

        def part(start: int) -> bytes:
            length = min(PART_BYTES, size - start)
            return bytes(obstore.get_range(self._files, key, start=start, length=length))

        with path.open("xb") as file:
            for start in range(0, size, PART_BYTES):
                file.write(self._refusing(partial(part, start)))
        return True

    def list(self, folder: str, after: str = "") -> Sequence[Entry]:
        def found() -> list[Entry]:
            chunks = obstore.list(self._store, prefix=folder, offset=after or None)
            entries = (Entry(meta["path"], meta["size"]) for chunk in chunks for meta in chunk)
            return sorted(entry for entry in entries if entry.key > after)

        return self._refusing(found)

    def delete(self, key: str) -> None:
        try:
            self._refusing(lambda: obstore.delete(self._store, key), FileNotFoundError)
        except FileNotFoundError:
            return

    def _refusing(self, act: Callable[[], T], *passing: type[Exception]) -> T:
        """Return what `act` returns; what it raises is told as a refusal, or passed on."""
        try:
            return act()
        except (StorageError, *passing):  # type: ignore[misc]  # mypy does not unpack a tuple of classes
            raise
        except (BaseError, OSError, ValueError) as error:
            told, hint = _told(str(error))
            if self._file_stamp != _file_stamp():  # the next try has what was written meanwhile
                self._open()
            raise StorageError(f"storage {self.url} refuses: {told}", hint=hint) from None


def _told(text: str) -> tuple[str, str]:
    """Return what an answer says in short, without what was signed or sent, and a hint."""
    code = re.search(r"<Code>([^<]{1,80})</Code>", text)
    message = re.search(r"<Message>([^<]{1,200})</Message>", text)
    if code is not None:
        told = code[1] + (f": {message[1]}" if message is not None else "")
    else:
        status = re.search(r"(?i)status(?: code)?:? (\d{3}[\w ]{0,40})", text)
        told = status[1] if status is not None else _cause_in(text)
    hint = next((hint for pattern, hint in _HINTS if re.search(f"(?i){pattern}", told)), "")
    return own_redactor()(told), hint or "see `[storage]` in config.toml; nothing is lost"


_REASONS = {
    "connection refused": r"(?i)refused",
    "it does not answer in time": r"(?i)timed ?out",
    "its name is not known": r"(?i)dns error|lookup address",
    "its certificate is not trusted": r"(?i)certificate",
    "the network is unreachable": r"(?i)unreachable",
}


def _cause_in(text: str) -> str:
    """Return why a request failed that had no answer."""
    reason = next((words for words, shape in _REASONS.items() if re.search(shape, text)), "")
    if "error sending request" in text or "HTTP error" in text or reason:
        return f"it cannot be reached{reason and f': {reason}'}"
    return text.partition("\n\n")[0].strip()[:200] or "it gives no reason"


# Credentials of a file: whoever renews them writes the file. It is read again every few minutes,
# and when storage refused something after it changed.

_NO_FILE = (0, 0)


def _file() -> Path:
    named = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "")
    return Path(named or "~/.aws/credentials").expanduser()


def _file_stamp() -> tuple[int, int]:
    """Return what changes when the file does that credentials are taken from.

    `_NO_FILE` where they are not: something in the environment comes before it.
    """
    if "AWS_ACCESS_KEY_ID" in os.environ or "AWS_WEB_IDENTITY_TOKEN_FILE" in os.environ:
        return _NO_FILE
    try:
        found = _file().stat()
    except (OSError, RuntimeError):
        return _NO_FILE
    return found.st_mtime_ns, found.st_size


def _from_file() -> "S3Credential":
    """Return the credentials of the profile `AWS_PROFILE`, or `default`.

    Raises:
        ValueError: They are not there.
    """
    profile = os.environ.get("AWS_PROFILE", "") or "default"
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(_file().read_text(encoding="utf-8"))
        section = parser[profile]
        found = section["aws_access_key_id"], section["aws_secret_access_key"]
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        raise ValueError(f"no credentials of profile {profile!r} in {_file()}") from None
    return {
        "access_key_id": found[0],
        "secret_access_key": found[1],
        "token": section.get("aws_session_token"),
        "expires_at": datetime.now(UTC) + _REREAD,
    }
