"""Every name that we emit or query: span attributes, baggage, headers, metrics, cache names.

OpenTelemetry's stable semantic conventions where there are some, ours (``tracelab.*``) elsewhere.
"""

from typing import Final

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
FAULT_TARGET: Final = "tracelab.fault.target"
FAULT_KIND: Final = "tracelab.fault.kind"

EVENT_RETRY: Final = "tracelab.retry.scheduled"
EVENT_BREAKER_CHANGE: Final = "tracelab.breaker.state_change"
EVENT_BREAKER_REJECTED: Final = "tracelab.breaker.rejected"

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
HEADER_SERVICE_TOKEN: Final = "X-Tracelab-Service-Token"
TOKEN_COOKIE: Final = "tracelab_token"
REFRESH_COOKIE: Final = "tracelab_refresh"
FLOW_COOKIE: Final = "tracelab_flow"  # a login by a provider that is under way
OAUTH_CLIENT: Final = "tracelab"  # what the identity provider knows us as

# --- caches (platform contract, section 3) -------------------------------------------------------
CACHES: Final = ("profile", "following", "followers", "post", "timeline")
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

# --- StatsD metrics (DogStatsD tags) --------------------------------------------------------------
METRIC_HTTP_REQUESTS: Final = "tracelab.http.requests"  # c {service, route, method, status}
METRIC_HTTP_DURATION: Final = "tracelab.http.duration"  # ms {service, route, method, status}
METRIC_CACHE_READS: Final = "tracelab.cache.reads"  # c {cache, result: hit, miss, stale, error}
METRIC_DB_DURATION: Final = "tracelab.db.duration"  # ms {db}
METRIC_DB_POOL_IN_USE: Final = "tracelab.db.pool.in_use"  # g {db}
METRIC_DB_POOL_WAIT: Final = "tracelab.db.pool.wait"  # ms {db}
METRIC_EDGE_ATTEMPTS: Final = "tracelab.edge.attempts"  # c {edge, result}
METRIC_BREAKER_STATE: Final = "tracelab.breaker.state"  # g {edge}
METRIC_MESSAGES: Final = "tracelab.messages"  # c {event}
METRIC_MEDIA_BYTES: Final = "tracelab.media.bytes"  # c
METRIC_FAULT_ACTIVE: Final = "tracelab.fault.active"  # g {fault, target}

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
