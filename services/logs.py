"""Logs: one JSON object a line (text on a terminal), UTC, with the role, without secrets."""

import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from schemas.errors import SluiceError
from services.redaction import HIDDEN, Redactor, explained

FRAMES_MAX = 25
QUIET = ("httpx2", "httpcore2", "urllib3", "snowflake", "botocore", "asyncio", "uvicorn.access")
"""Libraries that log every call; only their warnings are of interest."""
NOISY = ("snowflake.connector._core",)
"""Warn of things that are fine, such as a machine that is none of a cloud's; errors only."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the line feed


class _Output(logging.StreamHandler[TextIO]):
    """A stream. What cannot be logged leaves a line without its content, never a traceback."""

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        kind = sys.exc_info()[0]
        line = {
            "level": "error",
            "event": "a log record could not be written",
            "logger": record.name,
            "line": record.lineno,
            "error": kind.__name__ if kind else "",
        }
        if not self.stream.closed:
            self.stream.write(json.dumps(line) + "\n")


def configure(
    role: str,
    level: str = "info",
    *,
    stream: TextIO | None = None,
    console: bool | None = None,
    redactor: Redactor = HIDDEN,
) -> None:
    """Send structlog and logging to ``stream`` (standard error), from ``level`` up.

    ``console`` renders text for people instead of JSON; by default where the stream is a terminal.
    Whatever was configured before is replaced.
    """
    stream = sys.stderr if stream is None else stream
    as_text = stream.isatty() if console is None else console
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        _with_role(role),
        _with_explanation,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    output = _Output(stream)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_text_of(redactor) if as_text else _json_of(redactor)),
            ],
        )
    )
    _route(output, level.upper())


def _route(output: logging.Handler, level: str) -> None:
    """Everything to this output and nowhere else."""
    root = logging.getLogger()
    for old in list(root.handlers):  # another handler would print what was not masked
        root.removeHandler(old)
    root.addHandler(output)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR if root.level > logging.DEBUG else 0)


def install_hooks() -> None:
    """What nobody caught is logged, masked, instead of being printed by Python."""
    log = structlog.get_logger("services.logs")

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical("uncaught error", exc_info=(kind, error, trace))

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            uncaught(args.exc_type, args.exc_value, args.exc_traceback)

    def unraisable(args: Any) -> None:  # noqa: ANN401 - sys.UnraisableHookArgs is no class
        if args.exc_value is not None:
            uncaught(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable


def _with_role(role: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return add


def _with_explanation(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What, where and remedy of one of our own errors as fields."""
    match event.get("exc_info"):
        case SluiceError() as error:
            pass
        case (_, SluiceError() as error, _):
            pass
        case True:
            current = sys.exc_info()[1]
            if not isinstance(current, SluiceError):
                return event
            error = current
        case _:
            return event
    for name, text in explained(error).items():
        event.setdefault(name, text)
    return event


def _json_of(redactor: Redactor) -> list[Processor]:
    frames = ExceptionDictTransformer(show_locals=False, use_rich=False, max_frames=FRAMES_MAX)
    return [
        structlog.processors.ExceptionRenderer(frames),
        _redacting(redactor),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _text_of(redactor: Redactor) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )
    return [structlog.processors.format_exc_info, _redacting(redactor), _printable, renderer]


def _redacting(redactor: Redactor) -> Processor:
    """The last step before rendering: nothing is added to the event after it."""

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        plain: EventDict = redactor.value(dict(event))
        return plain

    return redact


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """No value can move the cursor or colour the terminal."""
    return {
        key: _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _json(event: EventDict, **_options: Callable[[Any], Any]) -> str:
    """ASCII only, so that no character can break the stream's encoding or its lines."""
    return json.dumps(event, ensure_ascii=True)
