"""Makes `platform.*` importable for tests in a checkout that is not installed.

By the time pytest reads this file it has loaded the standard `platform` for its own use.
"""

import _platform_bridge

_platform_bridge.install()
