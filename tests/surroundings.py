"""What a test process inherits, made the same everywhere before the first test: every child inherits it from here.

A suite is started from a terminal, by cron, with `nohup`, as a background job of a script, by a CI service; under
another language, time zone, umask, proxy or limit. None of that is what the tests are about, so `settle` sets it
once, in the pytest process and in each of its workers; then no test and no helper that starts a process has to
think of it, or can forget to. A test about one of these sets its own with `monkeypatch` or `env=`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import MutableMapping

#: Descriptors a process may have open: systemd's and most shells' soft limit.
_OPEN_FILES = 1024

#: Named `EDGELIFT_…`, but said by whoever starts the suite, to the suite: the cache holds the emulated ARM machine.
_OURS_TO_KEEP = frozenset({"EDGELIFT_REQUIRE_SERVERS", "EDGELIFT_CACHE"})

#: Where the environment that was found is kept, for the workers too, which are started after it was changed.
_FOUND = "TESTS_FOUND_ENVIRONMENT"

#: Variables that change what programs print, where they connect, or where they keep things.
_DROPPED = (
    "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
    "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONOPTIMIZE", "PYTHONSTARTUP",
    "PYTHONSAFEPATH", "PYTHONUTF8", "PYTHONIOENCODING", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
    "LISTEN_FDS", "LISTEN_PID", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "INVOCATION_ID",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
    "LANGUAGE", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC",
)  # fmt: skip


def settle() -> None:
    """Signals, mask, umask, limits, language, time zone and environment of this process; call in the main thread."""
    _signals()
    os.umask(0o022)
    _limits()
    os.environ.setdefault(_FOUND, json.dumps(dict(os.environ)))
    environment(os.environ)
    time.tzset()


def found() -> dict[str, str]:
    """The environment that the suite was started in: for pip, which may need its proxies and certificates."""
    return dict(json.loads(os.environ[_FOUND]))


def environment(variables: MutableMapping[str, str]) -> None:
    """Take out of `variables` what a test must not depend on, and set the rest."""
    for name in list(variables):
        foreign = name.startswith("EDGELIFT_") and name not in _OURS_TO_KEEP
        engines = name.startswith(("PG", "AWS_"))  # libpq and S3 would take servers and passwords from there
        if foreign or engines or name in _DROPPED or name.startswith("LC_") or name.lower().endswith("_proxy"):
            del variables[name]
    # `C.UTF-8` and `UTC` are on every system; a terminal that can do nothing special prints nothing special.
    variables.update({"LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb"})
    # torch's threads wait for each other by spinning: beside another worker's two of them took half as long again in all
    # as one does. What measures an artifact sets its own number.
    variables["OMP_NUM_THREADS"] = "1"
    # A site that is made by its command signs, and nobody is there to choose what its keys lie under.
    variables["EDGELIFT_PASSPHRASE"] = "correct horse battery staple"


def _signals() -> None:
    """As at a terminal: a background job of a script has SIGINT ignored, `nohup` SIGHUP, and children inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _limits() -> None:
    """Room for what tests open, no core files from the processes that they crash."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, most))
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
