"""Packages from npm that tests use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from filelock import FileLock


def install(folder: Path) -> Path:
    """Installs the packages of a folder as its lock file says, once for all processes.

    Args:
        folder: Of package.json and package-lock.json.

    Returns:
        Its node_modules.
    """
    lock = folder / "package-lock.json"
    installed = folder / "node_modules"
    stamp = installed / "installed-lock.json"
    with FileLock(lock.with_name(".install.lock")):
        if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
            command = ["npm", "ci", "--prefer-offline"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            assert done.returncode == 0, done.stderr
            shutil.copyfile(lock, stamp)
    return installed
