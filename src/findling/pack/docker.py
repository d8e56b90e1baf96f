"""The same environment for another system: made by Docker, in a container of that system."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec

from findling import storage
from findling.errors import FindlingError
from findling.pack import archive, installed, models
from findling.pack.models import Models
from findling.progress import Progress

RELEASE = "emr-7.10.0"
_ARCHIVE = "environment.tar.gz"


def pack(out: str, extras: Sequence[str], carried: Models, progress: Progress) -> None:
    """Write the archive for EMR 7 to a path or URL; raises FindlingError where docker is missing or fails."""
    docker = _docker()
    with tempfile.TemporaryDirectory(prefix="findling-pack-") as made:
        with _context(extras, carried) as context:
            progress.say("docker builds the environment; the first time takes minutes")
            _run([*docker, "--target=environment", f"--output=type=local,dest={made}", str(context)])
        with (Path(made) / _ARCHIVE).open("rb") as packed, storage.stage_file(out) as file:
            shutil.copyfileobj(packed, file, 1 << 20)


def image(name: str, release: str, extras: Sequence[str], carried: Models, progress: Progress) -> None:
    """Make a custom image for applications of this release of EMR Serverless, under this name."""
    docker = _docker()
    with _context(extras, carried) as context:
        progress.say("docker builds the image; the first time takes minutes")
        _run([*docker, "--target=image", f"--build-arg=RELEASE={release}", f"--tag={name}", str(context)])


def _docker() -> list[str]:
    found = shutil.which("docker")
    if found is None:
        raise FindlingError(
            "packing for EMR needs docker, and there is none on the PATH",
            todo="install Docker, or run this on a machine that has it",
        )
    # PIP_INDEX_URL is passed on where it is set; without a value its name says just that.
    python = f"--build-arg=PYTHON={sysconfig.get_python_version()}"
    return [found, "build", "--platform=linux/amd64", python, "--build-arg=PIP_INDEX_URL"]


@contextmanager
def _context(extras: Sequence[str], carried: Models) -> Iterator[Path]:
    """All that the Dockerfile copies: the versions that are installed here, this findling, and models."""
    models.check(carried)
    needed = installed.distributions(extras)
    with tempfile.TemporaryDirectory(prefix="findling-pack-") as name:
        home = Path(name)
        dockerfile = resources.files("findling.pack") / "emr-7.Dockerfile"
        (home / "Dockerfile").write_bytes(dockerfile.read_bytes())
        pins = sorted(f"{each.metadata['Name']}=={each.version}\n" for each in needed)
        (home / "requirements.txt").write_text("".join(pins))
        wanted = msgspec.json.encode({"extras": list(extras), "models": dict(carried)})
        (home / "pack.json").write_bytes(wanted)
        archive.lay_out(installed.own_files(), home / "site")
        (home / "models").mkdir()
        models.lay_out(carried, home / "models")
        yield home


def _run(command: list[str]) -> None:
    """Run docker, whose words all go to standard error."""
    ended = subprocess.run(command, stdout=2, check=False).returncode
    if ended:
        raise FindlingError(f"docker build ended with {ended}", todo="its last lines above say why")
