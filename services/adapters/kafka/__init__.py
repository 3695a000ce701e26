"""Kafka as our log: one adapter for every port that touches it."""

from services.adapters.kafka.admin import IN_SYNC, REPLICATION, KafkaAdmin, TopicFacts, TopicSpec
from services.adapters.kafka.log import KafkaLog
from services.adapters.kafka.publish import KafkaPublisher, KafkaTransactions
from services.adapters.kafka.reader import KafkaLogReader, read_compacted

__all__ = [
    "IN_SYNC",
    "REPLICATION",
    "KafkaAdmin",
    "KafkaLog",
    "KafkaLogReader",
    "KafkaPublisher",
    "KafkaTransactions",
    "TopicFacts",
    "TopicSpec",
    "read_compacted",
]
