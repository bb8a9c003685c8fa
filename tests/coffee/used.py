"""What processes use of the machine, as the kernel counts it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.devstack.process import Process


@dataclass(frozen=True)
class Used:
    """Processor seconds so far with those of ended children, and the most memory held, by process."""

    cpu_s: Mapping[str, float]
    peak_mib: Mapping[str, float]

    @classmethod
    def of(cls, processes: Mapping[str, Process]) -> "Used":
        """Read it; a process that starts others is counted without them while they live."""
        read = {name: _read(process.pid or 0) for name, process in processes.items()}
        return cls({name: cpu for name, (cpu, _) in read.items()}, {name: peak for name, (_, peak) in read.items()})

    def since(self, before: "Used", seconds: float) -> dict[str, dict[str, float]]:
        """Return cores and peak memory in MiB of each process over so many seconds."""
        return {
            name: {"cores": round((cpu - before.cpu_s[name]) / seconds, 3), "peak_mib": round(self.peak_mib[name], 1)}
            for name, cpu in self.cpu_s.items()
        }


def _read(pid: int) -> tuple[float, float]:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024
