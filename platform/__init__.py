"""Runs only in a checkout that is not installed, and gives way to the standard `platform`.

Nothing else can live here: once the bridge is in place, this file is never run.
"""

import _platform_bridge

_platform_bridge.restore()
