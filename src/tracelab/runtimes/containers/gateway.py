"""How NGINX runs in a container, ours or its makers': its folder made, its access log kept small, then itself."""

from typing import Final

_LOG_LIMIT_BYTES: Final = 64 << 20
FOLDER: Final = "/tmp/nginx"  # noqa: S108 -- in the container
NETWORK: Final = "@network@"  # stands in a configuration that was written before anybody knew the addresses
# What the makers' image needs besides: it runs as root, and has as a module what is built into ours.
MAKERS: Final = "user root root; load_module /usr/lib/nginx/modules/ngx_http_js_module.so;"
# NGINX takes the shell's place as the first process; what watches the log is its child and ends with it.
_SCRIPT: Final = f"""\
mkdir -p {FOLDER}
sed "s/{NETWORK}/$4/g" "$2" > {FOLDER}/nginx.conf
while sleep 10; do
    if [ "$(wc -c < "$3")" -gt {_LOG_LIMIT_BYTES} ]; then mv "$3" "$3.1"; kill -USR1 1; fi
done &
exec "$1" -e stderr -p {FOLDER}/ -c {FOLDER}/nginx.conf -g "$5"
"""


def command(binary: str, configuration: str, access_log: str, *, network: str = "", directives: str = "") -> list[str]:
    """Return the words that start NGINX, by a shell.

    `network` takes the place of `NETWORK` in the configuration; `directives` are added to it.
    """
    return ["/bin/sh", "-c", _SCRIPT, "sh", binary, configuration, access_log, network, directives]
