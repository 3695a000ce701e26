"""``sluice doctor``."""

from services.cli.app import HERE, AsJson, Folder, app


@app.command()
def doctor(project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Check settings, secrets, contracts, broker, registry and warehouse before a start.

    Ends with 1 where something fails; warnings do not count. Changes nothing; where the settings
    name no broker or warehouse, the embedded ones are started for as long as it takes, unless
    they run already.
    """
    from services.cli.doctor import show_findings
    from services.cli.running import answer

    answer("doctor", lambda: show_findings(project, as_json=as_json))
