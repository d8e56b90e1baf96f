"""Files of this machine put where a cloud can read them: below one address, under names that stay apart."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from findling import storage
from findling.errors import ConfigError, StorageError

_ODD = re.compile(r"[\s,#]")  # what parts addresses in Spark's settings


@dataclass(frozen=True)
class Uploads:
    """Sends files below `to`, an s3:// or gs:// address; in a dry run it only tells where they would be."""

    to: str | None
    say: Callable[[str], None]
    dry_run: bool = False

    def file(self, option: str, given: str) -> str:
        """The address of a file that was given with an option: its own, or that of its copy below `to`.

        A copy's address has the hash of the content in it. So files of one name stay apart, and what is
        there already is not sent again. Raises ConfigError and StorageError.
        """
        if _ODD.search(given):
            raise ConfigError(
                f"{option} {given!r} has a space, a comma or a # in it", todo="give the file another name"
            )
        if not storage.is_local(given):
            return given
        path = storage.local_path(given)
        if not path.is_file():
            found = "is a directory" if path.is_dir() else "is not there"
            raise StorageError(f"{option} {given!r} {found}", todo="name a file, or an address in the cloud")
        address = self._address(option, storage.sha256(path), path.name)
        if self.dry_run or self._there(address, path):
            return address
        with path.open("rb") as source, storage.stage_file(address) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        self.say(f"uploaded {given} to {address}")
        return address

    def text(self, name: str, content: bytes) -> str:
        """The address of a small file with this content."""
        address = self._address(name, hashlib.sha256(content).hexdigest(), name)
        if not self.dry_run:
            storage.write_bytes(address, content)
        return address

    def at(self, *names: str) -> str:
        """An address below `to`."""
        return storage.join(self._below(names[0]), *names)

    def _address(self, what: str, digest: str, name: str) -> str:
        return storage.join(self._below(what), "files", digest[:16], name)

    def _below(self, what: str) -> str:
        if self.to is None:
            raise ConfigError(
                f"{what} is a file of this machine", todo="say where to put it: --to s3://BUCKET"
            )
        if storage.is_local(self.to):
            raise ConfigError(f"--to is {self.to!r}", todo="name an address in the cloud: --to s3://BUCKET")
        if _ODD.search(self.to):
            raise ConfigError(f"--to {self.to!r} has a space, a comma or a # in it", todo="choose another")
        return self.to

    def _there(self, address: str, path: Path) -> bool:
        return storage.exists(address) and storage.size(address) == path.stat().st_size
