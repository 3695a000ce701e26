"""What makes fakesnow 0.12.1 a warehouse that keeps its promises; see each module.

Importing the package prepares the import of fakesnow, so its modules can import it at the top.
"""

from services.embedded.warehouse.extension.compatibility import (
    require_fakesnow,
    stub_connector_modules,
)

require_fakesnow()
stub_connector_modules()
