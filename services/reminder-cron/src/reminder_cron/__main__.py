"""`python -m reminder_cron`.

The worker's processes share their counters through files; the library decides that when it is imported, so the folder
is named before anything else.
"""

import os
import sys
import tempfile

if "worker" in sys.argv[1:2] and not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="copeck-reminder-worker-")

from reminder_cron.main import main

main()
