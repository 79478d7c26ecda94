"""Every name that we emit or query: span attributes, baggage, headers, metrics, cache names.

OpenTelemetry's stable semantic conventions where there are some, ours (``tracelab.*``) elsewhere.
"""

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA: Final = "tracelab/1"

# --- resource -----------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"  # feed#1
DEPLOYMENT_ENVIRONMENT: Final = "deployment.environment.name"  # the platform's name
PROCESS_BOOT: Final = "tracelab.process.boot"  # one start of one instance: spans are counted per start

# --- spans: HTTP, databases, messaging (OpenTelemetry) -------------------------------------------
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_RESEND_COUNT: Final = "http.request.resend_count"
URL_PATH: Final = "url.path"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
ERROR_TYPE: Final = "error.type"
HTTP_REQUEST_SIZE: Final = "http.request.body.size"  # of uploads
FILE_SIZE: Final = "file.size"
RPC_SYSTEM: Final = "rpc.system"  # aws-api: the object store
RPC_METHOD: Final = "rpc.method"  # PutObject
S3_BUCKET: Final = "aws.s3.bucket"
S3_KEY: Final = "aws.s3.key"
DB_SYSTEM: Final = "db.system.name"  # postgresql, redis
DB_OPERATION: Final = "db.operation.name"  # SELECT, GET
DB_COLLECTION: Final = "db.collection.name"  # posts
DB_NAMESPACE: Final = "db.namespace"
DB_BATCH_SIZE: Final = "db.operation.batch.size"  # commands of one Redis pipeline
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_OPERATION: Final = "messaging.operation.name"
PEER_SERVICE: Final = "peer.service"  # the edge's target, on every client span

# --- spans: ours --------------------------------------------------------------------------------
CACHE_NAME: Final = "tracelab.cache.name"  # the key's first segment: timeline, profile, post, ...
CACHE_KEY: Final = "tracelab.cache.key"  # a short hash; also on the load that a miss causes
CACHE_HIT: Final = "tracelab.cache.hit"
CACHE_STALE: Final = "tracelab.cache.stale"
DEGRADED: Final = "tracelab.degraded"  # string[]
FALLBACK_SOURCE: Final = "tracelab.fallback.source"
FALLBACK_REASON: Final = "tracelab.fallback.reason"
BREAKER_STATE: Final = "tracelab.breaker.state"
POOL_WAIT_MS: Final = "tracelab.pool.wait_ms"
TIME_ROUNDED: Final = "tracelab.time.rounded"
UPSTREAM_COMPONENT: Final = "tracelab.upstream.component"  # on the gateway's spans: which component was asked
UPSTREAM_ADDRESS: Final = "tracelab.upstream.address"  # its instances, in the order in which they were tried
UPSTREAM_STATUS: Final = "tracelab.upstream.status"  # and what each of them answered
OUTBOX_TOPIC: Final = "tracelab.outbox.topic"
OUTBOX_ATTEMPT: Final = "tracelab.outbox.attempt"  # 1, 2, ...: deliveries of one parcel
MEDIA_TYPE: Final = "tracelab.media.type"  # sniffed
MEDIA_VARIANT: Final = "tracelab.media.variant"  # string[]: what a job makes
FAULT_TARGET: Final = "tracelab.fault.target"
FAULT_KIND: Final = "tracelab.fault.kind"

EVENT_RETRY: Final = "tracelab.retry.scheduled"
EVENT_BREAKER_CHANGE: Final = "tracelab.breaker.state_change"
EVENT_BREAKER_REJECTED: Final = "tracelab.breaker.rejected"
EVENT_CALL_REFUSED: Final = "tracelab.call.refused"  # by a bulkhead, a deadline or a retry budget: see error.type
RETRY_DELAY_MS: Final = "tracelab.retry.delay_ms"  # on the event of a scheduled retry
EDGE: Final = "tracelab.edge"  # on these events: feed->profile

# error.type values of calls that a policy refused
TIMEOUT: Final = "timeout"
CIRCUIT_OPEN: Final = "circuit_open"
BULKHEAD_FULL: Final = "bulkhead_full"
DEADLINE_EXCEEDED: Final = "deadline_exceeded"
RETRY_BUDGET: Final = "retry_budget"

# --- baggage and headers ------------------------------------------------------------------------
BAGGAGE_RUN: Final = "tracelab.run"
BAGGAGE_SCENARIO: Final = "tracelab.scenario"
BAGGAGE_PHASE: Final = "tracelab.phase"
HEADER_DEADLINE_MS: Final = "X-Tracelab-Deadline-Ms"
HEADER_DEGRADED: Final = "X-Tracelab-Degraded"
HEADER_FAULT: Final = "X-Tracelab-Fault"
HEADER_SERVICE_TOKEN: Final = "X-Tracelab-Service-Token"
TOKEN_COOKIE: Final = "tracelab_token"
REFRESH_COOKIE: Final = "tracelab_refresh"
FLOW_COOKIE: Final = "tracelab_flow"  # a login by a provider that is under way
OAUTH_CLIENT: Final = "tracelab"  # what the identity provider knows us as

# --- caches (platform contract, section 3) -------------------------------------------------------
CACHES: Final = ("profile", "following", "followers", "post", "timeline")
CACHE_BROWSER: Final = "browser"  # whoever asks again with an ETag: hit is a 304
OBJECTIVE_CACHES: Final = ("profile", "following", "post", "timeline")
SESSION_TTL_S: Final = 24 * 3600
CACHE_TTL_S: Final = {
    "profile": 3600,
    "following": 3600,
    "followers": 3600,
    "post": 3600,
    "timeline": 300,
    "session": SESSION_TTL_S,
}
CACHE_KEEP_S: Final = 24 * 3600  # Redis keeps a value this long, for use as a stale copy

# --- metrics (platform contract, section 8) --------------------------------------------------------
METRIC_HTTP_REQUESTS: Final = "tracelab.http.requests"
METRIC_HTTP_DURATION: Final = "tracelab.http.duration"
METRIC_CACHE_READS: Final = "tracelab.cache.reads"
METRIC_DB_DURATION: Final = "tracelab.db.duration"
METRIC_DB_POOL_IN_USE: Final = "tracelab.db.pool.in_use"
METRIC_DB_POOL_WAIT: Final = "tracelab.db.pool.wait"
METRIC_DB_REPLICA_LAG: Final = "tracelab.db.replica.lag"
METRIC_EDGE_ATTEMPTS: Final = "tracelab.edge.attempts"
METRIC_BREAKER_STATE: Final = "tracelab.breaker.state"
METRIC_MESSAGES: Final = "tracelab.messages"
METRIC_MEDIA_BYTES: Final = "tracelab.media.bytes"
METRIC_OUTBOX_ATTEMPTS: Final = "tracelab.outbox.attempts"
METRIC_OUTBOX_WAITING: Final = "tracelab.outbox.waiting"
METRIC_OUTBOX_AGE: Final = "tracelab.outbox.age"
METRIC_FAULT_ACTIVE: Final = "tracelab.fault.active"
METRIC_GATEWAY_DURATION: Final = "tracelab.gateway.duration"
METRIC_SPANS_RECEIVED: Final = "tracelab.collector.spans.received"
METRIC_SPANS_STORED: Final = "tracelab.collector.spans.stored"
METRIC_SPANS_REJECTED: Final = "tracelab.collector.spans.rejected"
METRIC_QUEUE_BYTES: Final = "tracelab.collector.queue.bytes"
METRIC_ONWARD: Final = "tracelab.collector.onward"
METRIC_ONWARD_WAITING: Final = "tracelab.collector.onward.waiting"
METRIC_STORE_UP: Final = "tracelab.store.up"
METRIC_DB_BUFFER_READS: Final = "tracelab.db.buffer.reads"
METRIC_DB_TRANSACTIONS: Final = "tracelab.db.transactions"
METRIC_DB_CONNECTIONS: Final = "tracelab.db.connections"
METRIC_DB_SIZE: Final = "tracelab.db.size.bytes"
METRIC_DB_STATEMENT_CALLS: Final = "tracelab.db.statement.calls"
METRIC_DB_STATEMENT_SECONDS: Final = "tracelab.db.statement.seconds"
METRIC_REDIS_READS: Final = "tracelab.redis.keyspace.reads"
METRIC_REDIS_LOST: Final = "tracelab.redis.keys.lost"
METRIC_REDIS_KEYS: Final = "tracelab.redis.keys"
METRIC_REDIS_MEMORY: Final = "tracelab.redis.memory.bytes"
METRIC_REDIS_CONNECTIONS: Final = "tracelab.redis.connections"

BOUNDS_S: Final = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
)  # limits are among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: how it is sent, and how Prometheus sees it."""

    name: str
    kind: Literal["counter", "gauge", "timing"]
    labels: tuple[str, ...] = ()
    help: str

    @property
    def prometheus(self) -> str:
        """Return the family's name: counters end in ``_total``, timings (sent in ms) are seconds."""
        plain = self.name.replace(".", "_")
        return plain + {"counter": "_total", "gauge": "", "timing": "_seconds"}[self.kind]

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names under which its series are stored and queried."""
        if self.kind != "timing":
            return (self.prometheus,)
        return tuple(f"{self.prometheus}_{part}" for part in ("bucket", "sum", "count"))


def _metric(name: str, kind: Literal["counter", "gauge", "timing"], labels: str, help_text: str) -> Metric:
    return Metric(name=name, kind=kind, labels=tuple(labels.split()), help=help_text)


STATSD_METRICS: Final = (  # sent as StatsD with DogStatsD tags
    _metric(METRIC_HTTP_REQUESTS, "counter", "service route method status", "Requests that a service answered."),
    _metric(METRIC_HTTP_DURATION, "timing", "service route method status", "Time a service took for a request."),
    _metric(METRIC_CACHE_READS, "counter", "cache result", "Reads of a cache: hit, miss, stale or error."),
    _metric(METRIC_DB_DURATION, "timing", "db", "Time of one statement, seen by the service."),
    _metric(METRIC_DB_POOL_IN_USE, "gauge", "db", "Connections of a pool that are in use."),
    _metric(METRIC_DB_POOL_WAIT, "timing", "db", "Time until a connection of the pool was had."),
    _metric(METRIC_DB_REPLICA_LAG, "gauge", "db", "Seconds that a standby is behind its primary, seen by a service."),
    _metric(METRIC_EDGE_ATTEMPTS, "counter", "edge result", "Calls between services: ok, refused, timeout, ..."),
    _metric(METRIC_BREAKER_STATE, "gauge", "edge", "A circuit breaker: 0 closed, 1 half open, 2 open."),
    _metric(METRIC_MESSAGES, "counter", "event", "Events of messaging: connect, sent, delivered."),
    _metric(METRIC_MEDIA_BYTES, "counter", "", "Bytes of media that were uploaded."),
    _metric(METRIC_OUTBOX_ATTEMPTS, "counter", "outbox topic result", "Deliveries that an outbox tried: ok or failed."),
    _metric(METRIC_OUTBOX_WAITING, "gauge", "outbox topic", "Parcels that wait in an outbox."),
    _metric(METRIC_OUTBOX_AGE, "gauge", "outbox topic", "Seconds since the oldest waiting parcel was written."),
    _metric(METRIC_FAULT_ACTIVE, "gauge", "fault target", "1 while a fault holds, 0 after it."),
)
COLLECTOR_METRICS: Final = (  # made by the collector itself
    _metric(METRIC_GATEWAY_DURATION, "timing", "component method route status", "Requests at the gateway."),
    _metric(METRIC_SPANS_RECEIVED, "counter", "service instance boot", "Spans that arrived."),
    _metric(METRIC_SPANS_STORED, "counter", "service instance boot", "Spans that were written."),
    _metric(METRIC_SPANS_REJECTED, "counter", "service instance boot", "Spans that were turned away."),
    _metric(METRIC_QUEUE_BYTES, "gauge", "", "Bytes that wait to be written."),
    _metric(METRIC_ONWARD, "counter", "signal result", "Requests for --otlp-to: sent, failed, refused, dropped."),
    _metric(METRIC_ONWARD_WAITING, "gauge", "", "Requests for --otlp-to that wait."),
)
STORE_METRICS: Final = (  # what stores say of themselves, asked for by the collector
    _metric(METRIC_STORE_UP, "gauge", "store instance", "1 while a store answers the collector."),
    _metric(METRIC_DB_BUFFER_READS, "counter", "store instance result", "Pages: found in the buffers (hit), or not."),
    _metric(METRIC_DB_TRANSACTIONS, "counter", "store instance result", "Transactions: commit or rollback."),
    _metric(METRIC_DB_CONNECTIONS, "gauge", "store instance", "Connections to a database."),
    _metric(METRIC_DB_SIZE, "gauge", "store instance", "What a database takes on the disk."),
    _metric(METRIC_DB_STATEMENT_CALLS, "counter", "store instance statement", "Runs of the ten costliest statements."),
    _metric(
        METRIC_DB_STATEMENT_SECONDS, "counter", "store instance statement", "Time in the ten costliest statements."
    ),
    _metric(METRIC_REDIS_READS, "counter", "store instance result", "Keys that were asked for: hit or miss."),
    _metric(METRIC_REDIS_LOST, "counter", "store instance why", "Keys that went by themselves: evicted, expired."),
    _metric(METRIC_REDIS_KEYS, "gauge", "store instance", "Keys in a cache."),
    _metric(METRIC_REDIS_MEMORY, "gauge", "store instance", "Memory of a cache."),
    _metric(METRIC_REDIS_CONNECTIONS, "gauge", "store instance", "Connections to a cache."),
)

# --- phases of a Run ------------------------------------------------------------------------------
PHASES: Final = ("warmup", "steady", "fault", "recovery")

# --- the simulated phone's service name ------------------------------------------------------------
MOBILE: Final = "mobile"
GATEWAY: Final = "gateway"
SPAN_MESSAGE_SEND: Final = "message send"  # mobile: emit until its ack
SPAN_MESSAGE_RECEIVE: Final = "message receive"  # mobile: the receiver's callback
SPAN_MESSAGING_SEND: Final = "message:send"  # messaging: handling one emit
SPAN_MESSAGING_DELIVER: Final = "deliver"  # messaging: one instance's consumer, linked to the producer
SPAN_MESSAGING_PUSH: Final = "message:new"  # messaging: push to one socket
SCREEN: Final = "tracelab.screen"  # mobile: what the person was looking at
