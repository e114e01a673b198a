"""Settings of the control plane: flat, read top to bottom, and it runs with nothing set.

Only this module and `config.env` read the environment. What each name means for users stands in
docs/operating/settings.md, and a test holds that page to this file.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config.drain import drain_seconds
from config.env import env_bool, env_int, env_list, env_secret, env_str
from engines import settings as engine_settings

BASE_DIR = Path(__file__).resolve().parent.parent.parent
VERSION = "0.1.0"

# Engines read what is theirs where they need it, which would be long after the start.
if _engines_wrong := engine_settings.wrong():
    raise ImproperlyConfigured(_engines_wrong)

# Where all state lives.
RECALL_HOME = Path(env_str("RECALL_HOME", str(Path.cwd() / "var"))).resolve()
RECALL_DROPS = Path(env_str("RECALL_DROPS", str(RECALL_HOME / "drops"))).resolve()
RECALL_ARTIFACTS = Path(env_str("RECALL_ARTIFACTS", str(RECALL_HOME / "artifacts"))).resolve()
RECALL_WORK = Path(env_str("RECALL_WORK", str(RECALL_HOME / "work"))).resolve()
# What replicas sampled of live queries.
RECALL_SAMPLES = Path(env_str("RECALL_SAMPLES", str(RECALL_HOME / "samples"))).resolve()
# Which remote places each tenant's sources may name; TOML with secrets, therefore 0600. Not there: none.
RECALL_SOURCES_FILE = Path(env_str("RECALL_SOURCES_FILE", str(RECALL_HOME / "sources.toml"))).resolve()

# Secrets; each is NAME, NAME_FILE, or a file of this RECALL_HOME that is made on first use.
SECRET_KEY = env_secret("RECALL_SECRET_KEY", RECALL_HOME / "secrets" / "secret_key")
KEY_PEPPER = env_secret("RECALL_KEY_PEPPER", RECALL_HOME / "secrets" / "key_pepper")
INTERNAL_TOKEN = env_secret("RECALL_INTERNAL_TOKEN", RECALL_HOME / "secrets" / "internal_token")

DEBUG = env_bool("RECALL_DEBUG", False)
ALLOWED_HOSTS = env_list("RECALL_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env_list("RECALL_TRUSTED_ORIGINS", [])
# How many proxies of our own stand before the console. 0: what the X-Forwarded headers say is a stranger's word.
TRUSTED_PROXIES = max(0, env_int("RECALL_TRUSTED_PROXIES", 0))
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None

# Where users and their programs find us.
CONSOLE_PORT = env_int("RECALL_CONSOLE_PORT", 8000)
GATEWAY_PORT = env_int("RECALL_GATEWAY_PORT", 50051)
CONSOLE_URL = env_str("RECALL_CONSOLE_URL", f"http://127.0.0.1:{CONSOLE_PORT}")
GATEWAY_ADDRESS = env_str("RECALL_GATEWAY", f"127.0.0.1:{GATEWAY_PORT}")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "axes",
    "csp",
    "common",
    "audit",
    "accounts",
    "tenants",
    "catalog",
    "alerts",
    "versions",
    "api",
    "console",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "common.middleware.RequestIdMiddleware",
    "common.middleware.SecureCookiesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.SessionSeenMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "csp.middleware.CSPMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context.frame",
            ],
        },
    },
]


# Database. SQLite in WAL with IMMEDIATE transactions, so that a read-then-write waits for its turn instead of
# failing; FULL, so that an acknowledged activation survives a power cut.
def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        path = Path(unquote(parts.path))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000;"
        options = {"transaction_mode": "IMMEDIATE", "timeout": 10, "init_command": pragmas}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            # `?host=/run/postgresql` names a folder with a socket, as libpq spells it.
            "HOST": parse_qs(parts.query).get("host", [unquote(parts.hostname or "")])[0],
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {"connect_timeout": 5},
        }
    raise ImproperlyConfigured(f"RECALL_DATABASE_URL must start with sqlite:// or postgresql://, not {parts.scheme!r}.")


DATABASES = {"default": _database(env_str("RECALL_DATABASE_URL", f"sqlite://{RECALL_HOME}/db/recall.sqlite3"))}


# Redis. The launcher writes the address of the embedded server beside the other run files.
def _redis_url() -> str:
    written = RECALL_HOME / "run" / "redis.url"
    fallback = written.read_text().strip() if written.is_file() else "redis://127.0.0.1:6379/0"
    return env_str("RECALL_REDIS_URL", fallback)


REDIS_URL = _redis_url()
REDIS_TIMEOUT_SECONDS = 2

# Celery. A message is a doorbell: it carries ids, may be lost or come twice, and the sweeper rings again.
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 5,
    "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
    "retry_on_timeout": True,
    "health_check_interval": 5,
}
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TIMEZONE = "UTC"
# A worker that is free and takes nothing of what waits for so long does not listen, and ends (workers/hearing.py).
WORKER_DEAF_SECONDS = max(5, env_int("RECALL_WORKER_DEAF_SECONDS", 20))

# Builds.
# One core less than there are, so that builds leave one to what serves.
BUILD_THREADS = max(1, env_int("RECALL_BUILD_THREADS", len(os.sched_getaffinity(0)) - 1))
BUILD_CPUS = max(1, env_int("RECALL_BUILD_CPUS", BUILD_THREADS))
BUILD_NICE = env_int("RECALL_BUILD_NICE", 19)
_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
BUILD_MEMORY_BYTES_MAX = env_int("RECALL_BUILD_MEMORY_BYTES_MAX", _MEMORY_BYTES * 8 // 10)
# What a query model may take for one query, in milliseconds of one thread. A slower one fails its build.
QUERY_MODEL_MS_MAX = env_int("RECALL_QUERY_MODEL_MS_MAX", 50)
# Live queries that replicas keep; 0: none, and builds use none that were kept before.
QUERY_SAMPLES = env_int("RECALL_QUERY_SAMPLES", 1_000)
# How long after a switch the version before stays loaded, where a service keeps it cold.
COLD_AFTER_SECONDS = env_int("RECALL_COLD_AFTER_SECONDS", 600)
# How long a build waits for room that other work is going to give back, before it is held.
BUILD_WAIT_SECONDS_MAX = env_int("RECALL_BUILD_WAIT_SECONDS_MAX", 3600)
# How often a source is looked at for new drops.
SOURCE_LOOK_SECONDS = env_int("RECALL_SOURCE_LOOK_SECONDS", 10)
# How long a withdrawn version stays loaded, and how long its files stay, after it left the routes.
RETIRE_DRAIN_SECONDS = drain_seconds()
RETIRE_FILES_SECONDS = env_int("RECALL_RETIRE_FILES_SECONDS", 3600)

# Who hears of alerts. No host unless it is named: a tenant's spec must not make the platform call inner addresses.
WEBHOOK_HOSTS = env_list("RECALL_WEBHOOK_HOSTS", [])


# smtp://user:password@host:port; `smtps` is TLS from the start, `smtp+starttls` turns to it. Empty: there is no server.
def _email(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in EMAIL_PORTS or not parts.hostname:
        raise ImproperlyConfigured(
            f"RECALL_EMAIL_URL must be smtp://, smtps:// or smtp+starttls:// and a host, not {parts.scheme!r}."
        )
    return {
        "host": parts.hostname,
        "port": parts.port or EMAIL_PORTS[parts.scheme],
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "tls": parts.scheme,
    }


EMAIL_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}
EMAIL_URL = env_str("RECALL_EMAIL_URL", "")
_EMAIL = _email(EMAIL_URL) if EMAIL_URL else {"host": "", "port": 25, "user": "", "password": "", "tls": ""}
EMAIL_HOST, EMAIL_PORT = _EMAIL["host"], _EMAIL["port"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _EMAIL["user"], _EMAIL["password"]
EMAIL_USE_SSL, EMAIL_USE_TLS = _EMAIL["tls"] == "smtps", _EMAIL["tls"] == "smtp+starttls"
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env_str("RECALL_EMAIL_FROM", "recall@localhost")

# Sign-in.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = max(1, env_int("RECALL_SESSION_HOURS", 14 * 24)) * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = "recall_session"
CSRF_COOKIE_NAME = "recall_csrf"
CSRF_FAILURE_VIEW = "console.views.failures.csrf_failed"
# True: only over TLS. Cookies that are given out over TLS say so in any case; the embedded platform speaks plain HTTP.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env_bool("RECALL_SECURE_COOKIES", False)
# Wrong passwords are counted for a name and an address together, so that a stranger elsewhere locks nobody out; and who
# goes on trying while it is locked makes it last no longer.
SIGN_IN_FAILURES_MAX = max(1, env_int("RECALL_SIGN_IN_FAILURES_MAX", 5))
SIGN_IN_LOCK_SECONDS = max(1, env_int("RECALL_SIGN_IN_LOCK_SECONDS", 900))
AXES_FAILURE_LIMIT = SIGN_IN_FAILURES_MAX
AXES_COOLOFF_TIME = timedelta(seconds=SIGN_IN_LOCK_SECONDS)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "common.addresses.sign_in_address"
AXES_LOCKOUT_CALLABLE = "console.views.sign_in.locked_out"
# Its log of every sign-in is never emptied; where people are signed in, `accounts` knows.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

# Pages load nothing from outside the machine.
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "style-src": [SELF],
        "script-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

STATIC_URL = "/static/"
STATIC_ROOT = Path(env_str("RECALL_STATIC_ROOT", str(BASE_DIR / "static-collected")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False

# Limits of the HTTP edge.
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.KeyAuthentication", "api.authentication.ConsoleSession"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Recall platform",
    "DESCRIPTION": "The REST API of the recall platform. Programs that ask many queries use the gateway's gRPC.",
    "VERSION": "v1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # No validator: it stands outside the machine.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env_str("RECALL_LOG_LEVEL", "INFO")},
    # httpx tells every URL, and that of a webhook may hold a token.
    "loggers": {
        "axes": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
    },
}
