"""Merge methods: one file each, one line each in `METHODS`; packages and notebooks add theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from medlego.errors import MergeError
from medlego.merge.method import Method, Provider
from medlego.merge.methods import dare, iso, lego, linear, lora_lego, regmean, ties, tsv, wudi

GROUP = "medlego.merge_methods"
"""Entry points by which an installed package provides methods, each under its method's name."""
DEFAULT_METHOD = "linear"

_BUILT_IN = (
    linear.METHOD,
    lego.METHOD,
    ties.TIES,
    ties.CORE_TIES,
    ties.KNOTS_TIES,
    dare.DARE,
    dare.DARE_TIES,
    dare.CORE_DARE_TIES,
    tsv.METHOD,
    iso.ISO_C,
    iso.ISO_CTS,
    lora_lego.METHOD,
    wudi.METHOD,
    regmean.METHOD,
)


class MergeMethods(Mapping[str, Method]):
    """Methods by name: those built in, registered by `register_method`, and of installed packages.

    A package's code is loaded when its method is asked for, never by listing names.
    """

    def __init__(self, *built_in: Method) -> None:
        self._built_in = {method.name: method for method in built_in}
        self._registered: dict[str, Method] = {}

    def __getitem__(self, name: str) -> Method:
        method = self._built_in.get(name) or self._registered.get(name)
        return method or _load(_entry_point(name))

    def __iter__(self) -> Iterator[str]:
        installed = (point.name for point in entry_points(group=GROUP))
        return iter(dict.fromkeys((*self._built_in, *self._registered, *sorted(installed))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def register(self, method: Method) -> None:
        """See `register_method`."""
        if method.name in self._built_in:
            raise MergeError(
                f"method {method.name!r}: expected a name of its own, got that of a method of "
                "medlego; choose another"
            )
        self._registered[method.name] = method

    def provider(self, name: str) -> Provider | None:
        """What a method comes from; None for those built in.

        Raises:
            KeyError: no such method.
        """
        if name in self._built_in:
            return None
        if name in self._registered:
            return Provider()
        package = _entry_point(name).dist
        return (
            Provider()
            if package is None
            else Provider(distribution=package.name, version=package.version)
        )


METHODS = MergeMethods(*_BUILT_IN)


def register_method(method: Method) -> None:
    """Add a merge method for the rest of this process, for example from a notebook.

    A recipe made with it says that no package provides it, so whoever opens the generalist must
    register it first. To share a method, provide it as an entry point of a package: group
    `medlego.merge_methods`, the method's name, a `Method` as its object.

    Args:
        method: replaces one of the same name that was registered before.

    Raises:
        MergeError: the name of a built-in method.
    """
    METHODS.register(method)


def find_method(name: str, provider: Provider | None = None) -> Method:
    """The method of that name.

    Args:
        name: of a built-in, registered or installed method.
        provider: where a recipe says that it came from, for the message where it is missing.

    Raises:
        MergeError: there is none; the message says which package to install.
    """
    try:
        return METHODS[name]
    except KeyError:
        pass
    if provider is None:
        raise MergeError(f"method: expected one of {', '.join(METHODS)}, got {name!r}")
    if provider.distribution is None:
        raise MergeError(
            f"method {name!r}: expected a registered method, got none; call "
            "medlego.merge.register_method() with it first"
        )
    raise MergeError(
        f"method {name!r}: expected package {provider.distribution} {provider.version}, which "
        f"provides it, got none; pip install {provider.distribution}=={provider.version}"
    )


def _entry_point(name: str) -> EntryPoint:
    """The entry point of that name.

    Raises:
        KeyError: none.
        MergeError: two packages provide it.
    """
    points = {
        (p.dist.name if p.dist else "", p.value): p for p in entry_points(group=GROUP, name=name)
    }
    if len(points) > 1:
        packages = ", ".join(package for package, _ in sorted(points))
        raise MergeError(
            f"method {name!r}: expected one package that provides it, got {packages}; "
            "uninstall all but one"
        )
    if not points:
        raise KeyError(name)
    return next(iter(points.values()))


def _load(point: EntryPoint) -> Method:
    """The method behind an entry point.

    Raises:
        MergeError: the package fails to import, or gives something else.
    """
    package = point.dist.name if point.dist else point.value
    try:
        method = point.load()
    except Exception as error:
        raise MergeError(
            f"method {point.name!r}: expected {package} to load, got "
            f"{type(error).__name__}: {error}; reinstall it"
        ) from error
    if not isinstance(method, Method) or method.name != point.name:
        name = f"method {method.name!r}" if isinstance(method, Method) else type(method).__name__
        raise MergeError(
            f"method {point.name!r}: expected {package} to provide a Method of that name, got "
            f"{name}; ask its authors"
        )
    return method
