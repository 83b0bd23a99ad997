"""A whole deployment on this machine, with services of its own: whatever a fault does to them disturbs nobody else."""

from tests.rig.audit import PostgresStored, audit
from tests.rig.clients import Crowd, stream
from tests.rig.deployment import Deployment, deployment
from tests.rig.postgres import OwnPostgres
from tests.rig.redis_server import OwnRedis
from tests.rig.wire import Wire, wire

__all__ = [
    "Crowd",
    "Deployment",
    "OwnPostgres",
    "OwnRedis",
    "PostgresStored",
    "Wire",
    "audit",
    "deployment",
    "stream",
    "wire",
]
