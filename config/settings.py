"""Every setting, from the environment or `.env` (the list with defaults: .env.example)."""

from datetime import timedelta
from pathlib import Path

from config import environment as e

BASE_DIR = e.BASE_DIR
DATA_DIR = e.data_folder("CHAT_DATA_DIR", BASE_DIR / "var")

DEBUG = e.switch("DEBUG", False)
SECRET_KEY_GIVEN = bool(e.text("SECRET_KEY"))
SECRET_KEY = e.secret_key(DATA_DIR)
HOST = e.text("HOST", "127.0.0.1")
PORT = e.whole("PORT", 8000, least=1, most=65_535)
ALLOWED_HOSTS = e.names("ALLOWED_HOSTS", sorted({"localhost", "127.0.0.1", "[::1]", HOST}))
ALLOWED_ORIGINS = e.origins("ALLOWED_ORIGINS", [f"http://localhost:{PORT}", f"http://127.0.0.1:{PORT}"])
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
HTTPS = all(origin.startswith("https://") for origin in ALLOWED_ORIGINS)

DATABASE_URL = e.text("DATABASE_URL")
REDIS_URL = e.url("REDIS_URL", {"redis", "rediss", "unix"})
# The embedded default: one process, SQLite, nothing else to start.
EMBEDDED = not DATABASE_URL and not REDIS_URL

INSTALLED_APPS = [
    "daphne",  # before staticfiles: it brings the ASGI runserver
    "chat.apps.ChatConfig",
    "chat.apps.ChatAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "ninja",  # for the static files of /api/docs
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "chat.web.policy.ContentSecurityPolicy",
    "corsheaders.middleware.CorsMiddleware",
    "chat.api.errors.JsonErrors",
    "chat.web.unavailable.Unavailable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Storage --------------------------------------------------------------------------------------------------------------
DATABASES = {"default": e.database("DATABASE_URL", DATA_DIR / "db.sqlite3")}
DATABASES["default"]["ATOMIC_REQUESTS"] = False
if "sqlite" in str(DATABASES["default"]["ENGINE"]):
    DATABASES["default"]["OPTIONS"] = {
        # A transaction takes the write lock when it begins: upgrading a read later fails at once, ignoring the timeout.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
            "PRAGMA wal_autocheckpoint=16384; PRAGMA cache_size=-16000; PRAGMA temp_store=MEMORY;"
        ),
    }
    # A file, since the tests read and write from several threads.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    DATABASES["default"]["ENGINE"] = "config.postgres"
    # What requests share; the engine's threads have theirs beside it (docs/architecture.md, "Database connections").
    DATABASES["default"]["POOL"] = e.whole("DATABASE_POOL", 10, least=1, most=1000)
    # What the URL says goes first: losing its sslmode would send everything in the clear.
    DATABASES["default"]["OPTIONS"] = {
        "application_name": "tokenwire",
        "connect_timeout": 3,
        # A network that swallows everything is noticed within seconds, also by a connection that waits idle.
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 5_000,
        **DATABASES["default"].get("OPTIONS", {}),
    }
DATABASES["default"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            # Limits of commands, so that nothing hangs on a Redis that takes connections and answers nothing; a
            # subscription is read with limits of its own. Protocol 2: with 3, the default, redis-py does not see that a
            # pooled connection is dead, and the first notice after a restart of Redis is lost.
            "CONFIG": {
                "hosts": [{"address": REDIS_URL, "protocol": 2, "socket_timeout": 2, "socket_connect_timeout": 2}]
            },
        },
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Chat -----------------------------------------------------------------------------------------------------------------
OPENAI_API_KEY = e.text("OPENAI_API_KEY")
OPENAI_BASE_URL = e.url("OPENAI_BASE_URL", {"http", "https"})
CHAT_MODELS = e.names("CHAT_MODELS")
CHAT_CONTEXT_TOKENS = e.whole("CHAT_CONTEXT_TOKENS", 128_000, least=256)
CHAT_ANSWER_CHARS = e.whole("CHAT_ANSWER_CHARS", 4_000_000, least=1)
CHAT_SYSTEM_PROMPT = e.text("CHAT_SYSTEM_PROMPT")
CHAT_AUTO_TITLE = e.switch("CHAT_AUTO_TITLE", True)
CHAT_GUESTS = e.switch("CHAT_GUESTS", EMBEDDED)
CHAT_SIGN_UP = e.switch("CHAT_SIGN_UP", EMBEDDED)

CHAT_CONNECT_TIMEOUT = e.seconds("CHAT_CONNECT_TIMEOUT", 10)
CHAT_FIRST_TOKEN_TIMEOUT = e.seconds("CHAT_FIRST_TOKEN_TIMEOUT", 60)
CHAT_IDLE_TIMEOUT = e.seconds("CHAT_IDLE_TIMEOUT", 60)
CHAT_TOTAL_TIMEOUT = e.seconds("CHAT_TOTAL_TIMEOUT", 900)
CHAT_ACK_TIMEOUT = e.seconds("CHAT_ACK_TIMEOUT", 30)
CHAT_STORAGE_TIMEOUT = e.seconds("CHAT_STORAGE_TIMEOUT", 30)
CHAT_RECHECK_SECONDS = e.seconds("CHAT_RECHECK_SECONDS", 45, most=60)

CHAT_WORKER = e.switch("CHAT_WORKER", not REDIS_URL)
CHAT_WORKER_RUNS = e.whole("CHAT_WORKER_RUNS", 1000, least=1)
CHAT_DRAIN_SECONDS = e.seconds("CHAT_DRAIN_SECONDS", 20)
CHAT_MAX_ATTEMPTS = e.whole("CHAT_MAX_ATTEMPTS", 2, least=1)
CHAT_LEASE_SECONDS = e.seconds("CHAT_LEASE_SECONDS", 10)
CHAT_LOG_HOURS = e.whole("CHAT_LOG_HOURS", 24, most=87_600)

CHAT_PROMPTS_PER_MINUTE = e.whole("CHAT_PROMPTS_PER_MINUTE", 60, least=1)
CHAT_RUNS_PER_USER = e.whole("CHAT_RUNS_PER_USER", 5, least=1)
CHAT_OPERATIONS_PER_SECOND = e.whole("CHAT_OPERATIONS_PER_SECOND", 50, least=1)
CHAT_SOCKETS_PER_USER = e.whole("CHAT_SOCKETS_PER_USER", 20, least=1)
CHAT_PROMPT_CHARS = e.whole("CHAT_PROMPT_CHARS", 32_000, least=1, most=60_000)

# The AI SDK's useChat at /api/chat.
CHAT_AISDK_PROTOCOL = e.one_of("CHAT_AISDK_PROTOCOL", "auto", "auto", "text", "data", "ui")
CHAT_AISDK_GRACE = e.seconds("CHAT_AISDK_GRACE", 5)
CHAT_AISDK_TRUST_HISTORY = e.switch("CHAT_AISDK_TRUST_HISTORY", False)

# Bytes of a request's body, by the beginning of its path (chat/transports/bodies.py). The AI SDK sends a whole chat
# session with each prompt; deploy/nginx.conf has the same figures.
BODY_BYTES = {"/": 1024**2, "/api/chat": 8 * 1024**2, "/api/import": 64 * 1024**2}
# Django's own limit has no table: it must not be a second, lower one.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(BODY_BYTES.values())

# Sign-in and security -------------------------------------------------------------------------------------------------
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        # The default of 300 let tries for 300 other names push out the count of the one that is guessed at.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat"
LOGOUT_REDIRECT_URL = "chat"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Pages of these origins may use /api/, with an API token: a cookie is never theirs to use.
CORS_ALLOWED_ORIGINS = e.origins("CHAT_CORS_ORIGINS", [])
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = ("authorization", "content-type", "last-event-id", "x-chat-protocol")
# What tells the AI SDK's generations apart, what a plain text belongs to, how a file is called, when to come back.
CORS_EXPOSE_HEADERS = (
    "content-disposition",
    "retry-after",
    "x-run",
    "x-session",
    "x-experimental-stream-data",
    "x-vercel-ai-data-stream",
    "x-vercel-ai-ui-message-stream",
)
SESSION_COOKIE_AGE = int(timedelta(days=30).total_seconds())
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = int(timedelta(days=30).total_seconds()) if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
TRUST_PROXY = e.switch("TRUST_PROXY", False)
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Files, language, logs ------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
# What the page's import map names of package.json (templates/chat/_importmap.html): prefix and folder.
FRONT_END = {
    "dompurify": "dompurify/dist",
    "highlight": "@highlightjs/cdn-assets/es",
    "katex": "katex/dist",
    "marked": "marked/lib",
}
STATICFILES_DIRS: list[Path | tuple[str, Path]] = [BASE_DIR / "static"]
# Without them, where npm could not be had, the page shows answers as plain text.
STATICFILES_DIRS += [
    (f"vendor/{name}", folder)
    for name, each in FRONT_END.items()
    if (folder := BASE_DIR / "node_modules" / each).is_dir()
]
if DEBUG:
    # The page among them may only be asked for from here: GET /api/stream answers no other server's pages.
    STATICFILES_DIRS.append(("examples", BASE_DIR / "examples"))
# Served from the source folders: no collectstatic step between a clone and the first page.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 0 if DEBUG else 60
LANGUAGE_CODE = "en"
USE_I18N = True
TIME_ZONE = e.time_zone("TIME_ZONE", "UTC")
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"no_line_for_each_503": {"()": "config.logs.NoLineForEach503"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "chat": {"level": e.log_level("LOG_LEVEL", "INFO")},
        # A traceback a second while Redis is down; the log of the bus (chat.eventlog) tells of it in a line.
        "channels_redis": {"level": "CRITICAL"},
        "django.request": {"filters": ["no_line_for_each_503"]},
        # Anybody can cause one, with a traceback each; the answer is 400 all the same.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # Its lines repeat request lines, which may hold a prompt (GET /api/stream).
        "django.channels.server": {"level": "ERROR"},
    },
}
