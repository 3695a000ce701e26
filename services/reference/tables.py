"""``docs/reference/tables.md``: every table in the warehouse, with its columns."""

from collections.abc import Iterable

from consumers import ledger
from schemas import avro, dead_letters, table
from schemas.contract import Contract, Raw
from services.reference.pages import NOTE, grid

EXAMPLE = "source.stream"


def tables_page() -> str:
    """docs/reference/tables.md."""
    contract = Contract(stream=EXAMPLE, model=Raw, load_raw=True)
    columns = table.columns_of(contract)
    payload = len(contract.fields)
    parts = [
        NOTE.format(
            source="`consumers/ledger.py`, `schemas/table.py` and `schemas/dead_letters.py`"
        ),
        "# Tables\n",
        (
            "`sluice apply` and `sluice up` create tables and columns that are missing; they "
            "never drop or change one. All are in `snowflake.database` and `snowflake.schema`, "
            f"beside the stage `{ledger.STAGE}` that files are put on. Keys are not declared, "
            "since Snowflake would not enforce them.\n"
        ),
        "## A stream's table\n",
        (
            "Called by the contract's `table`, or as the stream with `_` for every dot: "
            f"`{EXAMPLE}` loads into `{contract.table_name}`. A column a field of the contract "
            "([types](../contracts.md#types)), then Sluice's own. One row an event; rows are only "
            "ever inserted.\n"
        ),
        _grid(columns[payload:]),
        f"`{avro.RAW.upper()}` is there with the contract's `load_raw` only.\n",
        "## A stream without a contract\n",
        "Its record as it came, and Sluice's own columns.\n",
        _grid(columns[:payload]),
        f"## {dead_letters.TABLE}\n",
        "The dead letters of all streams; it loads like any stream.\n",
        _grid(table.columns_of(dead_letters.dead_contract(EXAMPLE))),
    ]
    for name, made in ledger.COLUMNS.items():
        rows = (
            (f"`{column}`", f"`{of.type}`", "yes" if of.null else "no", of.comment)
            for column, of in made.items()
        )
        parts += [f"## {name}\n", f"{ledger.ABOUT[name]}\n"]
        parts.append(grid(("column", "type", "null", "what"), rows))
    return "\n".join(parts)


def _grid(columns: Iterable[table.Column]) -> str:
    rows = ((f"`{c.name.upper()}`", f"`{c.type}`", c.comment) for c in columns)
    return grid(("column", "type", "what"), rows)
