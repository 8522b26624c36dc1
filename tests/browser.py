"""Install what the tests of the page need - chromium, Playwright, axe-core - where that is possible, and run them.

Without a browser this fails, so that the tests are never left out unnoticed; with STYLECORE_NO_BROWSER=1 it says so and
succeeds.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
AXE = "axe-core@4.14.1"

# Where npm unpacks a package.
FOLDER = Path(sys.prefix) / "axe"


def chromium():
    """Path of chromium, installed from Debian's packages if it is missing and this is root; None if there is none."""
    if path := shutil.which("chromium") or shutil.which("chromium-browser"):
        return path
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], stdout=subprocess.DEVNULL)
    return shutil.which("chromium")


def axe():
    """Path of axe-core's script, unpacked from npm's package; None without npm or a network connection."""
    script = FOLDER / "package" / "axe.min.js"
    if not script.is_file() and shutil.which("npm"):
        FOLDER.mkdir(exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=FOLDER, stdout=subprocess.DEVNULL)
        for archive in FOLDER.glob("*.tgz"):
            shutil.unpack_archive(archive, FOLDER)
    return script if script.is_file() else None


def main():
    """Run the tests; returns the exit status."""
    if os.environ.get("STYLECORE_NO_BROWSER") == "1":
        print("test-web: left out, because STYLECORE_NO_BROWSER is 1.")
        return 0
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "playwright >= 1.40"])
    found = {
        "chromium": chromium(),
        "playwright": shutil.which("playwright", path=Path(sys.prefix) / "bin"),
        "axe": axe(),
    }
    if missing := [name for name, path in found.items() if path is None]:
        print(
            f"test-web: {' and '.join(missing)} cannot be installed here; STYLECORE_NO_BROWSER=1 leaves the tests out."
        )
        return 1
    environment = {**os.environ, "STYLECORE_CHROMIUM": found["chromium"], "STYLECORE_AXE": str(found["axe"])}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "browser", "tests/stylecore/web"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
