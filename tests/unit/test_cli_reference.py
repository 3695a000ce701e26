"""The reference page of the command line says what the application takes."""

from typer.main import get_command

from services.cli.app import declared
from services.cli.reference import render_cli
from services.comments import comments_of
from services.exit_codes import ExitCode


def test_every_command_option_and_exit_code_is_on_the_page() -> None:
    page = render_cli()
    groups = [("sluice", get_command(declared()))]
    seen = 0
    while groups:
        name, command = groups.pop()
        inner = getattr(command, "commands", None)
        if inner is not None:
            groups += [(f"{name} {word}", one) for word, one in inner.items()]
            continue
        seen += 1
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            if parameter.name != "help" and parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}`" in section, (name, parameter.opts)
        assert (command.help or "").split(".")[0] in section.replace("\n", " ")
    assert seen > 12
    for code, text in comments_of(ExitCode).items():
        assert f"| `{code}` | {text} |" in page


def test_the_page_is_the_same_every_time() -> None:
    assert render_cli() == render_cli()


def test_every_command_that_answers_takes_json() -> None:
    page = render_cli()
    running = {"gateway", "poller", "loader", "up", "monitor", "docs"}
    for section in page.split("\n## sluice ")[1:]:
        name = section.partition("\n")[0]
        if name not in running:
            assert "`--json`" in section, name
