"""`python -m tileflow_tvm.cli` is `tileflow`."""

import sys

from tileflow_tvm.cli.app import main

sys.exit(main())
