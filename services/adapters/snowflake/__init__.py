"""The warehouse on Snowflake, through its Python connector."""

from services.adapters.snowflake import lean  # noqa: F401 - before what imports the connector
from services.adapters.snowflake.connection import connection_arguments, embedded_arguments
from services.adapters.snowflake.warehouse import SnowflakeWarehouse

__all__ = ["SnowflakeWarehouse", "connection_arguments", "embedded_arguments"]
