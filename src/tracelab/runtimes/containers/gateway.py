"""How NGINX runs in a container, ours or its makers': its folder made, its access log kept small, then itself."""

from typing import Final

_LOG_LIMIT_BYTES: Final = 64 << 20
FOLDER: Final = "/tmp/nginx"  # noqa: S108 -- in the container
NJS: Final = "/usr/lib/nginx/modules/ngx_http_js_module.so"  # where its makers' image has it; ours has it built in
# NGINX takes the shell's place as the first process; what watches the log is its child and ends with it.
_SCRIPT: Final = f"""\
mkdir -p {FOLDER}
while sleep 10; do
    if [ "$(wc -c < "$3")" -gt {_LOG_LIMIT_BYTES} ]; then mv "$3" "$3.1"; kill -USR1 1; fi
done &
exec "$1" -e stderr -p {FOLDER}/ -c "$2"
"""


def command(binary: str, configuration: str, access_log: str) -> list[str]:
    """Return the words that start NGINX, by a shell."""
    return ["/bin/sh", "-c", _SCRIPT, "sh", binary, configuration, access_log]
