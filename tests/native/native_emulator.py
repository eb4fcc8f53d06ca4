"""Run the native engine's cases on emulated processors with AVX-512.

Bochs emulates a whole machine, so movinet_replay goes into the initial file system of a Linux
kernel on a CD image. Needs bochs, bochs-term, bochsbios, vgabios, isolinux, syslinux-common,
xorriso and cpio of Debian 12; the kernel is fetched with apt-get, and not installed.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import native_programs
import numpy as np

#: Kernels -> Bochs's name of a processor on which they are the best ones.
PROCESSORS = {"avx512": "corei7_skylake_x", "avx512vnni": "corei7_icelake_u"}
SYSLINUX = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
ISOLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin")
PACKAGE = "linux-image-cloud-amd64"
#: The features that are cleared are protection keys, XSAVEC and XSAVES, whose sizes Bochs 2.7 tells
#: wrong, so that Linux would do without AVX; and the fast short `rep movsb`, which Linux 6.1 takes
#: for a long one, though Bochs has none.
KERNEL_OPTIONS = (
    "console=ttyS0 loglevel=4 panic=1 reboot=t mitigations=off clearcpuid=515,321,323,580 nokaslr "
    "tsc=reliable lpj=1000000 apparmor=0 cryptomgr.notests random.trust_cpu=on"
)
BOCHS = """\
display_library: term
cpu: model={processor}, ips=400000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
vga: extension=none
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=boot.iso, status=inserted
com1: enabled=1, mode=file, dev=console.txt
com2: enabled=1, mode=file, dev=said.txt
clock: sync=none
log: bochs.txt
panic: action=fatal
"""


def run(command: Sequence[str | Path], folder: Path, data: bytes = b"") -> bytes:
    """What a program writes; CalledProcessError if it fails."""
    return subprocess.run(command, cwd=folder, input=data, stdout=-1, check=True).stdout


def fetch_kernel(folder: Path) -> Path:
    """Debian's kernel for virtual machines, unpacked into a folder."""
    for found in folder.glob("linux/boot/vmlinuz-*"):
        return found
    depends = run(["apt-cache", "depends", PACKAGE], folder).decode().split()
    run(["apt-get", "download", depends[depends.index("Depends:") + 1]], folder)
    (package,) = folder.glob("linux-image-*.deb")
    run(["dpkg-deb", "-x", package, folder / "linux"], folder)
    return next(folder.glob("linux/boot/vmlinuz-*"))


def make_disc(build: Path, cases: Sequence[Path], kernel: Path, folder: Path) -> None:
    """Write boot.iso."""
    root, disc = folder / "root", folder / "disc"
    for made in (root, disc):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
    shutil.copy(build / "movinet_init", root / "init")
    shutil.copy(build / "movinet_replay", root)
    for case in cases:
        shutil.copy(case, root)
        shutil.copy(case.with_suffix(".f32"), root)
    streams = {case.stem: np.load(case.with_suffix(".npy")).shape[1] for case in cases}
    (root / "plan").write_text("".join(f"{name} {count}\n" for name, count in streams.items()))
    names = "\n".join(sorted(path.name for path in root.iterdir())).encode()
    archive = run(["cpio", "--create", "--format=newc", "--quiet"], root, names)
    (disc / "initrd").write_bytes(archive)
    for source, name in ((kernel, "vmlinuz"), (ISOLINUX, ISOLINUX.name), (SYSLINUX, SYSLINUX.name)):
        shutil.copy(source, disc / name)
    (disc / "isolinux.cfg").write_text(
        f"DEFAULT it\nLABEL it\n KERNEL /vmlinuz\n INITRD /initrd\n APPEND {KERNEL_OPTIONS}\n"
    )
    boot = ["-b", ISOLINUX.name, "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4"]
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-o", "boot.iso", *boot]
    run([*command, "-boot-info-table", "disc"], folder)


def check_all(build: Path, cases: Path, folder: Path) -> None:
    """Run movinet_replay over the cases, once for each of PROCESSORS.

    Args:
        build: Where movinet_replay and movinet_init are, static ones.
        cases: Where the cases are; of the large ones only one is run.
        folder: Where everything that the emulator needs and says is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [cases / "reference_a0_stream_50x66.mvn", *sorted(cases.glob("small_*.mvn"))]
    make_disc(build, paths, fetch_kernel(folder), folder)
    (folder / "go").write_text("continue\n")  # for the debugger, which Debian's Bochs starts in
    said_file = folder / "said.txt"
    for kernels, processor in PROCESSORS.items():
        said_file.unlink(missing_ok=True)
        (folder / "bochsrc").write_text(BOCHS.format(processor=processor))
        # The last thing the machine does is to fail, so the exit code tells nothing.
        subprocess.run(
            ["bochs", "-q", "-f", "bochsrc", "-rc", "go"],
            cwd=folder,
            env=os.environ | {"TERM": "vt100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=7200,
        )
        said = said_file.read_text().splitlines() if said_file.exists() else []
        assert said[-1:] == ["done"], f"no end in {said_file}; see also console.txt beside it"
        assert sum(line.endswith(f"kernels for {kernels}") for line in said) == len(paths)
        logits = dict(line.split() for line in said if len(line.split()) == 2)
        for case in paths:
            wanted = np.load(case.with_suffix(".npy"))
            found = np.frombuffer(bytes.fromhex(logits[case.stem]), np.float32)
            error = native_programs.check(found.reshape(wanted.shape), wanted, case.name, False)
            print(f"{case.name}: within {error:.1g}, {kernels}", flush=True)
