"""What the project's processes say on their admin ports."""

import json
import urllib.error
import urllib.request
from typing import Any

from services.bootstrap import Project

PROBE_SECONDS_MAX = 1.0


def roles(project: Project) -> dict[str, int]:
    """The processes that the project needs, with their admin ports."""
    admin = project.settings.admin
    wanted = {"loader": admin.loader_port}
    if project.webhook_configs:
        wanted["gateway"] = admin.gateway_port
    if project.rest_sources:
        wanted["poller"] = admin.poller_port
    return wanted


def asked(url: str) -> dict[str, Any] | None:
    """The JSON that an admin port answers, whatever its status; None without an answer."""
    try:
        with _opener().open(url, timeout=PROBE_SECONDS_MAX) as answer:
            body: Any = json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            body = json.load(error)
        except ValueError:
            return None
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
