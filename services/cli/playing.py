"""Plays the demo: starts everything, sends, waits, looks."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from schemas.contract import DEAD_SUFFIX
from schemas.errors import SetupError, TransientError
from schemas.ports import Clock
from services.auditing import audit_project_by_ids
from services.bootstrap import Project, open_project
from services.cli.applying import apply_project
from services.cli.up import Member, asked, running
from services.demo.carrier_api import PATH
from services.demo.dataset import Dataset, load_dataset
from services.demo.expected import FLIGHTS, Expected, expect
from services.demo.facts import read_facts
from services.demo.folder import DemoFolder, make_folder
from services.demo.measured import cpu_seconds, scrape
from services.demo.printing import show
from services.demo.progress import Bars, Teller
from services.demo.report import Report
from services.demo.sending import Answered, Gateway, send_all
from services.demo.watching import Progress, Watched, watch
from services.demo.webhooks import Post, posts_of
from services.embedded.process import Process, ProcessSpec
from services.exit_codes import ExitCode
from services.run import Stop, stop_on_signals

WIDTH = 110  # of what is no terminal
BURST = 25  # requests of the poller before the carriers' API says 429; fewer for a share
PAGE_ROWS = 4_000  # as in the project's sluice.toml
READY_SECONDS_MAX = 60.0
PROBE_SECONDS = 0.1
WAIT_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    folder: Path
    keep: bool
    file: Path | None
    share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent, and what has to come of it."""

    share: float
    data: Dataset
    posts: list[Post]
    expected: Expected


def play(options: Options, clock: Clock) -> ExitCode:
    """The whole demo."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    teller = Teller(console, clock)
    folder = make_folder(options.folder)
    teller.say(f"project folder {folder.root}")
    with ThreadPoolExecutor(1) as pool, _carriers(folder, options.share) as carriers:
        planned = pool.submit(_plan, options.share)
        teller.say("starting Kafka, the warehouse and the carriers' API")
        with open_project(folder.root) as project:
            apply_project(project)
            carriers.wait_ready()
            teller.say("starting gateway, poller and loader")
            with running(project, folder.environ) as members:
                _wait_ready(members, teller)
                stage = Stage(folder, project, members, teller)
                report = stage.play(planned, options)
                if options.keep:
                    show(report, console)
                    _keep(stage)
                else:
                    teller.say("stopping")
    if not options.keep:  # nothing comes after its last line
        show(report, console)
    return ExitCode.CHECK_FAILED if report.differences else ExitCode.OK


def _plan(share: float) -> Plan:
    data = load_dataset().part(share)
    posts = posts_of(data)
    return Plan(share, data, posts, expect(data, posts))


@contextmanager
def _carriers(folder: DemoFolder, share: float) -> Iterator[Process]:
    """The carriers' API, launched."""
    environ = {
        "CARRIER_PORT": str(folder.ports["carrier"]),
        "CARRIER_TOKEN": folder.environ["DEMO_CARRIER_TOKEN"],
        "CARRIER_SHARE": str(share),
        "CARRIER_BURST": str(_burst(share)),
    }
    spec = ProcessSpec(
        name="carriers",
        command=[sys.executable, "-m", "services.demo.carrier_api"],
        folder=folder.root / ".sluice" / "logs",
        environ=environ,
        ready=lambda: asked(f"{folder.carrier_url}/") is not None,
    )
    process = Process(spec)
    process.launch()
    try:
        yield process
    finally:
        process.stop()


def _burst(share: float) -> int:
    return max(1, round(BURST * share))


def _wait_ready(members: list[Member], teller: Teller) -> None:
    """Until all of them say that they are. Raises SetupError."""
    deadline = teller.clock.monotonic() + READY_SECONDS_MAX
    for member in members:
        while not (asked(f"{member.admin}/ready") or {}).get("ok"):
            if teller.clock.monotonic() > deadline:
                raise SetupError(
                    f"the {member.role} is not ready after {READY_SECONDS_MAX:.0f} s",
                    where=str(member.process.log),
                    remedy="read its log, mend what it names, then start again",
                )
            teller.clock.sleep(PROBE_SECONDS)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything runs."""

    folder: DemoFolder
    project: Project
    members: list[Member]
    teller: Teller

    def play(self, planned: "Future[Plan]", options: Options) -> Report:
        """Send, wait until it is loaded, and look. Writes the JSON file."""
        plan = planned.result()
        started = self.teller.seconds
        self.teller.say(
            f"polling {plan.data.flights.height:,} flights and posting "
            f"{sum(post.times for post in plan.posts):,} webhooks"
        )
        answers = self._flow(plan)
        loaded = self.teller.seconds
        self.teller.say("everything is loaded; auditing")
        report = self._report(plan, answers, (started, loaded))
        if options.file is not None:
            options.file.write_text(json.dumps(report.data(), indent=1, default=str) + "\n")
        return report

    def _flow(self, plan: Plan) -> list[Answered]:
        """Webhooks from a thread, while the poller polls and the ledger is watched."""
        expected, clock = plan.expected, self.teller.clock
        gateway = Gateway(self.folder.gateway_url, self.folder.webhook_secrets, clock)
        totals = {
            "polled": expected.on_topic[FLIGHTS],
            "posted": sum(len(post.records) * post.times for post in plan.posts),
            "loaded": _of_streams(expected.on_topic),
        }
        warehouse = self.project.warehouse()
        watched = Watched(warehouse, [member.admin for member in self.members], clock)
        with self.teller.bars(totals) as bars, ThreadPoolExecutor(1) as pool:
            sent = pool.submit(
                send_all,
                plan.posts,
                gateway,
                lambda post: bars.add("posted", len(post.records)),
            )
            try:
                watch(watched, expected.on_topic, lambda now: _show(bars, now, sent))
                return sent.result()
            except TransientError as error:
                raise self._explained(error) from error
            finally:
                warehouse.close()

    def _explained(self, error: TransientError) -> TransientError:
        restarted = [m for m in self.members if m.process.restarts]
        if not restarted:
            return error
        tails = "\n".join(f"{m.role}: {m.process.tail(5)}" for m in restarted)
        return TransientError(
            f"{error.what}; these processes ended unasked:\n{tails}",
            where=str(self.folder.root / ".sluice" / "logs"),
            remedy=error.remedy,
        )

    def _report(self, plan: Plan, answers: list[Answered], moments: tuple[float, float]) -> Report:
        samples = scrape(member.admin for member in self.members)
        cpu = cpu_seconds()
        warehouse = self.project.warehouse()
        try:
            facts = read_facts(warehouse, self.project.streams)
        finally:
            warehouse.close()
        books = audit_project_by_ids(self.project)
        started, loaded = moments
        flights = plan.data.flights.height
        return Report(
            expected=plan.expected,
            facts=facts,
            books=books,
            samples=samples,
            answers=answers,
            airlines=plan.data.airlines,
            tables={
                name: contract.table_name
                for name, contract in self.project.streams.items()
                if not name.endswith(DEAD_SUFFIX)
            },
            seconds={
                "to start": started,
                "to load": loaded - started,
                "to audit": self.teller.seconds - loaded,
                "in all": self.teller.seconds,
            },
            cpu=cpu,
            limited_expected=flights > PAGE_ROWS * _burst(plan.share),
        )


def _of_streams(messages: dict[str, int]) -> int:
    return sum(n for topic, n in messages.items() if not topic.endswith(DEAD_SUFFIX))


def _show(bars: Bars, now: Progress, sent: "Future[list[Answered]]") -> None:
    """Move the bars; what went wrong with the webhooks ends the waiting."""
    if sent.done():
        sent.result()
    bars.set("polled", now.polled)
    bars.set("loaded", _of_streams(now.loaded))


def _keep(stage: Stage) -> None:
    console = Console(stderr=True)
    folder = stage.folder
    lines = [
        f"still running; Ctrl-C ends it. The project folder is {folder.root}",
        f"  webhooks       {folder.gateway_url}/v1/in/noaa and /v1/in/faa",
        f"  carriers' API  {folder.carrier_url}{PATH}",
        *(f"  {m.role:<14} {m.admin}/ready, /metrics; log {m.process.log}" for m in stage.members),
        f"  audit          sluice audit --project {folder.root}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    stop = Stop()
    with stop_on_signals(stop):
        while not stop.wait(WAIT_SECONDS):
            pass
    console.print("stopping", highlight=False)
