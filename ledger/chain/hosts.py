"""Which addresses may be listened on, and which Host and Origin headers are believed."""

from ipaddress import ip_address

from ledger.chain.errors import PublicAddressError

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def bind_address(host: str, *, allow_public: bool) -> str:
    """Give the address to bind for a host name.

    Args:
        host: An IP address, or ``localhost``.
        allow_public: Whether other machines may reach it.

    Returns:
        The address.

    Raises:
        PublicAddressError: It is not a loopback address and that is not allowed.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback and not allow_public:
        raise PublicAddressError(host)
    return host


def host_name(header: str) -> str:
    """Take the port off a Host header or the authority of a URL."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0] if name.count(":") == 1 else name


def may_serve(header: str | None, *, host: str, extra: frozenset[str], is_public: bool) -> bool:
    """Tell whether a Host header names this server.

    A page of any site can make a browser ask 127.0.0.1 under the page's own name (DNS
    rebinding). Such a request carries that name, so only known names are served.

    Args:
        header: The Host header, or None.
        host: The configured host.
        extra: Further names that are served.
        is_public: Whether any literal address is served as well; a rebinding attack
            needs a name.
    """
    if header is None:
        return False
    name = host_name(header)
    if name in _LOCAL_NAMES or name == host.lower() or name in extra:
        return True
    return is_public and _is_literal(name)


def _is_literal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
