"""The start of a kernel: what is compiled for the first time takes a minute, and says so meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from transforms.kernel import Kernel

TOLD_EACH_S: Final = 10.0


def warm_up(kernel: Kernel, tell: Callable[[str], None], *, told_each_s: float = TOLD_EACH_S) -> None:
    """Compile or load the kernel's machine code.

    tell: called at once when it must be compiled, and every ``told_each_s`` until it is, with a line for a person.
    """
    if (kernel.folder / "compiled").exists():
        kernel.warm_up()
        return
    chosen = kernel.feature_set
    what = f"compiling {len(chosen.columns)} features of registry {chosen.version}, once on this machine"
    tell(what)
    begun = time.monotonic()
    done = threading.Event()

    def keep_telling() -> None:
        while not done.wait(told_each_s):
            tell(f"{what}: {time.monotonic() - begun:.0f} s so far")

    telling = threading.Thread(target=keep_telling, name="compiling", daemon=True)
    telling.start()
    try:
        kernel.warm_up()
    finally:
        done.set()
        telling.join()
