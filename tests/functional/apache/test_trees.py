"""The tests of trees, live views and registrations behind links, on Apache's server.

Left out are those that break connections and end sessions, or look into the server.
"""

from __future__ import annotations

from tests.functional.apache.base import OnApache
from tests.registry import test_live_views, test_parent_path
from tests.treesync import test_reading, test_writing
from zkservice.testing.apache import skip_without_apache


@skip_without_apache
class ApacheReadTests(OnApache, test_reading.ReadTests):
    """Reading."""


@skip_without_apache
class ApacheImportPlanTests(OnApache, test_reading.ImportPlanTests):
    """Plans."""


@skip_without_apache
class ApacheCarryOutTests(OnApache, test_writing.CarryOutTests):
    """Writing."""


@skip_without_apache
class ApacheInterferenceTests(OnApache, test_writing.InterferenceTests):
    """Writing while other clients write."""


@skip_without_apache
class ApacheAtomicTests(OnApache, test_writing.AtomicTests):
    """Writing in one transaction."""


@skip_without_apache
class ApacheChildrenTests(OnApache, test_live_views.ChildrenTests):
    """Live children."""


@skip_without_apache
class ApachePropertiesTests(OnApache, test_live_views.PropertiesTests):
    """Live properties."""


@skip_without_apache
class ApachePropertyLinkTests(OnApache, test_live_views.PropertyLinkTests):
    """Live properties of other nodes."""


@skip_without_apache
class ApacheBesidePersistentTests(OnApache, test_live_views.BesidePersistentTests):
    """Live views of nodes that the client also watches otherwise."""


@skip_without_apache
class ApacheParentPathTests(OnApache, test_parent_path.ParentPathTests):
    """Registrations behind links."""
