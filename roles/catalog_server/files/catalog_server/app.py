# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application: everything joined, nothing at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers
from starlette.types import Scope

from catalog_server import NAME, VERSION, clock, error_responses, schema
from catalog_server.audit import routes as audit
from catalog_server.catalog import catalog_id_routes as catalog_ids
from catalog_server.catalog import routes as catalog
from catalog_server.connections import OpenConnections
from catalog_server.database import Database
from catalog_server.errors import LockedOut
from catalog_server.health import routes as health
from catalog_server.health.readiness import Readiness
from catalog_server.identity import role_routes as roles
from catalog_server.identity import routes as identity
from catalog_server.identity import user_routes as users
from catalog_server.identity.login_limits import TOO_MANY, LimitLogins, LoginLimits
from catalog_server.identity.passwords import Passwords
from catalog_server.identity.refusals import LOGIN, Refusals, why
from catalog_server.jobs import routes as jobs_routes
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.runner import JobThread
from catalog_server.keys import load_keys
from catalog_server.metrics import routes as metrics
from catalog_server.metrics.requests import RequestMetrics
from catalog_server.metrics.routes import Metrics
from catalog_server.metrics.state import Numbers, StateCollector
from catalog_server.middleware import UNCHECKED_BYTES, BodyLimit, Limit, RequestId
from catalog_server.openapi import routes as description
from catalog_server.openapi.operation import body_of
from catalog_server.pools import Pools, Turns
from catalog_server.receivers import Receivers
from catalog_server.settings import Settings
from catalog_server.shared_keys import SharedKeys
from catalog_server.storages.registry import Registry
from catalog_server.transfers import content_routes as content
from catalog_server.transfers import grant_routes as grants
from catalog_server.transfers import objects
from catalog_server.transfers import routes as uploads
from catalog_server.unit_of_work import Behind, Services, identify

# Stock clients use both, for everything.
PREFIXES = ("/api/v1", "/api")
# Those asked most come first: a request is compared with one route after the other.
ROUTERS: tuple[APIRouter, ...] = (
    catalog.router,
    content.router,
    objects.router,
    grants.router,
    uploads.router,
    health.router,
    identity.router,
    users.router,
    roles.router,
    audit.router,
    catalog_ids.router,
    jobs_routes.router,
    description.router,
)

# How long the end of a process waits for the step that a job is at; the next process goes on with the job.
_JOB_SECONDS = 10.0


def _connections_for(settings: Settings) -> int:
    """One for each thread that may ask: those of the pools, jobs, the writers behind requests, and the event loop.

    So none waits for one.
    """
    return settings.threads + settings.writers + settings.object_threads + settings.commits_at_once + 5


def open_services(settings: Settings) -> Services:
    """What requests share, and the commands of the administrator, too. ``close()`` its database at the end."""
    database = Database(settings.database, _connections_for(settings))
    keys = load_keys(settings)
    behind = Behind.of(database)
    return Services(
        settings=settings,
        database=database,
        behind=behind,
        refusals=Refusals(behind.notes),
        receivers=Receivers(settings),
        pools=Pools.of(settings),
        login_turns=Turns(),
        keys=keys,
        passwords=Passwords(),
        storages=Registry(database, settings, keys),
    )


def _check(services: Services, shared: SharedKeys) -> list[str]:
    """Check that the server can work; return what its administrator should see to."""
    schema.check(services.database)
    services.storages.check()
    shared.check()
    with services.database.reading() as session:
        found = clock.problem(clock.noted_at(session), services.clock())
    return [found] if found is not None else []


def _body_limit(settings: Settings) -> Limit:
    """How long a body may be: longer for those who have credentials, and as the route says."""

    def limit(scope: Scope) -> int | None:
        body = body_of(scope.get("route"))
        if body == "object":
            return None
        if body == "index":
            return settings.max_index_bytes
        headers = Headers(scope=scope)
        is_anonymous = "authorization" not in headers and "x-api-key" not in headers
        return min(settings.max_json_bytes, UNCHECKED_BYTES) if is_anonymous else settings.max_json_bytes

    return limit


def _too_many(services: Services, address: str, request_id: str | None) -> None:
    refused = LockedOut("Too many logins from one address.", details=why(TOO_MANY))
    services.refusals.add(refused, LOGIN, address, request_id, services.clock())


def create_app(settings: Settings, connections: OpenConnections) -> FastAPI:
    """The server as an ASGI application; ``connections`` are those of its process."""
    services = open_services(settings)
    counted = RequestMetrics()
    connections.observe = counted.observe_refused_connection

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # As many threads as connections, those of writers beside: none waits for one while it holds the other.
        readers = to_thread.current_default_thread_limiter()
        readers.total_tokens = settings.threads
        app.state.metrics = Metrics(
            counted, StateCollector(services, KINDS, Numbers.of(services.pools, readers, connections))
        )
        settings.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        services.behind.start()
        jobs = JobThread(services, KINDS)
        app.state.jobs = jobs
        jobs.start()
        yield
        services.pools.logins.close()
        # A thread of its own: those of readers may all wait for something that does not answer. What requests have left
        # to be written is first, since the step that a job is at may take long, or never end.
        own = CapacityLimiter(2)
        await to_thread.run_sync(services.behind.close, limiter=own)
        with move_on_after(_JOB_SECONDS):
            await to_thread.run_sync(jobs.close, limiter=own, abandon_on_cancel=True)
        services.database.close()

    app = FastAPI(
        title=NAME,
        version=VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        # See openapi/routes.py.
        openapi_url=None,
    )
    app.state.services = services
    shared = SharedKeys(services.database, services.keys)
    app.state.readiness = Readiness(lambda: _check(services, shared))
    for prefix in PREFIXES:
        for router in ROUTERS:
            app.include_router(router, prefix=prefix)
    app.include_router(metrics.router)
    error_responses.install(app, identify)

    app.add_middleware(BodyLimit, limit=_body_limit(settings), identify=identify)
    logins = LoginLimits(settings.login_burst, settings.logins_per_minute / 60)
    app.add_middleware(LimitLogins, limits=logins, refused=partial(_too_many, services))
    app.add_middleware(RequestId, observe=counted.observe)
    return app
