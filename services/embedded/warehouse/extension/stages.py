"""Stages: PUT with OVERWRITE and the fields that connector 5 needs, uploads, REMOVE."""

import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
from fakesnow.server import gcs_stage_info
from fakesnow.transforms import stage as fakesnow_stage
from fakesnow.transforms.options import parse_options
from sqlglot import Expr, exp
from starlette.requests import Request
from starlette.responses import Response

from services.embedded.warehouse.extension.ddl import Place

_REMOVE = re.compile(r"\s*(?:REMOVE|RM)\s+@(\S+?)/?\s*;?\s*", re.IGNORECASE)

# What a real presigned URL says that its signature covers; connector 5 sends only these headers.
_SIGNED_HEADERS = (
    "host",
    "x-goog-if-generation-match",
    "x-goog-meta-sfc-digest",
    "x-goog-meta-encryptiondata",
    "x-goog-meta-matdesc",
    "x-goog-hash",
)
_ONLY_IF_ABSENT = ("x-goog-if-generation-match", "0")  # OVERWRITE=FALSE


def overwrites(expression: Expr) -> bool | None:
    """PUT's OVERWRITE option, FALSE where it is absent; None for other statements."""
    if not isinstance(expression, exp.Put):
        return None
    options = parse_options(expression.args.get("properties") or [])
    return bool(options.get("OVERWRITE", False))


def set_overwrite(transformed: Expr, *, overwrite: bool | None) -> None:
    """Tell the client what :func:`overwrites` found; fakesnow always says FALSE."""
    if overwrite is not None and "put_stage_data" in transformed.args:
        transformed.args["put_stage_data"]["overwrite"] = overwrite


def stage_info(
    request: Request, statement: Expr, put: fakesnow_stage.UploadCommandDict
) -> dict[str, Any]:
    """The upload address, with the fields that connector 5 insists on."""
    info: dict[str, Any] = gcs_stage_info(request, statement, put)
    info |= {
        "region": "local",
        "storageAccount": None,
        "endPoint": None,
        "isClientSideEncrypted": False,
        "useRegionalUrl": False,
        "useVirtualUrl": False,
        "path": info["location"],
    }
    info["presignedUrl"] += "?X-Goog-SignedHeaders=" + quote(";".join(_SIGNED_HEADERS))
    return info


async def upload(request: Request) -> Response:
    """Store a staged file whole or not at all; 412 for one that must not be overwritten."""
    target = staged_file(request.path_params["path"])
    if target is None:
        return Response(status_code=400)
    name, value = _ONLY_IF_ABSENT
    if request.headers.get(name) == value and target.exists():
        return Response(status_code=412)
    part = Path(fakesnow_stage.LOCAL_BUCKET_PATH).with_name(f"upload-{id(request)}.part")
    with part.open("wb") as file:  # outside the stages, so that nobody lists half a file
        async for chunk in request.stream():
            file.write(chunk)
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    return Response()


def staged_file(path: str) -> Path | None:
    """Where an upload goes; None for a path that leaves the stages' folder."""
    root = Path(fakesnow_stage.LOCAL_BUCKET_PATH)
    target = Path(os.path.normpath(root / path))
    return target if target.is_relative_to(root) and target != root else None


def removed_prefix(command: str) -> str | None:
    """``stage/path`` of a ``REMOVE @stage/path``; None for other statements."""
    found = _REMOVE.fullmatch(command)
    return found[1] if found else None


def files_below(connection: duckdb.DuckDBPyConnection, reference: str, place: Place) -> list[str]:
    """The staged files whose path begins with a ``stage/path``, as Snowflake matches them."""
    name, _, path = reference.partition("/")
    prefix = fakesnow_stage.internal_dir(
        ".".join(fakesnow_stage.parts_from_var(name, place[0], place[1])), path
    )
    rows = connection.execute(fakesnow_stage.internal_files_sql(prefix)).fetchall()
    return [row[0] for row in rows]


def remove(file: str) -> str:
    """Delete a staged file; its name as LIST would show it."""
    with contextlib.suppress(FileNotFoundError):
        Path(file).unlink()
    return str(fakesnow_stage.internal_file_name(file))


def removed_rows(names: list[str]) -> Expr:
    """The result of REMOVE: a row a file, with its name and ``removed``."""
    rows = exp.values([(name, "removed") for name in names] or [("", "")], "t", ["name", "result"])
    return exp.select("name", "result").from_(rows).where("name <> ''")
