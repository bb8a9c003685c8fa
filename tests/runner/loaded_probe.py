"""What `test_runner_loader` starts: it says who it is, then ends with a status or waits for a signal."""

import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    print(sys.argv[1], os.environ["PROBE"], Path.cwd(), os.getsid(0) == os.getpid(), "PATH" in os.environ)
    if sys.argv[1] == "ends":
        raise SystemExit(3)
    time.sleep(60)
