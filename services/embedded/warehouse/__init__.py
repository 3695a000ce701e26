"""A stand-in for Snowflake on this machine: fakesnow's server, extended and supervised."""

from services.embedded.warehouse.supervised import EmbeddedWarehouse

__all__ = ["EmbeddedWarehouse"]
